/* placer.c - see placer.h. What an app costs is rent.c's. */
#include "placer.h"

#include "attest/statement.h"
#include "base/alloc.h"
#include "base/encoding.h"
#include "base/log.h"
#include "rent.h"
#include "tunnels.h"

#include <string.h>

enum { APPS_MAX = 64 /* names of one account */, SWEEP_BATCH = 256, RECOVER_MAX = 65536, GONE_GRACE_MS = 3000 };

/* ---- telling agents -------------------------------------------------------------------------------------------------- */

static ee_status send_app(cp_context *cp, registry_node *node, const app_row *row, bool stop, ee_error *err) {
    eei_app message = {.app_id = eei_span_text(row->id),
                       .name = eei_span_text(row->name),
                       .spec = stop ? (ee_span){NULL, 0} : eei_buf_span(&row->spec),
                       .epoch = row->epoch,
                       .account = eei_span_text(row->account_name)};
    eei_buf payload = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    ee_status st = eei_encode(&eei_app_schema, &message, &payload, err);
    if (!st) st = cp_tunnels_send(cp, node, EEI_FRAME_APP, eei_buf_span(&payload), err);
    eei_buf_clear(&payload);
    return st;
}

/* After a commit: the row as it is now goes to its node. */
static void tell_node(cp_context *cp, const char *id) {
    app_row row;
    ee_error err = {0};
    app_row_init(&row);
    if (apps_get_id(cp->reader, id, &row, &err) == EE_OK) {
        registry_node *node = registry_find_id(cp->registry, row.node);
        if (!node || send_app(cp, node, &row, row.state == APP_STOPPED || row.state == APP_FAILED, &err))
            eei_log(EEI_LOG_WARN, "app.not_sent", "app=%s message=%s", row.name, err.message); /* the sweep places it again */
    }
    app_row_clear(&row);
}

/* ---- deploy ---------------------------------------------------------------------------------------------------------- */

/* What a placement holds of its node. */
typedef struct held {
    int64_t node; /* 0 = nothing */
    uint64_t vcpus_milli, memory_bytes;
} held;

static bool holds_capacity(const app_row *row) { return row->state == APP_DEPLOYING || row->state == APP_RUNNING; }

static void let_go(cp_context *cp, const held *h) {
    registry_node *node = h->node ? registry_find_id(cp->registry, h->node) : NULL;
    if (node) registry_release(cp->registry, node, h->vcpus_milli, h->memory_bytes);
}

typedef struct deployment {
    cp_context *cp;
    ledger_principal account;
    eei_buf spec, spend_auth;
    char key[LEDGER_KEY_BYTES_MAX + 1], node[NAME_CAP];
    broker_spec parsed;
    eei_arena arena;
    app_deploy_request request;
    app_deployed deployed;
    ee_money locked;
    held left; /* by the placement before */
    bool reserved;
    ee_error unable;
    broker_done done;
    void *user;
} deployment;

static void deployment_free(deployment *d) {
    broker_spec_clear(&d->parsed);
    eei_arena_clear(&d->arena);
    eei_buf_clear(&d->spec);
    eei_buf_clear(&d->spend_auth);
    eei_free(d);
}

static ee_status deploy_work(store *db, void *arg, ee_error *err) {
    deployment *d = arg;
    app_row before, row;
    uint64_t now = d->request.now_ms, period = d->cp->period_ms;
    app_row_init(&before);
    app_row_init(&row);
    bool had = apps_get(db, d->request.name, &before, NULL) == EE_OK;
    if (had && holds_capacity(&before)) d->left = (held){before.node, before.vcpus_milli, before.memory_bytes};
    ee_status st = apps_deploy(db, &d->request, &d->deployed, err);
    bool placed = !st && !d->deployed.replayed;
    if (placed && d->unable.status) {
        if (err) *err = d->unable;
        st = d->unable.status;
    } else if (placed) {
        if (had) st = rent_close(db, &before, period, now, err);
        if (!st) st = apps_get_id(db, d->deployed.id, &row, err);
        if (!st) st = rent_open(db, &row, eei_buf_span(&d->spend_auth), period, now, &d->locked, err);
    }
    app_row_clear(&before);
    app_row_clear(&row);
    return st;
}

