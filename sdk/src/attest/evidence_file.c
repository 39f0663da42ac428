/* evidence_file.c - a verdict with everything it was made from, as a JSON file, and the check of such a file with no network at all.
 * What a file says about its own outcome is never believed: all checks are made again. Called through eesdk/verify.h.
 * Proto: docs/protocol.md#evidence-file */
#include "attest/boot_log.h"
#include "attest/statement.h"
#include "attest/verdict.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

#define FILE_KIND "easyenclave evidence"
enum { FILE_VERSION = 1, FILE_BYTES_MAX = 4 << 20 };

static const char *const expect_names[EEI_EXPECT_COUNT] = {
    [EEI_EXPECT_NONCE] = "nonce",           [EEI_EXPECT_BINDER] = "binder",  [EEI_EXPECT_SPKI] = "spki_sha256",
    [EEI_EXPECT_INSTANCE] = "instance_pub", [EEI_EXPECT_NODE] = "node_id",   [EEI_EXPECT_TRANSCRIPT] = "transcript",
    [EEI_EXPECT_IMAGE] = "image_digest",    [EEI_EXPECT_SPEC] = "spec_hash",
};

/* ---- out ---- */

static json_t *bytes_json(ee_span bytes) {
    eei_buf text = EEI_BUF_INIT(FILE_BYTES_MAX);
    const char *chars = eei_base64url_encode(bytes, &text) ? NULL : eei_buf_cstr(&text);
    json_t *out = chars ? json_string(chars) : NULL;
    eei_buf_clear(&text);
    return out;
}

static json_t *events_json(const ee_verdict *v, bool *ok) {
    json_t *list = json_array();
    for (size_t i = 0; i < v->event_count; i++) {
        json_t *item = json_object();
        eei_json_put(item, "type", json_integer((json_int_t)v->events[i].type), ok);
        eei_json_put(item, "digest", eei_json_hex(v->events[i].digest, 48), ok);
        eei_json_put(item, "payload", bytes_json(v->events[i].payload), ok);
        if (json_array_append_new(list, item)) *ok = false;
    }
    return list;
}

static json_t *expected_json(const eei_expect_copy *e, bool *ok) {
    json_t *out = json_object();
    eei_json_put(out, "purpose", json_integer(e->purpose), ok);
    eei_json_put(out, "role", json_integer(e->role), ok);
    if (e->no_app) eei_json_put(out, "no_app", json_true(), ok);
    for (size_t i = 0; i < EEI_EXPECT_COUNT; i++)
        if (e->given >> i & 1) eei_json_put(out, expect_names[i], eei_json_hex(e->value[i], 32), ok);
    if (e->has_report_data) eei_json_put(out, "report_data", eei_json_hex(e->report_data, 64), ok);
    return out;
}

static json_t *session_json(const ee_verdict *v, bool *ok) {
    json_t *out = json_object();
    eei_json_put(out, "time", json_integer((json_int_t)v->now_unix_s), ok);
    eei_json_put(out, "statement", bytes_json(v->statement_bytes), ok);
    eei_json_put(out, "signed", bytes_json(v->statement_signed), ok);
    eei_json_put(out, "expected", expected_json(&v->expect, ok), ok);
    return out;
}

/* SHA-256 over the file's content without "sha256" itself, in one form whatever the layout. It proves nothing; it finds damage. */
static ee_status content_hash(json_t *file, char hex[65]) {
    uint8_t hash[32];
    char *text = json_dumps(file, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) return EE_E_NOMEM;
    eei_sha256(eei_span_text(text), hash);
    eei_hex_encode(eei_span(hash, 32), hex);
    json_free_t release = NULL;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    return EE_OK;
}

static json_t *collateral_json(const ee_collateral *collateral) {
    json_t *json = NULL;
    return eei_json_parse(collateral->json, EEI_COLLATERAL_BYTES_MAX, &json, NULL) ? NULL : json;
}

