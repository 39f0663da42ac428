/* test_verify_bits.c - no single changed bit of a good quote, nor of any item of its collateral, verifies: all of them are tried, on every
 * core at once. Changed on purpose and signed again is test_verify.c's matter. Threats Q1, Q3. */
/* deadline: 1800 s: 250,000 verifications take two minutes of two idle cores, and more where others work beside them. Under
 * ThreadSanitizer, which looks for races and not for bits, a part of them is tried. */
#include "attest/chain.h"
#include "unit/attest_world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
enum { STRIDE = 31 }; /* odd: all eight bits of a byte have their turn */
#else
enum { STRIDE = 1 };
#endif
enum { THREADS_MAX = 16 };

/* One text or byte string of the collateral: DER for what travels as PEM or hex, or the text as it stands in the JSON. */
typedef struct item {
    const char *name;
    eei_buf bytes;
    bool pem; /* one of several certificates: */
    size_t cert, certs;
    bool hex;
} item;

typedef struct job {
    const world *w;
    const json_t *good; /* collateral */
    const item *item;   /* NULL: the quote */
    atomic_size_t next; /* bit */
    size_t bits;
    atomic_size_t verified; /* bits that went unnoticed */
    atomic_size_t last;
} job;

static void note(job *j, size_t bit, ee_status st, const ee_verdict *verdict) {
    if (st != EE_OK && !ee_verdict_verified(verdict)) return;
    atomic_fetch_add(&j->verified, 1);
    atomic_store(&j->last, bit);
}