static json_t *deployed_json(deployment *d) {
    char hex[65], node_id[65];
    app_row row;
    json_t *answer = NULL;
    app_row_init(&row);
    if (apps_get_id(d->cp->reader, d->deployed.id, &row, NULL) == EE_OK) {
        eei_hex_encode(eei_span(row.instance_id, 32), hex);
        answer =
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:s, s:b}", "id", row.id, "name", row.name, "node", row.node_name,
                      "node_id", registry_node_id(d->cp->registry, row.node_name, node_id), "state", app_state_word(row.state),
                      "instance_id", hex, "locked", eei_json_money(d->locked), "price_per_vcpu_hour", eei_json_money(row.price),
                      "period_start_ms", (json_int_t)cp_period_start(d->cp, row.changed_ms), "token", "", "replayed", d->deployed.replayed);
    }
    app_row_clear(&row);
    return answer;
}

static void deploy_done(void *arg, ee_status status, const ee_error *why) {
    deployment *d = arg;
    json_t *answer = NULL;
    registry_node *node = registry_find(d->cp->registry, eei_span_text(d->node));
    if (d->reserved && (status || d->deployed.replayed) && node)
        registry_release(d->cp->registry, node, d->request.vcpus_milli, d->request.memory_bytes);
    if (!status) {
        eei_log(EEI_LOG_INFO, "app.placed", "app=%s node=%s epoch=%llu", d->deployed.id, d->node, (unsigned long long)d->deployed.epoch);
        if (!d->deployed.replayed) {
            let_go(d->cp, &d->left);
            tell_node(d->cp, d->deployed.id);
        }
        answer = deployed_json(d);
    }
    d->done(d->user, answer, status ? why : NULL);
    json_decref(answer);
    deployment_free(d);
}

static ee_status prepare(deployment *d, ee_error *err) {
    cp_context *cp = d->cp;
    uint64_t now = eei_wall_ms();
    eei_spend_auth auth;
    registry_node *node = NULL;
    ee_status st = broker_spec_parse(eei_buf_span(&d->spec), EEI_SPEC_APP, &d->parsed, err);
    if (!st) st = broker_check_auth(cp, &d->account, &d->parsed, eei_buf_span(&d->spend_auth), now, &auth, &d->arena, err);
    if (!st) st = eei_make_id("app_", now, d->request.id, sizeof d->request.id, err);
    if (!st) st = registry_get(cp->registry, auth.node, &node, err);
    if (st) return st;
    app_deploy_request *r = &d->request;
    if ((ee_money)auth.price < node->profile.price)
        return eei_fail(err, EE_E_CONFLICT, "node %s asks more now than was authorized", node->profile.name);
    (void)snprintf(d->node, sizeof d->node, "%s", node->profile.name);
    r->name = d->parsed.message.name;
    r->account = d->account.id;
    r->node = node->profile.id;
    memcpy(r->instance_id, node->instance_id, 32);
    r->spec = eei_buf_span(&d->spec);
    memcpy(r->spec_hash, d->parsed.hash, 32);
    r->price = node->profile.price;
    r->ceiling = (ee_money)auth.max_total;
    r->vcpus_milli = d->parsed.message.vcpus_milli;
    r->memory_bytes = d->parsed.message.memory_bytes;
    r->port = d->parsed.message.port;
    r->key = eei_span_text(d->key);
    r->apps_max = APPS_MAX;
    r->now_ms = now;
    ee_status able = broker_node(cp, &d->parsed, auth.node, now, &node, &d->unable);
    if (!able) able = registry_reserve(cp->registry, node, r->vcpus_milli, r->memory_bytes, &d->unable);
    d->reserved = able == EE_OK;
    return EE_OK;
}

