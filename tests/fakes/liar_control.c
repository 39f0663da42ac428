/* liar_control.c - see liar.c; only in the control plane.
 *
 *   LIE=older-hello  the HELLO of who dials in the role LIE_TO is another when its session gets it: as if somebody inside the connection
 * had put an older release into it. Its own statements are true: over the HELLOs as it saw them. LIE=divert  whoever asks for an instance
 * is led to the agent of the node that the file LIE_TO names, while there is one
 */
#include "base/file.h"
#include "controlplane/registry.h"
#include "liar.h"
#include "ratls/session.h"

ee_status __real_eei_session_receive(eei_session *session, const eei_frame *frame, uint64_t now_ms, ee_error *err) EE_MUST_USE;
ee_status __wrap_eei_session_receive(eei_session *session, const eei_frame *frame, uint64_t now_ms, ee_error *err) EE_MUST_USE;
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

static ee_status made_older(const eei_frame *frame, eei_buf *out, ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(4096);
    eei_hello hello;
    ee_status st = eei_decode(&eei_hello_schema, frame->payload, &arena, &hello, err);
    if (!st && hello.role == strtoull(lie_to(), NULL, 10)) hello.release = eei_span_text("0.0.9");
    if (!st) st = eei_encode(&eei_hello_schema, &hello, out, err);
    eei_arena_clear(&arena);
    return st;
}

ee_status __wrap_eei_session_receive(eei_session *session, const eei_frame *frame, uint64_t now_ms, ee_error *err) {
    eei_frame changed = *frame;
    eei_buf hello = EEI_BUF_INIT(4096);
    bool lies = lies_about("older-hello") && frame->type == EEI_FRAME_HELLO;
    ee_status st = lies ? made_older(frame, &hello, err) : EE_OK;
    if (lies) changed.payload = eei_buf_span(&hello);
    if (!st) st = __real_eei_session_receive(session, &changed, now_ms, err);
    eei_buf_clear(&hello);
    return st;
}
