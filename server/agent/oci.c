/* oci.c - references, manifests, image configs and users as structs; everything here comes from strangers. See oci.h.
 * Not for config.json (oci_bundle.c). Called by image.c. */
#include "oci.h"

#include "base/encoding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#define PLATFORM "amd64"
#elif defined(__aarch64__)
#define PLATFORM "arm64"
#else
#error "no OCI platform name for this machine"
#endif

/* The helpers of base say "invalid" or "malformed"; up here both mean that the image cannot be used. */
static ee_status bad_image(ee_error *err, ee_status status, const char *noun) {
    if (status == EE_E_NOMEM || !err) return status == EE_E_NOMEM ? status : EE_E_IMAGE;
    char what[sizeof err->message];
    snprintf(what, sizeof what, "%s", err->message);
    return eei_fail(err, EE_E_IMAGE, "%s: %s", noun, what);
}

/* ---- references ---- */

static bool is_host_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
}
static bool is_path_char(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_'; }

static bool host_is_loopback(const char *host, size_t len) {
    if (len == 9 && memcmp(host, "localhost", 9) == 0) return true;
    if (len == 5 && memcmp(host, "[::1]", 5) == 0) return true;
    if (len < 7 || len > 15 || memcmp(host, "127.", 4) != 0) return false;
    unsigned dots = 0;
    for (size_t i = 0; i < len; i++) {
        if (host[i] == '.')
            dots++;
        else if (host[i] < '0' || host[i] > '9')
            return false; /* 127.evil.example is a name, not an address */
    }
    return dots == 3;
}

/* Length of "host" in "host[:port]/...", or 0: labels that begin and end with a letter or digit. */
static size_t host_length(const char *text) {
    if (strncmp(text, "[::1]", 5) == 0) return 5;
    size_t n = 0;
    for (; is_host_char(text[n]); n++) {
        bool edge = n == 0 || text[n - 1] == '.' || text[n + 1] == '.' || !is_host_char(text[n + 1]);
        if (edge && (text[n] == '-' || text[n] == '.')) return 0;
    }
    return n;
}

ee_status agent_oci_check_repository(const char *repository, bool *loopback, ee_error *err) {
    size_t len = strlen(repository), host = host_length(repository), at = host;
    *loopback = false;
    if (strstr(repository, "..")) return eei_fail(err, EE_E_INVALID, "image repository \"%s\" has two dots in a row", repository);
    if (len > 255) return eei_fail(err, EE_E_INVALID, "image repository of %zu bytes, limit 255", len);
    if (repository[at] == ':')
        for (at++; repository[at] >= '0' && repository[at] <= '9'; at++) {
        }
    bool named = host && (memchr(repository, '.', host) || memchr(repository, ':', at) || host_is_loopback(repository, host));
    if (!named || repository[at] != '/' || at - host == 1 || at - host > 6)
        return eei_fail(err, EE_E_INVALID, "image repository \"%s\" does not start with a registry host", repository);
    while (repository[at] == '/') {
        size_t start = ++at;
        while (is_path_char(repository[at])) at++;
        if (at == start ||
            !((repository[start] >= 'a' && repository[start] <= 'z') || (repository[start] >= '0' && repository[start] <= '9')))
            return eei_fail(err, EE_E_INVALID, "image repository \"%s\" has a bad path", repository);
    }
    if (repository[at]) return eei_fail(err, EE_E_INVALID, "image repository \"%s\" has a tag, a digest or a bad character", repository);
    *loopback = host_is_loopback(repository, host);
    return EE_OK;
}

/* ---- manifests ---- */

static bool parse_digest(const char *text, uint8_t out[32]) {
    return text && strncmp(text, "sha256:", 7) == 0 && eei_hex_decode(text + 7, out, 32, NULL) == EE_OK;
}

static ee_status parse_blob(const json_t *descriptor, agent_oci_blob *out, ee_error *err) {
    const char *digest = NULL;
    if (!json_is_object(descriptor)) return eei_fail(err, EE_E_IMAGE, "descriptor is not an object");
    ee_status st = eei_json_string(descriptor, "digest", &digest, err);
    if (!st) st = eei_json_u64(descriptor, "size", &out->size_bytes, err);
    if (st) return bad_image(err, st, "descriptor");
    if (!parse_digest(digest, out->digest)) return eei_fail(err, EE_E_IMAGE, "digest \"%.80s\" is not a sha256", digest);
    if (out->size_bytes > (uint64_t)1 << 50)
        return eei_fail(err, EE_E_IMAGE, "descriptor claims %llu bytes", (unsigned long long)out->size_bytes);
    return EE_OK;
}

static bool text_in(const char *text, const char *const *list) {
    for (; *list; list++)
        if (strcmp(text, *list) == 0) return true;
    return false;
}

static ee_status layer_packing(const char *type, agent_oci_packing *out, ee_error *err) {
    static const char *const plain[] = {"application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar", NULL};
    static const char *const gzip[] = {"application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip",
                                       NULL};
    static const char *const zstd[] = {"application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd",
                                       NULL};
    if (text_in(type, plain))
        *out = AGENT_OCI_TAR;
    else if (text_in(type, gzip))
        *out = AGENT_OCI_TAR_GZIP;
    else if (text_in(type, zstd))
        *out = AGENT_OCI_TAR_ZSTD;
    else
        return eei_fail(err, EE_E_IMAGE, "layer has type \"%.100s\", which cannot be unpacked here", type);
    return EE_OK;
}

static ee_status parse_layers(const json_t *layers, agent_oci_manifest *out, ee_error *err) {
    size_t count = json_array_size(layers);
    if (!json_is_array(layers)) return eei_fail(err, EE_E_IMAGE, "\"layers\" is not a list");
    if (count > AGENT_OCI_LAYERS_MAX) return eei_fail(err, EE_E_IMAGE, "image has %zu layers, limit %u", count, AGENT_OCI_LAYERS_MAX);
    for (size_t i = 0; i < count; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *type = NULL;
        ee_status st = parse_blob(layer, &out->layers[i], err);
        if (!st) st = eei_json_string(layer, "mediaType", &type, err);
        if (st) return bad_image(err, st, "layer");
        st = layer_packing(type, &out->layers[i].packing, err);
        if (st) return st;
        out->packed_bytes += out->layers[i].size_bytes; /* 2^50 x 256 < 2^64 */
    }
    out->layers_count = count;
    return EE_OK;
}

static bool platform_fits(const json_t *entry) {
    const json_t *platform = json_object_get(entry, "platform");
    const char *os = json_string_value(json_object_get(platform, "os"));
    const char *arch = json_string_value(json_object_get(platform, "architecture"));
    return os && arch && strcmp(os, "linux") == 0 && strcmp(arch, PLATFORM) == 0;
}

static ee_status choose_platform(const json_t *manifests, agent_oci_manifest *out, ee_error *err) {
    size_t count = json_array_size(manifests);
    if (!json_is_array(manifests)) return eei_fail(err, EE_E_IMAGE, "\"manifests\" is not a list");
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(manifests, i);
        if (!platform_fits(entry)) continue;
        ee_status st = parse_blob(entry, &out->config, err); /* the first that fits, as docker does */
        out->is_index = true;
        return st;
    }
    return eei_fail(err, EE_E_IMAGE, "the image has %zu platforms, none of them linux/" PLATFORM, count);
}

