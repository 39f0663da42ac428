/* appraise.c - evidence judged: the quote, then the statement under it, then whether both are for this caller, this connection, now.
 * Pure: collateral and time are arguments. Called by ratls, control plane, agents, SDK. Proto: docs/protocol.md#appraisal.
 * Threats Q7, Q9 to Q13, S5. */
#include "attest/verdict.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "wire/messages.h"

#include <stdio.h>
#include <string.h>

/* ---- expectations ---- */

static const uint8_t *const *expect_fields(const eei_expect *e, const uint8_t *fields[EEI_EXPECT_COUNT]) {
    fields[EEI_EXPECT_NONCE] = e->nonce;
    fields[EEI_EXPECT_BINDER] = e->binder;
    fields[EEI_EXPECT_SPKI] = e->spki_sha256;
    fields[EEI_EXPECT_INSTANCE] = e->instance_pub;
    fields[EEI_EXPECT_NODE] = e->node_id;
    fields[EEI_EXPECT_TRANSCRIPT] = e->transcript;
    fields[EEI_EXPECT_IMAGE] = e->image_digest;
    fields[EEI_EXPECT_SPEC] = e->spec_hash;
    return fields;
}

void eei_expect_keep(eei_expect_copy *out, const eei_expect *expect) {
    const uint8_t *fields[EEI_EXPECT_COUNT];
    memset(out, 0, sizeof *out);
    out->purpose = expect->purpose;
    out->role = expect->role;
    out->no_app = expect->no_app;
    expect_fields(expect, fields);
    for (size_t i = 0; i < EEI_EXPECT_COUNT; i++) {
        if (!fields[i]) continue;
        out->given |= 1u << i;
        memcpy(out->value[i], fields[i], 32);
    }
}

static bool given(const ee_verdict *v, unsigned field) { return v->expect.given >> field & 1; }

/* ---- the statement ---- */

static void statement_decoded(ee_verdict *v) {
    ee_error why = {0};
    v->has_statement = true;
    ee_status st = eei_statement_decode(v->statement_bytes, &v->statement, &why);
    if (!st && v->policy->require_sealed && !(v->statement.flags & EEI_STATEMENT_SEALED))
        st = eei_fail(&why, EE_E_AUTH, "the image is not sealed, and the policy demands one that is");
    if (!st && v->statement.sequence == 0) st = eei_fail(&why, EE_E_MALFORMED, "statement sequence is 0; the first is 1");
    eei_verdict_judge(v, EEI_CHECK_STATEMENT, st, &why,
                      v->statement.flags & EEI_STATEMENT_SEALED ? "complete; sealed image" : "complete; the image is not sealed");
}

static void report_data_is_statement(ee_verdict *v) {
    uint8_t want[64];
    if (v->statement_bytes.len != EEI_STATEMENT_BYTES) {
        eei_verdict_fail(v, EEI_CHECK_REPORT_DATA, "there is no statement to compare with");
        return;
    }
    eei_report_data(v->statement_bytes.data, want);
    eei_verdict_compare(v, EEI_CHECK_REPORT_DATA, eei_verdict_hex(v, want, 64), eei_verdict_hex(v, v->quote.report_data, 64));
    if (memcmp(want, v->quote.report_data, 64))
        eei_verdict_fail(v, EEI_CHECK_REPORT_DATA, "the quote was made over another statement than the one shown");
    else
        eei_verdict_pass(v, EEI_CHECK_REPORT_DATA, "the quote was made over this statement");
}

/* Who shows the statement has the instance's key: by a quote alone, whoever has the attestation key of any machine could name any instance.
 */
static void signed_by_instance(ee_verdict *v, const uint8_t instance_pub[32]) {
    ee_error why = {0};
    eei_envelope envelope;
    ee_status st = eei_envelope_parse(v->statement_signed, &envelope, &why);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_STATEMENT, instance_pub, &why);
    if (!st && !eei_span_equal(envelope.body, v->statement_bytes))
        st = eei_fail(&why, EE_E_AUTH, "the signature is over another statement than the one shown");
    eei_verdict_judge(v, EEI_CHECK_INSTANCE_KEY, st, &why, "the statement is signed by the instance key that the quote vouches for");
}

