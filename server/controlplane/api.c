/* api.c - see api.h. */
#include "api.h"

#include "auth.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "base/log.h"
#include "broker.h"
#include "collateral.h"
#include "placer.h"
#include "tunnels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers --------------------------------------------------------------------------------------------------------- */

static void reply_with(eei_exchange *exchange, int status, const char *const *headers, const json_t *body) {
    eei_buf text = EEI_BUF_INIT(16u << 20);
    ee_error err;
    if (!body || eei_json_dump(body, &text, &err))
        eei_exchange_reply(exchange, 500, "application/json", headers,
                           eei_span_text("{\"error\":{\"code\":\"out_of_memory\",\"message\":\"out of memory\",\"retryable\":false}}"));
    else
        eei_exchange_reply(exchange, status, "application/json", headers, eei_buf_span(&text));
    eei_buf_clear(&text);
}

static void reply_json(eei_exchange *exchange, int status, const json_t *body) {
    static const char *const no_store[] = {"Cache-Control: no-store", NULL};
    reply_with(exchange, status, no_store, body);
}

static json_t *error_json(const eei_exchange *exchange, const ee_error *err) {
    json_t *error = json_pack("{s:s, s:s, s:s, s:s, s:b}", "code", err->word, "message", err->message, "hint", err->hint, "request_id",
                              eei_exchange_id(exchange), "retryable", err->retryable != 0);
    json_t *body = json_object(), *details = NULL;
    if (error && (err->status == EE_E_LOW_BALANCE || err->status == EE_E_BUDGET)) {
        json_object_set_new(error, "needed", eei_json_money(err->needed));
        json_object_set_new(error, "available", eei_json_money(err->available));
        json_object_set_new(error, "locked", eei_json_money(err->locked));
    }
    if (error && err->details[0] && eei_json_parse(eei_span_text(err->details), sizeof err->details, &details, NULL) == EE_OK)
        json_object_set_new(error, "details", details);
    if (body && error) json_object_set(body, "error", error);
    if (!error) json_decref(eei_take(&body));
    json_decref(error);
    return body;
}

static void reply_error(eei_exchange *exchange, const ee_error *err) {
    json_t *body = error_json(exchange, err);
    reply_json(exchange, eei_status_http(err->status), body);
    json_decref(body);
}

/* The word has a status of its own in HTTP here. */
static void wrong_method(eei_exchange *exchange, const char *allow) {
    ee_error err = {0};
    char line[80];
    const char *const headers[] = {"Cache-Control: no-store", line, NULL};
    (void)snprintf(line, sizeof line, "Allow: %s", allow);
    (void)eei_fail(&err, EE_E_INVALID, "%s is not for %s", eei_exchange_method(exchange), eei_exchange_path(exchange));
    (void)eei_hint(&err, EE_E_INVALID, "it takes %s", allow);
    json_t *body = error_json(exchange, &err);
    reply_with(exchange, 405, headers, body);
    json_decref(body);
}

static void reply(eei_exchange *exchange, json_t *answer, ee_status status, const ee_error *err) {
    if (status)
        reply_error(exchange, err);
    else
        reply_json(exchange, 200, answer);
    json_decref(answer);
}

/* ---- answers that come later ----------------------------------------------------------------------------------------- */

/* The peer may leave before the answer: then there is nobody to tell, but the work goes on. */
typedef struct pending {
    eei_exchange *exchange;
} pending;

static void peer_gone(void *user) { ((pending *)user)->exchange = NULL; }

static pending *wait_for(eei_exchange *exchange) {
    pending *p = eei_calloc(1, sizeof *p);
    if (!p) return NULL;
    p->exchange = exchange;
    eei_exchange_set_user(exchange, p, peer_gone);
    return p;
}

static void answer_later(void *user, const json_t *answer, const ee_error *err) {
    pending *p = user;
    if (p->exchange && err)
        reply_error(p->exchange, err);
    else if (p->exchange)
        reply_json(p->exchange, 200, answer);
    eei_free(p);
}

/* ---- reading requests ------------------------------------------------------------------------------------------------ */

typedef struct call {
    cp_context *cp;
    eei_exchange *exchange;
    char param[96];
    ledger_principal account; /* of signed calls */
    eei_buf evidence;
    json_t *body;
} call;