static void try_quote(job *j, uint8_t *quote, size_t bit) {
    ee_verdict *verdict = NULL;
    quote[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    ee_status st = verify_at(eei_span(quote, j->w->quote.len), j->w->collateral, j->w->any, NOW, &verdict, NULL);
    note(j, bit, st, verdict);
    ee_verdict_free(verdict);
    quote[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

/* PEM chain in which certificate number `cert` is replaced by these bytes. */
static void put_pem(const char *chain, size_t cert, ee_span der, eei_buf *out) {
    static const char begin[] = "-----BEGIN CERTIFICATE-----\n", end[] = "-----END CERTIFICATE-----\n";
    eei_buf b64 = EEI_BUF_INIT(65536);
    const char *at = chain;
    for (size_t i = 0; i < cert; i++) at = strstr(at, end) + strlen(end);
    assert_int_equal(eei_buf_append(out, chain, (size_t)(at - chain)), EE_OK);
    assert_int_equal(eei_buf_append_text(out, begin), EE_OK);
    assert_int_equal(eei_base64url_encode(der, &b64), EE_OK);
    while (b64.len % 4) assert_int_equal(eei_buf_append_text(&b64, "="), EE_OK);
    for (size_t i = 0; i < b64.len; i += 64) {
        char line[66];
        size_t n = b64.len - i < 64 ? b64.len - i : 64;
        for (size_t k = 0; k < n; k++) line[k] = b64.data[i + k] == '-' ? '+' : b64.data[i + k] == '_' ? '/' : (char)b64.data[i + k];
        line[n] = '\n';
        assert_int_equal(eei_buf_append(out, line, n + 1), EE_OK);
    }
    assert_int_equal(eei_buf_append_text(out, end), EE_OK);
    assert_int_equal(eei_buf_append_text(out, strstr(at, end) + strlen(end)), EE_OK);
    eei_buf_clear(&b64);
}

static bool text_is_utf8(const uint8_t *bytes, size_t len) { return !memchr(bytes, 0, len) && eei_utf8_valid(eei_span(bytes, len)); }

static json_t *with_item(const job *j, const uint8_t *bytes) {
    const item *it = j->item;
    eei_buf text = EEI_BUF_INIT(1 << 20);
    json_t *changed = json_copy((json_t *)(uintptr_t)j->good);
    if (it->pem) {
        put_pem(json_string_value(json_object_get(j->good, it->name)), it->cert, eei_span(bytes, it->bytes.len), &text);
    } else if (it->hex) {
        uint8_t *room = NULL;
        assert_int_equal(eei_buf_reserve(&text, 2 * it->bytes.len + 1, &room), EE_OK);
        eei_hex_encode(eei_span(bytes, it->bytes.len), (char *)room);
        eei_buf_commit(&text, 2 * it->bytes.len);
    } else {
        assert_int_equal(eei_buf_append(&text, bytes, it->bytes.len), EE_OK);
    }
    assert_int_equal(json_object_set_new(changed, it->name, json_stringn((const char *)text.data, text.len)), 0);
    eei_buf_clear(&text);
    return changed;
}

static void try_item(job *j, uint8_t *bytes, size_t bit) {
    ee_verdict *verdict = NULL;
    ee_verify_options options;
    eei_buf text = EEI_BUF_INIT(1 << 20);
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    if (j->item->hex || j->item->pem || text_is_utf8(bytes, j->item->bytes.len)) { /* other bytes cannot be in a JSON text */
        json_t *changed = with_item(j, bytes);
        assert_int_equal(eei_json_dump(changed, &text, NULL), EE_OK);
        ee_verify_options_init(&options);
        options.now_unix_s = NOW;
        ee_status st = ee_verify_quote_json(eei_buf_span(&j->w->quote), eei_buf_span(&text), j->w->any, &options, &verdict, NULL);
        note(j, bit, st, verdict);
        ee_verdict_free(verdict);
        json_decref(changed);
        eei_buf_clear(&text);
    }
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

static void *worker(void *user) {
    job *j = user;
    const eei_buf *source = j->item ? &j->item->bytes : &j->w->quote;
    uint8_t *bytes = malloc(source->len);
    memcpy(bytes, source->data, source->len);
    for (size_t bit = atomic_fetch_add(&j->next, STRIDE); bit < j->bits; bit = atomic_fetch_add(&j->next, STRIDE)) {
        if (j->item)
            try_item(j, bytes, bit);
        else
            try_quote(j, bytes, bit);
    }
    free(bytes);
    return NULL;
}

static void run_job(job *j, const char *name) {
    pthread_t threads[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (size_t)cores;
    for (size_t i = 0; i < n; i++) assert_int_equal(pthread_create(&threads[i], NULL, worker, j), 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    if (j->verified) fail_msg("%s: %zu changed bits verify, bit %zu among them", name, (size_t)j->verified, (size_t)j->last);
    print_message("%s: none of %zu changed bits verifies\n", name, (j->bits + STRIDE - 1) / STRIDE);
}

static void test_Q1_every_bit_of_the_quote(void **state) {
    job j = {.w = *state};
    must_verify("unchanged", eei_buf_span(&j.w->quote), j.w->collateral, j.w->any, NOW);
    j.bits = j.w->quote.len * 8;
    run_job(&j, "quote");
}

static void fill_item(const json_t *good, item *it) {
    const char *text = json_string_value(json_object_get(good, it->name));
    it->bytes = (eei_buf)EEI_BUF_INIT(1 << 20);
    assert_non_null(text);
    if (it->pem) {
        eei_chain chain;
        MUST(eei_chain_parse(eei_span_text(text), &chain, err));
        assert_int_equal(chain.count, it->certs);
        assert_int_equal(eei_buf_append_span(&it->bytes, chain.certs[it->cert].der), EE_OK);
        eei_chain_clear(&chain);
    } else if (it->hex) {
        MUST(eei_hex_append(eei_span_text(text), &it->bytes, err));
    } else {
        assert_int_equal(eei_buf_append_text(&it->bytes, text), EE_OK);
    }
}

static void test_Q3_every_bit_of_the_collateral(void **state) {
    item items[] = {
        {.name = "pck_crl_issuer_chain", .pem = true, .cert = 0, .certs = 2},
        {.name = "pck_crl_issuer_chain", .pem = true, .cert = 1, .certs = 2},
        {.name = "root_ca_crl", .hex = true},
        {.name = "pck_crl", .hex = true},
        {.name = "tcb_info_issuer_chain", .pem = true, .cert = 0, .certs = 2},
        {.name = "tcb_info_issuer_chain", .pem = true, .cert = 1, .certs = 2},
        {.name = "tcb_info"},
        {.name = "tcb_info_signature", .hex = true},
        {.name = "qe_identity_issuer_chain", .pem = true, .cert = 0, .certs = 2},
        {.name = "qe_identity_issuer_chain", .pem = true, .cert = 1, .certs = 2},
        {.name = "qe_identity"},
        {.name = "qe_identity_signature", .hex = true},
        {.name = "pck_certificate_chain", .pem = true, .cert = 0, .certs = 3},
        {.name = "pck_certificate_chain", .pem = true, .cert = 1, .certs = 3},
        {.name = "pck_certificate_chain", .pem = true, .cert = 2, .certs = 3},
        {.name = "pck_crl_issuer_chain"},
        {.name = "root_ca_crl"},
        {.name = "pck_crl"},
        {.name = "tcb_info_issuer_chain"},
        {.name = "tcb_info_signature"},
        {.name = "qe_identity_issuer_chain"},
        {.name = "qe_identity_signature"},
        {.name = "pck_certificate_chain"},
    };
    world *w = *state;
    eei_buf text = EEI_BUF_INIT(1 << 20);
    json_t *good = NULL;
    const simtdx_collateral_parts parts = {.pck_chain = eei_span_text(w->machine->chain)}; /* the quote has the same */
    MUST(simtdx_collateral(w->root, &parts, &text, err));
    MUST(eei_json_parse(eei_buf_span(&text), 1 << 20, &good, err));
    assert_int_equal(json_object_size(good), 10); /* and there is no other */
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        fill_item(good, &items[i]);
        job j = {.w = w, .good = good, .item = &items[i], .bits = items[i].bytes.len * 8};
        /* The way there and back changes nothing: what fails later fails for its bit. */
        json_t *same = with_item(&j, items[i].bytes.data);
        if (!json_equal(same, good)) fail_msg("%s does not survive the round trip", items[i].name);
        json_decref(same);
        run_job(&j, items[i].name);
        eei_buf_clear(&items[i].bytes);
    }
    json_decref(good);
    eei_buf_clear(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_Q1_every_bit_of_the_quote),
        cmocka_unit_test(test_Q3_every_bit_of_the_collateral),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