static ee_status read_manifest(const json_t *root, agent_oci_manifest *out, ee_error *err) {
    const json_t *manifests = json_object_get(root, "manifests"), *layers = json_object_get(root, "layers");
    uint64_t version = 0;
    ee_status st = eei_json_u64(root, "schemaVersion", &version, err);
    if (st) return bad_image(err, st, "manifest");
    if (version != 2) return eei_fail(err, EE_E_IMAGE, "manifest has schema version %llu, know 2", (unsigned long long)version);
    /* One document, one meaning: what could be read as either is refused (CVE-2021-41190). */
    if (manifests && layers) return eei_fail(err, EE_E_IMAGE, "manifest is an index and an image at once");
    if (manifests) return choose_platform(manifests, out, err);
    if (!layers) return eei_fail(err, EE_E_IMAGE, "manifest has neither layers nor manifests");
    st = parse_blob(json_object_get(root, "config"), &out->config, err);
    if (st) return st;
    if (out->config.size_bytes > AGENT_OCI_CONFIG_MAX)
        return eei_fail(err, EE_E_IMAGE, "image config of %llu bytes, limit %u", (unsigned long long)out->config.size_bytes,
                        AGENT_OCI_CONFIG_MAX);
    out->packed_bytes = out->config.size_bytes;
    return parse_layers(layers, out, err);
}

