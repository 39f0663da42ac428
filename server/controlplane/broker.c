/* broker.c - see broker.h. */
#include "broker.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/log.h"
#include "base/price.h"
#include "tunnels.h"

#include <string.h>

enum {
    OPEN_JOBS_MAX = 256,              /* of one account */
    PULL_GRACE_MS = 600000,           /* an image may take this long before the job's own time starts */
    LOCK_GRACE_MS = 96 * 3600 * 1000, /* docs/protocol.md: lock expiry = end of work + 96 h at the latest */
    SWEEP_BATCH = 256,
    LOST_GRACE_MS = 5000, /* an agent reconnects within milliseconds; past this its jobs are lost */
    EXPIRE_EVERY_MS = 60000,
};

/* ---- spec and quote -------------------------------------------------------------------------------------------------- */

ee_status broker_spec_parse(ee_span bytes, uint64_t kind, broker_spec *out, ee_error *err) {
    memset(out, 0, sizeof *out);
    out->arena = (eei_arena)EEI_ARENA_INIT(1 << 20);
    eei_sha256(bytes, out->hash);
    ee_status st = eei_decode(&eei_spec_schema, bytes, &out->arena, &out->message, err);
    if (!st && out->message.kind != kind) st = eei_fail(err, EE_E_INVALID, "the spec is not of a %s", kind == EEI_SPEC_JOB ? "job" : "app");
    if (!st && (!out->message.vcpus_milli || !out->message.memory_bytes))
        st = eei_fail(err, EE_E_INVALID, "the spec asks for no vcpus or no memory");
    if (!st && kind == EEI_SPEC_JOB && !out->message.wall_ms) st = eei_fail(err, EE_E_INVALID, "the spec has no time limit");
    if (!st && kind == EEI_SPEC_APP && (!out->message.port || !out->message.name.len))
        st = eei_fail(err, EE_E_INVALID, "the spec has no port or no name");
    if (st) broker_spec_clear(out);
    return st;
}

void broker_spec_clear(broker_spec *spec) { eei_arena_clear(&spec->arena); }

static void routing_for(const cp_context *cp, const broker_spec *spec, ee_span node, uint64_t now_ms, routing_request *out) {
    memset(out, 0, sizeof *out);
    out->vcpus_milli = spec->message.vcpus_milli;
    out->memory_bytes = spec->message.memory_bytes;
    out->node = node;
    out->allow_simulated = cp->sandbox;
    out->now_ms = now_ms;
}

static json_t *offer_json(const routing_candidate *candidate, const routing_choice *choice, const uint8_t *instance_id, ee_money ceiling) {
    char hex[65];
    eei_hex_encode(eei_span(instance_id, 32), hex);
    return json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:o, s:s}", "node", candidate->name, "tier", routing_tier_word(candidate->tier),
                     "provider", candidate->provider, "price_per_vcpu_hour", eei_json_money(candidate->price), "trust_ppm",
                     (json_int_t)choice->trust_ppm, "effective", eei_json_money(choice->effective), "ceiling", eei_json_money(ceiling),
                     "instance_id", hex);
}

static ee_status quote_into(cp_context *cp, const broker_spec *spec, const routing_candidate *candidates, const routing_choice *choices,
                            size_t count, json_t *items, json_t *rejected, ee_error *err) {
    for (size_t i = 0; i < count; i++) {
        const routing_candidate *candidate = &candidates[choices[i].index];
        registry_node *node = registry_find(cp->registry, eei_span_text(candidate->name));
        ee_money ceiling = 0;
        /* One that was not asked for is no answer to why the one that was cannot. */
        if (spec->message.node.len && !eei_span_equal(spec->message.node, eei_span_text(candidate->name))) continue;
        if (!choices[i].eligible) {
            if (json_object_set_new(rejected, candidate->name, json_string(choices[i].reason))) return eei_nomem(err);
            continue;
        }
        /* A job's whole time; an app's whole period, which is the most it locks at once. */
        uint64_t span = spec->message.kind == EEI_SPEC_APP ? cp->period_ms : spec->message.wall_ms;
        ee_status st = eei_price_ceiling(candidate->price, spec->message.vcpus_milli, span, &ceiling, err);
        if (st) return st;
        if (json_array_append_new(items, offer_json(candidate, &choices[i], node->instance_id, ceiling))) return eei_nomem(err);
    }
    return EE_OK;
}