static json_t *file_json(const ee_verdict *v) {
    const ee_verdict *quoted = v->base ? v->base : v;
    bool ok = true;
    char hex[65];
    json_t *out = json_object();
    eei_json_put(out, "version", json_integer(FILE_VERSION), &ok);
    eei_json_put(out, "kind", json_string(FILE_KIND), &ok);
    eei_json_put(out, "time", json_integer((json_int_t)quoted->now_unix_s), &ok);
    eei_json_put(out, "node", v->node ? json_string(v->node) : json_null(), &ok);
    eei_json_put(out, "quote", bytes_json(quoted->quote_bytes), &ok);
    if (quoted->has_statement) {
        eei_json_put(out, "statement", bytes_json(quoted->statement_bytes), &ok);
        eei_json_put(out, "signed", bytes_json(quoted->statement_signed), &ok);
        eei_json_put(out, "events", events_json(quoted, &ok), &ok);
        eei_json_put(out, "ticket", bytes_json(quoted->ticket), &ok);
    }
    if (quoted->has_boot_log) eei_json_put(out, "boot_log", eei_boot_log_json(quoted->boot_events, quoted->boot_event_count), &ok);
    eei_json_put(out, "expected", expected_json(&quoted->expect, &ok), &ok);
    if (v->base) eei_json_put(out, "session", session_json(v, &ok), &ok);
    eei_json_put(out, "collateral", collateral_json(quoted->collateral), &ok);
    eei_json_put(out, "verdict", eei_verdict_to_json(v), &ok);
    if (ok && !content_hash(out, hex)) {
        eei_json_put(out, "sha256", json_string(hex), &ok);
        if (ok) return out;
    }
    json_decref(out);
    return NULL;
}

ee_status ee_verdict_export(const ee_verdict *verdict, const char *path, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(FILE_BYTES_MAX);
    if (!verdict || !path) return eei_fail(err, EE_E_INVALID, "verdict or path is NULL");
    if (!verdict->collateral && !verdict->base) return eei_fail(err, EE_E_STATE, "the verdict has nothing that could be checked again");
    json_t *json = file_json(verdict);
    ee_status st = json ? eei_json_dump(json, &text, err) : eei_nomem(err);
    if (!st && eei_buf_append_text(&text, "\n")) st = eei_nomem(err);
    if (!st) st = eei_file_write_named(path, eei_buf_span(&text), 0600, err);
    json_decref(json);
    eei_buf_clear(&text);
    return st;
}

/* ---- in ---- */

/* What a file holds, decoded into one arena. */
typedef struct saved {
    eei_arena arena;
    json_t *json;
    ee_collateral *collateral;
    eei_evidence evidence, session;
    eei_expect_copy expect, session_expect;
    bool has_statement, has_session, has_boot_log;
    uint64_t time, session_time;
    const char *node;
} saved;

static ee_status bytes_field(const json_t *object, const char *field, eei_arena *arena, ee_span *out, ee_error *err) {
    eei_buf bytes = EEI_BUF_INIT(FILE_BYTES_MAX);
    const char *text = NULL;
    ee_status st = eei_json_string(object, field, &text, err);
    if (!st && eei_base64url_decode(text, &bytes, err)) st = eei_prefix(err, EE_E_MALFORMED, field);
    if (!st && bytes.len) {
        uint8_t *copy = eei_arena_alloc(arena, bytes.len);
        if (copy) memcpy(copy, bytes.data, bytes.len);
        *out = eei_span(copy, copy ? bytes.len : 0);
        if (!copy) st = eei_arena_error(arena, err);
    }
    eei_buf_clear(&bytes);
    return st;
}

static ee_status expected_field(const json_t *object, eei_expect_copy *out, ee_error *err) {
    static const char *const known[] = {"purpose", "role",       "no_app",       "nonce",     "binder",      "spki_sha256", "instance_pub",
                                        "node_id", "transcript", "image_digest", "spec_hash", "report_data", NULL};
    const json_t *e = json_object_get(object, "expected");
    uint64_t purpose = 0, role = 0;
    const char *hex = NULL;
    if (!json_is_object(e)) return eei_fail(err, EE_E_MALFORMED, "field \"expected\" must be an object");
    ee_status st = eei_json_only(e, known, err);
    if (!st) st = eei_json_u64(e, "purpose", &purpose, err);
    if (!st) st = eei_json_u64(e, "role", &role, err);
    if (!st && (purpose > UINT8_MAX || role > UINT8_MAX)) st = eei_fail(err, EE_E_MALFORMED, "purpose or role is over 255");
    for (size_t i = 0; !st && i < EEI_EXPECT_COUNT; i++) {
        st = eei_json_string_opt(e, expect_names[i], &hex, err);
        if (st || !hex) continue;
        st = eei_hex_decode(hex, out->value[i], 32, err);
        out->given |= 1u << i;
    }
    if (!st) st = eei_json_string_opt(e, "report_data", &hex, err);
    if (!st && hex) {
        st = eei_hex_decode(hex, out->report_data, 64, err);
        out->has_report_data = true;
    }
    const json_t *no_app = json_object_get(e, "no_app");
    if (!st && no_app && !json_is_boolean(no_app)) st = eei_fail(err, EE_E_MALFORMED, "field \"no_app\" must be true or false");
    out->no_app = json_is_true(no_app);
    out->purpose = (uint8_t)purpose;
    out->role = (uint8_t)role;
    return st;
}