/* The statement says whether its device is simulated; that must agree with the root the quote hangs under. */
static void simulated_flag(ee_verdict *v) {
    bool says = v->statement.flags & EEI_STATEMENT_SIM;
    eei_verdict_compare(v, EEI_CHECK_SIMULATED, v->policy->simulated ? "simulated" : "real", says ? "simulated" : "real");
    if (says != v->policy->simulated)
        eei_verdict_fail(v, EEI_CHECK_SIMULATED, "the statement and the trust anchor do not agree on whether this is real hardware");
    else
        eei_verdict_pass(v, EEI_CHECK_SIMULATED, says ? "simulated, and the policy accepts that" : "real hardware");
}

static const char *const purposes[] = {"", "register", "periodic", "certificate", "challenge", "epoch", "key request", "successor"};
static const char *const roles[] = {"", "control plane", "agent", "uptime server", "key holder", "client"};
static const char *purpose_word(uint8_t purpose) { return purpose == EEI_PURPOSE_APP ? "app" : purpose <= 7 ? purposes[purpose] : "?"; }
static const char *role_word(uint8_t role) { return role <= 5 ? roles[role] : "?"; }

static void purpose_and_role(ee_verdict *v) {
    const eei_statement *s = &v->statement;
    eei_verdict_compare(v, EEI_CHECK_PURPOSE, eei_verdict_printf(v, "%s, %s", purpose_word(v->expect.purpose), role_word(v->expect.role)),
                        eei_verdict_printf(v, "%s, %s", purpose_word(s->purpose), role_word(s->role)));
    if (s->purpose != v->expect.purpose || s->role != v->expect.role)
        eei_verdict_fail(v, EEI_CHECK_PURPOSE, "the statement was made for another purpose, or by another kind of peer");
    else
        eei_verdict_pass(v, EEI_CHECK_PURPOSE, v->rows[EEI_CHECK_PURPOSE].actual);
}

/* One 32-byte field of the statement against what the caller expects. */
typedef struct field_check {
    eei_check_id check;
    unsigned field;
    size_t offset; /* in eei_statement */
    const char *good, *bad, *not_asked;
} field_check;

static const field_check field_checks[] = {
    {EEI_CHECK_FRESHNESS, EEI_EXPECT_NONCE, offsetof(eei_statement, nonce), "the nonce of this session",
     "another nonce: old evidence, or made for someone else", "no nonce was asked for: nothing says when this was made"},
    {EEI_CHECK_CHANNEL, EEI_EXPECT_BINDER, offsetof(eei_statement, binder), "bound to this TLS connection",
     "bound to another TLS connection: someone is in between", "not bound to a TLS connection"},
    {EEI_CHECK_TLS_KEY, EEI_EXPECT_SPKI, offsetof(eei_statement, spki_sha256), "TLS key is the one in the quote",
     "the TLS key is not the one in the quote", "no TLS key to compare"},
    {EEI_CHECK_TRANSCRIPT, EEI_EXPECT_TRANSCRIPT, offsetof(eei_statement, transcript), "both sides saw the same opening messages",
     "the opening messages were changed on the way", "no opening messages to compare"},
    {EEI_CHECK_INSTANCE, EEI_EXPECT_INSTANCE, offsetof(eei_statement, instance_pub), "the instance that was expected",
     "another instance than the one expected", "no instance was asked for"},
    {EEI_CHECK_NODE, EEI_EXPECT_NODE, offsetof(eei_statement, node_id), "the node that was expected", "another node than the one expected",
     "no node was asked for"},
};

static void compare_field(ee_verdict *v, const field_check *c) {
    const uint8_t *actual = (const uint8_t *)&v->statement + c->offset;
    if (!given(v, c->field)) {
        eei_verdict_skip(v, c->check, c->not_asked);
        return;
    }
    static const uint8_t none[32];
    const uint8_t *want = v->expect.value[c->field];
    eei_verdict_compare(v, c->check, eei_verdict_hex(v, want, 32), eei_verdict_hex(v, actual, 32));
    if (eei_secret_equal(eei_span(want, 32), eei_span(actual, 32)))
        eei_verdict_pass(v, c->check, memcmp(want, none, 32) ? c->good : "none, as evidence for every connection must have it");
    else
        eei_verdict_fail(v, c->check, c->bad);
}

/* Then the rest stays "not reached". */
static bool undecoded(const ee_verdict *v) { return v->rows[EEI_CHECK_STATEMENT].state == EEI_CHECK_FAILED && v->statement.purpose == 0; }

/* What a decoded statement must say; nothing of it is looked at when it does not decode. */
static void statement_says(ee_verdict *v) {
    if (undecoded(v)) return;
    simulated_flag(v);
    purpose_and_role(v);
    for (size_t i = 0; i < sizeof field_checks / sizeof field_checks[0]; i++) compare_field(v, &field_checks[i]);
}

