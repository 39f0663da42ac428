/* listener_http.c - parse the head of an HTTP/1.1 request, refusing whatever is ambiguous: bare LF, folded lines, space before a colon,
 * transfer codings, repeated lengths and hosts. Not for bodies or replies. Called by listener_exchange.c. */
#include "net/listener_http.h"

#include "base/limits.h"

#include <string.h>

static ee_status refuse(int *http_status, int code, ee_error *err, const char *what, size_t at) {
    *http_status = code;
    ee_status st = code == 413 || code == 431 ? EE_E_LIMIT : EE_E_MALFORMED;
    (void)eei_fail(err, st, "HTTP request: %s", what);
    if (err) err->offset_bytes = at;
    return st;
}

ee_status eei_http_head_find(ee_span bytes, size_t *len, int *http_status, ee_error *err) {
    *len = 0;
    size_t limit = bytes.len < EEI_HTTP_HEAD_MAX ? bytes.len : EEI_HTTP_HEAD_MAX;
    for (size_t i = 0; i < limit; i++) {
        if (bytes.data[i] != '\n') continue;
        if (i == 0 || bytes.data[i - 1] != '\r') return refuse(http_status, 400, err, "line feed without carriage return", i);
        if (i >= 3 && bytes.data[i - 2] == '\n') {
            *len = i + 1;
            return EE_OK;
        }
        if (i == 1) return refuse(http_status, 400, err, "empty line before the request line", 0);
    }
    if (bytes.len >= EEI_HTTP_HEAD_MAX) return refuse(http_status, 431, err, "head over 16384 bytes", EEI_HTTP_HEAD_MAX);
    return EE_E_AGAIN;
}

static bool is_token(unsigned char c) {
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) return true;
    return c && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static bool known_method(const char *method) {
    static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], method) == 0) return true;
    return false;
}

/* method SP origin-form SP HTTP/1.1 */
static ee_status parse_request_line(char *line, eei_http_head *out, int *http_status, ee_error *err) {
    char *target = strchr(line, ' ');
    if (!target) return refuse(http_status, 400, err, "request line without a target", 0);
    *target++ = '\0';
    char *version = strchr(target, ' ');
    if (!version) return refuse(http_status, 400, err, "request line without a version", 0);
    *version++ = '\0';
    for (const char *p = line; *p; p++)
        if (!is_token((unsigned char)*p)) return refuse(http_status, 400, err, "method is not a token", (size_t)(p - line));
    if (strcmp(version, "HTTP/1.1") != 0)
        return refuse(http_status, strncmp(version, "HTTP/", 5) == 0 ? 505 : 400, err, "version is not HTTP/1.1", (size_t)(version - line));
    if (!known_method(line)) return refuse(http_status, 501, err, "method is not one that is served", 0);
    if (*target != '/') return refuse(http_status, 400, err, "target does not start with a slash", (size_t)(target - line));
    if ((size_t)(version - target) > EEI_HTTP_TARGET_MAX) return refuse(http_status, 414, err, "target over 4096 bytes", 0);
    for (const char *p = target; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '#')
            return refuse(http_status, 400, err, "target with a character that is not allowed in a URL", (size_t)(p - line));
    out->method = line;
    out->path = target;
    out->query = strchr(target, '?');
    if (out->query)
        *out->query++ = '\0';
    else
        out->query = version - 1; /* the NUL in front of the version */
    return EE_OK;
}

/* name ":" OWS value OWS */
static ee_status parse_field(char *line, size_t at, eei_http_head *out, int *http_status, ee_error *err) {
    if (*line == ' ' || *line == '\t') return refuse(http_status, 400, err, "folded header line", at);
    if (out->field_count == EEI_HTTP_HEADERS_MAX) return refuse(http_status, 431, err, "more than 64 headers", at);
    char *p = line;
    for (; is_token((unsigned char)*p); p++) *p = lower(*p);
    if (p == line || *p != ':') return refuse(http_status, 400, err, "header name is not a token", at);
    *p++ = '\0';
    while (*p == ' ' || *p == '\t') p++;
    char *end = p + strlen(p);
    while (end > p && (end[-1] == ' ' || end[-1] == '\t')) *--end = '\0';
    for (const char *c = p; *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || (unsigned char)*c >= 0x7f)
            return refuse(http_status, 400, err, "header value with a character that is not printable ASCII", at);
    out->fields[out->field_count++] = (eei_http_field){line, p};
    return EE_OK;
}

const char *eei_http_head_field(const eei_http_head *head, const char *lowercase_name) {
    for (size_t i = 0; i < head->field_count; i++)
        if (strcmp(head->fields[i].name, lowercase_name) == 0) return head->fields[i].value;
    return NULL;
}

