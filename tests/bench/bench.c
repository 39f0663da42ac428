/* bench.c - rounds, medians and the JSON file of measuring programs; see bench.h. Not linked into anything users run. */
#include "bench.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { RUNS = 7, RUNS_QUICK = 3, RUNS_MAX = 1000, CASES_MAX = 64 };

struct bench {
    char path[4096];
    bool quick, failed;
    json_t *cases;
    json_t *root;
};

static void die(const char *what) {
    fprintf(stderr, "bench: %s\n", what);
    exit(2);
}

bench *bench_open(int argc, char **argv, const char *name) {
    bench *b = calloc(1, sizeof *b);
    const char *folder = getenv("EE_BENCH_DIR");
    const char *machine = getenv("EE_BENCH_MACHINE");
    if (!b) die("out of memory");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") != 0) die("only --quick is known");
        b->quick = true;
    }
    if (!folder) folder = "build/bench";
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) die("no folder for the results; run ./dev bench");
    int n = snprintf(b->path, sizeof b->path, "%s/%s.json", folder, name);
    if (n < 0 || (size_t)n >= sizeof b->path) die("path too long");
    b->cases = json_array();
    b->root = json_pack("{s:s, s:s, s:b, s:o}", "name", name, "machine", machine ? machine : "", "quick", b->quick, "cases", b->cases);
    if (!b->root) die("out of memory");
    return b;
}

bool bench_is_quick(const bench *b) { return b->quick; }

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
uint64_t bench_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t bench_cpu_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

void bench_use(const void *memory) { __asm__ volatile("" : : "g"(memory) : "memory"); }

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *samples, size_t count) {
    if (count == 0) return NAN;
    qsort(samples, count, sizeof *samples, by_value);
    return count % 2 ? samples[count / 2] : (samples[count / 2 - 1] + samples[count / 2]) / 2;
}

double bench_percentile(const double *sorted, size_t count, double p) {
    if (count == 0) return NAN;
    return sorted[(size_t)((double)(count - 1) * p / 100.0 + 0.5)];
}

static bool fail(bench *b, const char *id, const char *why) {
    fprintf(stderr, "bench: %s: %s\n", id, why);
    b->failed = true;
    return false;
}

static double value_of(const bench *b, const char *id) {
    size_t i;
    json_t *entry;
    json_array_foreach(b->cases, i, entry) {
        if (strcmp(json_string_value(json_object_get(entry, "id")), id) == 0) return json_number_value(json_object_get(entry, "value"));
    }
    return NAN;
}

bool bench_add(bench *b, const char *id, const char *unit, const char *against, double *samples, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(samples[i]) || samples[i] < 0) return fail(b, id, "a run failed");
    if (count == 0) return fail(b, id, "no runs");
    double value = bench_median(samples, count);
    double other = against ? value_of(b, against) : NAN;
    if (against && !(other > 0)) return fail(b, id, "nothing to compare with: the other case comes first and must be above 0");
    json_t *entry = json_pack("{s:s, s:f, s:s, s:s?, s:o, s:I, s:f, s:f}", "id", id, "value", value, "unit", unit, "against", against,
                              "ratio", against ? json_real(value / other) : json_null(), "runs", (json_int_t)count, "min", samples[0],
                              "max", samples[count - 1]);
    if (!entry || json_array_append_new(b->cases, entry) != 0) return fail(b, id, "out of memory");
    return true;
}

bool bench_run(bench *b, const bench_case *cases, size_t count, unsigned runs) {
    bool good = true;
    if (runs == 0) runs = b->quick ? RUNS_QUICK : RUNS;
    if (runs > RUNS_MAX || count > CASES_MAX) die("too many runs or cases");
    double *samples = calloc(count * runs + 1, sizeof *samples);
    if (!samples) die("out of memory");
    for (size_t i = 0; i < count; i++) cases[i].run(cases[i].user); /* warms caches, pools and branch predictors */
    for (unsigned r = 0; r < runs; r++)
        for (size_t i = 0; i < count; i++) samples[i * runs + r] = cases[i].run(cases[i].user);
    for (size_t i = 0; i < count; i++) good &= bench_add(b, cases[i].id, cases[i].unit, cases[i].against, samples + i * runs, runs);
    free(samples);
    return good;
}

int bench_close(bench *b) {
    if (json_array_size(b->cases) == 0) fail(b, b->path, "no cases");
    if (json_dump_file(b->root, b->path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0) fail(b, b->path, "cannot be written");
    int code = b->failed ? 1 : 0;
    json_decref(b->root);
    free(b);
    return code;
}
