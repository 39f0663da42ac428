/* test_collateral_cache.c - collateral kept by platform, under a clock of the test's own: what serves, what is fetched, what is refused, in
 * memory and on disk, for one caller and for many. */
#include "attest_world.h"
#include "base/cancel.h"
#include "base/file.h"
#include "base/limits.h"
#include "net/collateral_cache.h"
#include "net/collateral_supply.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_MS = 10000, DAYS = 86400 };

/* ---- a fetcher that is told what to answer ---- */

typedef struct source {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    simtdx_root *root; /* whose collateral it hands out */
    uint64_t until_s;  /* of its CRLs; 0: as the root makes it */
    ee_status status;  /* to fail with */
    bool hold;         /* do not answer before it is false */
    bool junk;         /* answer something else */
    unsigned calls;
    unsigned entered; /* callers about to ask the cache */
} source;

typedef struct fixture {
    world *w;
    simtdx_root *other_root;
    source source;
    uint64_t wall_ms, mono_ms;
    eei_clock clock;
    eei_collateral_id id;
    char folder[64];
} fixture;

static uint64_t fake_mono(void *user) { return ((fixture *)user)->mono_ms; }
static uint64_t fake_wall(void *user) { return ((fixture *)user)->wall_ms; }
static void pass(fixture *f, uint64_t seconds) {
    f->wall_ms += seconds * 1000;
    f->mono_ms += seconds * 1000;
}

/* With another FMSPC when id asks for one: the simulated platform has just one, so it is changed and signed again. */
static ee_status make(const source *s, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    eei_buf info = EEI_BUF_INIT(1 << 16), crl = EEI_BUF_INIT(1 << 16);
    simtdx_collateral_parts parts = {.tcb_info = {NULL, 0}};
    char fmspc[13];
    eei_hex_encode(eei_span(id->fmspc, 6), fmspc);
    ee_status st = simtdx_tcb_info(s->root, &info, err);
    if (!st) {
        memcpy(strstr(eei_buf_cstr(&info), "454553494D00"), fmspc, 12);
        parts.tcb_info = eei_buf_span(&info);
    }
    if (!st && s->until_s) {
        const simtdx_crl early = {s->root->root, s->root->root_key, s->root->now_unix_s - 3600, s->until_s, NULL, 0};
        st = simtdx_crl_make(&early, &crl, err);
        parts.root_crl = eei_buf_span(&crl);
    }
    if (!st) st = simtdx_collateral(s->root, &parts, json, err);
    eei_buf_clear(&info);
    eei_buf_clear(&crl);
    return st;
}

static ee_status fetch(void *user, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json,
                       ee_error *err) {
    source *s = user;
    (void)timeout_ms;
    pthread_mutex_lock(&s->lock);
    s->calls++;
    pthread_cond_broadcast(&s->changed);
    while (s->hold && !ee_cancel_fired(cancel)) {
        pthread_mutex_unlock(&s->lock);
        eei_ignored(eei_cancel_pause(cancel, 2, NULL));
        pthread_mutex_lock(&s->lock);
    }
    ee_status st = ee_cancel_fired(cancel) ? eei_fail(err, EE_E_CANCELLED, "cancelled")
                   : s->status             ? eei_hint(err, eei_fail(err, s->status, "the source says no"), "look at the source")
                   : s->junk               ? eei_buf_append_text(json, "{\"x\":1}")
                                           : make(s, id, json, err);
    pthread_mutex_unlock(&s->lock);
    return st;
}

static unsigned calls_of(fixture *f) {
    pthread_mutex_lock(&f->source.lock);
    unsigned n = f->source.calls;
    pthread_mutex_unlock(&f->source.lock);
    return n;
}

static void set_hold(fixture *f, bool hold) {
    pthread_mutex_lock(&f->source.lock);
    f->source.hold = hold;
    pthread_cond_broadcast(&f->source.changed);
    pthread_mutex_unlock(&f->source.lock);
}

static void wait_until(fixture *f, const unsigned *counter, unsigned n) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&f->source.lock);
    while (*counter < n)
        if (pthread_cond_timedwait(&f->source.changed, &f->source.lock, &until)) fail_msg("%u came, wanted %u", *counter, n);
    pthread_mutex_unlock(&f->source.lock);
}
static void wait_for_calls(fixture *f, unsigned n) { wait_until(f, &f->source.calls, n); }

/* ---- fixture ---- */

