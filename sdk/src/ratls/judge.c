/* judge.c - is this peer acceptable? Policy, collateral and clock in one object, with caches of collateral (by FMSPC) and of verdicts over
 * certificates. The checks themselves are attest's. Called by session, channel, net and client on any thread. */
#include "base/alloc.h"
#include "base/limits.h"
#include "base/writer.h"
#include "ratls/ratls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define COLLATERAL_KEPT       8u       /* FMSPCs of one network's machines */
#define COLLATERAL_AGE_MAX_MS 3600000u /* asked again each hour: a revocation is seen within it */
#define COLLATERAL_RETRY_MS   300000u  /* older than this, a failure may be the collateral's: ask once more (bounded, threat B9) */
#define VERDICT_AGE_MAX_MS    (EEI_EVIDENCE_AGE_MAX_MS / 2) /* a session stands on it for a while yet */
#define VERDICTS_KEPT         64u
#define EVIDENCE_ARENA_MAX    (1u << 20) /* EEI_EVENTS_MAX decoded events are 400 KiB */

typedef struct collateral_entry {
    atomic_uint refs;
    eei_collateral_id id;
    ee_collateral *collateral;
    uint64_t fetched_ms;
} collateral_entry;

typedef struct verdict_entry {
    uint8_t question[32]; /* what was asked: certificate and expectations */
    ee_verdict *verdict;  /* NULL: free slot */
    uint64_t made_ms;
} verdict_entry;

struct eei_judge {
    atomic_uint refs;
    ee_policy *policy;
    eei_collateral_source source;
    eei_clock clock;
    void (*on_refused)(void *user, const ee_verdict *verdict, ee_error *err);
    void *refused_user;
    pthread_mutex_t lock; /* guards the two caches; never held while fetching or appraising */
    collateral_entry *collateral[COLLATERAL_KEPT];
    verdict_entry verdicts[VERDICTS_KEPT];
};

static uint64_t mono(const eei_judge *judge) { return judge->clock.mono_ms(judge->clock.user); }
static uint64_t wall_s(const eei_judge *judge) { return judge->clock.wall_ms(judge->clock.user) / 1000; }

static void entry_drop(collateral_entry *entry) {
    if (!entry || atomic_fetch_sub(&entry->refs, 1) != 1) return;
    ee_collateral_free(entry->collateral);
    eei_free(entry);
}

ee_status eei_judge_new(const ee_policy *policy, const eei_collateral_source *source, const eei_clock *clock, eei_judge **out,
                        ee_error *err) {
    eei_judge *judge;

    *out = NULL;
    if (!policy || !source || !source->fetch || !clock)
        return eei_fail(err, EE_E_INVALID, "a judge needs a policy, a collateral source and a clock");
    judge = eei_calloc(1, sizeof *judge);
    if (!judge) return eei_nomem(err);
    if (pthread_mutex_init(&judge->lock, NULL) != 0) {
        eei_free(judge);
        return eei_nomem(err);
    }
    atomic_init(&judge->refs, 1);
    judge->policy = eei_policy_ref(policy);
    judge->source = *source;
    judge->clock = *clock;
    *out = judge;
    return EE_OK;
}

eei_judge *eei_judge_ref(eei_judge *judge) {
    atomic_fetch_add(&judge->refs, 1);
    return judge;
}

void eei_judge_free(eei_judge *judge) {
    if (!judge || atomic_fetch_sub(&judge->refs, 1) != 1) return;
    for (size_t i = 0; i < COLLATERAL_KEPT; i++) entry_drop(judge->collateral[i]);
    for (size_t i = 0; i < VERDICTS_KEPT; i++) ee_verdict_free(judge->verdicts[i].verdict);
    ee_policy_free(judge->policy);
    pthread_mutex_destroy(&judge->lock);
    eei_free(judge);
}

const ee_policy *eei_judge_policy(const eei_judge *judge) { return judge->policy; }

void eei_judge_on_refused(eei_judge *judge, void (*fn)(void *user, const ee_verdict *verdict, ee_error *err), void *user) {
    judge->on_refused = fn;
    judge->refused_user = user;
}