static ee_status event_item(const json_t *item, eei_arena *arena, eei_event *out, ee_error *err) {
    const char *hex = NULL;
    ee_status st = eei_json_u64(item, "type", &out->type, err);
    if (!st && out->type > UINT16_MAX) st = eei_fail(err, EE_E_MALFORMED, "event type is over 65535");
    if (!st) st = eei_json_string(item, "digest", &hex, err);
    if (!st) st = eei_hex_decode(hex, out->digest, 48, err);
    if (!st) st = bytes_field(item, "payload", arena, &out->payload, err);
    return st;
}

static ee_status events_field(saved *s, ee_error *err) {
    const json_t *list = json_object_get(s->json, "events");
    ee_status st = EE_OK;
    if (!json_is_array(list)) return eei_fail(err, EE_E_MALFORMED, "field \"events\" must be an array");
    size_t count = json_array_size(list);
    if (count > EEI_EVENTS_MAX) return eei_fail(err, EE_E_LIMIT, "the file has %zu events, limit %u", count, EEI_EVENTS_MAX);
    s->evidence.events = eei_arena_alloc(&s->arena, (count + 1) * sizeof *s->evidence.events);
    if (!s->evidence.events) return eei_arena_error(&s->arena, err);
    s->evidence.event_count = count;
    for (size_t i = 0; !st && i < count; i++) st = event_item(json_array_get(list, i), &s->arena, &s->evidence.events[i], err);
    return st;
}

static ee_status boot_item(const json_t *item, eei_arena *arena, eei_boot_event *out, ee_error *err) {
    const char *digest = NULL, *data = NULL;
    ee_status st = eei_json_u64(item, "rtmr", &out->rtmr, err);
    if (!st) st = eei_json_u64(item, "type", &out->type, err);
    if (!st) st = eei_json_string(item, "digest", &digest, err);
    if (!st) st = eei_hex_decode(digest, out->digest, 48, err);
    if (!st && !json_is_null(json_object_get(item, "data"))) st = eei_json_string(item, "data", &data, err);
    size_t len = data ? strlen(data) / 2 : 0;
    if (st || !len) return st;
    if (len > EEI_BOOT_DATA_MAX) return eei_fail(err, EE_E_LIMIT, "boot event's data is %zu bytes, limit %u", len, EEI_BOOT_DATA_MAX);
    uint8_t *copy = eei_arena_alloc(arena, len);
    if (!copy) return eei_arena_error(arena, err);
    out->data = eei_span(copy, len);
    return eei_hex_decode(data, copy, len, err);
}

static ee_status boot_log_field(saved *s, ee_error *err) {
    const json_t *list = json_object_get(s->json, "boot_log");
    ee_status st = EE_OK;
    if (!list) return EE_OK;
    if (!json_is_array(list)) return eei_fail(err, EE_E_MALFORMED, "field \"boot_log\" must be an array");
    size_t count = json_array_size(list);
    if (count > EEI_CCEL_EVENTS_MAX) return eei_fail(err, EE_E_LIMIT, "the file has %zu boot events, limit %d", count, EEI_CCEL_EVENTS_MAX);
    s->evidence.boot_events = eei_arena_alloc(&s->arena, (count + 1) * sizeof *s->evidence.boot_events);
    if (!s->evidence.boot_events) return eei_arena_error(&s->arena, err);
    for (size_t i = 0; !st && i < count; i++) st = boot_item(json_array_get(list, i), &s->arena, &s->evidence.boot_events[i], err);
    s->evidence.boot_event_count = count;
    s->has_boot_log = !st;
    return st;
}