static int setup(void **state) {
    void *w = NULL;
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(world_setup(&w), 0);
    f->w = w;
    MUST(simtdx_root_new(NOW, &f->other_root, err));
    pthread_mutex_init(&f->source.lock, NULL);
    pthread_cond_init(&f->source.changed, NULL);
    f->source.root = f->w->root;
    f->wall_ms = NOW * 1000;
    f->mono_ms = 5000000;
    f->clock = (eei_clock){fake_mono, fake_wall, f};
    MUST(eei_quote_collateral_id(eei_buf_span(&f->w->quote), &f->id, err));
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/ee-cache-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *ftw) {
    (void)s;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state) {
    fixture *f = *state;
    void *w = f->w;
    (void)nftw(f->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    simtdx_root_free(f->other_root);
    pthread_mutex_destroy(&f->source.lock);
    pthread_cond_destroy(&f->source.changed);
    world_teardown(&w);
    free(f);
    return 0;
}

static eei_collateral_cache *open_with(fixture *f, eei_collateral_cache_options options) {
    eei_collateral_cache *cache = NULL;
    options.fetcher = (eei_collateral_fetcher){fetch, &f->source};
    options.clock = &f->clock;
    if (!options.origin) options.origin = "https://pccs.example";
    MUST(eei_collateral_cache_new(&options, &cache, err));
    return cache;
}
static eei_collateral_cache *open_cache(fixture *f) { return open_with(f, (eei_collateral_cache_options){.folder = NULL}); }
static eei_collateral_cache *open_folder(fixture *f) { return open_with(f, (eei_collateral_cache_options){.folder = f->folder}); }

static ee_status get_id(eei_collateral_cache *cache, const eei_collateral_id *id, ee_error *why) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    ee_status st = eei_collateral_cache_get(cache, id, WAIT_MS, NULL, &json, why);
    assert_int_equal(st == EE_OK, json.len > 0);
    eei_buf_clear(&json);
    return st;
}
static ee_status get(eei_collateral_cache *cache, const fixture *f) { return get_id(cache, &f->id, NULL); }

static eei_collateral_id other_id(const fixture *f, uint8_t n) {
    eei_collateral_id id = f->id;
    id.fmspc[5] = n;
    return id;
}

/* ---- memory ---- */

static void test_a_hit_is_not_fetched(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    ee_collateral *collateral = NULL;
    for (int i = 0; i < 3; i++) assert_int_equal(get(cache, f), EE_OK);
    pass(f, EEI_COLLATERAL_REFRESH_S - 1);
    MUST(eei_collateral_cache_get(cache, &f->id, WAIT_MS, NULL, &json, err));
    assert_int_equal(calls_of(f), 1);
    MUST(ee_collateral_parse(eei_buf_span(&json), &collateral, err));
    must_verify("cached", eei_buf_span(&f->w->quote), collateral, f->w->any, NOW);
    ee_collateral_free(collateral);
    eei_buf_clear(&json);
    eei_collateral_cache_free(cache);
}

static void test_failures_are_the_sources_own_and_not_kept(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    ee_error why = {0};
    f->source.status = EE_E_NOT_FOUND;
    assert_int_equal(get_id(cache, &f->id, &why), EE_E_NOT_FOUND);
    assert_string_equal(why.message, "the source says no");
    assert_string_equal(why.hint, "look at the source");
    f->source.status = EE_OK;
    assert_int_equal(get(cache, f), EE_OK);
    eei_collateral_cache_free(cache);
}

/* After the refresh age it is asked again; within the retry time of a failure it is not; it serves until its own end and no longer. */
static void test_old_collateral_serves_within_its_validity(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    assert_int_equal(get(cache, f), EE_OK);
    f->source.status = EE_E_CONNECT;
    pass(f, EEI_COLLATERAL_REFRESH_S);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 2);
    pass(f, EEI_COLLATERAL_RETRY_S - 1);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 2);
    pass(f, 1);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 3);
    f->wall_ms = (NOW + 30 * DAYS) * 1000; /* its last second */
    assert_int_equal(get(cache, f), EE_OK);
    f->wall_ms += 1000;
    assert_int_equal(get(cache, f), EE_E_CONNECT);
    f->source.status = EE_OK; /* and what is fetched then is out of date as well */
    ee_error why = {0};
    assert_int_equal(get_id(cache, &f->id, &why), EE_E_EXPIRED);
    assert_non_null(strstr(why.hint, "clock"));
    eei_collateral_cache_free(cache);
}

static void test_refreshed_ahead_of_its_end(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_with(f, (eei_collateral_cache_options){.refresh_s = 400 * DAYS});
    f->source.until_s = NOW + EEI_COLLATERAL_AHEAD_S + 1000;
    assert_int_equal(get(cache, f), EE_OK);
    assert_false(eei_collateral_cache_due(cache));
    pass(f, 999);
    assert_false(eei_collateral_cache_due(cache));
    pass(f, 1);
    assert_true(eei_collateral_cache_due(cache));
    f->source.until_s = NOW + 20 * DAYS;
    eei_collateral_cache_refresh(cache, WAIT_MS);
    assert_int_equal(calls_of(f), 2);
    assert_false(eei_collateral_cache_due(cache));
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 2);
    eei_collateral_cache_free(cache);
}