ee_status broker_quote(cp_context *cp, const broker_spec *spec, json_t **out, ee_error *err) {
    size_t count = registry_count(cp->registry);
    routing_candidate *candidates = eei_calloc(count + 1, sizeof *candidates);
    routing_choice *choices = eei_calloc(count + 1, sizeof *choices);
    json_t *items = json_array(), *rejected = json_object();
    routing_request request;
    registry_node *asked;
    ee_status st = candidates && choices && items && rejected ? EE_OK : eei_nomem(err);

    *out = NULL;
    routing_for(cp, spec, spec->message.node, eei_wall_ms(), &request);
    if (!st && spec->message.node.len) st = registry_get(cp->registry, spec->message.node, &asked, err);
    if (!st) {
        count = registry_candidates(cp->registry, candidates, count);
        (void)routing_rank(&request, candidates, count, choices);
        st = quote_into(cp, spec, candidates, choices, count, items, rejected, err);
    }
    if (!st && !(*out = json_pack("{s:O, s:O, s:b}", "items", items, "rejected", rejected, "busy", routing_busy(choices, count))))
        st = eei_nomem(err);
    json_decref(items);
    json_decref(rejected);
    eei_free(candidates);
    eei_free(choices);
    return st;
}

ee_status broker_node(cp_context *cp, const broker_spec *spec, ee_span name, uint64_t now_ms, registry_node **out, ee_error *err) {
    routing_request request;
    routing_candidate *candidates = eei_calloc(registry_count(cp->registry) + 1, sizeof *candidates);
    routing_choice *choices = eei_calloc(registry_count(cp->registry) + 1, sizeof *choices);
    ee_status st = candidates && choices ? registry_get(cp->registry, name, out, err) : eei_nomem(err);
    routing_for(cp, spec, name, now_ms, &request);
    if (!st) {
        size_t count = registry_candidates(cp->registry, candidates, registry_count(cp->registry));
        (void)routing_rank(&request, candidates, count, choices);
        st = routing_check(candidates, choices, count, err);
    }
    eei_free(candidates);
    eei_free(choices);
    return st;
}

ee_status broker_check_auth(cp_context *cp, const ledger_principal *account, const broker_spec *spec, ee_span bytes, uint64_t now_ms,
                            eei_spend_auth *out, eei_arena *arena, ee_error *err) {
    eei_envelope envelope;
    ee_status st = eei_envelope_parse(bytes, &envelope, err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_SPEND_AUTH, account->key, err);
    if (!st) st = eei_decode(&eei_spend_auth_schema, envelope.body, arena, out, err);
    if (st) return eei_prefix(err, st, "the spend authorization");
    if (!eei_same(out->spec_hash, spec->hash, 32)) return eei_fail(err, EE_E_AUTH, "the spend authorization is for another spec");
    if (!eei_same(out->control_instance, eei_prover_instance_id(cp->prover), 32))
        return eei_fail(err, EE_E_AUTH, "the spend authorization is for another control plane instance");
    if (out->not_after_ms < now_ms)
        return eei_fail(err, EE_E_EXPIRED, "the spend authorization expired %llu ms ago", (unsigned long long)(now_ms - out->not_after_ms));
    return EE_OK;
}

/* ---- admission ------------------------------------------------------------------------------------------------------- */

typedef struct admission {
    cp_context *cp;
    ledger_principal account;
    eei_buf spec, spend_auth;
    char key[LEDGER_KEY_BYTES_MAX + 1], node[NAME_CAP];
    broker_spec parsed;
    eei_arena arena;
    job_admit_request request;
    job_admitted admitted;
    ee_error unable; /* the node cannot take it: refused, unless the key was seen before */
    bool reserved;
    broker_done done;
    void *user;
} admission;

static void admission_free(admission *a) {
    broker_spec_clear(&a->parsed);
    eei_arena_clear(&a->arena);
    eei_buf_clear(&a->spec);
    eei_buf_clear(&a->spend_auth);
    eei_free(a);
}

static ee_status admit_work(store *db, void *arg, ee_error *err) {
    admission *a = arg;
    ee_status st = jobs_admit(db, &a->request, &a->admitted, err);
    if (st || a->admitted.replayed || !a->unable.status) return st;
    if (err) *err = a->unable;
    return a->unable.status; /* undoes the lock and the row */
}