void placer_deploy(cp_context *cp, const ledger_principal *account, ee_span spec, ee_span spend_auth, const char *key, broker_done done,
                   void *user) {
    ee_error err = {0};
    deployment *d = eei_calloc(1, sizeof *d);
    ee_status st = d ? EE_OK : eei_nomem(&err);
    if (st) {
        done(user, NULL, &err);
        return;
    }
    d->cp = cp;
    d->account = *account;
    d->done = done;
    d->user = user;
    d->arena = (eei_arena)EEI_ARENA_INIT(1 << 14);
    d->spec = (eei_buf)EEI_BUF_INIT(APP_SPEC_BYTES_MAX);
    d->spend_auth = (eei_buf)EEI_BUF_INIT(JOB_ENVELOPE_BYTES_MAX);
    (void)snprintf(d->key, sizeof d->key, "%s", key);
    if (eei_buf_append_span(&d->spec, spec) || eei_buf_append_span(&d->spend_auth, spend_auth))
        st = eei_fail(&err, EE_E_LIMIT, "the spec or authorization is too large");
    if (!st) st = prepare(d, &err);
    if (!st) st = writer_submit(cp->writer, deploy_work, d, deploy_done, &err);
    if (!st) return;
    registry_node *node = registry_find(cp->registry, eei_span_text(d->node));
    if (d->reserved && node) registry_release(cp->registry, node, d->request.vcpus_milli, d->request.memory_bytes);
    done(user, NULL, &err);
    deployment_free(d);
}

/* ---- stop ------------------------------------------------------------------------------------------------------------ */

typedef struct stopping {
    cp_context *cp;
    char name[NAME_CAP];
    int64_t account;
    app_state before;
    app_row row;
    broker_done done;
    void *user;
} stopping;

static ee_status stop_work(store *db, void *arg, ee_error *err) {
    stopping *s = arg;
    app_row before;
    app_row_init(&before);
    ee_status st = apps_get(db, eei_span_text(s->name), &before, err);
    s->before = before.state;
    if (!st) st = apps_stop(db, eei_span_text(s->name), s->account, eei_wall_ms(), &s->row, err);
    if (!st) st = rent_close(db, &before, s->cp->period_ms, eei_wall_ms(), err);
    app_row_clear(&before);
    return st;
}

static void stop_done(void *arg, ee_status status, const ee_error *why) {
    stopping *s = arg;
    json_t *answer = NULL;
    if (!status) {
        registry_node *node = registry_find_id(s->cp->registry, s->row.node);
        tell_node(s->cp, s->row.id);
        if (node && (s->before == APP_DEPLOYING || s->before == APP_RUNNING))
            registry_release(s->cp->registry, node, s->row.vcpus_milli, s->row.memory_bytes);
        answer = json_pack("{s:s, s:s}", "name", s->name, "state", "stopped");
    }
    s->done(s->user, answer, status ? why : NULL);
    json_decref(answer);
    app_row_clear(&s->row);
    eei_free(s);
}

void placer_stop(cp_context *cp, const ledger_principal *account, const char *name, broker_done done, void *user) {
    ee_error err = {0};
    stopping *s = eei_calloc(1, sizeof *s);
    ee_status st = s ? EE_OK : eei_nomem(&err);
    if (!st) {
        s->cp = cp;
        s->account = account->id;
        s->done = done;
        s->user = user;
        app_row_init(&s->row);
        (void)snprintf(s->name, sizeof s->name, "%.63s", name);
        st = writer_submit(cp->writer, stop_work, s, stop_done, &err);
    }
    if (!st) return;
    done(user, NULL, &err);
    eei_free(s);
}

/* ---- states ---------------------------------------------------------------------------------------------------------- */

typedef struct transition {
    cp_context *cp;
    char id[APP_ID_CAP], word[32], message[256];
    uint64_t epoch;
    app_state state;
    app_row row;
} transition;

