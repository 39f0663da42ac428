/* collateral_cache.c - see collateral_cache.h. Files are collateral_files.c's. Called through collateral_cache.h. */
#include "net/collateral_cache.h"

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/collateral_files.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

enum { CLOCK_SLACK_S = 60 }; /* fetched further in the future than this: the clock went back, and says nothing about its age */

/* Immutable but for its counters, which the cache's lock guards. */
typedef struct entry {
    unsigned refs;
    eei_collateral_terms terms;
    uint8_t *json;
    size_t len;
    uint64_t fetched_s;   /* wall */
    uint64_t next_try_ms; /* monotonic; not before */
    uint64_t used_ms;     /* monotonic */
} entry;

/* One fetch and all who wait for it. */
typedef struct flight {
    unsigned refs; /* guarded by the cache's lock */
    eei_collateral_id id;
    ee_cancel *done; /* fires when the three below are set */
    ee_status status;
    ee_error error;
    entry *got;
    struct flight *next;
} flight;

typedef struct wanted {
    eei_collateral_id id;
    uint64_t next_try_ms;
} wanted;

struct eei_collateral_cache {
    eei_collateral_fetcher fetcher;
    eei_clock clock;
    eei_collateral_files *files; /* NULL: memory only */
    uint32_t refresh_s, retry_s;
    bool limit_misses;
    size_t kept_max, bytes_max;
    ee_cancel *stop;
    pthread_mutex_t lock; /* guards all below; not held while fetching, reading or writing files */
    entry **entries;
    size_t count, bytes;
    flight *flights;
    wanted wanted[EEI_COLLATERAL_WANTED_MAX];
    size_t wanted_count;
    uint64_t misses; /* left */
    uint64_t missed_ms;
};

static uint64_t mono(const eei_collateral_cache *self) { return self->clock.mono_ms(self->clock.user); }
static uint64_t wall_s(const eei_collateral_cache *self) { return self->clock.wall_ms(self->clock.user) / 1000; }

/* ---- entries: with the lock held, but for entry_make ------------------------------------------------------------------------ */

static void entry_drop(entry *e) {
    if (!e || --e->refs) return;
    eei_free(e->json);
    eei_free(e);
}

static ee_status entry_make(ee_span json, const eei_collateral_terms *terms, uint64_t fetched_s, entry **out, ee_error *err) {
    entry *e = eei_calloc(1, sizeof *e);
    *out = NULL;
    if (e) e->json = eei_memdup(json.data, json.len);
    if (!e || !e->json) {
        eei_free(e);
        return eei_nomem(err);
    }
    e->refs = 1;
    e->terms = *terms;
    e->len = json.len;
    e->fetched_s = fetched_s;
    *out = e;
    return EE_OK;
}

static size_t index_of(const eei_collateral_cache *self, const eei_collateral_id *id) {
    size_t i = 0;
    while (i < self->count && !eei_collateral_id_same(&self->entries[i]->terms.id, id)) i++;
    return i;
}

static bool is_wanted(const eei_collateral_cache *self, const eei_collateral_id *id) {
    for (size_t i = 0; i < self->wanted_count; i++)
        if (eei_collateral_id_same(&self->wanted[i].id, id)) return true;
    return false;
}

static void forget(eei_collateral_cache *self, size_t i) {
    self->bytes -= self->entries[i]->len;
    entry_drop(self->entries[i]);
    self->entries[i] = self->entries[--self->count];
}

/* The one that was not asked for the longest goes; what is wanted, and the newest, stay. */
static void make_room(eei_collateral_cache *self, const entry *newest) {
    while (self->count > self->kept_max || self->bytes > self->bytes_max) {
        size_t oldest = self->count;
        for (size_t i = 0; i < self->count; i++) {
            const entry *e = self->entries[i];
            if (e == newest || is_wanted(self, &e->terms.id)) continue;
            if (oldest == self->count || e->used_ms < self->entries[oldest]->used_ms) oldest = i;
        }
        if (oldest == self->count) return;
        forget(self, oldest);
    }
}