static ee_status send_job(admission *a, registry_node *node, ee_error *err) {
    eei_job job = {.job_id = eei_span_text(a->admitted.id),
                   .spec = eei_buf_span(&a->spec),
                   .spend_auth = eei_buf_span(&a->spend_auth),
                   .account = eei_span_text(a->account.name),
                   .price = (uint64_t)a->request.price,
                   .locked = (uint64_t)a->admitted.locked,
                   .period_start_ms = a->request.period_ms,
                   .connect_by_ms = a->request.connect_by_ms};
    eei_buf payload = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    memcpy(job.account_pub, a->account.key, 32);
    ee_status st = eei_encode(&eei_job_schema, &job, &payload, err);
    if (!st) st = cp_tunnels_send(a->cp, node, EEI_FRAME_JOB, eei_buf_span(&payload), err);
    eei_buf_clear(&payload);
    return st;
}

static json_t *admission_json(admission *a, const char *id, const char *node, const uint8_t instance_id[32], ee_money price,
                              uint64_t period_ms) {
    char hex[65], node_id[65];
    eei_buf token = EEI_BUF_INIT(1024), text = EEI_BUF_INIT(2048);
    json_t *answer = NULL;
    eei_hex_encode(eei_span(instance_id, 32), hex);
    if (cp_token_make(a->cp, EEI_OPEN_JOB, id, instance_id, a->account.name, eei_wall_ms(), &token, NULL) == EE_OK &&
        eei_base64url_encode(eei_buf_span(&token), &text) == EE_OK && eei_buf_cstr(&text))
        answer =
            json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:s, s:b}", "id", id, "node", node, "node_id",
                      registry_node_id(a->cp->registry, node, node_id), "instance_id", hex, "locked", eei_json_money(a->admitted.locked),
                      "price_per_vcpu_hour", eei_json_money(price), "balance_after", eei_json_money(a->admitted.balance_after),
                      "period_start_ms", (json_int_t)period_ms, "token", (const char *)text.data, "replayed", a->admitted.replayed);
    eei_buf_clear(&token);
    eei_buf_clear(&text);
    return answer;
}

/* The first answer again, from the row: its node and terms may not be today's. */
static json_t *replayed_json(admission *a) {
    job_row row;
    json_t *answer = NULL;
    job_row_init(&row);
    if (jobs_get(a->cp->reader, a->admitted.id, &row, NULL) == EE_OK)
        answer = admission_json(a, row.id, row.node_name, row.instance_id, row.price, row.period_ms);
    job_row_clear(&row);
    return answer;
}

static void fail_job(cp_context *cp, const char *id, ee_status why, const char *message, broker_done done, void *user);

static void admit_done(void *arg, ee_status status, const ee_error *why) {
    admission *a = arg;
    ee_error err = {0};
    json_t *answer = NULL;
    registry_node *node = registry_find(a->cp->registry, eei_span_text(a->node));

    if (status) err = *why;
    if (a->reserved && (status || a->admitted.replayed) && node)
        registry_release(a->cp->registry, node, a->request.vcpus_milli, a->request.memory_bytes);
    if (!status && a->admitted.replayed) {
        answer = replayed_json(a);
    } else if (!status) {
        eei_log(EEI_LOG_INFO, "job.admitted", "job=%s node=%s locked=%lld", a->admitted.id, a->node, (long long)a->admitted.locked);
        if (!node || !eei_same(node->instance_id, a->request.instance_id, 32))
            status = eei_fail(&err, EE_E_NO_NODE, "node %s went away while the job was admitted; nothing was charged", a->node);
        else
            status = send_job(a, node, &err);
        if (status)
            fail_job(a->cp, a->admitted.id, status, err.message, NULL, NULL);
        else
            answer = admission_json(a, a->admitted.id, a->node, a->request.instance_id, a->request.price, a->request.period_ms);
    }
    if (!status && !answer) status = eei_nomem(&err);
    a->done(a->user, answer, status ? &err : NULL);
    json_decref(answer);
    admission_free(a);
}