static void test_refresh_that_fails_ends_and_comes_back(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    assert_int_equal(get(cache, f), EE_OK);
    f->source.status = EE_E_SERVER;
    pass(f, EEI_COLLATERAL_REFRESH_S);
    eei_collateral_cache_refresh(cache, WAIT_MS);
    assert_int_equal(calls_of(f), 2);
    assert_false(eei_collateral_cache_due(cache));
    pass(f, EEI_COLLATERAL_RETRY_S);
    assert_true(eei_collateral_cache_due(cache));
    assert_int_equal(get(cache, f), EE_OK);
    pass(f, EEI_COLLATERAL_UNUSED_S + EEI_COLLATERAL_RETRY_S); /* nobody asked for it since */
    assert_false(eei_collateral_cache_due(cache));
    eei_collateral_cache_free(cache);
}

static void test_wanted_is_fetched_without_being_asked(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    ee_error why = {0};
    assert_false(eei_collateral_cache_due(cache));
    assert_int_equal(eei_collateral_cache_peek(cache, &f->id, &json, &why), EE_E_NOT_FOUND);
    eei_collateral_cache_want(cache, &f->id);
    assert_int_equal(eei_collateral_cache_peek(cache, &f->id, &json, &why), EE_E_AGAIN);
    f->source.status = EE_E_CONNECT;
    assert_true(eei_collateral_cache_due(cache));
    eei_collateral_cache_refresh(cache, WAIT_MS);
    assert_int_equal(calls_of(f), 1);
    assert_false(eei_collateral_cache_due(cache)); /* not at once again */
    pass(f, EEI_COLLATERAL_RETRY_S);
    f->source.status = EE_OK;
    eei_collateral_cache_refresh(cache, WAIT_MS);
    assert_int_equal(calls_of(f), 2);
    assert_int_equal(eei_collateral_cache_peek(cache, &f->id, &json, &why), EE_OK);
    assert_int_equal(calls_of(f), 2);
    pass(f, EEI_COLLATERAL_UNUSED_S + 1); /* never given up */
    assert_true(eei_collateral_cache_due(cache));
    f->wall_ms = (NOW + 31 * DAYS) * 1000;
    assert_int_equal(eei_collateral_cache_peek(cache, &f->id, &json, &why), EE_E_EXPIRED);
    eei_buf_clear(&json);
    eei_collateral_cache_free(cache);
}

/* The clock went back behind the time it was fetched at: its age is not known, so it is asked for again. */
static void test_a_clock_that_goes_back(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    pass(f, 1000);
    assert_int_equal(get(cache, f), EE_OK);
    f->wall_ms -= 500 * 1000;
    pass(f, EEI_COLLATERAL_RETRY_S);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 2);
    eei_collateral_cache_free(cache);
}

/* Junk, another platform's, another root's: refused with a reason, and never kept. */
static void test_what_does_not_fit_does_not_come_in(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_folder(f);
    ee_error why = {0};
    f->source.junk = true;
    assert_int_equal(get_id(cache, &f->id, &why), EE_E_MALFORMED);
    f->source.junk = false;
    f->source.root = f->other_root;
    assert_int_equal(get_id(cache, &f->id, &why), EE_E_ATTESTATION);
    assert_non_null(strstr(why.message, "another root"));
    f->source.root = f->w->root;
    (void)snprintf(f->id.ca, sizeof f->id.ca, "processor");
    assert_int_equal(get_id(cache, &f->id, &why), EE_E_ATTESTATION);
    assert_int_equal(calls_of(f), 3);
    (void)snprintf(f->id.ca, sizeof f->id.ca, "platform");
    DIR *dir = opendir(f->folder);
    for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) assert_true(d->d_name[0] == '.');
    closedir(dir);
    assert_int_equal(get(cache, f), EE_OK);
    eei_collateral_cache_free(cache);
}

/* A new root for the same platform name, as a new devnet has: fetched anew for its quotes, not refused for ever. */
static void test_another_root_replaces_when_it_is_asked_for(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    eei_collateral_id other = f->id;
    eei_sha256(simtdx_root_der(f->other_root), other.root);
    assert_int_equal(get(cache, f), EE_OK);
    f->source.root = f->other_root;
    assert_int_equal(get_id(cache, &other, NULL), EE_OK);
    assert_int_equal(calls_of(f), 2);
    eei_collateral_cache_free(cache);
}