ee_status agent_oci_parse_manifest(ee_span json, agent_oci_manifest *out, ee_error *err) {
    json_t *root = NULL;
    memset(out, 0, sizeof *out);
    ee_status st = eei_json_parse(json, AGENT_OCI_MANIFEST_MAX, &root, err);
    if (st) return bad_image(err, st, "manifest");
    st = json_is_object(root) ? read_manifest(root, out, err) : eei_fail(err, EE_E_IMAGE, "manifest is not an object");
    json_decref(root);
    return st;
}

/* ---- image config ---- */

static ee_status too_big(ee_error *err) { return eei_fail(err, EE_E_IMAGE, "image config does not fit its limit"); }

static ee_status copy_texts(eei_arena *arena, const json_t *list, const char *field, const char ***out, ee_error *err) {
    size_t count = json_is_array(list) ? json_array_size(list) : 0;
    if (list && !json_is_array(list) && !json_is_null(list)) return eei_fail(err, EE_E_IMAGE, "image config: \"%s\" is not a list", field);
    if (count > 1024) return eei_fail(err, EE_E_IMAGE, "image config: \"%s\" has %zu items, limit 1024", field, count);
    const char **texts = eei_arena_alloc(arena, (count + 1) * sizeof *texts);
    if (!texts) return too_big(err);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text) return eei_fail(err, EE_E_IMAGE, "image config: \"%s\" has an item that is not text", field);
        texts[i] = eei_arena_text(arena, eei_span_text(text));
        if (!texts[i]) return too_big(err);
    }
    texts[count] = NULL;
    *out = texts;
    return EE_OK;
}

static ee_status copy_text(eei_arena *arena, const json_t *config, const char *field, const char *fallback, const char **out,
                           ee_error *err) {
    const char *text = NULL;
    if (!json_is_null(json_object_get(config, field))) {
        ee_status st = eei_json_string_opt(config, field, &text, err);
        if (st) return bad_image(err, st, "image config");
    }
    *out = eei_arena_text(arena, eei_span_text(text && *text ? text : fallback));
    return *out ? EE_OK : too_big(err);
}

