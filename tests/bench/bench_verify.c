/* bench_verify.c - what verifying a TDX quote costs beside the ECDSA verifications it cannot do without, what refusing a malformed one
 * costs, and what threads bring. Not for memory (bench_verify_memory.c), other verifiers (bench_peers.py) or whole sessions
 * (bench_calls.py). Run by ./dev bench. */
#include "attest/boot_log.h"
#include "base/clock.h"
#include "base/file.h"
#include "bench/bench.h"
#include "bench/platform.h"
#include "simtdx/parts.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Short rounds, and many: what else the machine does then falls on all cases alike. */
enum { THREADS_MAX = 4, BOOT_EVENTS = 250, MALFORMED = 8, MALFORMED_EACH = 50, ROUNDS = 40, ROUNDS_QUICK = 10, RUNS = 35 };

typedef struct world {
    bench_platform platform;
    eei_buf signature;
    EVP_PKEY_CTX *verify;
    uint8_t digest[32];
    unsigned rounds;
    eei_buf log_area;
    eei_arena arena;
    eei_boot_event *boot_events;
    size_t boot_event_count;
} world;

/* As `openssl speed ecdsap256` measures it: one key, one digest, the context made once. */
static void make_signature(world *w) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    EVP_PKEY_CTX *sign = EVP_PKEY_CTX_new(key, NULL);
    uint8_t bytes[80];
    size_t len = sizeof bytes;
    w->verify = EVP_PKEY_CTX_new(key, NULL);
    if (!sign || !w->verify || EVP_PKEY_sign_init(sign) != 1 || EVP_PKEY_sign(sign, bytes, &len, w->digest, 32) != 1 ||
        EVP_PKEY_verify_init(w->verify) != 1)
        exit(1);
    w->signature = (eei_buf)EEI_BUF_INIT(80);
    if (eei_buf_append(&w->signature, bytes, len)) exit(1);
    EVP_PKEY_CTX_free(sign);
    EVP_PKEY_free(key);
}

static double micros_each(uint64_t start_ns, unsigned n) { return (double)(bench_cpu_ns() - start_ns) / 1e3 / n; }

static double ecdsa(world *w, unsigned n) {
    uint64_t start = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++)
        if (EVP_PKEY_verify(w->verify, w->signature.data, w->signature.len, w->digest, 32) != 1) return -1;
    return micros_each(start, n);
}
static double ecdsa_9(void *user) { return 9 * ecdsa(user, ((world *)user)->rounds * 4); }
static double ecdsa_3(void *user) { return 3 * ecdsa(user, ((world *)user)->rounds * 4); }

static double many(const world *w, bool (*once)(const bench_platform *)) {
    uint64_t start = bench_cpu_ns();
    for (unsigned i = 0; i < w->rounds; i++)
        if (!once(&w->platform)) return -1;
    return micros_each(start, w->rounds);
}
static double cold(void *user) { return many(user, bench_platform_cold); }
static double warm(void *user) { return many(user, bench_platform_warm); }

/* ---- quotes that are none ---------------------------------------------------------------------------------------------------- */

typedef struct malformed {
    const world *w;
    const char *id;
    uint8_t *bytes;
    size_t len;
} malformed;

static double refused(void *user) {
    const malformed *m = user;
    unsigned n = m->w->rounds * MALFORMED_EACH;
    uint64_t start = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++) {
        ee_verdict *verdict = NULL;
        ee_status st =
            bench_platform_verify(&m->w->platform, (ee_span){m->bytes, m->len}, m->w->platform.collateral, (ee_span){0}, &verdict);
        ee_verdict_free(verdict);
        if (st != EE_E_ATTESTATION) return -1;
    }
    return micros_each(start, n);
}

static malformed broken(const world *w, const char *id, size_t len) {
    malformed m = {w, id, calloc(1, len ? len : 1), len};
    if (!m.bytes) exit(1);
    size_t have = w->platform.quote.len < len ? w->platform.quote.len : len;
    memcpy(m.bytes, w->platform.quote.data, have);
    return m;
}

static void make_malformed(const world *w, malformed out[MALFORMED]) {
    const size_t len = w->platform.quote.len, auth_len_at = 632, qe_auth_len_at = auth_len_at + 4 + 582,
                 cert_len_at = qe_auth_len_at + 2 + 32 + 2;
    const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff};
    ee_error err = {0};
    out[0] = broken(w, "refuse: nothing at all", 0);
    out[1] = broken(w, "refuse: another version", len);
    out[1].bytes[0] = 6;
    out[2] = broken(w, "refuse: cut in the TD report", 300);
    out[3] = broken(w, "refuse: one byte short", len - 1);
    out[4] = broken(w, "refuse: length of signature data 2^32 - 1", len);
    memcpy(out[4].bytes + auth_len_at, huge, 4);
    out[5] = broken(w, "refuse: length of certification data 2^32 - 1", len);
    memcpy(out[5].bytes + cert_len_at, huge, 4);
    out[6] = broken(w, "refuse: 8 KiB of noise", 8192);
    bench_must(eei_random(out[6].bytes, 8192, &err), &err);
    out[7] = broken(w, "refuse: more than 64 KiB", EE_QUOTE_BYTES_MAX + 1);
}

/* ---- threads: one collateral for all, as in a server ------------------------------------------------------------------------- */

typedef struct crew {
    const world *w;
    unsigned threads;
} crew;

/* Long enough that threads which begin on one core have been moved apart. */
enum { ROUNDS_OF_A_THREAD = 20 };

static void *verify_warm(void *user) {
    world *w = user;
    for (int i = 0; i < ROUNDS_OF_A_THREAD; i++)
        if (warm(w) < 0) return NULL;
    return w;
}

