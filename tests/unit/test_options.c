/* test_options.c - option structs of older and newer programs: sizes as they were compiled, never as the library was. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/options.h"

#include <eesdk/eesdk.h>

#include <stdlib.h>
#include <string.h>

/* As three releases of one struct: each has appended a field. */
typedef struct first {
    size_t struct_bytes;
    uint64_t a;
} first;
typedef struct second {
    size_t struct_bytes;
    uint64_t a;
    const char *b;
} second;
typedef struct third {
    size_t struct_bytes;
    uint64_t a;
    const char *b;
    uint64_t c;
} third;
static const eei_options_kind kind = {"ee_thing_options", sizeof(first), sizeof(second)};

/* On the heap and exactly so large: a sanitizer sees a byte too far. */
static void *exactly(const void *from, size_t bytes) {
    void *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, from, bytes);
    return copy;
}

static void test_init_writes_what_the_caller_has(void **state) {
    struct {
        first options;
        uint64_t behind;
    } frame;
    (void)state;
    memset(&frame, 0x55, sizeof frame);
    ee_options_init(&frame.options, sizeof frame.options);
    assert_int_equal(frame.options.struct_bytes, sizeof(first));
    assert_int_equal(frame.options.a, 0);
    assert_int_equal(frame.behind, 0x5555555555555555);
    ee_options_init(NULL, 16);
    ee_options_init(&frame.behind, 7); /* no room for a size: nothing is written */
    assert_int_equal(frame.behind, 0x5555555555555555);
}