static ee_status session_field(saved *s, ee_error *err) {
    const json_t *session = json_object_get(s->json, "session");
    s->has_session = session != NULL;
    if (!session) return EE_OK;
    if (!json_is_object(session)) return eei_fail(err, EE_E_MALFORMED, "field \"session\" must be an object");
    ee_status st = eei_json_u64(session, "time", &s->session_time, err);
    if (!st) st = bytes_field(session, "statement", &s->arena, &s->session.statement, err);
    if (!st) st = bytes_field(session, "signed", &s->arena, &s->session.signature, err);
    if (!st) st = expected_field(session, &s->session_expect, err);
    if (!st && !s->has_statement) st = eei_fail(err, EE_E_MALFORMED, "a session needs the statement it stands on");
    return st;
}

static ee_status collateral_field(saved *s, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    const json_t *collateral = json_object_get(s->json, "collateral");
    ee_status st = json_is_object(collateral) ? eei_json_dump(collateral, &text, err)
                                              : eei_fail(err, EE_E_MALFORMED, "field \"collateral\" must be an object");
    if (!st) st = ee_collateral_parse(eei_buf_span(&text), &s->collateral, err);
    eei_buf_clear(&text);
    return st;
}

static ee_status saved_fields(saved *s, ee_error *err) {
    static const char *const known[] = {"version", "kind",     "time",    "node",       "quote",   "statement", "signed",   "events",
                                        "ticket",  "expected", "session", "collateral", "verdict", "sha256",    "boot_log", NULL};
    uint64_t version = 0;
    const char *kind = NULL;
    ee_status st = json_is_object(s->json) ? eei_json_only(s->json, known, err) : eei_fail(err, EE_E_MALFORMED, "must be a JSON object");
    if (!st) st = eei_json_string(s->json, "kind", &kind, err);
    if (!st && strcmp(kind, FILE_KIND)) st = eei_fail(err, EE_E_MALFORMED, "field \"kind\" must be \"%s\"", FILE_KIND);
    if (!st) st = eei_json_u64(s->json, "version", &version, err);
    if (!st && version != FILE_VERSION)
        st = eei_fail(err, EE_E_VERSION, "evidence file version %llu, known is %d", (unsigned long long)version, FILE_VERSION);
    if (!st) st = eei_json_u64(s->json, "time", &s->time, err);
    if (!st && !json_is_null(json_object_get(s->json, "node"))) st = eei_json_string_opt(s->json, "node", &s->node, err);
    if (!st) st = bytes_field(s->json, "quote", &s->arena, &s->evidence.quote, err);
    s->has_statement = json_object_get(s->json, "statement") != NULL;
    if (!st && s->has_statement) {
        st = bytes_field(s->json, "statement", &s->arena, &s->evidence.statement, err);
        if (!st) st = bytes_field(s->json, "signed", &s->arena, &s->evidence.signature, err);
        if (!st) st = bytes_field(s->json, "ticket", &s->arena, &s->evidence.ticket, err);
        if (!st) st = events_field(s, err);
    }
    if (!st) st = boot_log_field(s, err);
    if (!st) st = expected_field(s->json, &s->expect, err);
    if (!st) st = session_field(s, err);
    if (!st) st = collateral_field(s, err);
    return st;
}

/* Whether the stored hash is the content's. A file that some tool changed still has all its checks made, and fails this one. */
static ee_status undamaged(saved *s, ee_error *err) {
    char stored[65] = "", hex[65];
    const char *text = NULL;
    ee_status st = eei_json_string(s->json, "sha256", &text, err);
    if (st) return st;
    snprintf(stored, sizeof stored, "%s", text);
    json_object_del(s->json, "sha256");
    if (content_hash(s->json, hex)) return eei_nomem(err);
    return strcmp(stored, hex) ? eei_fail(err, EE_E_MALFORMED, "the file was changed after it was written (its sha256 differs)") : EE_OK;
}

static ee_verdict *file_verdict(const saved *s, const ee_policy *policy, uint32_t checks, uint64_t now, const eei_expect_copy *expect) {
    ee_verdict *v = eei_verdict_new(policy, checks | EEI_CHECK_BIT(EEI_CHECK_EVIDENCE_FILE), now);
    if (!v) return NULL;
    v->node = s->node ? eei_verdict_printf(v, "%.100s", s->node) : NULL;
    v->expect = *expect;
    v->collateral = eei_collateral_ref(s->collateral);
    return v;
}

