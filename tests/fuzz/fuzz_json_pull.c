/* fuzz_json_pull.c - hostile JSON through the cursor. What it accepts jansson accepts too, and reads the same strings and numbers.
 * Threats B6, Q19. */
#include "base/encoding.h"
#include "base/json_pull.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 1 << 16 };

/* Both in step: the cursor at a value, jansson's view of the same value. */
static void same(eei_pull *p, eei_arena *arena, const json_t *value) {
    ee_span name;
    size_t count = 0;
    if (json_is_object(value)) {
        eei_pull_object(p);
        for (; eei_pull_member(p, &name); count++) {
            const json_t *member = json_object_getn(value, (const char *)name.data, name.len);
            if (!member) abort();
            same(p, arena, member);
        }
        if (!p->why && count != json_object_size(value)) abort();
    } else if (json_is_array(value)) {
        eei_pull_array(p);
        for (; eei_pull_item(p); count++) same(p, arena, json_array_get(value, count));
        if (!p->why && count != json_array_size(value)) abort();
    } else if (json_is_string(value)) {
        ee_span text = eei_pull_text(p, arena);
        if (!p->why && (text.len != json_string_length(value) || memcmp(text.data, json_string_value(value), text.len))) abort();
    } else if (json_is_integer(value) && json_integer_value(value) >= 0) {
        uint64_t number = eei_pull_u64(p);
        if (!p->why && number != (uint64_t)json_integer_value(value)) abort();
    } else {
        eei_pull_skip(p);
    }
}

/* 19 digits in a row or more: perhaps past 2^63, which jansson does not hold. */
static bool large_number(ee_span text) {
    size_t run = 0;
    for (size_t i = 0; i < text.len && run < 19; i++) run = text.data[i] >= '0' && text.data[i] <= '9' ? run + 1 : 0;
    return run >= 19;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_pull p;
    eei_arena arena = EEI_ARENA_INIT(1 << 20);
    json_t *json = NULL;
    ee_span text = {data, size};
    eei_pull_begin(&p, text);
    eei_pull_skip(&p);
    bool accepted = eei_pull_end(&p, NULL) == EE_OK;
    if (accepted && eei_json_parse(text, TEXT_MAX, &json, NULL) == EE_OK) {
        eei_pull_begin(&p, text);
        same(&p, &arena, json);
        if (eei_pull_end(&p, NULL) != EE_OK) abort();
        json_decref(json);
    } else if (accepted && size <= TEXT_MAX && !large_number(text)) {
        /* jansson wants an object or an array at the top. */
        size_t at = 0;
        while (at < size && strchr(" \t\r\n", data[at])) at++;
        if (data[at] == '{' || data[at] == '[') abort();
    }
    eei_arena_clear(&arena);
    return 0;
}
