/* boot_ticket.c - see boot_ticket.h. */
#include "common/boot_ticket.h"

#include "attest/ticket.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/limits.h"

#include <string.h>

enum { FILE_BYTES_MAX = 2 * EEI_TICKET_BYTES_MAX };
static const char how[] = "its provider makes one for each boot: `ee node ticket NAME --machine ID`";

static ee_status decode(eei_buf *text, eei_buf *out, ee_error *err) {
    while (text->len && strchr("\r\n ", text->data[text->len - 1])) text->len--;
    const char *line = eei_buf_cstr(text);
    return line ? eei_base64url_decode(line, out, err) : eei_nomem(err);
}

ee_status boot_ticket_load(const char *path, uint8_t role, const uint8_t network_id[32], eei_buf *out, uint8_t node_id[32], ee_error *err) {
    eei_buf text = EEI_BUF_INIT(FILE_BYTES_MAX);
    eei_arena arena = EEI_ARENA_INIT(EEI_TICKET_BYTES_MAX);
    eei_ticket ticket;
    ee_error why = {0};
    ee_status st = eei_file_read(path, &text, &why);
    if (!st) st = decode(&text, out, &why);
    if (!st) st = eei_ticket_read(eei_buf_span(out), &arena, &ticket, &why);
    if (!st && ticket.role != role) st = eei_fail(&why, EE_E_CONFIG, "it is for another kind of program");
    if (!st && memcmp(ticket.network_id, network_id, 32)) st = eei_fail(&why, EE_E_CONFIG, "it is for another network");
    if (!st) memcpy(node_id, ticket.node_id, 32);
    if (st && st != EE_E_NOMEM)
        st = eei_hint(err, eei_fail(err, EE_E_CONFIG, "boot ticket %.200s: %.200s", path, why.message), "%s", how);
    else if (st)
        st = eei_nomem(err);
    eei_buf_clear(&text);
    eei_arena_clear(&arena);
    return st;
}