/* A source that hands out older collateral than what is held does not take anybody back. */
static void test_collateral_does_not_go_back(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    eei_buf before = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX), after = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    f->source.until_s = NOW + 20 * DAYS;
    MUST(eei_collateral_cache_get(cache, &f->id, WAIT_MS, NULL, &before, err));
    f->source.until_s = NOW + 10 * DAYS;
    pass(f, EEI_COLLATERAL_REFRESH_S);
    MUST(eei_collateral_cache_get(cache, &f->id, WAIT_MS, NULL, &after, err));
    assert_int_equal(calls_of(f), 2);
    assert_true(eei_span_equal(eei_buf_span(&before), eei_buf_span(&after)));
    eei_buf_clear(&before);
    eei_buf_clear(&after);
    eei_collateral_cache_free(cache);
}

static void test_memory_is_bounded(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_with(f, (eei_collateral_cache_options){.kept_max = 4});
    eei_collateral_id first = other_id(f, 1);
    eei_collateral_cache_want(cache, &first);
    for (uint8_t n = 1; n <= 6; n++) {
        eei_collateral_id id = other_id(f, n);
        pass(f, 1);
        assert_int_equal(get_id(cache, &id, NULL), EE_OK);
    }
    assert_int_equal(calls_of(f), 6);
    static const struct {
        uint8_t n;
        bool kept;
    } want[] = {{1, true}, {4, true}, {5, true}, {6, true}, {2, false}, {3, false}}; /* wanted stays, then the latest */
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        eei_collateral_id id = other_id(f, want[i].n);
        eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
        ee_status st = eei_collateral_cache_peek(cache, &id, &json, NULL);
        if (st != (want[i].kept ? EE_OK : EE_E_NOT_FOUND)) fail_msg("platform %u: %s", want[i].n, ee_status_word(st));
        eei_buf_clear(&json);
    }
    eei_collateral_cache_free(cache);
    cache = open_with(f, (eei_collateral_cache_options){.bytes_max = 20000}); /* two of about 8,600 */
    for (uint8_t n = 1; n <= 3; n++) {
        eei_collateral_id id = other_id(f, n);
        pass(f, 1);
        assert_int_equal(get_id(cache, &id, NULL), EE_OK);
    }
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    assert_int_equal(eei_collateral_cache_peek(cache, &first, &json, NULL), EE_E_NOT_FOUND);
    eei_collateral_id last = other_id(f, 3);
    assert_int_equal(eei_collateral_cache_peek(cache, &last, &json, NULL), EE_OK);
    eei_buf_clear(&json);
    eei_collateral_cache_free(cache);
}

/* Strangers name the platforms: what they make us ask is bounded, and the ones that are known go on. */
static void test_B9_misses_are_limited(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_with(f, (eei_collateral_cache_options){.limit_misses = true});
    ee_error why = {0};
    unsigned refused = 0;
    assert_int_equal(get(cache, f), EE_OK);
    eei_collateral_id own = other_id(f, 200);
    eei_collateral_cache_want(cache, &own);
    f->source.status = EE_E_NOT_FOUND;
    for (uint8_t n = 1; n <= 100; n++) {
        eei_collateral_id id = other_id(f, n);
        ee_status st = get_id(cache, &id, &why);
        assert_true(st == EE_E_NOT_FOUND || st == EE_E_RATE_LIMIT);
        refused += st == EE_E_RATE_LIMIT;
    }
    assert_int_equal(refused, 100 - (EEI_COLLATERAL_MISSES_MAX - 1));
    assert_int_equal(why.retry_after_ms, EEI_COLLATERAL_MISS_MS);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(get_id(cache, &own, NULL), EE_E_NOT_FOUND); /* wanted: asked for all the same */
    f->mono_ms += EEI_COLLATERAL_MISS_MS;
    eei_collateral_id id = other_id(f, 101);
    assert_int_equal(get_id(cache, &id, NULL), EE_E_NOT_FOUND);
    assert_int_equal(get_id(cache, &id, NULL), EE_E_RATE_LIMIT);
    eei_collateral_cache_free(cache);
}

/* ---- many callers ---- */

enum { CALLERS = 8 };
typedef struct caller {
    fixture *f;
    eei_collateral_cache *cache;
    ee_cancel *cancel;
    uint32_t timeout_ms;
    ee_status status;
} caller;

static void *call(void *user) {
    caller *c = user;
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    pthread_mutex_lock(&c->f->source.lock);
    c->f->source.entered++;
    pthread_cond_broadcast(&c->f->source.changed);
    pthread_mutex_unlock(&c->f->source.lock);
    c->status = eei_collateral_cache_get(c->cache, &c->f->id, c->timeout_ms, c->cancel, &json, NULL);
    eei_buf_clear(&json);
    return NULL;
}