/* ---- event log (threat Q13) ---- */

/* Boot events once each in this order; then running events only. What drains starts nothing more: its apps end, and that is all. */
static ee_status grammar(const eei_event *events, size_t count, ee_error *why) {
    bool drained = false;
    for (size_t i = 0; i < count; i++) {
        uint64_t type = events[i].type;
        bool runs = drained ? type == EEI_EVENT_APP_END : type >= EEI_EVENT_APP && type <= EEI_EVENT_DRAIN;
        bool fits = i < 4 ? type == EEI_EVENT_RELEASE + i : runs;
        drained |= type == EEI_EVENT_DRAIN;
        if (!fits) return eei_fail(why, EE_E_AUTH, "event %zu has type %llu, which cannot stand there", i + 1, (unsigned long long)type);
    }
    return count >= 4 ? EE_OK : eei_fail(why, EE_E_AUTH, "the log has %zu events, a boot makes at least 4", count);
}

/* A digest must be the one of its type and payload. Boot events always carry their payload (an empty one is a payload); later events may
 * show the digest alone, and then nothing is concluded from them. */
static ee_status digests(const ee_verdict *v, ee_error *why) {
    for (size_t i = 0; i < v->event_count; i++) {
        const eei_event *e = &v->events[i];
        uint8_t digest[48];
        if (i >= 4 && !e->payload.len) continue;
        eei_event_digest((uint16_t)e->type, e->payload, digest);
        if (!eei_secret_equal(eei_span(digest, 48), eei_span(e->digest, 48)))
            return eei_fail(why, EE_E_AUTH, "event %zu shows another payload than the one measured", i + 1);
    }
    return EE_OK;
}

static void event_log(ee_verdict *v) {
    ee_error why = {0};
    uint8_t rtmr[48];
    memcpy(rtmr, v->boot_rtmr3, 48);
    ee_status st = v->event_count > EEI_EVENTS_MAX
                       ? eei_fail(&why, EE_E_LIMIT, "the log has %zu events, limit %u", v->event_count, EEI_EVENTS_MAX)
                       : EE_OK;
    if (!st) st = grammar(v->events, v->event_count, &why);
    if (!st) st = digests(v, &why);
    if (!st && !eei_span_equal(v->events[2].payload, eei_span(v->statement.instance_pub, 32)))
        st = eei_fail(&why, EE_E_AUTH, "the identity event is of another instance than the statement");
    for (size_t i = 0; !st && i < v->event_count; i++) eei_rtmr_extend(rtmr, v->events[i].digest);
    if (!st && memcmp(rtmr, v->quote.rtmr[3], 48)) {
        eei_verdict_compare(v, EEI_CHECK_EVENT_LOG, eei_verdict_hex(v, v->quote.rtmr[3], 48), eei_verdict_hex(v, rtmr, 48));
        st = eei_fail(&why, EE_E_AUTH, "replaying the %zu events does not give RTMR3", v->event_count);
    }
    const char *good = st ? NULL : eei_verdict_printf(v, "%zu events replay to RTMR3", v->event_count);
    eei_verdict_judge(v, EEI_CHECK_EVENT_LOG, st, &why, good);
}

/* True also when nothing is wanted. */
static bool as_wanted(const uint8_t *want, const uint8_t actual[32]) {
    return !want || eei_secret_equal(eei_span(want, 32), eei_span(actual, 32));
}

/* One APP event that has everything that is asked. 1 yes, 0 no, -1 out of memory. */
static int app_event_matches(const eei_event *event, const uint8_t *image, const uint8_t *pin, const uint8_t *spec) {
    eei_app_event app;
    eei_arena arena = EEI_ARENA_INIT(4096);
    if (event->type != EEI_EVENT_APP || !event->payload.len) return 0;
    ee_status st = eei_decode(&eei_app_event_schema, event->payload, &arena, &app, NULL);
    bool fits = !st && as_wanted(image, app.image_digest) && as_wanted(pin, app.image_digest) && as_wanted(spec, app.spec_hash);
    eei_arena_clear(&arena);
    return st == EE_E_NOMEM ? -1 : fits;
}