/* Takes its own reference. */
static void entry_put(eei_collateral_cache *self, entry *e) {
    size_t i = index_of(self, &e->terms.id);
    if (i < self->count) {
        e->used_ms = self->entries[i]->used_ms;
        forget(self, i);
    } else {
        e->used_ms = mono(self);
    }
    e->refs++;
    self->entries[self->count++] = e;
    self->bytes += e->len;
    make_room(self, e);
}

static bool fits(const eei_collateral_cache *self, const entry *e, const eei_collateral_id *id, ee_error *err) {
    return eei_collateral_terms_fit(&e->terms, id, wall_s(self), err) == EE_OK;
}

/* Good, but old enough or near enough to its end to look for a newer one. */
static bool is_due(const eei_collateral_cache *self, const entry *e) {
    uint64_t now = wall_s(self);
    return now >= e->fetched_s + self->refresh_s || now + CLOCK_SLACK_S < e->fetched_s || now + EEI_COLLATERAL_AHEAD_S >= e->terms.until_s;
}

static void try_later(const eei_collateral_cache *self, entry *e) { e->next_try_ms = mono(self) + (uint64_t)self->retry_s * 1000; }

static ee_status hand_out(const entry *e, eei_buf *json, ee_error *err) {
    ee_status st = eei_buf_append(json, e->json, e->len);
    if (st == EE_E_LIMIT) return eei_fail(err, st, "collateral of %zu bytes, room for %zu", e->len, json->max - json->len);
    return st ? eei_nomem(err) : EE_OK;
}

/* ---- flights ---------------------------------------------------------------------------------------------------------------- */

static void flight_drop(flight *f) {
    if (--f->refs) return;
    entry_drop(f->got);
    ee_cancel_free(f->done);
    eei_free(f);
}

static flight *flight_find(const eei_collateral_cache *self, const eei_collateral_id *id) {
    flight *f = self->flights;
    while (f && !eei_collateral_id_same(&f->id, id)) f = f->next;
    return f;
}

static ee_status flight_start(eei_collateral_cache *self, const eei_collateral_id *id, flight **out, ee_error *err) {
    flight *f = eei_calloc(1, sizeof *f);
    *out = NULL;
    if (!f) return eei_nomem(err);
    ee_status st = ee_cancel_new(&f->done, err);
    if (st) {
        eei_free(f);
        return st;
    }
    f->refs = 1;
    f->id = *id;
    f->next = self->flights;
    self->flights = f;
    *out = f;
    return EE_OK;
}

/* The result is set, and everybody told. got: its reference is taken over. */
static void flight_land(eei_collateral_cache *self, flight *f, ee_status st, const ee_error *why, entry *got) {
    pthread_mutex_lock(&self->lock);
    flight **at = &self->flights;
    while (*at != f) at = &(*at)->next;
    *at = f->next;
    f->status = st;
    if (st) f->error = *why;
    f->got = got;
    pthread_mutex_unlock(&self->lock);
    ee_cancel_fire(f->done);
}

static ee_status flight_wait(const flight *f, uint64_t deadline_ms, const ee_cancel *cancel, ee_error *err) {
    for (;;) {
        struct pollfd fds[] = {{.fd = eei_cancel_fd(f->done), .events = POLLIN}, {.fd = eei_cancel_fd(cancel), .events = POLLIN}};
        uint64_t now = eei_mono_ms();
        ee_status st = eei_cancel_check(cancel, err);
        if (st || ee_cancel_fired(f->done)) return st;
        if (now >= deadline_ms) return eei_fail(err, EE_E_TIMEOUT, "collateral: another call is still waiting for it");
        if (poll(fds, 2, (int)(deadline_ms - now < 60000 ? deadline_ms - now : 60000)) < 0 && errno != EINTR)
            return eei_fail_errno(err, EE_E_IO, errno, "poll");
    }
}

/* ---- one fetch --------------------------------------------------------------------------------------------------------------- */

