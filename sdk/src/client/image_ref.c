/* image_ref.c - image reference to digest, asked of the registry by the SDK itself (OCI distribution API), so that neither the control
 * plane nor a host decides what a tag means. Private registries come with their own issue. */
#include "attest/statement.h"
#include "base/alloc.h"
#include "client_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MANIFEST_MAX = 1 << 20 };

typedef struct reference {
    char host[128], name[128], tag[129], digest[65];
} reference;

static bool name_ok(const char *name) {
    if (!islower((unsigned char)name[0]) && !isdigit((unsigned char)name[0])) return false;
    for (const char *c = name; *c; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && !strchr("._-/", *c)) return false;
    return !strstr(name, "//") && !strstr(name, "..") && name[strlen(name) - 1] != '/';
}

static bool tag_ok(const char *tag) {
    for (const char *c = tag; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '.' && *c != '-') return false;
    return tag[0] && (isalnum((unsigned char)tag[0]) || tag[0] == '_');
}

static ee_status bad(ee_error *err, const char *text, const char *why) {
    return eei_hint(err, eei_fail(err, EE_E_IMAGE, "image \"%.120s\" %s", text, why),
                    "write it as name:tag, registry.example/name:tag or name@sha256:<64 hex digits>");
}

static ee_status parse(const char *text, reference *out, ee_error *err) {
    char rest[512];
    memset(out, 0, sizeof *out);
    if (!*text || strlen(text) >= sizeof rest) return bad(err, text, *text ? "is too long" : "is empty");
    (void)snprintf(rest, sizeof rest, "%s", text);
    char *at = strchr(rest, '@');
    if (at) {
        uint8_t digest[32];
        *at = 0;
        if (strncmp(at + 1, "sha256:", 7) != 0 || eei_hex_decode(at + 8, digest, sizeof digest, NULL))
            return bad(err, text, "has a digest that is not sha256: and 64 hex digits");
        eei_hex_encode(eei_span(digest, sizeof digest), out->digest);
    }
    /* The first part is a host when it looks like one, as in every OCI tool. */
    char *slash = strchr(rest, '/'), *name = rest;
    if (slash) {
        *slash = 0;
        if (strpbrk(rest, ".:") || strcmp(rest, "localhost") == 0) {
            if (strlen(rest) >= sizeof out->host) return bad(err, text, "has a registry name that is too long");
            (void)snprintf(out->host, sizeof out->host, "%.127s", rest);
            name = slash + 1;
        } else {
            *slash = '/';
        }
    }
    char *colon = strrchr(name, ':');
    if (colon) {
        *colon = 0;
        if (strlen(colon + 1) >= sizeof out->tag || !tag_ok(colon + 1)) return bad(err, text, "has a tag that is not one");
        (void)snprintf(out->tag, sizeof out->tag, "%.128s", colon + 1);
    } else if (!at) {
        (void)snprintf(out->tag, sizeof out->tag, "latest");
    }
    if (!*name || strlen(name) >= sizeof out->name || !name_ok(name)) return bad(err, text, "has no valid name");
    (void)snprintf(out->name, sizeof out->name, "%.127s", name);
    return EE_OK;
}

static bool is_loopback(const char *host) {
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 || strncmp(host, "[::1]", 5) == 0;
}

static ee_status ask_registry(const reference *ref, const char *base, bool insecure, uint32_t timeout_ms, const ee_cancel *cancel,
                              uint8_t digest[32], ee_error *err) {
    static const char *const headers[] = {
        "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
        "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json",
        NULL};
    char path[320];
    eei_fetch *fetch = NULL;
    eei_reply reply = {.body = EEI_BUF_INIT(MANIFEST_MAX)};
    eei_fetch_options options = {
        .url = base, .peer = "the image registry", .trust = insecure ? EEI_FETCH_LOOPBACK : EEI_FETCH_WEB_PKI, .timeout_ms = timeout_ms};
    (void)snprintf(path, sizeof path, "/v2/%s/manifests/%s", ref->name, ref->tag);
    eei_request request = {.method = "GET", .path = path, .headers = headers, .response_max = MANIFEST_MAX, .cancel = cancel};
    ee_status st = eei_fetch_new(&options, &fetch, err);
    if (!st) st = eei_fetch_call(fetch, &request, &reply, err);
    if (st == EE_E_CONNECT || st == EE_E_TIMEOUT)
        st = eei_hint(err, st, "check the registry in the image's name, or the one that is configured, and that this machine can reach it");
    if (!st && reply.status == 404)
        st = eei_hint(err, eei_fail(err, EE_E_IMAGE, "there is no image \"%s:%s\" in the registry %s", ref->name, ref->tag, base),
                      "push it there, or check the spelling");
    else if (!st && (reply.status == 401 || reply.status == 403))
        st = eei_fail(err, EE_E_IMAGE, "the registry %s does not let us read \"%s:%s\" (HTTP %d)", base, ref->name, ref->tag, reply.status);
    else if (!st && reply.status != 200)
        st = eei_fail(err, EE_E_IMAGE, "the registry %s answered HTTP %d for \"%s:%s\"", base, reply.status, ref->name, ref->tag);
    if (!st) eei_sha256(eei_buf_span(&reply.body), digest);
    eei_buf_clear(&reply.body);
    eei_fetch_free(fetch);
    return st;
}

ee_status client_image_resolve(ee_client *client, const char *text, const ee_cancel *cancel, client_image *out, ee_error *err) {
    reference ref;
    char base[160];
    const char *host;
    ee_status st;

    memset(out, 0, sizeof *out);
    st = parse(text, &ref, err);
    if (st) return st;
    if (ref.host[0]) {
        out->insecure = client->config.devnet && is_loopback(ref.host);
        (void)snprintf(base, sizeof base, "%s://%s", out->insecure ? "http" : "https", ref.host);
    } else if (client->config.registry.origin[0]) {
        out->insecure = strncmp(client->config.registry.text, "http://", 7) == 0;
        (void)snprintf(base, sizeof base, "%.159s", client->config.registry.text);
        if (out->insecure && !is_loopback(base + 7))
            return eei_fail(err, EE_E_CONFIG, "registry %s (%s): plain http is for loopback only", base, client->config.registry.origin);
    } else {
        return eei_hint(err, eei_fail(err, EE_E_IMAGE, "image \"%s\" names no registry, and none is configured", text),
                        "write registry.example/%s, or set EE_REGISTRY", ref.name);
    }
    host = strstr(base, "://") + 3;
    (void)snprintf(out->repository, sizeof out->repository, "%s/%s", host, ref.name);
    (void)snprintf(out->tag, sizeof out->tag, "%s", ref.tag);
    if (ref.digest[0]) return eei_hex_decode(ref.digest, out->digest, sizeof out->digest, err);
    return ask_registry(&ref, base, out->insecure, client->config.timeout_ms, cancel, out->digest, err);
}
