/* bench_verify_memory.c - the memory that verifying a TDX quote takes: every request of the process is counted, OpenSSL's too, and the
 * stack of a thread of its own. Fails when it is more than eesdk/verify.h promises. Not for time (bench_verify.c). Run by ./dev bench. */
#include "base/limits.h"
#include "bench/bench.h"
#include "bench/platform.h"
#include "simtdx/parts.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { STACK_BYTES = 1 << 20, PROMISED_KIB = 200, PROMISED_BOOT_LOG_KIB = 400, LOG_BYTES = 1 << 20 };

/* ---- every request, as the allocator rounds it up ---------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void *memory);

static atomic_size_t in_use, peak;

static void *taken(void *memory) {
    size_t now = atomic_fetch_add(&in_use, memory ? malloc_usable_size(memory) : 0) + (memory ? malloc_usable_size(memory) : 0);
    size_t most = atomic_load(&peak);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now)) {
    }
    return memory;
}

static void given(void *memory) {
    if (memory) atomic_fetch_sub(&in_use, malloc_usable_size(memory));
}

void *malloc(size_t bytes) { return taken(__libc_malloc(bytes)); }
void *calloc(size_t count, size_t bytes) { return taken(__libc_calloc(count, bytes)); }
void *memalign(size_t alignment, size_t bytes) { return taken(__libc_memalign(alignment, bytes)); }
void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void **out, size_t alignment, size_t bytes) {
    *out = memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}

/* Both blocks exist while one is copied to the other. */
void *realloc(void *old, size_t bytes) {
    size_t had = old ? malloc_usable_size(old) : 0;
    void *memory = __libc_realloc(old, bytes);
    if (!memory && bytes) return NULL;
    taken(memory);
    atomic_fetch_sub(&in_use, had);
    return memory;
}

void free(void *memory) {
    given(memory);
    __libc_free(memory);
}

/* ---- what is measured -------------------------------------------------------------------------------------------------------- */

typedef struct measured {
    const bench_platform *p;
    ee_span ccel;
    double peak, kept, verdict, collateral; /* bytes */
    bool good;
} measured;

static double since(size_t start) { return (double)(atomic_load(&in_use) - start); }

/* From text to verdict, and what stays of it as long as somebody holds it. */
static void *measure(void *user) {
    measured *m = user;
    ee_collateral *collateral = NULL;
    ee_verdict *verdict = NULL;
    size_t start = atomic_load(&in_use);
    m->good = ee_collateral_parse(eei_buf_span(&m->p->collateral_json), &collateral, NULL) == EE_OK;
    ee_status st = m->good ? bench_platform_verify(m->p, eei_buf_span(&m->p->quote), collateral, (ee_span){0}, &verdict) : EE_E_STATE;
    m->good &= st == EE_OK;
    ee_verdict_free(verdict);
    m->collateral = since(start);
    /* Again, with what is known by now. */
    size_t before = atomic_load(&in_use);
    atomic_store(&peak, before);
    st = bench_platform_verify(m->p, eei_buf_span(&m->p->quote), collateral, m->ccel, &verdict);
    m->good &= st == (m->ccel.len ? EE_E_ATTESTATION : EE_OK); /* the boot log is another machine's */
    m->peak = (double)(atomic_load(&peak) - before);
    m->verdict = since(before);
    ee_verdict_free(verdict);
    ee_collateral_free(collateral);
    m->kept = since(start);
    return NULL;
}

/* In a thread whose stack is painted; how far the paint is gone. */
static double on_painted_stack(measured *m) {
    pthread_attr_t attributes;
    pthread_t thread;
    uint8_t *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) exit(1);
    memset(stack, 0xa5, STACK_BYTES);
    if (pthread_attr_init(&attributes) || pthread_attr_setstack(&attributes, stack, STACK_BYTES) ||
        pthread_create(&thread, &attributes, measure, m) || pthread_join(thread, NULL))
        exit(1);
    size_t untouched = 0;
    while (untouched < STACK_BYTES && stack[untouched] == 0xa5) untouched++;
    munmap(stack, STACK_BYTES);
    pthread_attr_destroy(&attributes);
    return (double)(STACK_BYTES - untouched);
}

/* The longest log that is read to its end: EEI_BOOT_EVENTS_MAX events, each with data. */
static void long_log(eei_buf *out) {
    const uint8_t digest[48] = {1};
    eei_writer w = eei_writer_init(out);
    simtdx_ccel_header(&w);
    for (unsigned i = 0; i < EEI_BOOT_EVENTS_MAX; i++) simtdx_ccel_event(&w, 1, 0xd, digest, eei_span(digest, sizeof digest));
}

static void add(bench *b, const char *id, double bytes, double most_kib) {
    double kib = bytes / 1024;
    if (kib > most_kib) {
        fprintf(stderr, "bench: %s: %.1f KiB, promised are %.0f (eesdk/verify.h)\n", id, kib, most_kib);
        kib = -1; /* a failed run */
    }
    bench_add(b, id, "KiB", NULL, &kib, 1);
}

int main(int argc, char **argv) {
    bench_platform p;
    bench *b = bench_open(argc, argv, "verify_memory");
    bench_platform_make(&p);
    eei_buf log = EEI_BUF_INIT(LOG_BYTES);
    long_log(&log);
    measured first = {.p = &p}, m = {.p = &p}, with_log = {.p = &p, .ccel = eei_buf_span(&log)};
    measure(&first); /* what OpenSSL makes once for a process */
    double stack = on_painted_stack(&m);
    measure(&with_log);
    if (!first.good || !m.good || !with_log.good) {
        fprintf(stderr, "bench: a verification ended otherwise than it should\n");
        return 1;
    }
    add(b, "verify, beside the collateral: most at once", m.peak, PROMISED_KIB);
    add(b, "the same with a boot log of 512 events", with_log.peak, PROMISED_KIB + PROMISED_BOOT_LOG_KIB);
    add(b, "stack", stack, PROMISED_KIB - m.peak / 1024);
    add(b, "kept in a verdict", m.verdict, PROMISED_KIB);
    add(b, "kept in collateral that has been used", m.collateral, INFINITY);
    add(b, "left when both are freed", m.kept, 0);
    eei_buf_clear(&log);
    bench_platform_clear(&p);
    return bench_close(b);
}