/* Signed throughout, for this platform, in date: else it does not come in. */
static ee_status examine(const eei_collateral_cache *self, ee_span json, const eei_collateral_id *id, eei_collateral_terms *terms,
                         ee_error *err) {
    ee_status st = eei_collateral_terms_read(json, terms, err);
    return st ? st : eei_collateral_terms_fit(terms, id, wall_s(self), err);
}

static entry *from_file(eei_collateral_cache *self, const eei_collateral_id *id) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    eei_collateral_terms terms;
    uint64_t fetched_s = 0;
    entry *e = NULL;
    ee_error why = {0};
    ee_status st = self->files ? eei_collateral_files_read(self->files, id, &json, &fetched_s, &why) : EE_E_NOT_FOUND;
    if (!st) st = examine(self, eei_buf_span(&json), id, &terms, &why);
    if (!st) st = entry_make(eei_buf_span(&json), &terms, fetched_s, &e, &why);
    if (st && st != EE_E_NOT_FOUND) eei_log(EEI_LOG_WARN, "collateral.file_refused", "word=%s message=%s", ee_status_word(st), why.message);
    eei_buf_clear(&json);
    return e;
}

static ee_status from_fetcher(eei_collateral_cache *self, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel,
                              entry **out, ee_error *err) {
    eei_buf json = EEI_BUF_INIT(EEI_COLLATERAL_BYTES_MAX);
    eei_collateral_terms terms;
    ee_error why = {0};
    *out = NULL;
    ee_status st = self->fetcher.fetch(self->fetcher.user, id, timeout_ms, cancel ? cancel : self->stop, &json, err);
    if (!st) {
        st = examine(self, eei_buf_span(&json), id, &terms, err);
        if (st && st != EE_E_NOMEM && err && !err->hint[0])
            st = eei_hint(err, st, "its source is broken, or somebody on the way changes it: ask another one, and compare");
    }
    if (!st) st = entry_make(eei_buf_span(&json), &terms, wall_s(self), out, err);
    if (!st && self->files && eei_collateral_files_write(self->files, id, eei_buf_span(&json), (*out)->fetched_s, &why))
        eei_log(EEI_LOG_WARN, "collateral.file_not_written", "message=%s", why.message); /* it serves from memory all the same */
    eei_buf_clear(&json);
    return st;
}

/* Newer collateral ends later. What ends earlier is an older one, handed out by a PCCS that lags behind or by somebody who wants it used.
 */
static bool goes_back(const entry *held, const entry *fresh) {
    return held && !memcmp(held->terms.id.root, fresh->terms.id.root, 32) && fresh->terms.until_s < held->terms.until_s;
}

/* Leads the flight: file, else fetch, else what was held as long as it is good. held: a reference of ours, or NULL. */
static void fly(eei_collateral_cache *self, flight *f, entry *held, uint32_t timeout_ms, const ee_cancel *cancel) {
    entry *fresh = NULL;
    ee_error why = {0};
    ee_status st = EE_OK;
    bool enough = false;
    if (!held) {
        held = from_file(self, &f->id);
        pthread_mutex_lock(&self->lock);
        if (held) entry_put(self, held);
        enough = held && !is_due(self, held);
        pthread_mutex_unlock(&self->lock);
    }
    if (!enough) st = from_fetcher(self, &f->id, timeout_ms, cancel, &fresh, &why);
    pthread_mutex_lock(&self->lock);
    if (fresh && goes_back(held, fresh) && fits(self, held, &f->id, NULL)) {
        eei_log(EEI_LOG_WARN, "collateral.older", "ends=%llu kept_ends=%llu", (unsigned long long)fresh->terms.until_s,
                (unsigned long long)held->terms.until_s);
        entry_drop(eei_take(&fresh));
    }
    if (fresh) {
        try_later(self, fresh);
        entry_put(self, fresh);
    } else if (held && fits(self, held, &f->id, NULL)) {
        if (st) eei_log(EEI_LOG_WARN, "collateral.not_refreshed", "word=%s message=%s", ee_status_word(st), why.message);
        if (!enough) try_later(self, held);
        held->refs++;
        fresh = held;
        st = EE_OK;
    }
    if (!st && !fresh) st = eei_fail(&why, EE_E_EXPIRED, "collateral: it expired in this very moment");
    entry_drop(held);
    pthread_mutex_unlock(&self->lock);
    flight_land(self, f, st, &why, fresh);
}