/* Fields whose meaning would depend on which of two values one takes. Lists (Accept, Via ...) may repeat. */
static ee_status refuse_repeats(const eei_http_head *head, int *http_status, ee_error *err) {
    for (size_t i = 0; i < head->field_count; i++) {
        const char *name = head->fields[i].name;
        static const char *const lists[] = {"accept",    "accept-language", "accept-encoding", "via",
                                            "forwarded", "x-forwarded-for", "cookie"};
        bool list = false;
        for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) list = list || strcmp(name, lists[k]) == 0;
        for (size_t k = i + 1; !list && k < head->field_count; k++)
            if (strcmp(name, head->fields[k].name) == 0) return refuse(http_status, 400, err, "header given twice", 0);
    }
    return EE_OK;
}

bool eei_http_list_has(const char *list, const char *word) {
    size_t want = strlen(word);
    for (const char *p = list ? list : ""; *p;) {
        while (*p == ' ' || *p == '\t' || *p == ',') p++;
        const char *start = p;
        while (*p && *p != ',') p++;
        const char *end = p;
        while (end > start && (end[-1] == ' ' || end[-1] == '\t')) end--;
        size_t same = 0;
        while (same < want && start + same < end && lower(start[same]) == lower(word[same])) same++;
        if (same == want && start + same == end) return true;
    }
    return false;
}

static ee_status parse_length(const char *text, uint64_t *out, int *http_status, ee_error *err) {
    size_t digits = strlen(text);
    if (digits == 0 || strspn(text, "0123456789") != digits) return refuse(http_status, 400, err, "content-length is not a number", 0);
    *out = 0;
    for (const char *p = text; *p; p++) {
        *out = *out * 10 + (uint64_t)(*p - '0');
        if (*out > EEI_HTTP_BODY_MAX) return refuse(http_status, 413, err, "body over 1048576 bytes", 0);
    }
    return EE_OK;
}

static ee_status read_meaning(eei_http_head *head, int *http_status, ee_error *err) {
    const char *length = eei_http_head_field(head, "content-length");
    const char *coding = eei_http_head_field(head, "transfer-encoding");
    if (coding && length) return refuse(http_status, 400, err, "content-length and transfer-encoding together", 0);
    if (coding) return refuse(http_status, 501, err, "transfer codings are not served, send content-length", 0);
    if (length) {
        ee_status st = parse_length(length, &head->body_len, http_status, err);
        if (st) return st;
    }
    for (size_t i = 0; i < head->field_count; i++)
        if (strcmp(head->fields[i].name, "host") == 0) head->host = head->fields[i].value;
    if (!head->host || !*head->host) return refuse(http_status, 400, err, "no host header", 0);
    const char *connection = eei_http_head_field(head, "connection");
    const char *upgrade = eei_http_head_field(head, "upgrade");
    const char *expect = eei_http_head_field(head, "expect");
    head->close = connection && eei_http_list_has(connection, "close");
    head->upgrade = connection && upgrade && eei_http_list_has(connection, "upgrade") && eei_http_list_has(upgrade, "websocket");
    if (head->upgrade && head->body_len) return refuse(http_status, 400, err, "upgrade with a body", 0);
    head->expects = expect != NULL;
    if (expect && !(strlen(expect) == 12 && eei_http_list_has(expect, "100-continue")))
        return refuse(http_status, 417, err, "expectation is not 100-continue", 0);
    return EE_OK;
}

ee_status eei_http_head_parse(char *text, size_t len, eei_http_head *out, int *http_status, ee_error *err) {
    *out = (eei_http_head){0};
    *http_status = 400;
    if (len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0) return refuse(http_status, 400, err, "head does not end", len);
    if (memchr(text, '\0', len)) return refuse(http_status, 400, err, "NUL in the head", 0);
    text[len] = '\0';
    ee_status st = EE_OK;
    for (char *line = text; line < text + len - 2 && !st;) {
        char *end = strchr(line, '\r');
        if (!end || end[1] != '\n') return refuse(http_status, 400, err, "carriage return without line feed", (size_t)(line - text));
        *end = '\0';
        st = line == text ? parse_request_line(line, out, http_status, err)
                          : parse_field(line, (size_t)(line - text), out, http_status, err);
        line = end + 2;
    }
    if (!st && !out->method) st = refuse(http_status, 400, err, "no request line", 0);
    if (!st) st = refuse_repeats(out, http_status, err);
    if (!st) st = read_meaning(out, http_status, err);
    return st;
}

const char *eei_http_reason(int http_status) {
    static const struct {
        int code;
        const char *reason;
    } reasons[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].code == http_status) return reasons[i].reason;
    return "Status";
}

bool eei_http_line_ok(const char *text) {
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || (unsigned char)*text == 0x7f) return false;
    return true;
}