static ee_status prepare(admission *a, ee_error *err) {
    cp_context *cp = a->cp;
    uint64_t now = eei_wall_ms();
    eei_spend_auth auth;
    registry_node *node = NULL;
    ee_status st = broker_spec_parse(eei_buf_span(&a->spec), EEI_SPEC_JOB, &a->parsed, err);
    if (!st) st = broker_check_auth(cp, &a->account, &a->parsed, eei_buf_span(&a->spend_auth), now, &auth, &a->arena, err);
    if (!st) st = eei_make_id("job_", now, a->request.id, sizeof a->request.id, err);
    if (!st) st = registry_get(cp->registry, auth.node, &node, err);
    if (st) return st;
    job_admit_request *r = &a->request;
    const eei_spec *spec = &a->parsed.message;
    (void)snprintf(a->node, sizeof a->node, "%s", node->profile.name);
    r->account = a->account.id;
    r->node = node->profile.id;
    memcpy(r->instance_id, node->instance_id, 32);
    r->spec = eei_buf_span(&a->spec);
    r->spend_auth_envelope = eei_buf_span(&a->spend_auth);
    memcpy(r->auth.auth_id, auth.auth_id, 16);
    memcpy(r->auth.spec_hash, auth.spec_hash, 32);
    r->auth.price = (ee_money)auth.price;
    r->auth.node = auth.node;
    r->auth.max_total = (ee_money)auth.max_total;
    r->auth.not_after_ms = auth.not_after_ms;
    r->price = node->profile.price;
    r->vcpus_milli = spec->vcpus_milli;
    r->memory_bytes = spec->memory_bytes;
    r->wall_ms = spec->wall_ms;
    r->period_ms = cp_period_start(cp, now);
    r->lock_expires_ms = now + spec->wall_ms + PULL_GRACE_MS + LOCK_GRACE_MS;
    r->connect_by_ms = now + EEI_JOB_CONNECT_DEADLINE_MS;
    r->key = eei_span_text(a->key);
    r->open_jobs_max = OPEN_JOBS_MAX;
    r->now_ms = now;
    /* A repeated key gets its first answer even when the node is gone by now; for a new one the node must be able to take it. */
    ee_status able = broker_node(cp, &a->parsed, auth.node, now, &node, &a->unable);
    if (!able) able = registry_reserve(cp->registry, node, r->vcpus_milli, r->memory_bytes, &a->unable);
    a->reserved = able == EE_OK;
    return EE_OK;
}

void broker_admit(cp_context *cp, const ledger_principal *account, ee_span spec, ee_span spend_auth, const char *key, broker_done done,
                  void *user) {
    ee_error err = {0};
    admission *a = eei_calloc(1, sizeof *a);
    ee_status st = a ? EE_OK : eei_nomem(&err);
    if (st) {
        done(user, NULL, &err);
        return;
    }
    a->cp = cp;
    a->account = *account;
    a->done = done;
    a->user = user;
    a->arena = (eei_arena)EEI_ARENA_INIT(1 << 14);
    a->spec = (eei_buf)EEI_BUF_INIT(JOB_SPEC_BYTES_MAX);
    a->spend_auth = (eei_buf)EEI_BUF_INIT(JOB_ENVELOPE_BYTES_MAX);
    (void)snprintf(a->key, sizeof a->key, "%s", key);
    if (eei_buf_append_span(&a->spec, spec) || eei_buf_append_span(&a->spend_auth, spend_auth))
        st = eei_fail(&err, EE_E_LIMIT, "the spec or authorization is too large");
    if (!st) st = prepare(a, &err);
    if (!st) st = writer_submit(cp->writer, admit_work, a, admit_done, &err);
    if (!st) return;
    registry_node *node = registry_find(cp->registry, eei_span_text(a->node));
    if (a->reserved && node) registry_release(cp->registry, node, a->request.vcpus_milli, a->request.memory_bytes);
    done(user, NULL, &err);
    admission_free(a);
}

/* ---- end without a receipt ------------------------------------------------------------------------------------------- */

typedef struct failing {
    cp_context *cp;
    char id[JOB_ID_CAP], word[32], message[256];
    job_row row;
    bool had_ended;
    ee_money returned;
    broker_done done;
    void *user;
} failing;

static ee_status fail_work(store *db, void *arg, ee_error *err) {
    failing *f = arg;
    ee_status st = jobs_get(db, f->id, &f->row, err);
    if (st) return st;
    f->had_ended = f->row.state == JOB_DONE || f->row.state == JOB_FAILED;
    return f->had_ended ? EE_OK : jobs_fail(db, f->id, f->word, f->message, eei_wall_ms(), &f->returned, err);
}