/* The value of one name in "ca=platform&..."; "" when there is none. False when it does not fit. */
static bool query_value(const eei_exchange *exchange, const char *name, char *out, size_t cap) {
    const size_t len = strlen(name);
    out[0] = 0;
    for (const char *at = eei_exchange_query(exchange); *at; at += strcspn(at, "&"), at += *at == '&') {
        if (strncmp(at, name, len) != 0 || at[len] != '=') continue;
        size_t n = strcspn(at + len + 1, "&");
        (void)snprintf(out, cap, "%.*s", (int)n, at + len + 1);
        return n < cap;
    }
    return true;
}

/* ?after=CURSOR&limit=N of a list: the cursor is what `next` of the page before said. */
static ee_status read_page(const call *c, page_request *out, ee_error *err) {
    char limit[8], *end;
    *out = (page_request){.limit = PAGE_MAX};
    if (!query_value(c->exchange, "after", out->after, sizeof out->after))
        return eei_fail(err, EE_E_INVALID, "after must be what \"next\" of the page before said");
    bool fits = query_value(c->exchange, "limit", limit, sizeof limit);
    if (fits && !limit[0]) return EE_OK;
    unsigned long number = fits ? strtoul(limit, &end, 10) : 0;
    if (!fits || limit[0] < '0' || limit[0] > '9' || *end || number < 1 || number > PAGE_MAX)
        return eei_fail(err, EE_E_INVALID, "limit is \"%s\"; it must be 1 to %u", limit, PAGE_MAX);
    out->limit = (unsigned)number;
    return EE_OK;
}

static ee_status read_body(call *c, const char *const *fields, ee_error *err) {
    ee_status st = eei_json_parse(eei_exchange_body(c->exchange), EEI_HTTP_BODY_MAX, &c->body, err);
    if (st) return eei_prefix(err, st, "the request's body");
    return eei_json_only(c->body, fields, err);
}

static ee_status read_bytes(const call *c, const char *field, eei_buf *out, ee_error *err) {
    const char *text;
    ee_status st = eei_json_string(c->body, field, &text, err);
    if (!st) st = eei_base64url_decode(text, out, err);
    return st ? eei_prefix(err, st, field) : EE_OK;
}

static ee_status need_key(const call *c, const char **out, ee_error *err) {
    *out = eei_exchange_header(c->exchange, "idempotency-key");
    if (*out && **out) return EE_OK;
    return eei_hint(err, eei_fail(err, EE_E_INVALID, "this call needs an Idempotency-Key header"),
                    "1 to 64 printable ASCII characters, new for each thing to be done");
}

/* ---- handlers: public ------------------------------------------------------------------------------------------------ */

static ee_status get_health(call *c, json_t **out, ee_error *err) {
    cp_tunnel_stats stats;
    cp_tunnels_get_stats(c->cp->tunnels, &stats);
    *out = json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I}", "status", "ok", "network", c->cp->network, "version", ee_version(), "simulated",
                     c->cp->sandbox, "agents", (json_int_t)stats.agents, "streams", (json_int_t)stats.streams, "bytes_relayed",
                     (json_int_t)stats.bytes_relayed);
    return *out ? EE_OK : eei_nomem(err);
}

/* The session challenge of an attested HTTPS connection (net/fetch.h): answered for this connection only. */
static ee_status post_attest(call *c, json_t **out, ee_error *err) {
    static const char *const fields[] = {"r", NULL};
    static const uint8_t zero[32];
    eei_buf r = EEI_BUF_INIT(64), evidence = EEI_BUF_INIT(EEI_EVIDENCE_BYTES_MAX), text = EEI_BUF_INIT(2 * EEI_EVIDENCE_BYTES_MAX);
    eei_prove prove = {.purpose = EEI_PURPOSE_CHALLENGE, .wire_version = EEI_FRAME_VERSION};
    ee_status st = read_body(c, fields, err);
    if (!st) st = read_bytes(c, "r", &r, err);
    if (!st && r.len != 32) st = eei_fail(err, EE_E_INVALID, "r has %zu bytes; it must have 32", r.len);
    if (!st) {
        eei_nonce_derive(zero, 0, r.data, zero, prove.nonce);
        st = eei_exchange_binder(c->exchange, prove.nonce, prove.binder, err);
    }
    if (!st) st = eei_prover_session(c->cp->prover, &prove, &evidence, err);
    if (!st && (eei_base64url_encode(eei_buf_span(&evidence), &text) || !eei_buf_cstr(&text))) st = eei_nomem(err);
    if (!st && !(*out = json_pack("{s:s}", "evidence", (const char *)text.data))) st = eei_nomem(err);
    eei_buf_clear(&r);
    eei_buf_clear(&evidence);
    eei_buf_clear(&text);
    return st;
}