static ee_status transition_work(store *db, void *arg, ee_error *err) {
    transition *t = arg;
    ee_status st = apps_get_id(db, t->id, &t->row, err);
    if (!st) st = apps_set_state(db, t->id, t->epoch, t->state, t->word, t->message, eei_wall_ms(), err);
    bool left = t->row.state != t->state && (t->state == APP_FAILED || t->state == APP_LOST);
    return st || !left ? st : rent_close(db, &t->row, t->cp->period_ms, eei_wall_ms(), err);
}

static void transition_done(void *arg, ee_status status, const ee_error *why) {
    transition *t = arg;
    if (status) {
        eei_log(EEI_LOG_DEBUG, "app.state_refused", "app=%s message=%s", t->id, why->message);
    } else if (t->row.state != t->state) {
        registry_node *node = registry_find_id(t->cp->registry, t->row.node);
        eei_log(EEI_LOG_INFO, "app.state", "app=%s state=%s word=%s message=%s", t->row.name, app_state_word(t->state), t->word,
                t->message);
        if (node && (t->state == APP_FAILED || t->state == APP_LOST))
            registry_release(t->cp->registry, node, t->row.vcpus_milli, t->row.memory_bytes);
    }
    app_row_clear(&t->row);
    eei_free(t);
}

static void set_state(cp_context *cp, const char *id, uint64_t epoch, app_state state, const char *word, const char *message) {
    transition *t = eei_calloc(1, sizeof *t);
    if (!t) return;
    t->cp = cp;
    t->epoch = epoch;
    t->state = state;
    app_row_init(&t->row);
    (void)snprintf(t->id, sizeof t->id, "%s", id);
    (void)snprintf(t->word, sizeof t->word, "%s", word);
    (void)snprintf(t->message, sizeof t->message, "%.255s", message);
    if (writer_submit(cp->writer, transition_work, t, transition_done, NULL)) eei_free(t);
}

void placer_control(cp_context *cp, registry_node *node, const uint8_t instance_id[32], const eei_frame *frame) {
    eei_app_state message;
    eei_arena arena = EEI_ARENA_INIT(4096);
    app_row row;
    char id[APP_ID_CAP], word[33], text[256];
    ee_error err = {0};
    if (frame->type != EEI_FRAME_APP_STATE) return;
    app_row_init(&row);
    if (eei_decode(&eei_app_state_schema, frame->payload, &arena, &message, &err)) {
        eei_log(EEI_LOG_WARN, "agent.malformed", "node=%s message=%s", node->profile.name, err.message);
        goto done;
    }
    (void)snprintf(id, sizeof id, "%.*s", (int)message.app_id.len, (const char *)message.app_id.data);
    (void)snprintf(word, sizeof word, "%.*s", (int)message.word.len, (const char *)message.word.data);
    (void)snprintf(text, sizeof text, "%.*s", (int)message.message.len, (const char *)message.message.data);
    /* Only the instance that has the app speaks for it (threat S1); the epoch is compared where it is written. */
    if (apps_get_id(cp->reader, id, &row, NULL) || !eei_same(row.instance_id, instance_id, 32)) goto done;
    if (eei_span_equal(message.state, eei_span_text("running"))) set_state(cp, id, message.epoch, APP_RUNNING, "", "");
    if (eei_span_equal(message.state, eei_span_text("failed"))) set_state(cp, id, message.epoch, APP_FAILED, word, text);
done:
    app_row_clear(&row);
    eei_arena_clear(&arena);
}

/* ---- rent ------------------------------------------------------------------------------------------------------------ */

enum { UNPAID_MAX = 64 };
typedef struct rent_round {
    cp_context *cp;
    struct {
        char id[APP_ID_CAP];
        int64_t node;
        uint64_t vcpus_milli, memory_bytes;
    } unpaid[UNPAID_MAX];
    size_t count;
} rent_round;

static void on_unpaid(void *user, const app_row *app) {
    rent_round *r = user;
    if (r->count == UNPAID_MAX) return; /* its agent is told when the node asks again */
    memcpy(r->unpaid[r->count].id, app->id, APP_ID_CAP);
    r->unpaid[r->count].node = app->node;
    r->unpaid[r->count].vcpus_milli = app->vcpus_milli;
    r->unpaid[r->count++].memory_bytes = app->memory_bytes;
}