static void fail_done(void *arg, ee_status status, const ee_error *why) {
    failing *f = arg;
    registry_node *node = status ? NULL : registry_find_id(f->cp->registry, f->row.node);
    if (!status && !f->had_ended) {
        eei_log(EEI_LOG_INFO, "job.failed", "job=%s word=%s returned=%lld message=%s", f->id, f->word, (long long)f->returned, f->message);
        if (node) registry_release(f->cp->registry, node, f->row.vcpus_milli, f->row.memory_bytes);
    }
    if (f->done) {
        json_t *answer = status ? NULL : json_pack("{s:s, s:o}", "id", f->id, "returned", eei_json_money(f->returned));
        f->done(f->user, answer, why);
        json_decref(answer);
    }
    job_row_clear(&f->row);
    eei_free(f);
}

static void fail_job(cp_context *cp, const char *id, ee_status why, const char *message, broker_done done, void *user) {
    ee_error err = {0};
    failing *f = eei_calloc(1, sizeof *f);
    ee_status st = f ? EE_OK : eei_nomem(&err);
    if (!st) {
        f->cp = cp;
        f->done = done;
        f->user = user;
        job_row_init(&f->row);
        (void)snprintf(f->id, sizeof f->id, "%s", id);
        (void)snprintf(f->word, sizeof f->word, "%s", ee_status_word(why));
        (void)snprintf(f->message, sizeof f->message, "%.255s", message);
        st = writer_submit(cp->writer, fail_work, f, fail_done, &err);
    }
    if (!st) return;
    eei_log(EEI_LOG_ERROR, "job.fail_not_written", "job=%s message=%s", id, err.message); /* the sweep finds it again */
    if (done) done(user, NULL, &err);
    eei_free(f);
}

static void tell_agent_to_cancel(cp_context *cp, const job_row *row) {
    eei_job message = {.job_id = eei_span_text(row->id)};
    eei_buf payload = EEI_BUF_INIT(256);
    registry_node *node = registry_find_id(cp->registry, row->node);
    if (node && eei_same(node->instance_id, row->instance_id, 32) && eei_encode(&eei_job_schema, &message, &payload, NULL) == EE_OK)
        eei_ignored(cp_tunnels_send(cp, node, EEI_FRAME_JOB, eei_buf_span(&payload), NULL));
    eei_buf_clear(&payload);
}

void broker_cancel(cp_context *cp, const ledger_principal *account, const char *job_id, broker_done done, void *user) {
    job_row row;
    ee_error err = {0};
    json_t *answer = NULL;
    job_row_init(&row);
    ee_status st = jobs_get(cp->reader, job_id, &row, &err);
    if (!st && row.account != account->id)
        st = eei_fail(&err, EE_E_NOT_FOUND, "there is no job \"%s\"", job_id); /* one answer for unknown and another's (L7) */
    if (!st && (row.state == JOB_RUNNING || row.state == JOB_PULLING)) {
        /* It may have used something: its agent ends it and says what. */
        tell_agent_to_cancel(cp, &row);
        answer = json_pack("{s:s, s:s}", "id", row.id, "state", "cancelling");
    } else if (!st && row.state < JOB_DONE) {
        tell_agent_to_cancel(cp, &row);
        fail_job(cp, job_id, EE_E_CANCELLED, "cancelled by its owner", done, user);
        job_row_clear(&row);
        return;
    } else if (!st) {
        answer = json_pack("{s:s, s:s}", "id", row.id, "state", job_state_word(row.state));
    }
    job_row_clear(&row);
    done(user, answer, st ? &err : NULL);
    json_decref(answer);
}

/* ---- frames of agents ------------------------------------------------------------------------------------------------ */

typedef struct progress {
    char id[JOB_ID_CAP];
    uint8_t instance_id[32];
    job_state state;
} progress;

static ee_status progress_work(store *db, void *arg, ee_error *err) {
    progress *p = arg;
    return jobs_progress(db, p->id, p->instance_id, p->state, eei_wall_ms(), err);
}

static void progress_done(void *arg, ee_status status, const ee_error *err) {
    progress *p = arg;
    if (status) eei_log(EEI_LOG_DEBUG, "job.progress_refused", "job=%s message=%s", p->id, err->message);
    eei_free(p);
}

