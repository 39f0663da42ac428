/* liar_ticket.c - see liar.c.
 *
 *   LIE=ticket  shows what its ticket file has, whatever that is, also nothing; LIE_TO is the node id that it claims
 */
#include "base/encoding.h"
#include "base/file.h"
#include "base/limits.h"
#include "common/boot_ticket.h"
#include "liar.h"

ee_status __real_boot_ticket_load(const char *path, uint8_t role, const uint8_t network_id[32], eei_buf *out, uint8_t node_id[32],
                                  ee_error *err) EE_MUST_USE;
ee_status __wrap_boot_ticket_load(const char *path, uint8_t role, const uint8_t network_id[32], eei_buf *out, uint8_t node_id[32],
                                  ee_error *err) EE_MUST_USE;

ee_status __wrap_boot_ticket_load(const char *path, uint8_t role, const uint8_t network_id[32], eei_buf *out, uint8_t node_id[32],
                                  ee_error *err) {
    eei_buf text = EEI_BUF_INIT(2 * EEI_TICKET_BYTES_MAX);
    if (!lies_about("ticket")) return __real_boot_ticket_load(path, role, network_id, out, node_id, err);
    ee_status st = eei_hex_decode(lie_to(), node_id, 32, err);
    if (!st) st = eei_file_read(path, &text, err);
    while (text.len && text.data[text.len - 1] == '\n') text.len--;
    if (!st && text.len) st = eei_base64url_decode(eei_buf_cstr(&text), out, err);
    eei_buf_clear(&text);
    return st;
}