static ee_status rent_work(store *db, void *arg, ee_error *err) {
    rent_round *r = arg;
    return rent_sweep(db, r->cp->period_ms, eei_wall_ms(), on_unpaid, r, err);
}

static void rent_done(void *arg, ee_status status, const ee_error *why) {
    rent_round *r = arg;
    if (status) eei_log(EEI_LOG_ERROR, "rent.failed", "message=%s", why->message);
    for (size_t i = 0; !status && i < r->count; i++) {
        registry_node *node = registry_find_id(r->cp->registry, r->unpaid[i].node);
        eei_log(EEI_LOG_WARN, "app.unpaid", "app=%s", r->unpaid[i].id);
        if (node) registry_release(r->cp->registry, node, r->unpaid[i].vcpus_milli, r->unpaid[i].memory_bytes);
        tell_node(r->cp, r->unpaid[i].id);
    }
    eei_free(r);
}

static void sweep_rent(cp_context *cp, uint64_t now_ms) {
    uint64_t every = rent_lead_ms(cp->period_ms) / 4;
    if (now_ms < cp->rent_ms + every) return;
    rent_round *r = eei_calloc(1, sizeof *r);
    if (!r) return;
    r->cp = cp;
    cp->rent_ms = now_ms;
    if (writer_submit(cp->writer, rent_work, r, rent_done, NULL)) eei_free(r);
}

/* ---- moving ---------------------------------------------------------------------------------------------------------- */

typedef struct move {
    cp_context *cp;
    char id[APP_ID_CAP];
    uint64_t epoch, new_epoch, vcpus_milli, memory_bytes;
    int64_t node;
    held left; /* by the placement before */
    uint8_t instance_id[32];
    ee_money price;
} move;

static ee_status move_work(store *db, void *arg, ee_error *err) {
    move *m = arg;
    app_row before, row;
    uint64_t now = eei_wall_ms();
    ee_money locked;
    app_row_init(&before);
    app_row_init(&row);
    ee_status st = apps_get_id(db, m->id, &before, err);
    if (!st && holds_capacity(&before)) m->left = (held){before.node, before.vcpus_milli, before.memory_bytes};
    if (!st) st = apps_place(db, m->id, m->epoch, m->node, m->instance_id, m->price, now, &m->new_epoch, err);
    if (!st) st = rent_close(db, &before, m->cp->period_ms, now, err);
    if (!st) st = apps_get_id(db, m->id, &row, err);
    if (!st) st = rent_open(db, &row, eei_span_text(m->id), m->cp->period_ms, now, &locked, err);
    app_row_clear(&before);
    app_row_clear(&row);
    return st;
}

static void move_done(void *arg, ee_status status, const ee_error *why) {
    move *m = arg;
    registry_node *node = registry_find_id(m->cp->registry, m->node);
    if (!status) {
        let_go(m->cp, &m->left);
        eei_log(EEI_LOG_INFO, "app.moved", "app=%s node=%s epoch=%llu", m->id, node ? node->profile.name : "?",
                (unsigned long long)m->new_epoch);
        tell_node(m->cp, m->id);
    } else {
        eei_log(EEI_LOG_DEBUG, "app.move_refused", "app=%s message=%s", m->id, why->message);
        if (node) registry_release(m->cp->registry, node, m->vcpus_milli, m->memory_bytes);
    }
    eei_free(m);
}

/* The best offer that its owner's authorization covers. */
static const char *best_within(const json_t *quote, ee_money ceiling) {
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(quote, "items"), i,
                       item) if (json_integer_value(json_object_get(json_object_get(item, "ceiling"), "micros")) <=
                                 ceiling) return json_string_value(json_object_get(item, "node"));
    return NULL;
}