static json_t *node_json(const registry_node *node, uint32_t trust, ee_money effective, const char *reason) {
    char attested[32], instance[65], node_id[65];
    eei_hex_encode(eei_span(node->instance_id, 32), instance);
    eei_hex_encode(eei_span(node->profile.node_id, 32), node_id);
    return json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:s, s:b, s:s, s:o, s:I, s:I, s:I, s:I, s:b, s:o, s:s, s:s, s:s}", "node",
                     node->profile.name, "tier", routing_tier_word(node->profile.tier), "provider", node->profile.provider_name,
                     "price_per_vcpu_hour", eei_json_money(node->profile.price), "trust_ppm", (json_int_t)trust, "effective",
                     eei_json_money(effective), "state", node_state_word(node->state), "eligible", reason[0] == 0, "reason", reason,
                     "stake", eei_json_money(node->profile.stake), "vcpus_milli", (json_int_t)node->profile.vcpus_milli, "vcpus_used_milli",
                     (json_int_t)node->vcpus_used_milli, "memory_bytes", (json_int_t)node->profile.memory_bytes, "memory_used",
                     (json_int_t)node->memory_used, "simulated", node->simulated, "limits_enforced",
                     node->session ? json_boolean(!node->limits_off) : json_null(), "attested_at",
                     node->evidence_ms ? eei_format_utc(node->evidence_ms, attested) : "", "instance_id", instance, "node_id", node_id);
}

static ee_status list_nodes(call *c, const char *only, json_t **out, ee_error *err) {
    cp_context *cp = c->cp;
    size_t count = registry_count(cp->registry);
    routing_candidate *candidates = eei_calloc(count + 1, sizeof *candidates);
    routing_choice *choices = eei_calloc(count + 1, sizeof *choices);
    routing_request request = {.vcpus_milli = 1, .memory_bytes = 1, .allow_simulated = cp->sandbox, .now_ms = eei_wall_ms()};
    json_t *items = json_array();
    ee_status st = candidates && choices && items ? EE_OK : eei_nomem(err);
    if (!st) {
        count = registry_candidates(cp->registry, candidates, count);
        (void)routing_rank(&request, candidates, count, choices);
    }
    for (size_t i = 0; !st && i < count; i++) {
        const char *name = candidates[choices[i].index].name;
        if (only && strcmp(only, name) != 0) continue;
        const registry_node *node = registry_find(cp->registry, eei_span_text(name));
        if (json_array_append_new(items, node_json(node, choices[i].trust_ppm, choices[i].effective, choices[i].reason)))
            st = eei_nomem(err);
    }
    if (!st) *out = only ? json_incref(json_array_get(items, 0)) : json_pack("{s:O, s:n}", "items", items, "next");
    if (!st && !*out) st = eei_nomem(err);
    json_decref(items);
    eei_free(candidates);
    eei_free(choices);
    return st;
}

static ee_status get_nodes(call *c, json_t **out, ee_error *err) { return list_nodes(c, NULL, out, err); }

static ee_status get_node(call *c, json_t **out, ee_error *err) {
    registry_node *node;
    ee_status st = registry_get(c->cp->registry, eei_span_text(c->param), &node, err);
    return st ? st : list_nodes(c, node->profile.name, out, err);
}

/* A way to the node's agent for somebody who wants to see its proof. */
static ee_status get_attest(call *c, json_t **out, ee_error *err) {
    char instance[65], node_id[65];
    registry_node *node;
    eei_buf token = EEI_BUF_INIT(1024), text = EEI_BUF_INIT(2048);
    ee_status st = registry_get(c->cp->registry, eei_span_text(c->param), &node, err);
    if (!st && !node->session) st = eei_fail(err, EE_E_APP_UNAVAILABLE, "node %s is not connected", node->profile.name);
    if (!st) st = cp_token_make(c->cp, EEI_OPEN_ATTEST, node->profile.name, node->instance_id, c->account.name, eei_wall_ms(), &token, err);
    if (!st && (eei_base64url_encode(eei_buf_span(&token), &text) || !eei_buf_cstr(&text))) st = eei_nomem(err);
    if (!st) {
        eei_hex_encode(eei_span(node->instance_id, 32), instance);
        *out = json_pack("{s:s, s:s, s:s, s:s}", "node", node->profile.name, "node_id",
                         registry_node_id(c->cp->registry, node->profile.name, node_id), "instance_id", instance, "token",
                         (const char *)text.data);
        if (!*out) st = eei_nomem(err);
    }
    eei_buf_clear(&token);
    eei_buf_clear(&text);
    return st;
}