/* Absolute, no empty, "." or ".." component, no trailing slash, not "/". */
static bool is_clean_path(const char *path) {
    if (path[0] != '/' || strlen(path) > 1024) return false;
    while (*path == '/') {
        size_t len = strcspn(++path, "/");
        if (len == 0 || (len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.')) return false;
        path += len;
    }
    return true;
}

static bool is_ours(const char *path) {
    static const char *const ours[] = {"/proc", "/sys", "/dev", "/ee-init", "/tmp", "/run", "/var/tmp", "/etc", NULL};
    for (const char *const *p = ours; *p; p++) {
        size_t len = strlen(*p);
        if (strncmp(path, *p, len) == 0 && (path[len] == '\0' || path[len] == '/')) return true;
    }
    return false;
}

static ee_status copy_volumes(eei_arena *arena, const json_t *volumes, const char ***out, ee_error *err) {
    const char **texts = eei_arena_alloc(arena, (AGENT_OCI_VOLUMES_MAX + 1) * sizeof *texts), *path;
    const json_t *value;
    size_t count = 0;
    if (!texts) return too_big(err);
    /* jansson's iteration macro wants a mutable object but does not change it. */
    json_object_foreach((json_t *)(uintptr_t)volumes, path, value) {
        if (!is_clean_path(path)) return eei_fail(err, EE_E_IMAGE, "image config: volume \"%.100s\" is not a clean absolute path", path);
        if (is_ours(path)) continue; /* writable already, or not to be covered */
        if (count == AGENT_OCI_VOLUMES_MAX) return eei_fail(err, EE_E_IMAGE, "image config: more than %u volumes", AGENT_OCI_VOLUMES_MAX);
        texts[count] = eei_arena_text(arena, eei_span_text(path));
        if (!texts[count++]) return too_big(err);
    }
    texts[count] = NULL;
    *out = texts;
    return EE_OK;
}

/* "8080/tcp" or "8080": the lowest. */
static uint16_t lowest_port(const json_t *ports) {
    const char *text;
    const json_t *value;
    uint16_t lowest = 0;
    json_object_foreach((json_t *)(uintptr_t)ports, text, value) {
        char *end = NULL;
        unsigned long port = strtoul(text, &end, 10);
        if (end == text || port == 0 || port > 65535 || (*end && strcmp(end, "/tcp") != 0)) continue;
        if (!lowest || port < lowest) lowest = (uint16_t)port;
    }
    return lowest;
}

static ee_status read_diff_ids(const json_t *root, agent_oci_config *out, ee_error *err) {
    const json_t *list = json_object_get(json_object_get(root, "rootfs"), "diff_ids");
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > AGENT_OCI_LAYERS_MAX)
        return eei_fail(err, EE_E_IMAGE, "image config: rootfs.diff_ids is missing or too long");
    for (size_t i = 0; i < count; i++)
        if (!parse_digest(json_string_value(json_array_get(list, i)), out->diff_ids[i]))
            return eei_fail(err, EE_E_IMAGE, "image config: rootfs.diff_ids[%zu] is not a sha256", i);
    out->diff_ids_count = count;
    return EE_OK;
}

static ee_status read_config(const json_t *root, agent_oci_config *out, ee_error *err) {
    const json_t *config = json_object_get(root, "config");
    const char *os = json_string_value(json_object_get(root, "os")), *arch = json_string_value(json_object_get(root, "architecture"));
    if (!os || !arch || strcmp(os, "linux") != 0 || strcmp(arch, PLATFORM) != 0)
        return eei_fail(err, EE_E_IMAGE, "the image is for %.20s/%.20s, this node is linux/" PLATFORM, os ? os : "?", arch ? arch : "?");
    ee_status st = read_diff_ids(root, out, err);
    if (!st) st = copy_texts(&out->arena, json_object_get(config, "Entrypoint"), "Entrypoint", &out->entrypoint, err);
    if (!st) st = copy_texts(&out->arena, json_object_get(config, "Cmd"), "Cmd", &out->cmd, err);
    if (!st) st = copy_texts(&out->arena, json_object_get(config, "Env"), "Env", &out->env, err);
    if (!st) st = copy_volumes(&out->arena, json_object_get(config, "Volumes"), &out->volumes, err);
    if (!st) st = copy_text(&out->arena, config, "WorkingDir", "/", &out->working_dir, err);
    if (!st) st = copy_text(&out->arena, config, "User", "", &out->user, err);
    if (!st && strcmp(out->working_dir, "/") != 0 && out->working_dir[0] != '/')
        st = eei_fail(err, EE_E_IMAGE, "image config: WorkingDir \"%.100s\" is not absolute", out->working_dir);
    for (const char **e = out->env; !st && e && *e; e++)
        if (!strchr(*e, '=') || **e == '=') st = eei_fail(err, EE_E_IMAGE, "image config: an item of Env is not NAME=value");
    out->port = lowest_port(json_object_get(config, "ExposedPorts"));
    return st;
}

ee_status agent_oci_parse_config(ee_span json, agent_oci_config *out, ee_error *err) {
    json_t *root = NULL;
    memset(out, 0, sizeof *out);
    out->arena = (eei_arena)EEI_ARENA_INIT(2 * AGENT_OCI_CONFIG_MAX);
    ee_status st = eei_json_parse(json, AGENT_OCI_CONFIG_MAX, &root, err);
    if (st) return bad_image(err, st, "image config");
    st = json_is_object(root) ? read_config(root, out, err) : eei_fail(err, EE_E_IMAGE, "image config is not an object");
    json_decref(root);
    if (st) agent_oci_config_clear(out);
    return st;
}

void agent_oci_config_clear(agent_oci_config *config) {
    eei_arena_clear(&config->arena);
    memset(config, 0, sizeof *config);
}

/* ---- users ---- */

/* One line of passwd or group, cut at colons. */
typedef struct db_line {
    ee_span fields[7];
    size_t count;
} db_line;

static bool next_line(ee_span *text, db_line *out) {
    if (text->len == 0) return false;
    const uint8_t *end = memchr(text->data, '\n', text->len);
    size_t len = end ? (size_t)(end - text->data) : text->len, start = 0;
    out->count = 0;
    for (size_t i = 0; i <= len && out->count < 7; i++) {
        if (i < len && text->data[i] != ':') continue;
        out->fields[out->count++] = eei_span(text->data + start, i - start);
        start = i + 1;
    }
    text->data += len + (end != NULL);
    text->len -= len + (end != NULL);
    return true;
}

static bool parse_id(ee_span text, uint32_t *out) {
    uint32_t v = 0;
    if (text.len == 0 || text.len > 9) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        v = v * 10 + (uint32_t)(text.data[i] - '0');
    }
    *out = v;
    return true;
}

