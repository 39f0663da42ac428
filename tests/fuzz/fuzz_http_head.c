/* fuzz_http_head.c - heads of HTTP requests as strangers send them. Run by libFuzzer, and as a corpus replay. */
#include "base/alloc.h"
#include "net/listener_http.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was taken holds nothing that could be read in two ways. */
static void check(const eei_http_head *head) {
    EE_ASSERT(head->method && head->path && head->query && head->host && head->path[0] == '/');
    EE_ASSERT(!eei_http_head_field(head, "transfer-encoding"));
    size_t hosts = 0, lengths = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        EE_ASSERT(eei_http_line_ok(head->fields[i].name) && eei_http_line_ok(head->fields[i].value));
        hosts += strcmp(head->fields[i].name, "host") == 0;
        lengths += strcmp(head->fields[i].name, "content-length") == 0;
    }
    EE_ASSERT(hosts == 1 && lengths <= 1 && (lengths || head->body_len == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_http_head head;
    size_t len = 0;
    int status = 0;
    ee_status st = eei_http_head_find((ee_span){data, size}, &len, &status, NULL);
    if (st == EE_E_AGAIN) return 0;
    EE_ASSERT(st == EE_OK || (status >= 400 && status < 600));
    if (st) return 0;
    EE_ASSERT(len <= size && len <= EEI_HTTP_HEAD_MAX);
    char *text = eei_strndup((const char *)data, len); /* exact size: an overrun shows */
    EE_ASSERT(text);
    st = eei_http_head_parse(text, len, &head, &status, NULL);
    if (st)
        EE_ASSERT(status >= 400 && status < 600);
    else
        check(&head);
    eei_free(text);
    return 0;
}