static ee_status get_apps(call *c, json_t **out, ee_error *err) {
    page_request page;
    ee_status st = read_page(c, &page, err);
    return st ? st : placer_list(c->cp, c->account.id, &page, out, err);
}
static ee_status get_app(call *c, json_t **out, ee_error *err) { return placer_app_json(c->cp, c->account.id, c->param, out, err); }

/* ---- handlers: accounts ---------------------------------------------------------------------------------------------- */

static ee_status get_balance(call *c, json_t **out, ee_error *err) {
    ledger_balance balance;
    if (strcmp(c->param, "me") != 0 && strcmp(c->param, c->account.name) != 0)
        return eei_fail(err, EE_E_PERMISSION, "an account's balance is shown to the account only");
    ee_status st = ledger_get_balance(c->cp->reader, c->account.id, &balance, err);
    if (!st && !(*out = json_pack("{s:s, s:o, s:o}", "account", c->account.name, "available", eei_json_money(balance.available), "locked",
                                  eei_json_money(balance.locked))))
        st = eei_nomem(err);
    return st;
}

static ee_status post_quotes(call *c, json_t **out, ee_error *err) {
    static const char *const fields[] = {"spec", NULL};
    eei_buf bytes = EEI_BUF_INIT(JOB_SPEC_BYTES_MAX);
    broker_spec spec;
    ee_status st = read_body(c, fields, err);
    if (!st) st = read_bytes(c, "spec", &bytes, err);
    if (!st) {
        /* A job's or an app's: the kind is in it. */
        st = broker_spec_parse(eei_buf_span(&bytes), EEI_SPEC_JOB, &spec, err);
        if (st == EE_E_INVALID) st = broker_spec_parse(eei_buf_span(&bytes), EEI_SPEC_APP, &spec, err);
    }
    if (!st) {
        st = broker_quote(c->cp, &spec, out, err);
        broker_spec_clear(&spec);
    }
    eei_buf_clear(&bytes);
    return st;
}

static ee_status get_jobs(call *c, json_t **out, ee_error *err) {
    page_request page;
    ee_status st = read_page(c, &page, err);
    return st ? st : broker_list(c->cp, &c->account, &page, out, err);
}
static ee_status get_job(call *c, json_t **out, ee_error *err) { return broker_job_json(c->cp, &c->account, c->param, out, err); }
static ee_status get_resolve(call *c, json_t **out, ee_error *err) { return placer_resolve(c->cp, &c->account, c->param, out, err); }

typedef void (*admit_fn)(cp_context *, const ledger_principal *, ee_span, ee_span, const char *, broker_done, void *);

static ee_status admit(call *c, admit_fn fn, ee_error *err) {
    static const char *const fields[] = {"spec", "authorization", NULL};
    eei_buf spec = EEI_BUF_INIT(JOB_SPEC_BYTES_MAX), auth = EEI_BUF_INIT(JOB_ENVELOPE_BYTES_MAX);
    const char *key;
    ee_status st = need_key(c, &key, err);
    if (!st) st = read_body(c, fields, err);
    if (!st) st = read_bytes(c, "spec", &spec, err);
    if (!st) st = read_bytes(c, "authorization", &auth, err);
    if (!st) {
        pending *p = wait_for(c->exchange);
        if (p)
            fn(c->cp, &c->account, eei_buf_span(&spec), eei_buf_span(&auth), key, answer_later, p);
        else
            st = eei_nomem(err);
    }
    eei_buf_clear(&spec);
    eei_buf_clear(&auth);
    return st;
}

static ee_status post_jobs(call *c, json_t **out, ee_error *err) {
    (void)out;
    return admit(c, broker_admit, err);
}

static ee_status post_apps(call *c, json_t **out, ee_error *err) {
    (void)out;
    return admit(c, placer_deploy, err);
}

static ee_status delete_job(call *c, json_t **out, ee_error *err) {
    pending *p = wait_for(c->exchange);
    (void)out;
    if (!p) return eei_nomem(err);
    broker_cancel(c->cp, &c->account, c->param, answer_later, p);
    return EE_OK;
}