/* ---- get --------------------------------------------------------------------------------------------------------------------- */

/* One token of those that strangers share. */
static ee_status take_miss(eei_collateral_cache *self, ee_error *err) {
    if (!self->limit_misses) return EE_OK;
    uint64_t now = mono(self), more = (now - self->missed_ms) / EEI_COLLATERAL_MISS_MS;
    self->misses = self->misses + more < EEI_COLLATERAL_MISSES_MAX ? self->misses + more : EEI_COLLATERAL_MISSES_MAX;
    self->missed_ms += more * EEI_COLLATERAL_MISS_MS;
    if (self->misses) {
        self->misses--;
        return EE_OK;
    }
    eei_fail(err, EE_E_RATE_LIMIT, "collateral: over %d platforms that nobody had here before were asked for at once",
             EEI_COLLATERAL_MISSES_MAX);
    if (err) err->retry_after_ms = EEI_COLLATERAL_MISS_MS;
    return EE_E_RATE_LIMIT;
}

/* What a caller does about an id, decided with the lock held. */
typedef struct step {
    entry *held;  /* a reference of ours; NULL when there is none that fits */
    flight *join; /* a reference of ours */
    flight *lead; /* ours to fly */
} step;

static ee_status decide(eei_collateral_cache *self, const eei_collateral_id *id, step *s, ee_error *err) {
    ee_status st = EE_OK;
    *s = (step){NULL, NULL, NULL};
    pthread_mutex_lock(&self->lock);
    size_t i = index_of(self, id);
    if (i < self->count && fits(self, self->entries[i], id, NULL)) {
        s->held = self->entries[i];
        s->held->refs++;
        s->held->used_ms = mono(self);
    }
    bool wait = !s->held, due = s->held && is_due(self, s->held) && mono(self) >= s->held->next_try_ms;
    flight *under_way = wait || due ? flight_find(self, id) : NULL;
    if (wait && under_way) {
        s->join = under_way;
        under_way->refs++;
    } else if ((wait || due) && !under_way) {
        if (wait && !is_wanted(self, id)) st = take_miss(self, err);
        if (!st) st = flight_start(self, id, &s->lead, err);
        if (s->lead) s->lead->refs++; /* one for the flight itself, one for us to read its result */
    }
    pthread_mutex_unlock(&self->lock);
    return st;
}

/* The result of a flight for this caller, whose expectations may differ from its leader's. *again: somebody else's limits ended it. */
static ee_status take_result(eei_collateral_cache *self, flight *f, const eei_collateral_id *id, bool led, eei_buf *json, bool *again,
                             ee_error *err) {
    ee_status st = f->status;
    *again = !led && (st == EE_E_CANCELLED || st == EE_E_TIMEOUT);
    if (st && err) *err = f->error;
    if (!st) st = eei_collateral_terms_fit(&f->got->terms, id, wall_s(self), err);
    return st ? st : hand_out(f->got, json, err);
}

static void let_go(eei_collateral_cache *self, step *s, flight *f) {
    pthread_mutex_lock(&self->lock);
    entry_drop(s->held);
    if (f) flight_drop(f);
    if (s->lead) flight_drop(s->lead);
    pthread_mutex_unlock(&self->lock);
}

