/* config_event.c - what a program's behaviour depends on, as the payload of its CONFIG event in RTMR3: so nobody changes a setting without
 * changing the register (threat Q15). See config.h. Called by the programs' main before they make their prover.
 * Proto: docs/protocol.md#events */
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "common/config.h"

#include <string.h>

static json_t *hash_json(const config_key *key, const config_content *contents, size_t count) {
    char hex[65];
    for (size_t i = 0; i < count; i++) {
        if (strcmp(contents[i].key, key->name) != 0) continue;
        eei_hex_encode(eei_span(contents[i].sha256, 32), hex);
        return json_string(hex);
    }
    eei_assert_failed("every file that is measured was read", __FILE__, __LINE__);
}

/* NULL: out of memory, or a text that is not UTF-8. */
static json_t *value_json(const config_key *key, const void *at) {
    const int64_t exact = INT64_C(1) << 53; /* numbers above are text: docs/protocol.md#encoding */
    char text[32];
    uint64_t number = 0;
    bool yes = false;
    switch (key->kind) {
    case CONFIG_TEXT:
    case CONFIG_SECRET: return json_string(at);
    case CONFIG_NUMBER:
        memcpy(&number, at, sizeof number);
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
        return number > (uint64_t)exact ? json_string(text) : json_integer((json_int_t)number);
    case CONFIG_BOOL: memcpy(&yes, at, sizeof yes); return json_boolean(yes);
    }
    return NULL;
}

static ee_status add_key(json_t *event, const config_key *key, const void *settings, const config_content *contents, size_t content_count,
                         ee_error *err) {
    const uint8_t *at = (const uint8_t *)settings + key->offset;
    json_t *value = NULL;
    switch (key->measure) {
    case CONFIG_NEUTRAL: return EE_OK;
    case CONFIG_PRESENCE: value = json_boolean(*at != 0); break; /* the first character of a text */
    case CONFIG_CONTENT: value = hash_json(key, contents, content_count); break;
    case CONFIG_MEASURED:
        if ((key->kind == CONFIG_TEXT || key->kind == CONFIG_SECRET) && !eei_utf8_valid(eei_span_text((const char *)at)))
            return eei_fail(err, EE_E_CONFIG, "%s is not UTF-8", key->name);
        value = value_json(key, at);
        break;
    }
    return value && !json_object_set_new(event, key->name, value) ? EE_OK : eei_nomem(err);
}

ee_status config_event(const config_key *keys, size_t count, const void *settings, const config_content *contents, size_t content_count,
                       eei_buf *out, ee_error *err) {
    json_t *event = json_object();
    size_t before = out->len;
    ee_status st = event ? EE_OK : eei_nomem(err);
    for (size_t i = 0; !st && i < count; i++) st = add_key(event, &keys[i], settings, contents, content_count, err);
    if (!st) st = eei_json_dump(event, out, err);
    if (st == EE_E_LIMIT || (!st && out->len - before > EEI_EVENT_PAYLOAD_MAX))
        st = eei_fail(err, EE_E_CONFIG, "the settings that are measured are over %u bytes together", EEI_EVENT_PAYLOAD_MAX);
    if (st) out->len = before;
    json_decref(event);
    return st;
}