static ee_status delete_app(call *c, json_t **out, ee_error *err) {
    pending *p = wait_for(c->exchange);
    (void)out;
    if (!p) return eei_nomem(err);
    placer_stop(c->cp, &c->account, c->param, answer_later, p);
    return EE_OK;
}

/* ---- handlers: money ------------------------------------------------------------------------------------------------- */

typedef struct money_work {
    ledger_transfer_request transfer;
    ledger_mint_request mint;
    ledger_entry entry;
    eei_buf order; /* the evidence; the spans above point into it and the texts below */
    char to[NAME_CAP], memo[LEDGER_MEMO_BYTES_MAX + 1], key[LEDGER_KEY_BYTES_MAX + 1];
    eei_exchange *exchange;
} money_work;

static void money_gone(void *user) { ((money_work *)user)->exchange = NULL; }

static money_work *money_new(eei_exchange *exchange) {
    money_work *w = eei_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->order = (eei_buf)EEI_BUF_INIT(LEDGER_EVIDENCE_BYTES_MAX);
    w->exchange = exchange;
    return w;
}

static void money_free(money_work *w) {
    eei_buf_clear(&w->order);
    eei_free(w);
}

static ee_status transfer_work(store *db, void *arg, ee_error *err) {
    money_work *w = arg;
    return ledger_transfer(db, &w->transfer, &w->entry, err);
}

static ee_status mint_work(store *db, void *arg, ee_error *err) {
    money_work *w = arg;
    return ledger_mint(db, &w->mint, &w->entry, err);
}

static void money_done(void *arg, ee_status status, const ee_error *why) {
    money_work *w = arg;
    char time[32];
    if (w->exchange && status) {
        reply_error(w->exchange, why);
    } else if (w->exchange) {
        json_t *answer = json_pack("{s:s, s:s, s:o, s:o, s:b, s:s, s:s}", "id", w->entry.id, "to", w->to, "amount",
                                   eei_json_money(w->entry.amount), "balance_after", eei_json_money(w->entry.balance_after), "replayed",
                                   w->entry.replayed, "idempotency_key", w->key, "at", eei_format_utc(w->entry.time_ms, time));
        reply_json(w->exchange, 200, answer);
        json_decref(answer);
    }
    money_free(w);
}

static ee_status submit_money(call *c, money_work *w, writer_work work, ee_error *err) {
    eei_exchange_set_user(c->exchange, w, money_gone);
    ee_status st = writer_submit(c->cp->writer, work, w, money_done, err);
    if (st) eei_exchange_set_user(c->exchange, NULL, NULL);
    return st;
}

/* The order is what the sender's key signed; the HTTP request around it only carries it. */
static ee_status read_order(call *c, const char *key, money_work *w, ee_error *err) {
    eei_envelope envelope;
    eei_transfer_order order;
    eei_arena arena = EEI_ARENA_INIT(1024);
    uint64_t now = eei_wall_ms();
    ee_status st = eei_envelope_parse(eei_buf_span(&w->order), &envelope, err);
    if (!st) st = eei_envelope_verify(&envelope, EEI_SIGNED_TRANSFER, c->account.key, err);
    if (!st) st = eei_decode(&eei_transfer_order_schema, envelope.body, &arena, &order, err);
    eei_arena_clear(&arena);
    if (st) return eei_prefix(err, st, "the transfer order");
    if (!eei_span_equal(order.from, eei_span_text(c->account.name)))
        return eei_fail(err, EE_E_AUTH, "the transfer order is from another account");
    if (!eei_same(order.control_instance, eei_prover_instance_id(c->cp->prover), 32))
        return eei_fail(err, EE_E_AUTH, "the transfer order is for another control plane instance");
    if (!eei_span_equal(order.key, eei_span_text(key)))
        return eei_fail(err, EE_E_INVALID, "the transfer order has another idempotency key than the request");
    if (order.not_after_ms < now) return eei_fail(err, EE_E_EXPIRED, "the transfer order has expired");
    (void)snprintf(w->to, sizeof w->to, "%.*s", (int)order.to.len, (const char *)order.to.data);
    (void)snprintf(w->memo, sizeof w->memo, "%.*s", (int)order.memo.len, (const char *)order.memo.data);
    (void)snprintf(w->key, sizeof w->key, "%.64s", key);
    w->transfer = (ledger_transfer_request){.from = c->account.id,
                                            .to = eei_span_text(w->to),
                                            .amount = (ee_money)order.amount,
                                            .memo = eei_span_text(w->memo),
                                            .key = eei_span_text(w->key),
                                            .evidence = eei_buf_span(&w->order),
                                            .now_ms = now};
    return EE_OK;
}