static double throughput(void *user) {
    const crew *c = user;
    pthread_t threads[THREADS_MAX];
    bool good = true;
    uint64_t start = bench_now_ns();
    for (unsigned i = 0; i < c->threads; i++)
        if (pthread_create(&threads[i], NULL, verify_warm, (void *)(uintptr_t)c->w)) exit(1);
    for (unsigned i = 0; i < c->threads; i++) {
        void *done = NULL;
        good &= !pthread_join(threads[i], &done) && done;
    }
    return good ? 1e9 * ROUNDS_OF_A_THREAD * c->threads * c->w->rounds / (double)(bench_now_ns() - start) : -1;
}

/* ---- a boot log beside it: what 250 events cost who sends them (once a boot) and who checks them ---------------------------- */

static void make_boot_log(world *w) {
    uint8_t data[64], digest[48];
    ee_error err = {0};
    w->log_area = (eei_buf)EEI_BUF_INIT(1 << 20);
    w->arena = (eei_arena)EEI_ARENA_INIT(1 << 20);
    eei_writer writer = eei_writer_init(&w->log_area);
    simtdx_ccel_header(&writer);
    for (unsigned i = 0; i < BOOT_EVENTS; i++) {
        memset(data, (int)i, sizeof data);
        eei_sha384(eei_span(data, sizeof data), digest);
        simtdx_ccel_event(&writer, 1 + i % 3, 0xd, digest, eei_span(data, sizeof data));
    }
    bench_must(eei_boot_log_compact(eei_buf_span(&w->log_area), &w->arena, &w->boot_events, &w->boot_event_count, &err), &err);
}

static double log_made_small(void *user) {
    world *w = user;
    uint64_t start = bench_cpu_ns();
    for (unsigned i = 0; i < w->rounds; i++) {
        eei_arena arena = EEI_ARENA_INIT(1 << 20);
        eei_boot_event *events = NULL;
        size_t count = 0;
        if (eei_boot_log_compact(eei_buf_span(&w->log_area), &arena, &events, &count, NULL)) return -1;
        bench_use(events);
        eei_arena_clear(&arena);
    }
    return micros_each(start, w->rounds);
}

static double log_replayed(void *user) {
    world *w = user;
    uint64_t start = bench_cpu_ns();
    for (unsigned i = 0; i < w->rounds; i++) {
        eei_boot_registers made;
        if (eei_boot_log_replay(w->boot_events, w->boot_event_count, &made, NULL)) return -1;
        bench_use(&made);
    }
    return micros_each(start, w->rounds);
}

/* ---- for bench_peers.py: a number in, that many verifications of FOLDER's files, microseconds of each out ---------------------- */

static void read_into(const char *folder, const char *name, eei_buf *out) {
    char path[4096];
    ee_error err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    bench_must(eei_file_read(path, out, &err), &err);
}

static int serve(const char *folder, uint64_t now_unix_s) {
    world w = {.platform = {.quote = EEI_BUF_INIT(65536), .collateral_json = EEI_BUF_INIT(1 << 20), .now_unix_s = now_unix_s}};
    eei_buf text = EEI_BUF_INIT(65536);
    ee_error err = {0};
    char line[32];
    read_into(folder, "quote.bin", &w.platform.quote);
    read_into(folder, "collateral.json", &w.platform.collateral_json);
    read_into(folder, "policy.toml", &text);
    bench_must(ee_policy_parse(eei_buf_cstr(&text), "policy.toml", &w.platform.policy, &err), &err);
    while (fgets(line, sizeof line, stdin)) {
        w.rounds = (unsigned)strtoul(line, NULL, 10);
        double us = w.rounds ? cold(&w) : -1;
        if (us < 0) return 1;
        printf("%.3f\n", us);
        fflush(stdout);
    }
    eei_buf_clear(&text);
    bench_platform_clear(&w.platform);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "--serve")) return serve(argv[2], strtoull(argv[3], NULL, 10));
    world w = {0};
    malformed bad[MALFORMED];
    bench *b = bench_open(argc, argv, "verify");
    w.rounds = bench_is_quick(b) ? ROUNDS_QUICK : ROUNDS;
    unsigned runs = bench_is_quick(b) ? 0 : RUNS;
    bench_platform_make(&w.platform);
    make_signature(&w);
    make_boot_log(&w);
    make_malformed(&w, bad);
    crew crews[] = {{&w, 1}, {&w, 2}, {&w, 4}};
    const bench_case cases[] = {
        {"9 ECDSA verifications", "us", NULL, ecdsa_9, &w},
        {"3 ECDSA verifications", "us", NULL, ecdsa_3, &w},
        {"verify, nothing cached", "us", "9 ECDSA verifications", cold, &w},
        {"verify, collateral cached", "us", "3 ECDSA verifications", warm, &w},
        {"boot log of 250 events, made small", "us", "3 ECDSA verifications", log_made_small, &w},
        {"boot log of 250 events, replayed", "us", "3 ECDSA verifications", log_replayed, &w},
        {"verify, collateral cached, 1 thread", "op/s", NULL, throughput, &crews[0]},
        {"verify, collateral cached, 2 threads", "op/s", "verify, collateral cached, 1 thread", throughput, &crews[1]},
        {"verify, collateral cached, 4 threads", "op/s", "verify, collateral cached, 1 thread", throughput, &crews[2]},
    };
    bench_case refusals[MALFORMED];
    for (size_t i = 0; i < MALFORMED; i++) refusals[i] = (bench_case){bad[i].id, "us", NULL, refused, &bad[i]};
    bench_run(b, cases, sizeof cases / sizeof *cases, runs);
    bench_run(b, refusals, MALFORMED, runs);
    return bench_close(b);
}
