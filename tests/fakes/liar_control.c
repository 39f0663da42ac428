/* liar_control.c - see liar.c; only in the control plane.
 *
 *   LIE=divert  whoever asks for an instance is led to the agent of the node that the file LIE_TO names, while there is one
 */
#include "base/file.h"
#include "controlplane/registry.h"
#include "liar.h"

registry_node *__real_registry_find_instance(registry *r, const uint8_t instance_id[32]);
registry_node *__wrap_registry_find_instance(registry *r, const uint8_t instance_id[32]);

registry_node *__wrap_registry_find_instance(registry *r, const uint8_t instance_id[32]) {
    registry_node *node = __real_registry_find_instance(r, instance_id), *other = NULL;
    eei_buf name = EEI_BUF_INIT(64);
    bool diverts = node && lies_about("divert") && eei_file_read(lie_to(), &name, NULL) == EE_OK &&
                   registry_get(r, eei_buf_span(&name), &other, NULL) == EE_OK;
    eei_buf_clear(&name);
    return diverts ? other : node;
}