static ee_status post_transfer(call *c, json_t **out, ee_error *err) {
    static const char *const fields[] = {"order", NULL};
    const char *key;
    money_work *w = money_new(c->exchange);
    ee_status st = w ? need_key(c, &key, err) : eei_nomem(err);
    (void)out;
    if (!st) st = read_body(c, fields, err);
    if (!st) st = read_bytes(c, "order", &w->order, err);
    if (!st) st = read_order(c, key, w, err);
    if (!st) st = submit_money(c, w, transfer_work, err);
    if (st && w) money_free(w);
    return st;
}

/* The owner's: credits against a payment, named by its external reference. */
static ee_status post_purchase(call *c, json_t **out, ee_error *err) {
    static const char *const fields[] = {"account", "amount", "reference", NULL};
    const char *account = NULL, *amount = NULL, *reference = NULL;
    ee_money micros = 0;
    money_work *w = money_new(c->exchange);
    ee_status st = w ? read_body(c, fields, err) : eei_nomem(err);
    (void)out;
    if (!st) st = eei_json_string(c->body, "account", &account, err);
    if (!st) st = eei_json_string(c->body, "amount", &amount, err);
    if (!st) st = eei_json_string(c->body, "reference", &reference, err);
    if (!st) st = ee_money_parse(amount, &micros, err);
    if (!st && (strlen(account) > EEI_NAME_BYTES_MAX || strlen(reference) > LEDGER_KEY_BYTES_MAX))
        st = eei_fail(err, EE_E_INVALID, "account has at most %u bytes, reference at most %u", EEI_NAME_BYTES_MAX, LEDGER_KEY_BYTES_MAX);
    if (!st && eei_buf_append_span(&w->order, eei_exchange_body(c->exchange))) st = eei_nomem(err);
    if (!st) {
        (void)snprintf(w->to, sizeof w->to, "%s", account);
        (void)snprintf(w->key, sizeof w->key, "%s", reference);
        w->mint = (ledger_mint_request){.to = eei_span_text(w->to),
                                        .amount = micros,
                                        .reference = eei_span_text(w->key),
                                        .evidence = eei_buf_span(&w->order),
                                        .now_ms = eei_wall_ms()};
        st = submit_money(c, w, mint_work, err);
    }
    if (st && w) money_free(w);
    return st;
}

/* ---- routes ---------------------------------------------------------------------------------------------------------- */

/* ANYBODY: and who signs sees more. */
typedef enum access { ACCESS_PUBLIC, ACCESS_ANYBODY, ACCESS_ACCOUNT, ACCESS_OWNER } access_kind;
/* A handler answers with *out, fails, or has taken the exchange to answer later (EE_OK and *out NULL). */
typedef struct route {
    const char *method, *path; /* a trailing {} takes one segment */
    access_kind access;
    ee_status (*handler)(call *c, json_t **out, ee_error *err);
} route;

static const route routes[] = {
    {"GET", "/health", ACCESS_PUBLIC, get_health},
    {"POST", "/v1/attest", ACCESS_PUBLIC, post_attest},
    {"GET", "/v1/attest/{}", ACCESS_ACCOUNT, get_attest},
    {"GET", "/v1/nodes", ACCESS_PUBLIC, get_nodes},
    {"GET", "/v1/nodes/{}", ACCESS_PUBLIC, get_node},
    {"GET", "/v1/apps", ACCESS_ANYBODY, get_apps},
    {"GET", "/v1/apps/{}", ACCESS_ANYBODY, get_app},
    {"POST", "/v1/apps", ACCESS_ACCOUNT, post_apps},
    {"DELETE", "/v1/apps/{}", ACCESS_ACCOUNT, delete_app},
    {"GET", "/v1/resolve/{}", ACCESS_ACCOUNT, get_resolve},
    {"POST", "/v1/quotes", ACCESS_ACCOUNT, post_quotes},
    {"POST", "/v1/jobs", ACCESS_ACCOUNT, post_jobs},
    {"GET", "/v1/jobs", ACCESS_ACCOUNT, get_jobs},
    {"GET", "/v1/jobs/{}", ACCESS_ACCOUNT, get_job},
    {"DELETE", "/v1/jobs/{}", ACCESS_ACCOUNT, delete_job},
    {"GET", "/v1/balances/{}", ACCESS_ACCOUNT, get_balance},
    {"POST", "/v1/credits/transfer", ACCESS_ACCOUNT, post_transfer},
    {"POST", "/v1/credits/purchase", ACCESS_OWNER, post_purchase},
};