static void run_callers(fixture *f, eei_collateral_cache *cache, caller callers[CALLERS], pthread_t threads[CALLERS]) {
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (caller){f, cache, NULL, WAIT_MS, EE_OK};
        assert_int_equal(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
    }
}

/* While one fetches, nobody else does; all have its answer, or its failure. */
static void test_concurrent_misses_are_one_fetch(void **state) {
    fixture *f = *state;
    caller callers[CALLERS];
    pthread_t threads[CALLERS];
    for (int fails = 0; fails < 2; fails++) {
        eei_collateral_cache *cache = open_cache(f);
        f->source.calls = f->source.entered = 0;
        f->source.status = fails ? EE_E_SERVER : EE_OK;
        f->source.hold = true;
        run_callers(f, cache, callers, threads);
        wait_for_calls(f, 1);
        wait_until(f, &f->source.entered, CALLERS); /* who is not waiting yet comes later, and finds it */
        set_hold(f, false);
        for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
        for (int i = 0; i < CALLERS; i++) assert_int_equal(callers[i].status, fails ? EE_E_SERVER : EE_OK);
        if (!fails) assert_int_equal(calls_of(f), 1);
        eei_collateral_cache_free(cache);
    }
}

/* Nobody waits for a refresh while there is something good to serve. */
static void test_a_refresh_keeps_nobody_waiting(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    assert_int_equal(get(cache, f), EE_OK);
    pass(f, EEI_COLLATERAL_REFRESH_S);
    f->source.hold = true;
    caller one = {f, cache, NULL, WAIT_MS, EE_E_STATE};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, call, &one), 0);
    wait_for_calls(f, 2);
    for (int i = 0; i < 3; i++) assert_int_equal(get(cache, f), EE_OK); /* would hang */
    assert_int_equal(calls_of(f), 2);
    set_hold(f, false);
    pthread_join(thread, NULL);
    assert_int_equal(one.status, EE_OK);
    eei_collateral_cache_free(cache);
}

/* The one who fetches gives up: the others do not go down with it, one of them fetches. */
static void test_a_cancelled_leader_takes_nobody_along(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    ee_cancel *cancel = NULL;
    MUST(ee_cancel_new(&cancel, err));
    f->source.hold = true;
    caller leader = {f, cache, cancel, WAIT_MS, EE_OK}, follower = {f, cache, NULL, WAIT_MS, EE_E_STATE},
           hasty = {f, cache, NULL, 30, EE_OK};
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, call, &leader), 0);
    wait_for_calls(f, 1);
    call(&hasty);
    assert_int_equal(hasty.status, EE_E_TIMEOUT);
    assert_int_equal(pthread_create(&threads[1], NULL, call, &follower), 0);
    ee_cancel_fire(cancel);
    pthread_join(threads[0], NULL);
    assert_int_equal(leader.status, EE_E_CANCELLED);
    wait_for_calls(f, 2);
    set_hold(f, false);
    pthread_join(threads[1], NULL);
    assert_int_equal(follower.status, EE_OK);
    assert_int_equal(calls_of(f), 2);
    ee_cancel_free(cancel);
    eei_collateral_cache_free(cache);
}

static void test_stop_ends_what_is_under_way(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_cache(f);
    caller callers[CALLERS];
    pthread_t threads[CALLERS];
    eei_collateral_id id = other_id(f, 9);
    assert_int_equal(get_id(cache, &id, NULL), EE_OK);
    f->source.hold = true;
    run_callers(f, cache, callers, threads);
    wait_for_calls(f, 2);
    eei_collateral_cache_stop(cache);
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < CALLERS; i++) assert_int_equal(callers[i].status, EE_E_CANCELLED);
    assert_int_equal(get_id(cache, &id, NULL), EE_OK); /* what is here is still served */
    assert_false(eei_collateral_cache_due(cache));
    eei_collateral_cache_free(cache);
}

/* ---- disk ---- */

static void only_file(const fixture *f, char path[512]) {
    DIR *dir = opendir(f->folder);
    path[0] = 0;
    for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        if (d->d_name[0] == '.') continue;
        assert_int_equal(path[0], 0);
        (void)snprintf(path, 512, "%s/%s", f->folder, d->d_name);
    }
    closedir(dir);
    assert_int_not_equal(path[0], 0);
}