static void on_job_state(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const eei_frame *frame) {
    eei_job_state message;
    eei_arena arena = EEI_ARENA_INIT(4096);
    ee_error err = {0};
    char id[JOB_ID_CAP], word[33], text[256];
    if (eei_decode(&eei_job_state_schema, frame->payload, &arena, &message, &err)) {
        eei_log(EEI_LOG_WARN, "agent.malformed", "node=%s message=%s", node->profile.name, err.message);
        eei_arena_clear(&arena);
        return;
    }
    (void)snprintf(id, sizeof id, "%.*s", (int)message.job_id.len, (const char *)message.job_id.data);
    (void)snprintf(word, sizeof word, "%.*s", (int)message.word.len, (const char *)message.word.data);
    (void)snprintf(text, sizeof text, "%.*s", (int)message.message.len, (const char *)message.message.data);
    if (eei_span_equal(message.state, eei_span_text("failed"))) {
        job_row row;
        job_row_init(&row);
        /* Only the instance that has the job may end it (threat S1). */
        if (jobs_get(cp->reader, id, &row, NULL) == EE_OK && eei_same(row.instance_id, instance_id, 32))
            fail_job(cp, id, eei_status_from_word(word) ? eei_status_from_word(word) : EE_E_SERVER, text, NULL, NULL);
        job_row_clear(&row);
    } else {
        progress *p = eei_calloc(1, sizeof *p);
        if (p && job_state_parse(message.state, &p->state) && p->state < JOB_DONE) {
            (void)snprintf(p->id, sizeof p->id, "%s", id);
            memcpy(p->instance_id, instance_id, 32);
            if (writer_submit(cp->writer, progress_work, p, progress_done, NULL) == EE_OK) p = NULL;
        }
        eei_free(p);
    }
    eei_arena_clear(&arena);
}

typedef struct booking {
    cp_context *cp;
    char id[JOB_ID_CAP], node[NAME_CAP], reason[33];
    uint8_t hash[32];
    eei_buf envelope;
    job_receipt receipt;
    job_finished finished;
    uint64_t vcpus_milli, memory_bytes;
} booking;

static void booking_free(booking *b) {
    eei_buf_clear(&b->envelope);
    eei_free(b);
}

static ee_status book_work(store *db, void *arg, ee_error *err) {
    booking *b = arg;
    job_row row;
    job_row_init(&row);
    ee_status st = jobs_get(db, b->id, &row, err);
    b->vcpus_milli = row.vcpus_milli;
    b->memory_bytes = row.memory_bytes;
    job_row_clear(&row);
    return st ? st : jobs_finish(db, b->id, &b->receipt, eei_buf_span(&b->envelope), eei_wall_ms(), &b->finished, err);
}

static void book_done(void *arg, ee_status status, const ee_error *why) {
    booking *b = arg;
    registry_node *node = registry_find(b->cp->registry, eei_span_text(b->node));
    /* A receipt that will never be booked (the job ended otherwise, or there is none) is answered too: its agent need not keep it. */
    bool decided = status == EE_E_CONFLICT || status == EE_E_NOT_FOUND || status == EE_E_INVALID;
    if (status) eei_log(EEI_LOG_WARN, "receipt.refused", "job=%s node=%s message=%s", b->id, b->node, why->message);
    if (status && !decided) {
        booking_free(b);
        return;
    }
    if (!status)
        eei_log(EEI_LOG_INFO, "receipt.booked", "job=%s node=%s charge=%lld returned=%lld", b->id, b->node, (long long)b->finished.charge,
                (long long)b->finished.returned);
    if (node && !status && !b->finished.replayed) registry_release(b->cp->registry, node, b->vcpus_milli, b->memory_bytes);
    eei_receipt_ack ack = {.job_id = eei_span_text(b->id)};
    eei_buf payload = EEI_BUF_INIT(256);
    memcpy(ack.receipt_hash, b->hash, 32);
    if (node && eei_encode(&eei_receipt_ack_schema, &ack, &payload, NULL) == EE_OK)
        eei_ignored(cp_tunnels_send(b->cp, node, EEI_FRAME_RECEIPT_ACK, eei_buf_span(&payload), NULL));
    eei_buf_clear(&payload);
    booking_free(b);
}

