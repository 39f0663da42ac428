/* fuzz_image_tar.c - the layer archive parser: any bytes, in pieces of any size, give the same entries, and never more data than announced.
 */
#include "agent/image_tar.h"
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct seen {
    uint64_t hash, left;
    bool in_file;
} seen;

static void mix(seen *s, const void *data, size_t len) {
    for (size_t i = 0; i < len; i++) s->hash = (s->hash ^ ((const uint8_t *)data)[i]) * 1099511628211ull;
}

static ee_status on_entry(void *user, const agent_tar_entry *e, ee_error *err) {
    seen *s = user;
    (void)err;
    EE_ASSERT(!s->in_file && strlen(e->path) <= AGENT_TAR_NAME_MAX && strlen(e->link) <= AGENT_TAR_NAME_MAX && e->mode <= 07777);
    EE_ASSERT(e->type == AGENT_TAR_FILE || e->size == 0);
    s->in_file = e->type == AGENT_TAR_FILE;
    s->left = e->size;
    mix(s, e->path, strlen(e->path) + 1);
    mix(s, e->link, strlen(e->link) + 1);
    mix(s, &e->size, sizeof e->size);
    return EE_OK;
}
static ee_status on_data(void *user, ee_span data, ee_error *err) {
    seen *s = user;
    (void)err;
    EE_ASSERT(s->in_file && data.len > 0 && data.len <= s->left);
    s->left -= data.len;
    mix(s, data.data, data.len);
    return EE_OK;
}
static ee_status on_file_end(void *user, ee_error *err) {
    seen *s = user;
    (void)err;
    EE_ASSERT(s->in_file && s->left == 0);
    s->in_file = false;
    return EE_OK;
}

static ee_status parse(const uint8_t *data, size_t size, size_t piece, seen *s) {
    static const agent_tar_events events = {on_entry, on_data, on_file_end};
    agent_tar tar;
    ee_status st = EE_OK;
    *s = (seen){.hash = 14695981039346656037ull};
    agent_tar_init(&tar, &events, s);
    for (size_t at = 0; !st && at < size; at += piece)
        st = agent_tar_feed(&tar, eei_span(data + at, size - at < piece ? size - at : piece), NULL);
    if (!st) st = agent_tar_finish(&tar, NULL);
    agent_tar_clear(&tar);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    seen whole, pieces;
    ee_status a = parse(data, size, size ? size : 1, &whole);
    ee_status b = parse(data, size, size ? data[size - 1] % 97 + 1u : 1, &pieces);
    EE_ASSERT(a == b && (a || whole.hash == pieces.hash));
    return 0;
}