static void test_the_next_process_finds_it(void **state) {
    fixture *f = *state;
    char path[512];
    struct stat s;
    eei_collateral_cache *cache = open_folder(f);
    assert_int_equal(get(cache, f), EE_OK);
    eei_collateral_cache_free(cache);
    only_file(f, path);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    assert_non_null(strstr(path, "/454553494d00-platform-"));
    cache = open_folder(f);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 1);
    eei_collateral_cache_free(cache);
    pass(f, EEI_COLLATERAL_REFRESH_S); /* old, and the source is away: it serves; then it is fetched when that is back */
    f->source.status = EE_E_CONNECT;
    cache = open_folder(f);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 2);
    eei_collateral_cache_free(cache);
    f->source.status = EE_OK;
    cache = open_folder(f);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 3);
    eei_collateral_cache_free(cache);
}

static void write_file(const char *path, ee_span data) { MUST(eei_file_write_atomic(path, data, 0600, err)); }

/* A whole file, in order in itself, that another source's cache wrote. */
static void other_source(fixture *f, eei_buf *out) {
    char path[512];
    unsigned before = calls_of(f);
    eei_collateral_cache *cache = open_with(f, (eei_collateral_cache_options){.folder = f->folder, .origin = "https://evil.example"});
    assert_int_equal(get(cache, f), EE_OK);
    eei_collateral_cache_free(cache);
    only_file(f, path);
    eei_buf_reset(out);
    MUST(eei_file_read(path, out, err));
    (void)unlink(path);
    f->source.calls = before;
}

/* Every way in which a file can be wrong: refused, fetched anew, and in order afterwards. */
static void test_damaged_and_foreign_files_are_fetched_anew(void **state) {
    fixture *f = *state;
    char path[512];
    eei_buf good = EEI_BUF_INIT(1 << 20);
    eei_collateral_cache *cache = open_folder(f);
    assert_int_equal(get(cache, f), EE_OK);
    eei_collateral_cache_free(cache);
    only_file(f, path);
    MUST(eei_file_read(path, &good, err));
    enum { EMPTY, CUT, FLIPPED, LATER, OTHER_SOURCE, NO_HASH, OPEN_TO_OTHERS, LINK, PIPE, HUGE_HEAD, WAYS };
    for (int way = 0; way < WAYS; way++) {
        eei_buf bad = EEI_BUF_INIT(2 << 20);
        assert_int_equal(eei_buf_append_span(&bad, eei_buf_span(&good)), EE_OK);
        unsigned before = calls_of(f);
        (void)unlink(path);
        switch (way) {
        case EMPTY: bad.len = 0; break;
        case CUT: bad.len -= 1; break;
        case FLIPPED: bad.data[bad.len / 2] ^= 1; break;
        case LATER: replace_in(&bad, "fetched 1790000000", "fetched 1790000001"); break;
        case OTHER_SOURCE: other_source(f, &bad); break;
        case NO_HASH: replace_in(&bad, "sha256 ", "sha384 "); break;
        case HUGE_HEAD:
            for (int i = 0; i < 2000; i++) replace_in(&bad, "\nsource", "\nsourcex");
            break;
        default: break;
        }
        if (way == LINK) {
            char real[600];
            (void)snprintf(real, sizeof real, "%s/elsewhere", f->folder);
            write_file(real, eei_buf_span(&good));
            assert_int_equal(symlink(real, path), 0);
        } else if (way == PIPE) {
            assert_int_equal(mkfifo(path, 0600), 0);
        } else {
            write_file(path, eei_buf_span(&bad));
        }
        if (way == OPEN_TO_OTHERS) assert_int_equal(chmod(path, 0644), 0);
        cache = open_folder(f);
        assert_int_equal(get(cache, f), EE_OK);
        if (calls_of(f) != before + 1) fail_msg("way %d: %u fetches", way, calls_of(f) - before);
        eei_collateral_cache_free(cache);
        cache = open_folder(f); /* what was wrong has been replaced */
        assert_int_equal(get(cache, f), EE_OK);
        if (calls_of(f) != before + 1) fail_msg("way %d: not in order afterwards", way);
        eei_collateral_cache_free(cache);
        eei_buf_clear(&bad);
    }
    eei_buf_clear(&good);
}

/* A file in order whose content is not what it should be: a good hash opens no door. */
static void test_content_of_files_is_examined(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_folder(f);
    char path[512], root_path[512];
    assert_int_equal(get(cache, f), EE_OK);
    eei_collateral_cache_free(cache);
    only_file(f, path);
    (void)unlink(path);
    f->source.root = f->other_root; /* written by a run that did not know which root to expect */
    eei_collateral_id any = f->id;
    memset(any.root, 0, sizeof any.root);
    cache = open_folder(f);
    assert_int_equal(get_id(cache, &any, NULL), EE_OK);
    eei_collateral_cache_free(cache);
    only_file(f, root_path);
    assert_string_equal(path, root_path);
    f->source.root = f->w->root;
    cache = open_folder(f);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 3);
    eei_collateral_cache_free(cache);
    f->wall_ms = (NOW + 30 * DAYS + 1) * 1000; /* expired on disk */
    f->source.status = EE_E_CONNECT;
    cache = open_folder(f);
    assert_int_equal(get(cache, f), EE_E_CONNECT);
    eei_collateral_cache_free(cache);
}

