/* bench_ledger.c - durable transfers a second through the writing thread, by how many are in flight, beside the disk's own floor (one
 * fdatasync each). Not for the network or request signatures. Run by ./dev bench. */
#include "base/alloc.h"
#include "bench/bench.h"
#include "controlplane/ledger.h"
#include "controlplane/writer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ACCOUNTS = 1000, FLIGHT_MAX = 4096 };

static struct setting {
    char dir[64], path[96];
    uv_loop_t loop;
    writer *w;
    int64_t ids[ACCOUNTS];
    bool quick;
    uint64_t serial;
    bool failed;
} s;

typedef struct flight {
    ledger_transfer_request request;
    ledger_entry entry;
    char key[32], to[32];
} flight;
static struct run {
    uint64_t left, open;
    bool hot;
} run;

static ee_status work_transfer(store *db, void *arg, ee_error *err) {
    flight *f = arg;
    return ledger_transfer(db, &f->request, &f->entry, err);
}

static uint64_t next(void) { /* splitmix64 */
    static uint64_t seed = 1;
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void on_done(void *arg, ee_status status, const ee_error *err);

static void send_one(flight *f) {
    size_t from = next() % (ACCOUNTS - 1), to = run.hot ? ACCOUNTS - 1 : (from + 1 + next() % (ACCOUNTS - 2)) % ACCOUNTS;
    (void)snprintf(f->key, sizeof f->key, "%" PRIu64, s.serial++);
    (void)snprintf(f->to, sizeof f->to, "user-%zu", to);
    f->request = (ledger_transfer_request){.from = s.ids[from],
                                           .to = eei_span_text(f->to),
                                           .amount = 1,
                                           .key = eei_span_text(f->key),
                                           .now_ms = UINT64_C(1769864651000) + s.serial};
    if (writer_submit(s.w, work_transfer, f, on_done, NULL)) {
        s.failed = true;
        return;
    }
    run.left--;
    run.open++;
}

static void on_done(void *arg, ee_status status, const ee_error *err) {
    (void)err;
    run.open--;
    if (status) s.failed = true;
    if (run.left && !s.failed) send_one(arg);
}

static double transfers(uint64_t in_flight, uint64_t count, bool hot) {
    static flight flights[FLIGHT_MAX];
    if (s.quick) count = count / 8 + in_flight;
    run = (struct run){.left = count, .hot = hot};
    const uint64_t start = bench_now_ns();
    for (uint64_t i = 0; i < in_flight && run.left; i++) send_one(&flights[i]);
    while (run.open) (void)uv_run(&s.loop, UV_RUN_ONCE);
    return s.failed ? -1 : (double)count / ((double)(bench_now_ns() - start) / 1e9);
}

static double flight_1(void *user) { return (void)user, transfers(1, 500, false); }
static double flight_8(void *user) { return (void)user, transfers(8, 3000, false); }
static double flight_32(void *user) { return (void)user, transfers(32, 8000, false); }
static double flight_32_hot(void *user) { return (void)user, transfers(32, 8000, true); }
static double flight_512(void *user) { return (void)user, transfers(512, 20000, false); }
static double flight_4096(void *user) { return (void)user, transfers(4096, 40000, false); }

/* The floor: what one durable append costs on this disk. */
static double raw_sync(void *user) {
    static const uint8_t page[4096];
    char path[128];
    const int count = s.quick ? 50 : 300;
    (void)user;
    (void)snprintf(path, sizeof path, "%s/raw", s.dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    const uint64_t start = bench_now_ns();
    for (int i = 0; i < count; i++)
        if (write(fd, page, sizeof page) != (ssize_t)sizeof page || fdatasync(fd) != 0) s.failed = true;
    const double rate = count / ((double)(bench_now_ns() - start) / 1e9);
    (void)close(fd);
    (void)unlink(path);
    return s.failed ? -1 : rate;
}

static ee_status set_up(store *db, void *arg, ee_error *err) {
    ledger_principal who;
    ledger_entry entry;
    ee_status st = EE_OK;
    (void)arg;
    for (uint32_t i = 0; i < ACCOUNTS && !st; i++) {
        char name[32];
        uint8_t key[32] = {0};
        (void)snprintf(name, sizeof name, "user-%u", i);
        memcpy(key, &i, sizeof i);
        st = ledger_create_account(db, eei_span_text(name), key, LEDGER_USER, 1, &who, err);
        s.ids[i] = who.id;
        const ledger_mint_request mint = {
            .to = eei_span_text(name), .amount = INT64_C(1000000000000), .reference = eei_span_text(name), .now_ms = 1};
        if (!st) st = ledger_mint(db, &mint, &entry, err);
    }
    return st;
}

static bool start(void) {
    store *db = NULL;
    ee_error err;
    const char *tmp = getenv("TMPDIR");
    int n = snprintf(s.dir, sizeof s.dir, "%s/ee-bench-XXXXXX", tmp ? tmp : "/var/tmp"); /* /tmp is often no disk */
    if (n < 0 || (size_t)n >= sizeof s.dir || !mkdtemp(s.dir)) return false;
    (void)snprintf(s.path, sizeof s.path, "%s/ledger.db", s.dir);
    if (uv_loop_init(&s.loop) != 0) return false;
    ee_status st = store_open(s.path, STORE_READ_WRITE, &db, &err);
    if (!st) st = store_run(db, set_up, NULL, &err);
    if (!st) st = writer_start(&s.loop, db, NULL, &s.w, &err);
    if (!st) return true;
    (void)fprintf(stderr, "%s\n", err.message);
    store_close(db);
    return false;
}

/* The books must balance after all that, else the numbers mean nothing. */
static bool finish(void) {
    static const char *const tails[] = {"", "-wal", "-shm", "-writer"};
    store *db = NULL;
    ee_error err;
    ledger_audit_report report;
    writer_close(s.w);
    (void)uv_run(&s.loop, UV_RUN_DEFAULT);
    ee_status st = store_open(s.path, STORE_READ_WRITE, &db, &err);
    if (!st) st = ledger_audit(db, &report, &err);
    if (st) (void)fprintf(stderr, "%s\n", err.message);
    store_close(db);
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s%s", s.path, tails[i]);
        (void)unlink(path);
    }
    (void)rmdir(s.dir);
    return st == EE_OK;
}

int main(int argc, char **argv) {
    bench *b = bench_open(argc, argv, "ledger");
    const bench_case cases[] = {
        {"fdatasync of 4 KiB", "op/s", NULL, raw_sync, NULL},
        {"transfer, 1 in flight", "op/s", "fdatasync of 4 KiB", flight_1, NULL},
        {"transfer, 8 in flight", "op/s", "transfer, 1 in flight", flight_8, NULL},
        {"transfer, 32 in flight", "op/s", "transfer, 1 in flight", flight_32, NULL},
        {"transfer, 32 in flight, all to one", "op/s", "transfer, 32 in flight", flight_32_hot, NULL},
        {"transfer, 512 in flight", "op/s", "transfer, 1 in flight", flight_512, NULL},
        {"transfer, 4096 in flight", "op/s", "transfer, 1 in flight", flight_4096, NULL},
    };
    s.quick = bench_is_quick(b);
    if (!start()) return 1;
    (void)bench_run(b, cases, sizeof cases / sizeof *cases, 0);
    if (!finish()) return 1;
    return bench_close(b);
}