/* Whether the app of this event was ended by a later one. What does not decode ended nothing. */
static bool ended(const eei_event *events, size_t count, size_t at) {
    eei_app_event app;
    eei_arena arena = EEI_ARENA_INIT(4096);
    bool over = false;
    if (eei_decode(&eei_app_event_schema, events[at].payload, &arena, &app, NULL) == EE_OK)
        for (size_t i = at + 1; i < count && !over; i++)
            over = events[i].type == EEI_EVENT_APP_END && eei_span_equal(events[i].payload, app.id);
    eei_arena_clear(&arena);
    return over;
}

static void image(ee_verdict *v, const eei_event *events, size_t count, bool log_good) {
    const uint8_t *want = given(v, EEI_EXPECT_IMAGE) ? v->expect.value[EEI_EXPECT_IMAGE] : NULL;
    const uint8_t *spec = given(v, EEI_EXPECT_SPEC) ? v->expect.value[EEI_EXPECT_SPEC] : NULL;
    bool for_app = v->expect.role == EEI_ROLE_AGENT && !v->expect.no_app; /* a job's image is in its order, not in the log */
    const uint8_t *pin = v->policy->has_image && for_app ? v->policy->image : NULL;
    if (!want && !spec && !pin) {
        eei_verdict_skip(v, EEI_CHECK_IMAGE, "no image was asked for");
        return;
    }
    eei_verdict_compare(v, EEI_CHECK_IMAGE, eei_verdict_hex(v, want ? want : pin ? pin : spec, 32), "");
    if (!log_good) {
        eei_verdict_fail(v, EEI_CHECK_IMAGE, "the event log cannot be believed, so it does not say which image runs");
        return;
    }
    for (size_t i = 4; i < count; i++) {
        int fits = app_event_matches(&events[i], want, pin, spec);
        if (fits < 0) v->nomem = true;
        if (fits <= 0 || ended(events, count, i)) continue;
        eei_verdict_pass(v, EEI_CHECK_IMAGE, "the image was measured before it was started");
        return;
    }
    eei_verdict_fail(v, EEI_CHECK_IMAGE, "no running app was measured with this image and specification");
}

/* Of the settings in the CONFIG event, the second of the log: EE_E_AUTH when they name none. */
static ee_status genesis_told(const eei_event *config, uint8_t out[32], ee_error *why) {
    json_t *settings = NULL;
    const char *hex = NULL;
    ee_status st = eei_json_parse(config->payload, EEI_EVENT_PAYLOAD_MAX, &settings, why);
    if (!st) st = eei_json_string(settings, "genesis", &hex, why);
    if (!st) st = eei_hex_decode(hex, out, 32, why);
    json_decref(settings);
    return st && st != EE_E_NOMEM ? eei_fail(why, EE_E_AUTH, "the measured settings name no genesis") : st;
}

/* What a network's accounts, nodes and rules began with: another control plane with the same software has another one. */
static void genesis(ee_verdict *v) {
    const char *skipped = !v->policy->has_genesis              ? "the policy pins no genesis"
                          : v->expect.role != EEI_ROLE_CONTROL ? "a control plane alone has a genesis"
                                                               : NULL;
    if (skipped) {
        eei_verdict_skip(v, EEI_CHECK_GENESIS, skipped);
        return;
    }
    uint8_t told[32];
    ee_error why = {0};
    bool believed = v->rows[EEI_CHECK_EVENT_LOG].state == EEI_CHECK_PASSED;
    ee_status st = believed ? genesis_told(&v->events[1], told, &why)
                            : eei_fail(&why, EE_E_AUTH, "the event log cannot be believed, so it does not say which genesis it was");
    eei_verdict_compare(v, EEI_CHECK_GENESIS, eei_verdict_hex(v, v->policy->genesis, 32), st ? "" : eei_verdict_hex(v, told, 32));
    if (!st && memcmp(told, v->policy->genesis, 32))
        st = eei_fail(&why, EE_E_AUTH, "the control plane was started from another genesis than the policy pins");
    eei_verdict_judge(v, EEI_CHECK_GENESIS, st, &why, "the genesis that the policy pins");
}

/* ---- quoted evidence ---- */

static void keep_evidence(ee_verdict *v, const eei_evidence *e) {
    v->statement_bytes = eei_verdict_copy(v, e->statement);
    v->quote_bytes = eei_verdict_copy(v, e->quote);
    v->statement_signed = eei_verdict_copy(v, e->signature);
    v->ticket = eei_verdict_copy(v, e->ticket);
    v->event_count = e->event_count;
    v->events = eei_arena_alloc(&v->arena, (e->event_count + 1) * sizeof *v->events);
    if (!v->events) {
        v->nomem = true;
        v->event_count = 0;
        return;
    }
    for (size_t i = 0; i < e->event_count; i++) {
        v->events[i] = e->events[i];
        v->events[i].payload = eei_verdict_copy(v, e->events[i].payload);
    }
    if (e->boot_event_count) eei_boot_log_keep(v, e->boot_events, e->boot_event_count);
}