static size_t files_in(const fixture *f, const char *part) {
    size_t n = 0;
    DIR *dir = opendir(f->folder);
    for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) n += strstr(d->d_name, part) != NULL;
    closedir(dir);
    return n;
}

static void test_the_folder_is_bounded_and_only_ours_goes(void **state) {
    fixture *f = *state;
    char path[600];
    (void)snprintf(path, sizeof path, "%s/notes.txt", f->folder);
    write_file(path, eei_span_text("keep"));
    (void)snprintf(path, sizeof path, "%s/454553494d00-platform-0123456789abcdef.tmp-1234", f->folder);
    write_file(path, eei_span_text("left by a killed process"));
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    eei_collateral_cache *cache = open_with(f, (eei_collateral_cache_options){.folder = f->folder, .kept_max = 3});
    for (uint8_t n = 1; n <= 5; n++) {
        eei_collateral_id id = other_id(f, n);
        assert_int_equal(get_id(cache, &id, NULL), EE_OK);
        assert_true(files_in(f, "-platform-") <= 3);
    }
    assert_int_equal(files_in(f, "-platform-"), 3);
    assert_int_equal(files_in(f, "454553494d05-"), 1); /* the latest is there */
    assert_int_equal(files_in(f, "454553494d01-"), 0);
    assert_int_equal(files_in(f, ".tmp-"), 0);
    assert_int_equal(files_in(f, "notes.txt"), 1);
    eei_collateral_cache_free(cache);
}

static void test_a_folder_that_cannot_be_written_only_costs_time(void **state) {
    fixture *f = *state;
    eei_collateral_cache *cache = open_folder(f);
    eei_collateral_cache *none = NULL;
    eei_collateral_cache_options options = {.fetcher = {fetch, &f->source}, .clock = &f->clock, .origin = "x", .folder = "/proc/none"};
    assert_int_equal(rmdir(f->folder), 0);
    write_file(f->folder, eei_span_text("a file where the folder was"));
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(get(cache, f), EE_OK);
    assert_int_equal(calls_of(f), 1);
    eei_collateral_cache_free(cache);
    ee_error why = {0};
    assert_int_equal(eei_collateral_cache_new(&options, &none, &why), EE_E_IO);
    assert_int_not_equal(why.hint[0], 0);
}

/* ---- files as a source ---- */

static void test_files_are_a_source(void **state) {
    fixture *f = *state;
    char path[600];
    eei_supply *supply = NULL;
    size_t count = 0;
    ee_error why = {0};
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX), got = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    MUST(make(&f->source, &f->id, &json, err));
    (void)snprintf(path, sizeof path, "%s/one.json", f->folder);
    write_file(path, eei_buf_span(&json));
    const char *const places[] = {path, f->folder}; /* a file, a folder */
    for (size_t i = 0; i < 2; i++) {
        eei_supply_options options = {.files = places[i], .clock = &f->clock};
        MUST(eei_supply_new(&options, &supply, err));
        assert_int_equal(eei_supply_peek(supply, &f->id, &got, NULL), EE_E_NOT_FOUND);
        MUST(eei_supply_get(supply, &f->id, WAIT_MS, NULL, &got, err));
        assert_true(eei_span_equal(eei_buf_span(&got), eei_buf_span(&json)));
        eei_collateral_id other = other_id(f, 7);
        assert_int_equal(eei_supply_get(supply, &other, WAIT_MS, NULL, &got, &why), EE_E_NOT_FOUND);
        assert_non_null(strstr(why.message, "454553494d07"));
        eei_supply_free(supply);
        MUST(eei_supply_new(&options, &supply, err));
        MUST(eei_supply_load(supply, &count, err));
        assert_int_equal(count, 1);
        eei_buf_reset(&got);
        MUST(eei_supply_peek(supply, &f->id, &got, err));
        assert_true(eei_span_equal(eei_buf_span(&got), eei_buf_span(&json)));
        eei_buf_reset(&got);
        eei_supply_free(supply);
    }
    /* a second platform and a broken file beside it; then the first one's file is renewed, and read again at the next refresh */
    eei_collateral_id other = other_id(f, 7);
    eei_buf second = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX), renewed = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    char more[600], broken[600];
    (void)snprintf(more, sizeof more, "%s/two.json", f->folder);
    (void)snprintf(broken, sizeof broken, "%s/broken.json", f->folder);
    f->source.until_s = NOW + 5 * DAYS;
    MUST(make(&f->source, &other, &second, err));
    write_file(more, eei_buf_span(&second));
    write_file(broken, eei_span_text("{"));
    eei_supply_options options = {.files = f->folder, .clock = &f->clock};
    MUST(eei_supply_new(&options, &supply, err));
    MUST(eei_supply_load(supply, &count, err));
    assert_int_equal(count, 2);
    f->source.until_s = NOW + 6 * DAYS;
    MUST(make(&f->source, &other, &renewed, err));
    write_file(more, eei_buf_span(&renewed));
    pass(f, EEI_COLLATERAL_REFRESH_S);
    assert_true(eei_supply_due(supply));
    eei_supply_refresh(supply);
    eei_buf_reset(&got);
    MUST(eei_supply_peek(supply, &other, &got, err));
    assert_true(eei_span_equal(eei_buf_span(&got), eei_buf_span(&renewed)));
    eei_supply_free(supply);
    /* nothing good: told */
    (void)unlink(path);
    (void)unlink(more);
    MUST(eei_supply_new(&options, &supply, err));
    assert_int_equal(eei_supply_load(supply, &count, &why), EE_E_MALFORMED);
    assert_non_null(strstr(why.message, "broken.json"));
    (void)unlink(broken);
    assert_int_equal(eei_supply_load(supply, &count, &why), EE_E_NOT_FOUND);
    eei_supply_free(supply);
    eei_supply_options none = {.files = NULL};
    assert_int_equal(eei_supply_new(&none, &supply, &why), EE_E_INVALID);
    eei_buf_clear(&json);
    eei_buf_clear(&got);
    eei_buf_clear(&second);
    eei_buf_clear(&renewed);
}