static ee_status start_booking(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const uint8_t instance_pub[32],
                               ee_span bytes, ee_error *err) {
    eei_envelope envelope;
    eei_receipt message;
    eei_arena arena = EEI_ARENA_INIT(4096);
    booking *b = NULL;
    ee_status st = eei_envelope_parse(bytes, &envelope, err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_RECEIPT, instance_pub, err);
    if (!st) st = eei_decode(&eei_receipt_schema, envelope.body, &arena, &message, err);
    if (!st && !eei_same(message.instance_id, instance_id, 32)) st = eei_fail(err, EE_E_AUTH, "the receipt names another instance");
    if (!st && !eei_same(message.network_id, cp->network_id, 32)) st = eei_fail(err, EE_E_AUTH, "the receipt names another network");
    if (!st && !(b = eei_calloc(1, sizeof *b))) st = eei_nomem(err);
    if (!st) {
        b->cp = cp;
        b->envelope = (eei_buf)EEI_BUF_INIT(JOB_ENVELOPE_BYTES_MAX);
        (void)snprintf(b->id, sizeof b->id, "%.*s", (int)message.job_id.len, (const char *)message.job_id.data);
        (void)snprintf(b->node, sizeof b->node, "%s", node->profile.name);
        (void)snprintf(b->reason, sizeof b->reason, "%.*s", (int)message.reason.len, (const char *)message.reason.data);
        eei_sha256(bytes, b->hash);
        b->receipt = (job_receipt){.node = eei_span_text(b->node),
                                   .price = (ee_money)message.price,
                                   .charge = (ee_money)message.charge,
                                   .vcpus_milli = message.vcpus_milli,
                                   .vcpu_ms = message.vcpu_ms,
                                   .exit_code = message.exit_code,
                                   .reason = eei_span_text(b->reason),
                                   .start_ms = message.start_ms,
                                   .end_ms = message.end_ms};
        memcpy(b->receipt.instance_id, message.instance_id, 32);
        memcpy(b->receipt.auth_id, message.auth_id, 16);
        memcpy(b->receipt.spec_hash, message.spec_hash, 32);
        if (!eei_span_equal(message.node, b->receipt.node)) st = eei_fail(err, EE_E_AUTH, "the receipt names another node");
        if (!st && eei_buf_append_span(&b->envelope, bytes)) st = eei_nomem(err);
    }
    eei_arena_clear(&arena);
    if (!st) st = writer_submit(cp->writer, book_work, b, book_done, err);
    if (st && b) booking_free(b);
    return st;
}

void broker_control(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const uint8_t instance_pub[32],
                    const eei_frame *frame) {
    ee_error err = {0};
    if (frame->type == EEI_FRAME_JOB_STATE) on_job_state(cp, node, instance_id, frame);
    if (frame->type == EEI_FRAME_RECEIPT && start_booking(cp, node, instance_id, instance_pub, frame->payload, &err))
        eei_log(EEI_LOG_WARN, "receipt.refused", "node=%s message=%s", node->profile.name, err.message);
}

/* ---- losses and sweeps ----------------------------------------------------------------------------------------------- */

/* Why an open job can have no good end any more, or NULL. An agent that only lost its tunnel keeps its jobs for the grace: it comes back
 * with the same instance and its receipts. */
static const char *hopeless(cp_context *cp, const job_row *row, uint64_t now_ms, ee_status *why) {
    const registry_node *node = registry_find_id(cp->registry, row->node);
    *why = EE_E_JOB_LOST;
    if (!node) return "its node is not enrolled any more";
    if (node->session && !eei_same(node->instance_id, row->instance_id, 32)) return "its node was started again";
    if (!node->session && now_ms > node->changed_ms + LOST_GRACE_MS) return "its node went away";
    *why = EE_E_TIMEOUT;
    if (row->state <= JOB_WAITING && row->connect_by_ms < now_ms) return "nobody connected to it in time";
    return NULL;
}

typedef struct sweeping {
    cp_context *cp;
    uint64_t now_ms;
    unsigned seen;
    char last[JOB_ID_CAP];
} sweeping;

static void note_row(sweeping *s, const job_row *row) {
    s->seen++;
    memcpy(s->last, row->id, sizeof s->last);
}

static bool sweep_one(void *user, const job_row *row) {
    sweeping *s = user;
    note_row(s, row);
    ee_status why;
    const char *message = hopeless(s->cp, row, s->now_ms, &why);
    if (message && why == EE_E_TIMEOUT) tell_agent_to_cancel(s->cp, row);
    if (message) fail_job(s->cp, row->id, why, message, NULL, NULL);
    return true;
}