static void show_refused(const eei_judge *judge, ee_status st, const ee_verdict *verdict, ee_error *err) {
    if (st == EE_E_ATTESTATION && verdict && judge->on_refused) judge->on_refused(judge->refused_user, verdict, err);
}

/* ---- collateral ------------------------------------------------------------------------------------------------------- */

static collateral_entry *cache_find(eei_judge *judge, const eei_collateral_id *id) {
    collateral_entry *found = NULL;

    pthread_mutex_lock(&judge->lock);
    for (size_t i = 0; i < COLLATERAL_KEPT && !found; i++) {
        if (judge->collateral[i] && eei_collateral_id_same(&judge->collateral[i]->id, id)) found = judge->collateral[i];
    }
    if (found) atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&judge->lock);
    return found;
}

/* In place of the same id, else a free slot, else the oldest. */
static void cache_put(eei_judge *judge, collateral_entry *entry) {
    collateral_entry *old;
    size_t at = 0;

    pthread_mutex_lock(&judge->lock);
    for (size_t i = 0; i < COLLATERAL_KEPT; i++) {
        collateral_entry *c = judge->collateral[i];
        if (c && eei_collateral_id_same(&c->id, &entry->id)) {
            at = i;
            break;
        }
        if (judge->collateral[at] && (!c || c->fetched_ms < judge->collateral[at]->fetched_ms)) at = i;
    }
    old = judge->collateral[at];
    judge->collateral[at] = entry;
    atomic_fetch_add(&entry->refs, 1);
    pthread_mutex_unlock(&judge->lock);
    entry_drop(old);
}

static ee_status collateral_fetch(eei_judge *judge, const eei_collateral_id *id, collateral_entry **out, ee_error *err) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    collateral_entry *entry = NULL;
    ee_status st = judge->source.fetch(judge->source.user, id, &json, err);

    *out = NULL;
    if (st) {
        st = eei_prefix(err, st, "collateral");
        goto done;
    }
    entry = eei_calloc(1, sizeof *entry);
    if (!entry) {
        st = eei_nomem(err);
        goto done;
    }
    atomic_init(&entry->refs, 1);
    entry->id = *id;
    entry->fetched_ms = mono(judge);
    st = ee_collateral_parse(eei_buf_span(&json), &entry->collateral, err);
    if (st) goto done;
    cache_put(judge, entry);
    *out = eei_take(&entry);
done:
    entry_drop(entry);
    eei_buf_clear(&json);
    return st;
}

/* Cached when young; fetched otherwise, and when that fails the old one serves: it carries its own validity, which appraisal checks. */
static ee_status collateral_get(eei_judge *judge, const eei_collateral_id *id, uint64_t age_max_ms, collateral_entry **out, ee_error *err) {
    collateral_entry *cached = cache_find(judge, id), *fresh = NULL;
    ee_status st;

    if (cached && mono(judge) - cached->fetched_ms <= age_max_ms) {
        *out = cached;
        return EE_OK;
    }
    st = collateral_fetch(judge, id, &fresh, err);
    if (st && !cached) return st;
    if (st) {
        *out = cached;
        return EE_OK;
    }
    entry_drop(cached);
    *out = fresh;
    return EE_OK;
}

/* ---- evidence --------------------------------------------------------------------------------------------------------- */

/* Evidence that cannot be read proves nothing: to the caller that is a failed attestation, with the parser's message. */
static ee_status unproved(ee_error *err, ee_status st) {
    char text[sizeof err->message] = "not readable";

    if (st != EE_E_MALFORMED && st != EE_E_LIMIT && st != EE_E_VERSION && st != EE_E_INVALID) return st;
    if (err) memcpy(text, err->message, sizeof text);
    return eei_fail(err, EE_E_ATTESTATION, "%.500s", text);
}