static void test_other_sizes(void **state) {
    static const struct {
        const char *name;
        third given;
        size_t bytes; /* that there are; 0 = struct_bytes */
        ee_status want;
        const char *says;
    } cases[] = {
        {"the first release's", {sizeof(first), 7, NULL, 0}, 0, EE_OK, NULL},
        {"ours", {sizeof(second), 7, "text", 0}, 0, EE_OK, NULL},
        {"a later one's, its own field left alone", {sizeof(third), 7, "text", 0}, 0, EE_OK, NULL},
        {"a later one's, its own field set", {sizeof(third), 7, "text", 1}, 0, EE_E_INVALID, "sets a field behind byte 24"},
        {"not initialized",
         {0, 7, NULL, 0},
         16,
         EE_E_INVALID,
         "says that it has 0 bytes; this library knows 24: use ee_thing_options_init()"},
        {"one field short", {sizeof(first) - 8, 7, NULL, 0}, 0, EE_E_INVALID, "has 8 bytes"},
        {"half a field", {sizeof(first) + 4, 7, NULL, 0}, 24, EE_E_INVALID, "has 20 bytes"},
        {"rubbish", {(size_t)-8, 7, NULL, 0}, 16, EE_E_INVALID, "this library knows 24"},
        {"one step over the most", {4096 + 8, 7, NULL, 0}, 16, EE_E_INVALID, "has 4104 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *given = exactly(&cases[i].given, cases[i].bytes ? cases[i].bytes : cases[i].given.struct_bytes);
        second taken;
        ee_error err = {0};
        memset(&taken, 0x55, sizeof taken);
        ee_status st = eei_options_take(&kind, given, &taken, &err);
        if (st != cases[i].want || (cases[i].says && !strstr(err.message, cases[i].says)))
            fail_msg("%s: %s %s", cases[i].name, ee_status_word(st), err.message);
        assert_int_equal(taken.struct_bytes, sizeof taken);
        assert_int_equal(taken.a, st ? 0 : 7);
        assert_ptr_equal(taken.b, st || cases[i].given.struct_bytes < sizeof(second) ? NULL : cases[i].given.b);
        free(given);
    }
}

static void test_none_is_all_defaults(void **state) {
    second taken;
    (void)state;
    memset(&taken, 0x55, sizeof taken);
    assert_int_equal(eei_options_take(&kind, NULL, &taken, NULL), EE_OK);
    assert_int_equal(taken.struct_bytes, sizeof taken);
    assert_int_equal(taken.a, 0);
    assert_null(taken.b);
}

/* Each public call takes a struct as release 0.1.0 had it, whatever this library knows beside. What a struct of that size comes to: no
 * network is configured here, or the next argument is wrong. */
enum { CLIENT_0_1_0 = 88, JOB_0_1_0 = 152, CONNECT_0_1_0 = 32, REQUEST_0_1_0 = 56, DEPLOY_0_1_0 = 72, TICKET_0_1_0 = 40 };
enum { COLLATERAL_0_1_0 = 48, VERIFY_0_1_0 = 48 };

static ee_status call_client(const void *options, ee_error *err) {
    ee_client *client = NULL;
    return ee_client_new(options, &client, err);
}
static ee_status call_config(const void *options, ee_error *err) {
    char *json = NULL;
    ee_status st = ee_client_config_find(options, &json, err);
    ee_string_free(json);
    return st;
}
static ee_status call_job(const void *options, ee_error *err) {
    ee_result *result = NULL;
    return ee_run_private_job(NULL, options, &result, err);
}
static ee_status call_start(const void *options, ee_error *err) {
    ee_job *job = NULL;
    return ee_job_start(NULL, options, &job, err);
}
static ee_status call_quote(const void *options, ee_error *err) {
    char *json = NULL;
    return ee_job_quote(NULL, options, &json, err);
}
static ee_status call_connect(const void *options, ee_error *err) {
    ee_app *app = NULL;
    return ee_connect(NULL, "app-name", options, &app, err);
}
static ee_status call_node(const void *options, ee_error *err) {
    ee_verdict *verdict = NULL;
    return ee_node_attestation(NULL, "node-a", options, &verdict, err);
}
static ee_status call_request(const void *options, ee_error *err) {
    ee_response *response = NULL;
    return ee_app_request(NULL, "GET", "no slash", options, &response, err);
}
static ee_status call_upload(const void *options, ee_error *err) {
    ee_upload *upload = NULL;
    return ee_upload_open(NULL, "PUT", "no slash", options, &upload, err);
}
static ee_status call_deploy(const void *options, ee_error *err) {
    char *json = NULL;
    return ee_app_deploy(NULL, options, 1000, &json, err);
}
static ee_status call_ticket(const void *options, ee_error *err) {
    char *text = NULL;
    return ee_ticket_make(NULL, options, &text, err);
}
static ee_status call_collateral(const void *options, ee_error *err) {
    ee_collateral *collateral = NULL;
    return ee_collateral_fetch((ee_span){NULL, 0}, options, &collateral, err);
}
static ee_status call_verify(const void *options, ee_error *err) {
    ee_verdict *verdict = NULL;
    ee_status st = ee_verify_quote_json((ee_span){NULL, 0}, (ee_span){NULL, 0}, NULL, options, &verdict, err);
    ee_verdict_free(verdict);
    return st;
}

static const struct {
    const char *name;
    size_t first, known;
    ee_status (*call)(const void *options, ee_error *err);
    ee_status want;
} calls[] = {
    {"ee_client_new", CLIENT_0_1_0, sizeof(ee_client_options), call_client, EE_E_CONFIG},
    {"ee_client_config_find", CLIENT_0_1_0, sizeof(ee_client_options), call_config, EE_E_CONFIG},
    {"ee_run_private_job", JOB_0_1_0, sizeof(ee_job_options), call_job, EE_E_CONFIG},
    {"ee_job_start", JOB_0_1_0, sizeof(ee_job_options), call_start, EE_E_CONFIG},
    {"ee_job_quote", JOB_0_1_0, sizeof(ee_job_options), call_quote, EE_E_CONFIG},
    {"ee_connect", CONNECT_0_1_0, sizeof(ee_connect_options), call_connect, EE_E_CONFIG},
    {"ee_node_attestation", CONNECT_0_1_0, sizeof(ee_connect_options), call_node, EE_E_CONFIG},
    {"ee_app_request", REQUEST_0_1_0, sizeof(ee_request_options), call_request, EE_E_INVALID},
    {"ee_upload_open", REQUEST_0_1_0, sizeof(ee_request_options), call_upload, EE_E_INVALID},
    {"ee_app_deploy", DEPLOY_0_1_0, sizeof(ee_deploy_options), call_deploy, EE_E_CONFIG},
    {"ee_ticket_make", TICKET_0_1_0, sizeof(ee_ticket_options), call_ticket, EE_E_CONFIG},
    {"ee_collateral_fetch", COLLATERAL_0_1_0, sizeof(ee_collateral_options), call_collateral, EE_E_MALFORMED},
    {"ee_verify_quote_json", VERIFY_0_1_0, sizeof(ee_verify_options), call_verify, EE_E_ATTESTATION},
};

/* Of that many bytes and no more, with what each call needs set: the first fields are where they have always been. */
static void *options_of(size_t index, size_t bytes) {
    static const char machine[] = "00000000000000000000000000000000";
    union {
        size_t size;
        ee_job_options job;
        ee_deploy_options deploy;
        ee_ticket_options ticket;
        uint8_t room[512];
    } all;
    ee_options_init(&all, sizeof all);
    all.size = bytes;
    if (calls[index].first == JOB_0_1_0) all.job.image = "myapp:latest";
    if (calls[index].call == call_deploy) all.deploy.name = "app-name", all.deploy.image = "myapp:latest";
    if (calls[index].call == call_ticket) all.ticket.node = "node-a", all.ticket.machine_id = machine;
    return exactly(&all, bytes);
}

static void test_every_call_takes_other_releases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        assert_true(calls[i].known >= calls[i].first);
        for (size_t bytes = calls[i].first; bytes <= calls[i].known + 64; bytes += 8) {
            ee_error err = {0};
            uint8_t *options = options_of(i, bytes);
            ee_status st = calls[i].call(options, &err);
            if (st != calls[i].want || strstr(err.message, "bytes; this library")) {
                fail_msg("%s with %zu bytes: %s %s", calls[i].name, bytes, ee_status_word(st), err.message);
            }
            if (bytes > calls[i].known) {
                options[bytes - 1] = 1;
                st = calls[i].call(options, &err);
                if (st != EE_E_INVALID || !strstr(err.message, "sets a field behind byte"))
                    fail_msg("%s with a field of a later release: %s %s", calls[i].name, ee_status_word(st), err.message);
            }
            free(options);
        }
    }
}