static bool matches(const char *pattern, const char *path, char param[96]) {
    size_t fixed = strcspn(pattern, "{");
    param[0] = 0;
    if (!pattern[fixed]) return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, fixed) != 0) return false;
    const char *rest = path + fixed;
    size_t len = strlen(rest);
    if (len == 0 || len >= 96 || strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len) return false;
    memcpy(param, rest, len + 1);
    return true;
}

#define COLLATERAL_PATH "/v1/collateral/{}" /* served beside the table: it is no JSON of ours */

/* HEAD asks for a GET's answer without its body. */
static bool method_fits(const char *allowed, const char *method) {
    return strcmp(allowed, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(allowed, "GET") == 0);
}

/* allow: the methods of that path, for a 405; "" when nothing is there. */
static const route *find_route(const char *method, const char *path, char param[96], char allow[64]) {
    size_t at = 0;
    allow[0] = 0;
    if (matches(COLLATERAL_PATH, path, param)) (void)snprintf(allow, 64, "GET, HEAD");
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!matches(routes[i].path, path, param)) continue;
        if (method_fits(routes[i].method, method)) return &routes[i];
        int n =
            snprintf(allow + at, 64 - at, "%s%s%s", at ? ", " : "", routes[i].method, strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
        if (n > 0 && at + (size_t)n < 64) at += (size_t)n;
    }
    return NULL;
}

static ee_status authorize(call *c, access_kind access, ee_error *err) {
    bool is_signed = eei_exchange_header(c->exchange, "ee-key") != NULL;
    if (access == ACCESS_ACCOUNT || (access == ACCESS_ANYBODY && is_signed))
        return cp_auth_account(c->cp, c->exchange, eei_wall_ms(), &c->account, &c->evidence, err);
    if (access == ACCESS_OWNER) return cp_auth_owner(c->cp, c->exchange, err);
    return EE_OK;
}

/* Collateral is text that is signed by itself and is handed out as it is. */
static bool serve_collateral(cp_context *cp, eei_exchange *exchange) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    ee_error err = {0};
    char fmspc[96], ca[16];
    if (!matches(COLLATERAL_PATH, eei_exchange_path(exchange), fmspc) || !method_fits("GET", eei_exchange_method(exchange))) return false;
    (void)query_value(exchange, "ca", ca, sizeof ca);
    if (cp_collateral_find(cp->collateral, fmspc, ca, &json, &err))
        reply_error(exchange, &err);
    else
        eei_exchange_reply(exchange, 200, "application/json", NULL, eei_buf_span(&json));
    eei_buf_clear(&json);
    return true;
}

void api_request(cp_context *cp, eei_exchange *exchange) {
    call c = {.cp = cp, .exchange = exchange, .evidence = EEI_BUF_INIT(LEDGER_EVIDENCE_BYTES_MAX)};
    ee_error err = {0};
    json_t *out = NULL;
    char allow[64];
    ee_status st;
    if (serve_collateral(cp, exchange)) return;
    const route *found = find_route(eei_exchange_method(exchange), eei_exchange_path(exchange), c.param, allow);
    if (!found && allow[0]) {
        wrong_method(exchange, allow);
        return;
    }
    if (!found)
        st = eei_fail(&err, EE_E_NOT_FOUND, "there is no %s", eei_exchange_path(exchange));
    else if (cp->stopping)
        st = eei_fail(&err, EE_E_SERVER, "the control plane is stopping");
    else
        st = authorize(&c, found->access, &err);
    eei_log(EEI_LOG_DEBUG, "http", "method=%s path=%s allowed=%s", eei_exchange_method(exchange), eei_exchange_path(exchange),
            ee_status_word(st));
    if (!st) st = found->handler(&c, &out, &err); /* may have answered already: then the exchange is gone, and st and out are empty */
    if (st || out) reply(exchange, out, st, &err);
    json_decref(c.body);
    eei_buf_clear(&c.evidence);
}
