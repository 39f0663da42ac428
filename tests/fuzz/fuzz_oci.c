/* fuzz_oci.c - manifests, image configs, users and repositories: what registries and images say. The first byte chooses which. */
#include "agent/oci.h"
#include "base/alloc.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_manifest(ee_span text) {
    static agent_oci_manifest m;
    if (agent_oci_parse_manifest(text, &m, NULL)) return;
    EE_ASSERT(m.layers_count <= AGENT_OCI_LAYERS_MAX && (!m.is_index || m.layers_count == 0));
}

static void fuzz_config(ee_span text) {
    agent_oci_config c;
    if (agent_oci_parse_config(text, &c, NULL)) {
        EE_ASSERT(c.arena.head == NULL);
        return;
    }
    for (const char **e = c.env; *e; e++) EE_ASSERT(strchr(*e, '='));
    for (const char **v = c.volumes; *v; v++) EE_ASSERT(**v == '/' && !strstr(*v, "/../") && strncmp(*v, "/proc", 6) != 0);
    EE_ASSERT(c.working_dir[0] == '/');
    agent_oci_config_clear(&c);
}

/* "user\0passwd\0group" */
static void fuzz_user(ee_span text) {
    char user[256];
    agent_oci_user u;
    const uint8_t *nul = text.len ? memchr(text.data, '\0', text.len) : NULL;
    size_t len = nul ? (size_t)(nul - text.data) : text.len;
    if (len >= sizeof user || len == 0) return;
    memcpy(user, text.data, len);
    user[len] = '\0';
    ee_span rest = nul ? eei_span(nul + 1, text.len - len - 1) : eei_span(NULL, 0), group = {NULL, 0};
    const uint8_t *second = rest.len ? memchr(rest.data, '\0', rest.len) : NULL;
    if (second) {
        group = eei_span(second + 1, rest.len - (size_t)(second - rest.data) - 1);
        rest.len = (size_t)(second - rest.data);
    }
    if (agent_oci_find_user(user, rest, group, &u, NULL) == EE_OK)
        EE_ASSERT(u.uid < AGENT_OCI_IDS && u.gid < AGENT_OCI_IDS && u.home[0] == '/' && u.groups_count <= AGENT_OCI_GROUPS_MAX);
}

static void fuzz_repository(ee_span text) {
    char copy[400];
    bool loopback;
    size_t len = text.len < sizeof copy - 1 ? text.len : sizeof copy - 1;
    if (len) memcpy(copy, text.data, len);
    copy[len] = '\0';
    if (agent_oci_check_repository(copy, &loopback, NULL)) return;
    EE_ASSERT(copy[0] != '-' && !strchr(copy, '@') && !strchr(copy, ' ') && !strstr(copy, "..") &&
              strlen(copy) <= 255); /* it becomes part of an argument */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const parsers[])(ee_span) = {fuzz_manifest, fuzz_config, fuzz_user, fuzz_repository};
    if (size == 0) return 0;
    parsers[data[0] % 4](eei_span(data + 1, size - 1));
    return 0;
}