static ee_status appraise(eei_judge *judge, const eei_evidence *evidence, const ee_policy *policy, const eei_expect *expect,
                          ee_verdict **out, ee_error *err) {
    eei_collateral_id id = {0};
    collateral_entry *entry = NULL;
    ee_status st = eei_quote_collateral_id(evidence->quote, &id, err);

    if (st) return unproved(err, st);
    st = collateral_get(judge, &id, COLLATERAL_AGE_MAX_MS, &entry, err);
    if (st) return st;
    st = eei_appraise(evidence, entry->collateral, policy, expect, wall_s(judge), out, err);
    if (st == EE_E_ATTESTATION && mono(judge) - entry->fetched_ms > COLLATERAL_RETRY_MS) {
        collateral_entry *again = NULL;
        if (collateral_fetch(judge, &id, &again, NULL) == EE_OK) {
            ee_verdict_free(*out);
            *out = NULL;
            st = eei_appraise(evidence, again->collateral, policy, expect, wall_s(judge), out, err);
        }
        entry_drop(again);
    }
    entry_drop(entry);
    return st;
}

ee_status eei_judge_evidence(eei_judge *judge, ee_span bytes, const ee_policy *policy, const eei_expect *expect, ee_verdict **out,
                             ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(EVIDENCE_ARENA_MAX);
    eei_evidence evidence = {0};
    ee_status st;

    *out = NULL;
    st = eei_evidence_decode(bytes, &arena, &evidence, err);
    if (st) {
        st = unproved(err, st);
    } else if (!evidence.quote.len) {
        st = eei_fail(err, EE_E_ATTESTATION, "evidence: a quote is needed, a signed statement was sent");
    } else {
        st = appraise(judge, &evidence, policy ? policy : judge->policy, expect, out, err);
    }
    eei_arena_clear(&arena);
    show_refused(judge, st, *out, err);
    return st;
}

ee_status eei_judge_session(eei_judge *judge, ee_span bytes, const ee_verdict *base, const eei_expect *expect, ee_verdict **out,
                            ee_error *err) {
    eei_arena arena = EEI_ARENA_INIT(EVIDENCE_ARENA_MAX);
    eei_evidence evidence = {0};
    ee_status st;

    *out = NULL;
    if (!base || !ee_verdict_verified(base))
        return eei_fail(err, EE_E_ATTESTATION, "session statement: there is no verified certificate under it");
    st = eei_evidence_decode(bytes, &arena, &evidence, err);
    if (st) {
        st = unproved(err, st);
    } else if (!evidence.signature.len) {
        st = eei_fail(err, EE_E_ATTESTATION, "session statement: no signature was sent");
    } else {
        st = eei_appraise_session(&evidence, base, expect, wall_s(judge), out, err);
    }
    eei_arena_clear(&arena);
    show_refused(judge, st, *out, err);
    return st;
}

/* ---- certificates ----------------------------------------------------------------------------------------------------- */

static void key_part(eei_writer *w, const uint8_t *value) {
    eei_write_u8(w, value ? 1 : 0);
    if (value) eei_write_bytes(w, value, 32);
}

/* A verdict answers one question: the certificate, the policy and everything that was expected. */
static ee_status cache_question(X509 *certificate, const ee_policy *policy, const eei_expect *e, uint8_t out[32], ee_error *err) {
    eei_buf text = EEI_BUF_INIT(1024);
    eei_writer w = eei_writer_init(&text);
    uint8_t *der = NULL, hash[32];
    int len = i2d_X509(certificate, &der);

    if (len <= 0) return eei_tls_fail(err, EE_E_MALFORMED, "certificate");
    eei_sha256(eei_span(der, (size_t)len), hash);
    OPENSSL_free(der);
    const uint8_t *const parts[] = {
        hash,
        eei_policy_hash_bytes(policy),
        e->nonce,
        e->binder,
        e->spki_sha256,
        e->instance_pub,
        e->node_id,
        e->transcript,
        e->image_digest,
        e->spec_hash,
    };
    eei_write_u8(&w, e->role);
    eei_write_u8(&w, e->no_app);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) key_part(&w, parts[i]);
    if (e->node_name) eei_write_bytes(&w, e->node_name, strnlen(e->node_name, 256));
    if (!w.status) eei_sha256(eei_buf_span(&text), out);
    eei_buf_clear(&text);
    return w.status ? eei_nomem(err) : EE_OK;
}