ee_status eei_appraise_into(ee_verdict *v, const eei_evidence *evidence, ee_error *err) {
    keep_evidence(v, evidence);
    if (v->nomem) return eei_nomem(err);
    v->has_statement = true;
    ee_status st = eei_verify_into(v, true, err);
    if (st || !v->authentic) return st;
    report_data_is_statement(v);
    /* Only what the quote covers is looked into. */
    if (v->rows[EEI_CHECK_REPORT_DATA].state != EEI_CHECK_PASSED) return v->nomem ? eei_nomem(err) : EE_OK;
    statement_decoded(v);
    if (!undecoded(v)) signed_by_instance(v, v->statement.instance_pub);
    statement_says(v);
    event_log(v);
    image(v, v->events, v->event_count, v->rows[EEI_CHECK_EVENT_LOG].state == EEI_CHECK_PASSED);
    genesis(v);
    return v->nomem ? eei_nomem(err) : EE_OK;
}

static ee_status node_name(ee_verdict *v, const eei_expect *expect) {
    v->node = expect->node_name ? eei_verdict_printf(v, "%.100s", expect->node_name) : NULL;
    return v->nomem ? EE_E_NOMEM : EE_OK;
}

ee_status eei_appraise(const eei_evidence *evidence, const ee_collateral *collateral, const ee_policy *policy, const eei_expect *expect,
                       uint64_t now_unix_s, ee_verdict **out, ee_error *err) {
    ee_policy *production = NULL;
    ee_verdict *v = NULL;
    *out = NULL;
    if (!evidence || !collateral || !expect) return eei_fail(err, EE_E_INVALID, "evidence, collateral or expectations are NULL");
    if (!evidence->quote.len) return eei_fail(err, EE_E_INVALID, "this evidence has no quote: it needs the one it stands on");
    if (!now_unix_s) return eei_fail(err, EE_E_INVALID, "no time to appraise at");
    ee_status st = policy ? EE_OK : ee_policy_production(&production, err);
    if (st) return st;
    v = eei_verdict_new(policy ? policy : production, eei_checks_of_evidence, now_unix_s);
    if (!v || node_name(v, expect)) {
        st = eei_nomem(err);
        goto done;
    }
    v->collateral = eei_collateral_ref(collateral);
    eei_expect_keep(&v->expect, expect);
    st = eei_appraise_into(v, evidence, err);
    if (!st) st = eei_verdict_seal(&v, out, err);
done:
    ee_verdict_free(v);
    ee_policy_free(production);
    return st;
}

/* ---- session statements ---- */

/* A signed statement stands on its base: same instance, keys, node and build, made after it, and the base is young enough. */
static ee_status stands_on(const eei_statement *s, const ee_verdict *base, uint64_t now, ee_error *why) {
    const eei_statement *b = &base->statement;
    const uint64_t age_max = EEI_EVIDENCE_AGE_MAX_MS / 1000, ahead_max = EEI_REQUEST_SKEW_MS / 1000;
    if (memcmp(s->instance_pub, b->instance_pub, 32))
        return eei_fail(why, EE_E_AUTH, "the statement is of another instance than the quote");
    if (memcmp(s->spki_sha256, b->spki_sha256, 32)) return eei_fail(why, EE_E_AUTH, "the statement names another TLS key than the quote");
    if (memcmp(s->node_id, b->node_id, 32)) return eei_fail(why, EE_E_AUTH, "the statement names another node than the quote");
    if (s->role != b->role || s->flags != b->flags)
        return eei_fail(why, EE_E_AUTH, "the statement has another role or build than the quote");
    if (s->purpose != EEI_PURPOSE_CHALLENGE)
        return eei_fail(why, EE_E_AUTH, "a signed statement must answer a challenge, not serve purpose %u", s->purpose);
    if (s->sequence <= b->sequence)
        return eei_fail(why, EE_E_AUTH, "statement %llu is not newer than the quoted one, %llu", (unsigned long long)s->sequence,
                        (unsigned long long)b->sequence);
    if (s->uptime_ms < b->uptime_ms) return eei_fail(why, EE_E_AUTH, "the statement was made before the quote it stands on");
    if (s->uptime_ms - b->uptime_ms > EEI_EVIDENCE_AGE_MAX_MS) /* both by the instance's own clock, which runs through one boot */
        return eei_fail(why, EE_E_EXPIRED, "the quote was made %llu s before the statement that stands on it, limit %llu",
                        (unsigned long long)((s->uptime_ms - b->uptime_ms) / 1000), (unsigned long long)age_max);
    if (now > base->now_unix_s && now - base->now_unix_s > age_max)
        return eei_fail(why, EE_E_EXPIRED, "the quote was checked %llu s ago, limit %llu", (unsigned long long)(now - base->now_unix_s),
                        (unsigned long long)age_max);
    if (base->now_unix_s > now && base->now_unix_s - now > ahead_max)
        return eei_fail(why, EE_E_EXPIRED, "the quote was checked in the future");
    return EE_OK;
}