/* Quoted part of the file, sealed. file_st and why are the outcome of reading the file. */
static ee_status judge_quoted(saved *s, const ee_policy *policy, uint64_t now, ee_status file_st, const ee_error *why, ee_verdict **out,
                              ee_error *err) {
    ee_verdict *v = file_verdict(s, policy, s->has_statement ? eei_checks_of_evidence : eei_checks_of_bare_quote(policy), now, &s->expect);
    ee_status st = EE_OK;
    if (!v) return eei_nomem(err);
    eei_verdict_judge(v, EEI_CHECK_EVIDENCE_FILE, file_st, why, "complete and undamaged");
    if (!s->has_statement) eei_verdict_fail_pins_of_log(v);
    if (!s->collateral) {
        /* nothing to check with: the other rows stay "not reached" */
    } else if (s->has_statement) {
        st = eei_appraise_into(v, &s->evidence, err);
    } else {
        v->quote_bytes = eei_verdict_copy(v, s->evidence.quote);
        if (s->has_boot_log) eei_boot_log_keep(v, s->evidence.boot_events, s->evidence.boot_event_count);
        st = v->nomem ? eei_nomem(err) : eei_verify_into(v, false, err);
    }
    if (!st) st = eei_verdict_seal(&v, out, err);
    ee_verdict_free(v);
    return st;
}

static ee_status judge_session(saved *s, const ee_verdict *base, uint64_t now, ee_verdict **out, ee_error *err) {
    ee_verdict *v = eei_verdict_new(base->policy, eei_checks_of_session, now);
    if (!v) return eei_nomem(err);
    v->node = s->node ? eei_verdict_printf(v, "%.100s", s->node) : NULL;
    v->expect = s->session_expect;
    ee_status st = eei_appraise_session_into(v, base, &s->session, err);
    if (!st) st = eei_verdict_seal(&v, out, err);
    ee_verdict_free(v);
    return st;
}

/* Each part at the time it was checked then, or both at the time that is asked. */
static ee_status judge(saved *s, const ee_policy *policy, uint64_t at, ee_status file_st, const ee_error *why, ee_verdict **out,
                       ee_error *err) {
    ee_verdict *base = NULL;
    uint64_t now = at ? at : s->time ? s->time : eei_wall_ms() / 1000; /* the last: nothing of it was readable */
    ee_status st = judge_quoted(s, policy, now, file_st, why, &base, err);
    if (st || !s->has_session) {
        *out = base;
        return st;
    }
    st = judge_session(s, base, at ? at : s->session_time, out, err);
    ee_verdict_free(base);
    return st;
}

ee_status ee_verify_file(const char *path, const ee_policy *policy, uint64_t at_unix_s, ee_verdict **out, ee_error *err) {
    eei_buf text = EEI_BUF_INIT(FILE_BYTES_MAX);
    saved s = {.arena = EEI_ARENA_INIT(FILE_BYTES_MAX)};
    ee_policy *production = NULL;
    ee_error why = {0};
    if (!path || !out) return eei_fail(err, EE_E_INVALID, "path or out is NULL");
    *out = NULL;
    ee_status st = policy ? EE_OK : ee_policy_production(&production, err);
    ee_status file_st = st ? EE_OK : eei_file_read(path, &text, &why);
    if (file_st && file_st != EE_E_LIMIT) { /* there is nothing to check */
        if (err) *err = why;
        st = file_st;
    }
    if (st) goto done;
    /* A file that cannot be read as evidence is a failed check, not a failed call: it proves nothing. */
    if (!file_st) file_st = eei_json_parse(eei_buf_span(&text), FILE_BYTES_MAX, &s.json, &why);
    if (!file_st) file_st = saved_fields(&s, &why);
    if (!file_st) file_st = undamaged(&s, &why);
    if (file_st == EE_E_INVALID) file_st = EE_E_MALFORMED; /* a field that has not its form; arguments are right by now */
    st = file_st == EE_E_NOMEM ? eei_nomem(err) : judge(&s, policy ? policy : production, at_unix_s, file_st, &why, out, err);
done:
    json_decref(s.json);
    ee_collateral_free(s.collateral);
    eei_arena_clear(&s.arena);
    ee_policy_free(production);
    eei_buf_clear(&text);
    return st;
}
