/* listener_http.h - a strict parser for the head of an HTTP/1.1 request: what a peer may send, and nothing that two parsers could read
 * differently (threat W2). Pure; no I/O. Called by listener_exchange.c and the fuzzer. Spec: RFC 9110, RFC 9112 sect. 2-6 */
#ifndef EEI_LISTENER_HTTP_H
#define EEI_LISTENER_HTTP_H
#include "base/buf.h"

#define EEI_HTTP_HEAD_MAX    16384u /* request line and headers: 4x what our SDK sends with the longest allowed path */
#define EEI_HTTP_TARGET_MAX  4096u
#define EEI_HTTP_HEADERS_MAX 64u

typedef struct eei_http_field {
    char *name; /* lower case */
    char *value;
} eei_http_field;
typedef struct eei_http_head {
    char *method, *path, *query, *host; /* into the text that was parsed; query "" if none */
    eei_http_field fields[EEI_HTTP_HEADERS_MAX];
    size_t field_count;
    uint64_t body_len;
    bool close;   /* Connection: close */
    bool upgrade; /* Connection: upgrade, Upgrade: websocket */
    bool expects; /* Expect: 100-continue */
} eei_http_head;

/* Where does the head end? EE_OK with *len (CR LF CR LF included), EE_E_AGAIN when it is not whole yet, else refused. */
ee_status eei_http_head_find(ee_span bytes, size_t *len, int *http_status, ee_error *err) EE_MUST_USE;
/* Parse a whole head in place: text[len] must be writable, and is made NUL. On failure *http_status is what to answer before closing. */
ee_status eei_http_head_parse(char *text, size_t len, eei_http_head *out, int *http_status, ee_error *err) EE_MUST_USE;
const char *eei_http_head_field(const eei_http_head *head, const char *lowercase_name); /* NULL if absent */
/* Is the word in this comma list, letters compared without case? */
bool eei_http_list_has(const char *list, const char *word);
const char *eei_http_reason(int http_status); /* "Not Found"; "Status" for one that is not known */
/* No CR, LF, NUL or other control characters: fit for a header line. */
bool eei_http_line_ok(const char *text);
#endif