static void statement_on_base(ee_verdict *v, const ee_verdict *base) {
    ee_error why = {0};
    statement_decoded(v);
    if (v->rows[EEI_CHECK_STATEMENT].state == EEI_CHECK_FAILED) return;
    ee_status st = stands_on(&v->statement, base, v->now_unix_s, &why);
    if (st) eei_verdict_judge(v, EEI_CHECK_STATEMENT, st, &why, NULL);
}

/* What the base established is taken over; its rows were decided by the same code. */
static void take_base(ee_verdict *v, const ee_verdict *base) {
    for (size_t i = 0; i < EEI_CHECK_COUNT; i++) {
        if (!(base->wanted & EEI_CHECK_BIT(i)) || eei_checks_of_session & EEI_CHECK_BIT(i)) continue;
        v->wanted |= EEI_CHECK_BIT(i);
        v->rows[i] = base->rows[i]; /* strings live in the base, which v holds */
    }
    v->authentic = base->authentic;
    v->quote = base->quote;
    v->pck = base->pck;
    v->tcb_status = base->tcb_status;
    v->tcb_date = base->tcb_date;
    v->advisories = base->advisories;
    v->advisory_count = base->advisory_count;
    v->tcb_evaluation = base->tcb_evaluation;
    v->qe_evaluation = base->qe_evaluation;
    v->events = base->events;
    v->event_count = base->event_count;
    v->has_boot_log = base->has_boot_log;
    v->boot_events = base->boot_events;
    v->boot_event_count = base->boot_event_count;
    v->base = ee_verdict_ref(base);
}

ee_status eei_appraise_session_into(ee_verdict *v, const ee_verdict *base, const eei_evidence *evidence, ee_error *err) {
    take_base(v, base);
    v->statement_bytes = eei_verdict_copy(v, evidence->statement);
    v->statement_signed = eei_verdict_copy(v, evidence->signature);
    if (v->nomem) return eei_nomem(err);
    signed_by_instance(v, base->statement.instance_pub);
    if (v->rows[EEI_CHECK_INSTANCE_KEY].state == EEI_CHECK_PASSED) {
        statement_on_base(v, base);
        statement_says(v);
        image(v, v->events, v->event_count, true);
    }
    return v->nomem ? eei_nomem(err) : EE_OK;
}

ee_status eei_appraise_session(const eei_evidence *evidence, const ee_verdict *base, const eei_expect *expect, uint64_t now_unix_s,
                               ee_verdict **out, ee_error *err) {
    *out = NULL;
    if (!evidence || !base || !expect) return eei_fail(err, EE_E_INVALID, "evidence, base or expectations are NULL");
    if (!evidence->signature.len || evidence->quote.len) return eei_fail(err, EE_E_INVALID, "this evidence is not a signed statement");
    if (!base->verified || !base->has_statement || base->base)
        return eei_fail(err, EE_E_INVALID, "a signed statement must stand on quoted evidence that verified");
    if (!now_unix_s) return eei_fail(err, EE_E_INVALID, "no time to appraise at");
    ee_verdict *v = eei_verdict_new(base->policy, eei_checks_of_session, now_unix_s);
    ee_status st = EE_OK;
    if (!v || node_name(v, expect)) {
        st = eei_nomem(err);
        goto done;
    }
    eei_expect_keep(&v->expect, expect);
    st = eei_appraise_session_into(v, base, evidence, err);
    if (!st) st = eei_verdict_seal(&v, out, err);
done:
    ee_verdict_free(v);
    return st;
}
