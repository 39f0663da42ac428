/* bench_verify.c - what verifying a TDX quote costs beside the ECDSA verifications it cannot do without. Not for whole sessions
 * (bench_calls.py). Run by ./dev bench. */
#include "attest/boot_log.h"
#include "base/buf.h"
#include "bench/bench.h"
#include "simtdx/parts.h"

#include <eesdk/verify.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW UINT64_C(1790000000)

enum { THREADS_MAX = 64, BOOT_EVENTS = 250 };

/* One platform, one quote, its collateral as text and parsed. */
typedef struct world {
    eei_buf quote, collateral_json, signature;
    ee_collateral *collateral;
    ee_policy *policy;
    EVP_PKEY_CTX *verify;
    uint8_t digest[32];
    unsigned rounds;
    eei_buf log_area;
    eei_arena arena;
    eei_boot_event *boot_events;
    size_t boot_event_count;
} world;

static void must(ee_status st, const ee_error *err) {
    if (!st) return;
    fprintf(stderr, "bench_verify: %s\n", err->message);
    exit(1);
}

static void make_platform(world *w) {
    simtdx_root *root = NULL;
    simtdx_machine *machine = NULL;
    simtdx_td td;
    uint8_t report_data[64] = {1};
    ee_error err = {0};
    eei_buf text = EEI_BUF_INIT(65536);
    w->quote = (eei_buf)EEI_BUF_INIT(65536);
    w->collateral_json = (eei_buf)EEI_BUF_INIT(1 << 20);
    must(simtdx_root_new(NOW, &root, &err), &err);
    must(simtdx_machine_new(root, "bench", &machine, &err), &err);
    simtdx_td_default(&td);
    must(simtdx_quote(machine, &td, report_data, &w->quote, &err), &err);
    must(simtdx_root_collateral(root, &w->collateral_json, &err), &err);
    must(ee_collateral_parse(eei_buf_span(&w->collateral_json), &w->collateral, &err), &err);
    must(simtdx_policy_toml(root, &text, &err), &err);
    must(ee_policy_parse(eei_buf_cstr(&text), "bench", &w->policy, &err), &err);
    eei_buf_clear(&text);
    simtdx_machine_free(machine);
    simtdx_root_free(root);
}

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

static double micros_each(uint64_t start_ns, unsigned n) { return (double)(bench_now_ns() - start_ns) / 1e3 / n; }

static double ecdsa(world *w, unsigned n) {
    uint64_t start = bench_now_ns();
    for (unsigned i = 0; i < n; i++)
        if (EVP_PKEY_verify(w->verify, w->signature.data, w->signature.len, w->digest, 32) != 1) return -1;
    return micros_each(start, n);
}
static double ecdsa_9(void *user) { return 9 * ecdsa(user, ((world *)user)->rounds * 4); }
static double ecdsa_3(void *user) { return 3 * ecdsa(user, ((world *)user)->rounds * 4); }

static bool verify_once(const world *w, const ee_collateral *collateral) {
    ee_verify_options options;
    ee_verdict *verdict = NULL;
    ee_verify_options_init(&options);
    options.now_unix_s = NOW;
    ee_status st = ee_verify_quote(eei_buf_span(&w->quote), collateral, w->policy, &options, &verdict, NULL);
    ee_verdict_free(verdict);
    return st == EE_OK;
}

static double cold(void *user) {
    world *w = user;
    uint64_t start = bench_now_ns();
    for (unsigned i = 0; i < w->rounds; i++) {
        ee_collateral *collateral = NULL;
        if (ee_collateral_parse(eei_buf_span(&w->collateral_json), &collateral, NULL)) return -1;
        bool ok = verify_once(w, collateral);
        ee_collateral_free(collateral);
        if (!ok) return -1;
    }
    return micros_each(start, w->rounds);
}

static double warm(void *user) {
    world *w = user;
    uint64_t start = bench_now_ns();
    for (unsigned i = 0; i < w->rounds; i++)
        if (!verify_once(w, w->collateral)) return -1;
    return micros_each(start, w->rounds);
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
    must(eei_boot_log_compact(eei_buf_span(&w->log_area), &w->arena, &w->boot_events, &w->boot_event_count, &err), &err);
}

static double log_made_small(void *user) {
    world *w = user;
    uint64_t start = bench_now_ns();
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
    uint64_t start = bench_now_ns();
    for (unsigned i = 0; i < w->rounds; i++) {
        eei_boot_registers made;
        if (eei_boot_log_replay(w->boot_events, w->boot_event_count, &made, NULL)) return -1;
        bench_use(&made);
    }
    return micros_each(start, w->rounds);
}

int main(int argc, char **argv) {
    world w = {0};
    bench *b = bench_open(argc, argv, "verify");
    w.rounds = bench_is_quick(b) ? 20 : 200;
    make_platform(&w);
    make_signature(&w);
    make_boot_log(&w);
    const bench_case cases[] = {
        {"9 ECDSA verifications", "us", NULL, ecdsa_9, &w},
        {"3 ECDSA verifications", "us", NULL, ecdsa_3, &w},
        {"verify, nothing cached", "us", "9 ECDSA verifications", cold, &w},
        {"verify, collateral cached", "us", "3 ECDSA verifications", warm, &w},
        {"boot log of 250 events, made small", "us", "3 ECDSA verifications", log_made_small, &w},
        {"boot log of 250 events, replayed", "us", "3 ECDSA verifications", log_replayed, &w},
    };
    bench_run(b, cases, sizeof cases / sizeof *cases, 0);
    return bench_close(b);
}