static ee_verdict *verdict_find(eei_judge *judge, const uint8_t question[32]) {
    uint64_t now = mono(judge);
    ee_verdict *found = NULL;

    pthread_mutex_lock(&judge->lock);
    for (size_t i = 0; i < VERDICTS_KEPT && !found; i++) {
        verdict_entry *v = &judge->verdicts[i];
        if (v->verdict && now - v->made_ms <= VERDICT_AGE_MAX_MS && !memcmp(v->question, question, 32)) found = ee_verdict_ref(v->verdict);
    }
    pthread_mutex_unlock(&judge->lock);
    return found;
}

static void verdict_put(eei_judge *judge, const uint8_t question[32], const ee_verdict *verdict) {
    ee_verdict *old;
    size_t at = 0;

    pthread_mutex_lock(&judge->lock);
    for (size_t i = 0; i < VERDICTS_KEPT; i++) {
        verdict_entry *v = &judge->verdicts[i];
        if (v->verdict && !memcmp(v->question, question, 32)) {
            at = i;
            break;
        }
        if (judge->verdicts[at].verdict && (!v->verdict || v->made_ms < judge->verdicts[at].made_ms)) at = i;
    }
    old = judge->verdicts[at].verdict;
    memcpy(judge->verdicts[at].question, question, 32);
    judge->verdicts[at].verdict = ee_verdict_ref(verdict);
    judge->verdicts[at].made_ms = mono(judge);
    pthread_mutex_unlock(&judge->lock);
    ee_verdict_free(old);
}

/* Dates and self-signature say little, the quote says it all; a certificate that breaks them is still refused. */
static ee_status check_shell(eei_judge *judge, X509 *certificate, ee_error *err) {
    time_t now = (time_t)wall_s(judge);
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    char group[32] = "";

    if (!key || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1 || strcmp(group, "prime256v1") != 0)
        return eei_tls_fail(err, EE_E_ATTESTATION, "certificate's key is not P-256");
    if (X509_verify(certificate, key) != 1) return eei_tls_fail(err, EE_E_ATTESTATION, "certificate's signature");
    int days = 0, seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate), X509_get0_notAfter(certificate)) != 1 || days ||
        (unsigned)seconds > EEI_CERT_LIFE_S)
        return eei_fail(err, EE_E_ATTESTATION, "certificate is valid for longer than %u s", EEI_CERT_LIFE_S);
    if (X509_cmp_time(X509_get0_notBefore(certificate), &now) != -1 || X509_cmp_time(X509_get0_notAfter(certificate), &now) != 1)
        return eei_fail(err, EE_E_ATTESTATION, "certificate is not valid at this time");
    return EE_OK;
}

ee_status eei_judge_certificate(eei_judge *judge, X509 *certificate, const ee_policy *policy, const eei_expect *expect, ee_verdict **out,
                                ee_error *err) {
    static const uint8_t zero[32];
    uint8_t spki[32], question[32];
    eei_expect e = *expect;
    ee_span evidence;
    ee_status st;

    *out = NULL;
    st = eei_certificate_evidence(certificate, &evidence, err); /* first: most servers have none, and that is what is to be said of them */
    if (!st) st = check_shell(judge, certificate, err);
    if (!st) st = eei_certificate_spki_sha256(certificate, spki, err);
    if (st) return st;
    e.purpose = EEI_PURPOSE_CERTIFICATE;
    e.spki_sha256 = spki;
    e.binder = zero; /* a certificate is for every connection */
    e.transcript = zero;
    e.nonce = NULL;
    st = cache_question(certificate, policy ? policy : judge->policy, &e, question, err);
    if (st) return st;
    *out = verdict_find(judge, question);
    if (*out) return EE_OK;
    st = eei_judge_evidence(judge, evidence, policy, &e, out, err);
    if (!st) verdict_put(judge, question, *out);
    return st;
}