/* ---- memory ---- */

static ee_status fetch_kept(void *user, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel, eei_buf *json,
                            ee_error *err) {
    (void)id;
    (void)timeout_ms;
    (void)cancel;
    return eei_buf_append_span(json, *(const ee_span *)user) ? eei_nomem(err) : EE_OK;
}

/* A file that could not be read or written for want of memory is no failure: it is fetched, and serves. */
static void test_every_failed_allocation_is_survived(void **state) {
    fixture *f = *state;
    eei_buf made = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    MUST(make(&f->source, &f->id, &made, err));
    ee_span span = eei_buf_span(&made);
    unsigned survived = 0;
    for (size_t n = 1;; n++) {
        eei_collateral_cache *cache = NULL;
        eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
        eei_collateral_cache_options options = {
            .fetcher = {fetch_kept, &span}, .clock = &f->clock, .origin = "x", .folder = n % 2 ? f->folder : NULL};
        (void)eei_alloc_fail_at(n);
        ee_status st = eei_collateral_cache_new(&options, &cache, NULL);
        if (!st) st = eei_collateral_cache_get(cache, &f->id, WAIT_MS, NULL, &json, NULL);
        bool reached = eei_alloc_fail_at(0) >= n;
        assert_true(st == EE_OK || (reached && st == EE_E_NOMEM));
        survived += reached && st == EE_OK;
        eei_buf_clear(&json);
        eei_collateral_cache_free(cache);
        if (!reached && n % 2) break;
    }
    assert_true(survived > 0);
    eei_buf_clear(&made);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(test_a_hit_is_not_fetched),
        EACH(test_failures_are_the_sources_own_and_not_kept),
        EACH(test_old_collateral_serves_within_its_validity),
        EACH(test_refreshed_ahead_of_its_end),
        EACH(test_refresh_that_fails_ends_and_comes_back),
        EACH(test_wanted_is_fetched_without_being_asked),
        EACH(test_a_clock_that_goes_back),
        EACH(test_what_does_not_fit_does_not_come_in),
        EACH(test_another_root_replaces_when_it_is_asked_for),
        EACH(test_collateral_does_not_go_back),
        EACH(test_memory_is_bounded),
        EACH(test_B9_misses_are_limited),
        EACH(test_concurrent_misses_are_one_fetch),
        EACH(test_a_refresh_keeps_nobody_waiting),
        EACH(test_a_cancelled_leader_takes_nobody_along),
        EACH(test_stop_ends_what_is_under_way),
        EACH(test_the_next_process_finds_it),
        EACH(test_damaged_and_foreign_files_are_fetched_anew),
        EACH(test_content_of_files_is_examined),
        EACH(test_the_folder_is_bounded_and_only_ours_goes),
        EACH(test_a_folder_that_cannot_be_written_only_costs_time),
        EACH(test_files_are_a_source),
        EACH(test_every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