static void place_again(cp_context *cp, const app_row *brief) {
    app_row row;
    broker_spec spec;
    json_t *quote = NULL;
    move *m = NULL;
    app_row_init(&row);
    if (apps_get_id(cp->reader, brief->id, &row, NULL)) return;
    if (broker_spec_parse(eei_buf_span(&row.spec), EEI_SPEC_APP, &spec, NULL)) {
        app_row_clear(&row);
        return;
    }
    if (broker_quote(cp, &spec, &quote, NULL) == EE_OK) {
        const char *name = best_within(quote, row.ceiling);
        registry_node *node = name ? registry_find(cp->registry, eei_span_text(name)) : NULL;
        if (node && registry_reserve(cp->registry, node, row.vcpus_milli, row.memory_bytes, NULL) == EE_OK) {
            m = eei_calloc(1, sizeof *m);
            if (m) {
                *m = (move){.cp = cp,
                            .epoch = row.epoch,
                            .node = node->profile.id,
                            .price = node->profile.price,
                            .vcpus_milli = row.vcpus_milli,
                            .memory_bytes = row.memory_bytes};
                (void)snprintf(m->id, sizeof m->id, "%s", row.id);
                memcpy(m->instance_id, node->instance_id, 32);
            }
            if (!m || writer_submit(cp->writer, move_work, m, move_done, NULL)) {
                registry_release(cp->registry, node, row.vcpus_milli, row.memory_bytes);
                eei_free(m);
            }
        }
    }
    json_decref(quote);
    broker_spec_clear(&spec);
    app_row_clear(&row);
}

typedef struct sweeping {
    cp_context *cp;
    uint64_t now_ms;
} sweeping;

static bool sweep_one(void *user, const app_row *row) {
    sweeping *s = user;
    const registry_node *node = registry_find_id(s->cp->registry, row->node);
    bool same = node && node->session && eei_same(node->instance_id, row->instance_id, 32);
    bool gone = !node || (node->session && !same) || (!node->session && s->now_ms > node->changed_ms + GONE_GRACE_MS);
    if (row->state == APP_LOST || gone) place_again(s->cp, row);
    return true;
}

void placer_sweep(cp_context *cp, uint64_t now_ms) {
    sweeping s = {cp, now_ms};
    app_list_query query = {.only_live = true, .limit = SWEEP_BATCH};
    if (cp->stopping) return;
    sweep_rent(cp, now_ms);
    eei_ignored(apps_list(cp->reader, &query, sweep_one, &s, NULL));
}

static bool tell_one(void *user, const app_row *row) {
    sweeping *s = user;
    const registry_node *node = registry_find_id(s->cp->registry, row->node);
    if (node && eei_same(node->instance_id, row->instance_id, 32)) tell_node(s->cp, row->id);
    return true;
}

void placer_node_serving(cp_context *cp, registry_node *node) {
    sweeping s = {cp, eei_wall_ms()};
    app_list_query query = {.node = node->profile.id, .only_live = true, .limit = SWEEP_BATCH};
    eei_ignored(apps_list(cp->reader, &query, tell_one, &s, NULL));
    placer_sweep(cp, s.now_ms);
}

static bool reserve_one(void *user, const app_row *row) {
    cp_context *cp = user;
    registry_node *node = registry_find_id(cp->registry, row->node);
    if (node && holds_capacity(row)) eei_ignored(registry_reserve(cp->registry, node, row->vcpus_milli, row->memory_bytes, NULL));
    return true;
}