static bool field_is(const db_line *line, size_t i, ee_span want) { return i < line->count && eei_span_equal(line->fields[i], want); }

/* passwd: name:x:uid:gid:gecos:home:shell */
static bool find_passwd(ee_span passwd, ee_span name, bool by_id, agent_oci_user *out, ee_span *found_name) {
    db_line line;
    uint32_t uid, gid;
    while (next_line(&passwd, &line)) {
        if (line.count < 4 || !parse_id(line.fields[2], &uid) || !parse_id(line.fields[3], &gid)) continue;
        if (by_id ? uid != out->uid : !field_is(&line, 0, name)) continue;
        out->uid = uid;
        out->gid = gid;
        *found_name = line.fields[0];
        if (line.count > 5 && line.fields[5].len && line.fields[5].len < sizeof out->home && line.fields[5].data[0] == '/' &&
            !memchr(line.fields[5].data, '\0', line.fields[5].len)) {
            memcpy(out->home, line.fields[5].data, line.fields[5].len);
            out->home[line.fields[5].len] = '\0';
        }
        return true;
    }
    return false;
}

static bool is_member(ee_span members, ee_span name) {
    while (members.len) {
        const uint8_t *comma = memchr(members.data, ',', members.len);
        size_t len = comma ? (size_t)(comma - members.data) : members.len;
        if (eei_span_equal(eei_span(members.data, len), name)) return true;
        members = eei_span(members.data + len + (comma != NULL), members.len - len - (comma != NULL));
    }
    return false;
}

/* group: name:x:gid:member,member */
static bool find_group(ee_span group, ee_span name, uint32_t *gid) {
    db_line line;
    while (next_line(&group, &line))
        if (field_is(&line, 0, name) && line.count > 2 && parse_id(line.fields[2], gid)) return true;
    return false;
}

static void add_groups(ee_span group, ee_span name, agent_oci_user *out) {
    db_line line;
    uint32_t gid;
    while (name.len && out->groups_count < AGENT_OCI_GROUPS_MAX && next_line(&group, &line))
        if (line.count > 3 && parse_id(line.fields[2], &gid) && gid < AGENT_OCI_IDS && is_member(line.fields[3], name))
            out->groups[out->groups_count++] = gid;
}

ee_status agent_oci_find_user(const char *user, ee_span passwd, ee_span group, agent_oci_user *out, ee_error *err) {
    const char *colon = strchr(user, ':');
    ee_span who = eei_span(user, colon ? (size_t)(colon - user) : strlen(user)), name = {NULL, 0};
    ee_span which = colon ? eei_span_text(colon + 1) : eei_span(NULL, 0);

    memset(out, 0, sizeof *out);
    bool numeric = who.len == 0 || parse_id(who, &out->uid); /* no user: root, which is nobody outside */
    bool found = find_passwd(passwd, who, numeric, out, &name);
    if (!found && !numeric) return eei_fail(err, EE_E_IMAGE, "the image's user \"%.60s\" is not in its /etc/passwd", user);
    if (!out->home[0]) snprintf(out->home, sizeof out->home, "%s", out->uid == 0 ? "/root" : "/");
    if (which.len && !parse_id(which, &out->gid) && !find_group(group, which, &out->gid))
        return eei_fail(err, EE_E_IMAGE, "the image's group \"%.60s\" is not in its /etc/group", colon + 1);
    if (!which.len) add_groups(group, name, out);
    if (out->uid >= AGENT_OCI_IDS || out->gid >= AGENT_OCI_IDS)
        return eei_fail(err, EE_E_IMAGE, "the image's user is %u:%u, ids end at %u", out->uid, out->gid, AGENT_OCI_IDS - 1);
    return EE_OK;
}