/* All open jobs, a page at a time: none may be out of reach because others are newer. */
static void each_open_job(cp_context *cp, int64_t node, job_row_fn fn, sweeping *s) {
    job_list_query query = {.node = node, .only_open = true, .limit = SWEEP_BATCH};
    do {
        s->seen = 0;
        eei_ignored(jobs_list(cp->reader, &query, fn, s, NULL));
        memcpy(query.before, s->last, sizeof query.before);
    } while (s->seen == SWEEP_BATCH);
}

static void sweep_jobs(cp_context *cp, int64_t node, uint64_t now_ms) {
    sweeping s = {.cp = cp, .now_ms = now_ms};
    each_open_job(cp, node, sweep_one, &s);
}

static bool reserve_one(void *user, const job_row *row) {
    sweeping *s = user;
    registry_node *node = registry_find_id(s->cp->registry, row->node);
    note_row(s, row);
    /* More than the node has now cannot be reserved: its provider made it smaller. Releasing never goes below nothing. */
    if (node) eei_ignored(registry_reserve(s->cp->registry, node, row->vcpus_milli, row->memory_bytes, NULL));
    return true;
}

void broker_recover(cp_context *cp) {
    sweeping s = {.cp = cp};
    each_open_job(cp, 0, reserve_one, &s);
}

void broker_node_serving(cp_context *cp, registry_node *node) { sweep_jobs(cp, node->profile.id, eei_wall_ms()); }

static ee_status expire_work(store *db, void *arg, ee_error *err) {
    unsigned count = 0;
    (void)arg;
    return ledger_expire(db, eei_wall_ms(), SWEEP_BATCH, &count, err);
}

void broker_sweep(cp_context *cp, uint64_t now_ms) {
    if (cp->stopping) return;
    sweep_jobs(cp, 0, now_ms);
    if (now_ms - cp->expired_ms < EXPIRE_EVERY_MS) return;
    cp->expired_ms = now_ms;
    eei_ignored(writer_submit(cp->writer, expire_work, NULL, NULL, NULL));
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

/* What only a receipt says is null where there is none: a job that was lost has no exit code. */
static json_t *row_json(const job_row *row) {
    char created[32], digest[65], receipt[65], seconds[40];
    bool has = row->state == JOB_DONE;
    eei_hex_encode(eei_span(row->spec_hash, 32), digest);
    eei_hex_encode(eei_span(row->receipt_hash, 32), receipt);
    (void)snprintf(seconds, sizeof seconds, "%llu.%03u", (unsigned long long)(row->vcpu_ms / 1000), (unsigned)(row->vcpu_ms % 1000));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s}", "id", row->id, "node", row->node_name,
                     "state", job_state_word(row->state), "reason", row->word, "locked", eei_json_money(row->locked), "charged",
                     eei_json_money(row->charge), "refunded", eei_json_money(row->returned), "price_per_vcpu_hour",
                     eei_json_money(row->price), "vcpu_seconds", has ? json_string(seconds) : json_null(), "exit_code",
                     has ? json_integer((json_int_t)row->exit_code) : json_null(), "receipt_id", has ? json_string(receipt) : json_null(),
                     "message", row->message, "created_at", eei_format_utc(row->created_ms, created), "spec_hash", digest);
}

ee_status broker_job_json(cp_context *cp, const ledger_principal *account, const char *job_id, json_t **out, ee_error *err) {
    job_row row;
    job_row_init(&row);
    ee_status st = jobs_get(cp->reader, job_id, &row, err);
    if (!st && row.account != account->id) st = eei_fail(err, EE_E_NOT_FOUND, "there is no job \"%s\"", job_id);
    if (!st && !(*out = row_json(&row))) st = eei_nomem(err);
    job_row_clear(&row);
    return st;
}

static bool append_row(void *user, const job_row *row) { return json_array_append_new(user, row_json(row)) == 0; }

ee_status broker_list(cp_context *cp, const ledger_principal *account, const page_request *page, json_t **out, ee_error *err) {
    json_t *items = json_array();
    job_list_query query = {.account = account->id, .limit = page->limit + 1};
    (void)snprintf(query.before, sizeof query.before, "%s", page->after);
    ee_status st = items ? jobs_list(cp->reader, &query, append_row, items, err) : eei_nomem(err);
    if (!st && !(*out = page_json(items, page, "id"))) st = eei_nomem(err);
    json_decref(items);
    return st;
}