void placer_recover(cp_context *cp) {
    app_list_query query = {.only_live = true, .limit = RECOVER_MAX};
    eei_ignored(apps_list(cp->reader, &query, reserve_one, cp, NULL));
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

/* What is the owner's to know comes on top of what all may. */
static json_t *row_json(cp_context *cp, int64_t account, const app_row *row) {
    char created[32];
    const registry_node *node = registry_find_id(cp->registry, row->node);
    bool connected = node && node->session && eei_same(node->instance_id, row->instance_id, 32);
    json_t *value = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:s}", "name", row->name, "id", row->id, "node", row->node_name, "state",
                              app_state_word(row->state), "tunnel_up", connected, "epoch", (json_int_t)row->epoch, "created_at",
                              eei_format_utc(row->created_ms, created));
    json_t *own = account && account == row->account ? json_pack("{s:s, s:s, s:s, s:o}", "account", row->account_name, "word", row->word,
                                                                 "message", row->message, "price_per_vcpu_hour", eei_json_money(row->price))
                                                     : json_object();
    if (value && (!own || json_object_update(value, own))) {
        json_decref(value);
        value = NULL;
    }
    json_decref(own);
    return value;
}

ee_status placer_app_json(cp_context *cp, int64_t account, const char *name, json_t **out, ee_error *err) {
    app_row row;
    app_row_init(&row);
    ee_status st = apps_get(cp->reader, eei_span_text(name), &row, err);
    if (!st && !(*out = row_json(cp, account, &row))) st = eei_nomem(err);
    app_row_clear(&row);
    return st;
}

typedef struct listing {
    cp_context *cp;
    int64_t account;
    json_t *items;
} listing;

static bool append_row(void *user, const app_row *row) {
    listing *list = user;
    return json_array_append_new(list->items, row_json(list->cp, list->account, row)) == 0;
}

ee_status placer_list(cp_context *cp, int64_t account, const page_request *page, json_t **out, ee_error *err) {
    listing list = {cp, account, json_array()};
    app_list_query query = {.limit = page->limit + 1};
    (void)snprintf(query.after, sizeof query.after, "%s", page->after);
    ee_status st = list.items ? apps_list(cp->reader, &query, append_row, &list, err) : eei_nomem(err);
    if (!st && !(*out = page_json(list.items, page, "name"))) st = eei_nomem(err);
    json_decref(list.items);
    return st;
}

ee_status placer_resolve(cp_context *cp, const ledger_principal *account, const char *name, json_t **out, ee_error *err) {
    app_row row;
    char instance[65], digest[65], node_id[65];
    eei_buf token = EEI_BUF_INIT(1024), text = EEI_BUF_INIT(2048);
    app_row_init(&row);
    ee_status st = apps_get(cp->reader, eei_span_text(name), &row, err);
    const registry_node *node = st ? NULL : registry_find_id(cp->registry, row.node);
    bool told = !st && row.account == account->id && row.message[0];
    /* Every account of the network may connect until access rules exist (`ee apps allow`); the tunnel itself is private either way. */
    if (!st && row.state != APP_RUNNING)
        st = eei_hint(err,
                      eei_fail(err, EE_E_APP_UNAVAILABLE, "app %s is %s%s%s", row.name, app_state_word(row.state), told ? ": " : "",
                               told ? row.message : ""),
                      "`ee apps` shows its state");
    if (!st && (!node || !node->session || !eei_same(node->instance_id, row.instance_id, 32)))
        st = eei_fail(err, EE_E_APP_UNAVAILABLE, "node %s of app %s is not connected; it is being moved", row.node_name, row.name);
    if (!st) st = cp_token_make(cp, EEI_OPEN_APP, row.name, row.instance_id, account->name, eei_wall_ms(), &token, err);
    if (!st && (eei_base64url_encode(eei_buf_span(&token), &text) || !eei_buf_cstr(&text))) st = eei_nomem(err);
    if (!st) {
        eei_hex_encode(eei_span(row.instance_id, 32), instance);
        eei_hex_encode(eei_span(row.spec_hash, 32), digest);
        *out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s}", "app", row.name, "node", row.node_name, "node_id",
                         registry_node_id(cp->registry, row.node_name, node_id), "instance_id", instance, "spec_hash", digest, "epoch",
                         (json_int_t)row.epoch, "token", (const char *)text.data);
        if (!*out) st = eei_nomem(err);
    }
    eei_buf_clear(&token);
    eei_buf_clear(&text);
    app_row_clear(&row);
    return st;
}