ee_status eei_collateral_cache_get(eei_collateral_cache *self, const eei_collateral_id *id, uint32_t timeout_ms, const ee_cancel *cancel,
                                   eei_buf *json, ee_error *err) {
    uint64_t deadline_ms = eei_mono_ms() + timeout_ms;
    bool again = true;
    ee_status st = EE_OK;
    while (again) {
        step s;
        uint64_t now = eei_mono_ms();
        again = false;
        st = eei_cancel_check(cancel, err);
        if (!st) st = decide(self, id, &s, err);
        if (st) return st;
        flight *f = s.lead ? s.lead : s.join;
        if (s.lead) {
            entry *held = eei_take(&s.held); /* its reference goes with the flight */
            fly(self, s.lead, held, now < deadline_ms ? (uint32_t)(deadline_ms - now) : 1, cancel);
        } else if (s.join) {
            st = flight_wait(s.join, deadline_ms, cancel ? cancel : self->stop, err);
        }
        if (!st && f) st = take_result(self, f, id, s.lead != NULL, json, &again, err);
        if (!st && !f) st = hand_out(s.held, json, err);
        let_go(self, &s, f);
    }
    return st;
}

ee_status eei_collateral_cache_peek(eei_collateral_cache *self, const eei_collateral_id *id, eei_buf *json, ee_error *err) {
    char fmspc[13];
    ee_status st;
    eei_hex_encode(eei_span(id->fmspc, sizeof id->fmspc), fmspc);
    pthread_mutex_lock(&self->lock);
    size_t i = index_of(self, id);
    if (i < self->count) {
        st = eei_collateral_terms_fit(&self->entries[i]->terms, id, wall_s(self), err);
        if (!st) st = hand_out(self->entries[i], json, err);
        if (!st) self->entries[i]->used_ms = mono(self);
    } else if (is_wanted(self, id)) {
        st = eei_hint(err, eei_fail(err, EE_E_AGAIN, "collateral for FMSPC %s and the %s CA has not come yet", fmspc, id->ca),
                      "try again soon; if it stays so, the one who serves it cannot reach its PCCS");
    } else {
        st = eei_hint(err, eei_fail(err, EE_E_NOT_FOUND, "no machine here has FMSPC %s and the %s CA", fmspc, id->ca),
                      "ask a PCCS, or Intel's PCS, for the collateral of other machines");
    }
    pthread_mutex_unlock(&self->lock);
    return st;
}

ee_status eei_collateral_cache_add(eei_collateral_cache *self, ee_span json, ee_error *err) {
    eei_collateral_terms terms;
    entry *e = NULL;
    ee_status st = eei_collateral_terms_read(json, &terms, err);
    if (!st) st = eei_collateral_terms_fit(&terms, &terms.id, wall_s(self), err);
    if (!st) st = entry_make(json, &terms, wall_s(self), &e, err);
    if (st) return st;
    pthread_mutex_lock(&self->lock);
    size_t i = index_of(self, &terms.id);
    if (i == self->count || !goes_back(self->entries[i], e)) entry_put(self, e);
    entry_drop(e);
    pthread_mutex_unlock(&self->lock);
    return EE_OK;
}

/* ---- refresh ------------------------------------------------------------------------------------------------------------------ */

void eei_collateral_cache_want(eei_collateral_cache *self, const eei_collateral_id *id) {
    pthread_mutex_lock(&self->lock);
    if (!is_wanted(self, id) && self->wanted_count < EEI_COLLATERAL_WANTED_MAX)
        self->wanted[self->wanted_count++] = (wanted){.id = *id, .next_try_ms = 0};
    pthread_mutex_unlock(&self->lock);
}

static bool entry_wants_refresh(const eei_collateral_cache *self, const entry *e) {
    bool used = is_wanted(self, &e->terms.id) || mono(self) - e->used_ms < (uint64_t)EEI_COLLATERAL_UNUSED_S * 1000;
    return used && mono(self) >= e->next_try_ms && is_due(self, e);
}

