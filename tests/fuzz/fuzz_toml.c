/* fuzz_toml.c - policy and configuration text. Run by libFuzzer, and as a corpus replay. */
#include "base/toml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eei_toml *toml = NULL;
    ee_error err = {0};
    if (eei_toml_parse(eei_span(data, size), "fuzz.toml", &toml, &err)) {
        EE_ASSERT(!toml && err.status && strncmp(err.message, "fuzz.toml:", 10) == 0);
        return 0;
    }
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)eei_toml_root(toml), key, value) {
        (void)!eei_toml_fail(toml, key, &err, "%s", "x");
        if (!json_is_object(value) && !json_is_array(value) && !strchr(key, '.')) EE_ASSERT(eei_toml_line(toml, key) > 0);
    }
    eei_toml_free(toml);
    return 0;
}
