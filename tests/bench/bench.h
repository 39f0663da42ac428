/* bench.h - what measuring programs share: fair rounds, medians, a JSON file. Not for deciding what is fast enough.
 * Linked into each tests/bench/bench_<name>.c; run by ./dev bench, which prints the tables. */
#ifndef EE_BENCH_H
#define EE_BENCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bench bench;

/* name: "mux" writes <folder>/mux.json; folder is the environment's EE_BENCH_DIR, else build/bench. Knows --quick. Ends the program on
 * misuse. */
bench *bench_open(int argc, char **argv, const char *name);
/* True with --quick: fewer runs and smaller sizes are wanted; the numbers are a smoke test. */
bool bench_is_quick(const bench *b);

uint64_t bench_now_ns(void);
/* Time that this thread has computed, as `openssl speed` counts it: what others do on the machine is not in it. For work that waits for
 * nothing. */
uint64_t bench_cpu_ns(void);
/* Keeps the compiler from leaving out work whose result nobody reads. */
void bench_use(const void *memory);

/* One way of doing the work. run measures once and returns a value in unit; a negative or non-finite one means that it failed. */
typedef struct bench_case {
    const char *id;
    const char *unit;    /* "MB/s", "us", "op/s" */
    const char *against; /* id of an earlier case of this program: ratio = value / its value. NULL: none */
    double (*run)(void *user);
    void *user;
} bench_case;

/* Runs all cases round by round (a b c, a b c, ...), so that a machine that slows down slows down all; one round before is thrown away.
 * Each case's value is the median. runs 0: 7, with --quick 3. False when a case failed; it is said on stderr. */
bool bench_run(bench *b, const bench_case *cases, size_t count, unsigned runs);

/* A value measured otherwise (samples are sorted in place; the median counts). */
bool bench_add(bench *b, const char *id, const char *unit, const char *against, double *samples, size_t count);
double bench_median(double *samples, size_t count);
/* The p-th percentile of sorted samples, p in 0..100. */
double bench_percentile(const double *sorted, size_t count, double p);

/* Writes the file and releases b. Returns main's exit code: 0 only if every case gave a value and the file was written. */
int bench_close(bench *b);
#endif