/* The next that is due: *held is its entry (a reference) or NULL, *f its flight, with one reference more for us. */
static bool next_due(eei_collateral_cache *self, bool start, entry **held, flight **f) {
    const eei_collateral_id *id = NULL;
    *held = NULL;
    *f = NULL;
    for (size_t i = 0; i < self->count && !id; i++) {
        entry *e = self->entries[i];
        if (!entry_wants_refresh(self, e) || flight_find(self, &e->terms.id)) continue;
        id = &e->terms.id;
        if (start) *held = e;
    }
    for (size_t i = 0; i < self->wanted_count && !id; i++) {
        wanted *w = &self->wanted[i];
        if (index_of(self, &w->id) < self->count || mono(self) < w->next_try_ms || flight_find(self, &w->id)) continue;
        if (start) w->next_try_ms = mono(self) + (uint64_t)self->retry_s * 1000;
        id = &w->id;
    }
    if (!id || !start) return id != NULL;
    if (*held) {
        (*held)->refs++;
        try_later(self, *held); /* however it ends: this loop comes to an end */
    }
    if (flight_start(self, id, f, NULL)) {
        entry_drop(eei_take(held));
        return false;
    }
    (*f)->refs++;
    return true;
}

bool eei_collateral_cache_due(eei_collateral_cache *self) {
    entry *held;
    flight *f;
    pthread_mutex_lock(&self->lock);
    bool due = !ee_cancel_fired(self->stop) && next_due(self, false, &held, &f);
    pthread_mutex_unlock(&self->lock);
    return due;
}

void eei_collateral_cache_refresh(eei_collateral_cache *self, uint32_t timeout_ms) {
    for (;;) {
        entry *held;
        flight *f;
        pthread_mutex_lock(&self->lock);
        bool due = !ee_cancel_fired(self->stop) && next_due(self, true, &held, &f);
        pthread_mutex_unlock(&self->lock);
        if (!due) return;
        fly(self, f, held, timeout_ms, NULL);
        if (f->status) eei_log(EEI_LOG_WARN, "collateral.not_fetched", "word=%s message=%s", f->error.word, f->error.message);
        pthread_mutex_lock(&self->lock);
        flight_drop(f);
        flight_drop(f);
        pthread_mutex_unlock(&self->lock);
    }
}

/* ---- life --------------------------------------------------------------------------------------------------------------------- */

ee_status eei_collateral_cache_new(const eei_collateral_cache_options *o, eei_collateral_cache **out, ee_error *err) {
    *out = NULL;
    eei_collateral_cache *self = eei_calloc(1, sizeof *self);
    if (!self) return eei_nomem(err);
    (void)pthread_mutex_init(&self->lock, NULL); /* default attributes: does not fail on Linux */
    self->fetcher = o->fetcher;
    self->clock = *o->clock;
    self->refresh_s = o->refresh_s ? o->refresh_s : EEI_COLLATERAL_REFRESH_S;
    self->retry_s = self->refresh_s < EEI_COLLATERAL_RETRY_S ? self->refresh_s : EEI_COLLATERAL_RETRY_S;
    self->limit_misses = o->limit_misses;
    self->kept_max = o->kept_max ? o->kept_max : EEI_COLLATERAL_KEPT_MAX;
    self->bytes_max = o->bytes_max ? o->bytes_max : EEI_COLLATERAL_KEPT_BYTES;
    self->misses = EEI_COLLATERAL_MISSES_MAX;
    self->missed_ms = mono(self);
    self->entries = eei_calloc(self->kept_max + 1, sizeof(entry *)); /* one more for a moment: it comes in before another goes */
    ee_status st = self->entries ? ee_cancel_new(&self->stop, err) : eei_nomem(err);
    if (!st && o->folder) st = eei_collateral_files_new(o->folder, o->origin, self->kept_max, self->bytes_max, &self->files, err);
    if (st)
        eei_collateral_cache_free(self);
    else
        *out = self;
    return st;
}

void eei_collateral_cache_free(eei_collateral_cache *self) {
    if (!self) return;
    EE_ASSERT(!self->flights);
    while (self->entries && self->count) forget(self, 0);
    eei_free(self->entries);
    eei_collateral_files_free(self->files);
    ee_cancel_free(self->stop);
    (void)pthread_mutex_destroy(&self->lock);
    eei_free(self);
}

void eei_collateral_cache_stop(eei_collateral_cache *self) { ee_cancel_fire(self->stop); }