/* An init that wrote this library's size into a struct of an older program would write over what lies behind. */
static void test_each_init_writes_its_own_struct(void **state) {
    (void)state;
#define CHECK(type, init)                                                                                                                  \
    do {                                                                                                                                   \
        type *options = malloc(sizeof *options);                                                                                           \
        assert_non_null(options);                                                                                                          \
        init(options);                                                                                                                     \
        assert_int_equal(options->struct_bytes, sizeof *options);                                                                          \
        free(options);                                                                                                                     \
    } while (0)
    CHECK(ee_client_options, ee_client_options_init);
    CHECK(ee_job_options, ee_job_options_init);
    CHECK(ee_connect_options, ee_connect_options_init);
    CHECK(ee_request_options, ee_request_options_init);
    CHECK(ee_deploy_options, ee_deploy_options_init);
    CHECK(ee_ticket_options, ee_ticket_options_init);
    CHECK(ee_collateral_options, ee_collateral_options_init);
    CHECK(ee_verify_options, ee_verify_options_init);
#undef CHECK
}

static int without_a_network(void **state) {
    static const char *const settings[] = {"EE_URL",    "EE_API_KEY", "EE_API_KEY_FILE", "EE_PROFILE",
                                           "EE_POLICY", "EE_BUDGET",  "EE_PCCS_URL"};
    (void)state;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) (void)unsetenv(settings[i]);
    return setenv("HOME", "/nonexistent", 1) || setenv("XDG_RUNTIME_DIR", "/nonexistent", 1) ||
           setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_writes_what_the_caller_has),
        cmocka_unit_test(test_other_sizes),
        cmocka_unit_test(test_none_is_all_defaults),
        cmocka_unit_test(test_every_call_takes_other_releases),
        cmocka_unit_test(test_each_init_writes_its_own_struct),
    };
    return cmocka_run_group_tests(tests, without_a_network, NULL);
}
