/* test_oci.c - references, manifests, image configs, users and the bundle: what is understood, and what is refused with which word. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "agent/oci.h"
#include "base/alloc.h"
#include "base/encoding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define D1  "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2  "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define OCI "application/vnd.oci.image."
#if defined(__x86_64__)
#define HERE "amd64"
#else
#define HERE "arm64"
#endif

static void test_repository(void **state) {
    static const struct {
        const char *text;
        ee_status want;
        bool loopback;
    } cases[] = {
        {"127.0.0.1:5000/myapp", EE_OK, true},
        {"localhost/a/b/c", EE_OK, true},
        {"localhost:1/a", EE_OK, true},
        {"[::1]:5000/a", EE_OK, true},
        {"registry.example/team/app_1.x-y", EE_OK, false},
        {"registry.example:443/x", EE_OK, false},
        {"host:80/x", EE_OK, false},
        {"127.evil.example/x", EE_OK, false}, /* a name, not an address: no plain HTTP for it */
        {"127.0.0.1.evil.example/x", EE_OK, false},
        {"localhost.evil.example/x", EE_OK, false},
        {"myapp", EE_E_INVALID, false},
        {"library/busybox", EE_E_INVALID, false}, /* no host: skopeo would ask docker.io */
        {"", EE_E_INVALID, false},
        {"/x", EE_E_INVALID, false},
        {"reg.example", EE_E_INVALID, false},
        {"reg.example/", EE_E_INVALID, false},
        {"reg.example//x", EE_E_INVALID, false},
        {"reg.example/x/", EE_E_INVALID, false},
        {"reg.example/x:tag", EE_E_INVALID, false},
        {"reg.example/x@" D1, EE_E_INVALID, false},
        {"reg.example/../x", EE_E_INVALID, false},
        {"reg.example/X", EE_E_INVALID, false},
        {"reg.example/-x", EE_E_INVALID, false},
        {"--flag.example/x", EE_E_INVALID, false},
        {"reg.example:/x", EE_E_INVALID, false},
        {"reg..example/x", EE_E_INVALID, false},
        {"reg-.example/x", EE_E_INVALID, false},
        {".example/x", EE_E_INVALID, false},
        {"reg.example./x", EE_E_INVALID, false},
        {"reg.example:123456/x", EE_E_INVALID, false},
        {"user@reg.example/x", EE_E_INVALID, false},
        {"reg.example/x y", EE_E_INVALID, false},
        {"reg.example/x\n", EE_E_INVALID, false},
        {"http://reg.example/x", EE_E_INVALID, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool loopback = true;
        ee_status st = agent_oci_check_repository(cases[i].text, &loopback, NULL);
        if (st != cases[i].want || loopback != cases[i].loopback) print_error("%s\n", cases[i].text);
        assert_int_equal(st, cases[i].want);
        assert_int_equal(loopback, cases[i].loopback);
    }
}

#define CONFIG      "\"config\":{\"mediaType\":\"x\",\"digest\":\"" D1 "\",\"size\":7}"
#define LAYER(type) "{\"mediaType\":\"" type "\",\"digest\":\"" D2 "\",\"size\":9}"

static void test_manifest(void **state) {
    static const struct {
        const char *json;
        ee_status want;
        const char *says;
    } cases[] = {
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER(OCI "layer.v1.tar+gzip") "]}", EE_OK, ""},
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[]}", EE_OK, ""},
        {"{\"schemaVersion\":1," CONFIG ",\"layers\":[]}", EE_E_IMAGE, "version 1"},
        {"{" CONFIG ",\"layers\":[]}", EE_E_IMAGE, "schemaVersion"},
        {"{\"schemaVersion\":2,\"layers\":[]}", EE_E_IMAGE, "descriptor"},
        {"{\"schemaVersion\":2," CONFIG "}", EE_E_IMAGE, "neither"},
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[],\"manifests\":[]}", EE_E_IMAGE, "at once"}, /* CVE-2021-41190 */
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip") "]}", EE_E_IMAGE,
         "type"},
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"md5:11\",\"size\":9}]}",
         EE_E_IMAGE, "not a sha256"},
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"" D1 "\",\"size\":-1}]}",
         EE_E_IMAGE, "size"},
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"" D1
         "\",\"size\":9007199254740000}]}",
         EE_E_IMAGE, "claims"},
        {"{\"schemaVersion\":2," CONFIG ",\"layers\":{}}", EE_E_IMAGE, "not a list"},
        {"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D1 "\",\"size\":2000000},\"layers\":[]}", EE_E_IMAGE, "limit"},
        {"{\"schemaVersion\":2,\"manifests\":[]}", EE_E_IMAGE, "0 platforms"},
        {"{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"" D1
         "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"}}]}",
         EE_E_IMAGE, "1 platforms"},
        {"{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"" D1 "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"" HERE
         "\"}}]}",
         EE_OK, ""},
        {"{\"schemaVersion\":2,\"schemaVersion\":2," CONFIG ",\"layers\":[]}", EE_E_IMAGE, "manifest"},
        {"[]", EE_E_IMAGE, "not an object"},
        {"", EE_E_IMAGE, "empty"},
        {"{", EE_E_IMAGE, "manifest"},
    };
    static agent_oci_manifest m;
    ee_error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err.message[0] = '\0';
        ee_status st = agent_oci_parse_manifest(eei_span_text(cases[i].json), &m, &err);
        if (st != cases[i].want) print_error("%s: %s\n", cases[i].json, err.message);
        assert_int_equal(st, cases[i].want);
        if (st && !strstr(err.message, cases[i].says)) fail_msg("%s: says %s", cases[i].json, err.message);
    }
    assert_int_equal(agent_oci_parse_manifest(eei_span_text(cases[0].json), &m, &err), EE_OK);
    assert_false(m.is_index);
    assert_int_equal(m.layers_count, 1);
    assert_int_equal(m.layers[0].packing, AGENT_OCI_TAR_GZIP);
    assert_int_equal(m.packed_bytes, 16);
    assert_int_equal(m.layers[0].digest[31], 0x22);
    assert_int_equal(m.config.digest[0], 0x11);
}

static void test_manifest_layer_limit(void **state) {
    static agent_oci_manifest m;
    (void)state;
    for (unsigned extra = 0; extra < 2; extra++) {
        eei_buf text = EEI_BUF_INIT(1 << 20);
        assert_int_equal(eei_buf_append_text(&text, "{\"schemaVersion\":2," CONFIG ",\"layers\":["), EE_OK);
        for (unsigned i = 0; i < AGENT_OCI_LAYERS_MAX + extra; i++)
            assert_int_equal(eei_buf_printf(&text, "%s" LAYER(OCI "layer.v1.tar"), i ? "," : ""), EE_OK);
        assert_int_equal(eei_buf_append_text(&text, "]}"), EE_OK);
        assert_int_equal(agent_oci_parse_manifest(eei_buf_span(&text), &m, NULL), extra ? EE_E_IMAGE : EE_OK);
        eei_buf_clear(&text);
    }
}

#define PLATFORM "\"os\":\"linux\",\"architecture\":\"" HERE "\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1 "\"]}"

static void test_config(void **state) {
    agent_oci_config c;
    ee_error err = {0};
    (void)state;
    const char *json =
        "{" PLATFORM ",\"config\":{\"Entrypoint\":[\"/bin/run\",\"-x\"],\"Cmd\":[\"a "
        "b\"],\"Env\":[\"A=1\",\"B=x=y\"],\"WorkingDir\":\"/srv\",\"User\":\"app\","
        "\"ExposedPorts\":{\"9000/udp\":{},\"8443/tcp\":{},\"8080/tcp\":{}},\"Volumes\":{\"/data\":{},\"/tmp/x\":{},\"/proc/y\":{}}}}";
    assert_int_equal(agent_oci_parse_config(eei_span_text(json), &c, &err), EE_OK);
    assert_string_equal(c.entrypoint[1], "-x");
    assert_null(c.entrypoint[2]);
    assert_string_equal(c.cmd[0], "a b");
    assert_string_equal(c.env[1], "B=x=y");
    assert_string_equal(c.working_dir, "/srv");
    assert_string_equal(c.user, "app");
    assert_int_equal(c.port, 8080);
    assert_string_equal(c.volumes[0], "/data"); /* those inside our own places are left out */
    assert_null(c.volumes[1]);
    assert_int_equal(c.diff_ids_count, 1);
    agent_oci_config_clear(&c);
    assert_int_equal(agent_oci_parse_config(
                         eei_span_text("{" PLATFORM ",\"config\":{\"Cmd\":null,\"Env\":null,\"Volumes\":null,\"User\":null}}"), &c, &err),
                     EE_OK);
    assert_null(c.cmd[0]);
    assert_string_equal(c.working_dir, "/");
    agent_oci_config_clear(&c);
}

static void test_config_refused(void **state) {
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"{\"os\":\"windows\",\"architecture\":\"" HERE "\",\"rootfs\":{\"diff_ids\":[]}}", "windows"},
        {"{\"os\":\"linux\",\"architecture\":\"mips\",\"rootfs\":{\"diff_ids\":[]}}", "mips"},
        {"{\"rootfs\":{\"diff_ids\":[]}}", "?/?"},
        {"{\"os\":\"linux\",\"architecture\":\"" HERE "\"}", "diff_ids"},
        {"{\"os\":\"linux\",\"architecture\":\"" HERE "\",\"rootfs\":{\"diff_ids\":[\"x\"]}}", "diff_ids[0]"},
        {"{" PLATFORM ",\"config\":{\"Cmd\":\"sh\"}}", "not a list"},
        {"{" PLATFORM ",\"config\":{\"Cmd\":[1]}}", "not text"},
        {"{" PLATFORM ",\"config\":{\"Env\":[\"NOVALUE\"]}}", "NAME=value"},
        {"{" PLATFORM ",\"config\":{\"Env\":[\"=x\"]}}", "NAME=value"},
        {"{" PLATFORM ",\"config\":{\"WorkingDir\":\"srv\"}}", "absolute"},
        {"{" PLATFORM ",\"config\":{\"User\":7}}", "User"},
        {"{" PLATFORM ",\"config\":{\"Volumes\":{\"data\":{}}}}", "volume"},
        {"{" PLATFORM ",\"config\":{\"Volumes\":{\"/\":{}}}}", "volume"},
        {"{" PLATFORM ",\"config\":{\"Volumes\":{\"/a/../proc\":{}}}}", "volume"},
        {"{" PLATFORM ",\"config\":{\"Volumes\":{\"/a//b\":{}}}}", "volume"},
        {"{" PLATFORM ",\"config\":{\"Volumes\":{\"/a/\":{}}}}", "volume"},
        {"{" PLATFORM ",\"config\":{\"Env\":[\"A=\\u0000\"]}}", "image config"},
        {"7", "image config"},
    };
    ee_error err;
    agent_oci_config c;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(agent_oci_parse_config(eei_span_text(cases[i].json), &c, &err), EE_E_IMAGE);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s: says %s", cases[i].json, err.message);
        assert_null(c.arena.head);
    }
}

static void test_user(void **state) {
    static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001:App:/home/app:/bin/"
                                 "sh\nbig:x:70000:1:::\nnohome:x:12:12::relative:\nlast:x:5:6::/l:/x";
    static const char group[] = "root:x:0:\nwheel:x:10:root,app\nvideo:x:44:app\nnope:x:99:apple,xapp\n";
    static const struct {
        const char *user;
        ee_status want;
        uint32_t uid, gid;
        size_t groups;
        const char *home;
    } cases[] = {
        {"", EE_OK, 0, 0, 1, "/root"},
        {"app", EE_OK, 1000, 1001, 2, "/home/app"},
        {"1000", EE_OK, 1000, 1001, 2, "/home/app"},
        {"1000:0", EE_OK, 1000, 0, 0, "/home/app"},
        {"app:video", EE_OK, 1000, 44, 0, "/home/app"},
        {"4242", EE_OK, 4242, 0, 0, "/"},
        {"4242:4243", EE_OK, 4242, 4243, 0, "/"},
        {"nohome", EE_OK, 12, 12, 0, "/"},
        {"last", EE_OK, 5, 6, 0, "/l"},
        {"ghost", EE_E_IMAGE, 0, 0, 0, ""},
        {"app:ghosts", EE_E_IMAGE, 0, 0, 0, ""},
        {"big", EE_E_IMAGE, 0, 0, 0, ""},
        {"70000", EE_E_IMAGE, 0, 0, 0, ""},
        {"1:70000", EE_E_IMAGE, 0, 0, 0, ""},
        {"broken", EE_E_IMAGE, 0, 0, 0, ""},
        {"-1", EE_E_IMAGE, 0, 0, 0, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        agent_oci_user u;
        ee_status st = agent_oci_find_user(cases[i].user, eei_span_text(passwd), eei_span_text(group), &u, NULL);
        if (st != cases[i].want) print_error("user \"%s\"\n", cases[i].user);
        assert_int_equal(st, cases[i].want);
        if (st) continue;
        assert_int_equal(u.uid, cases[i].uid);
        assert_int_equal(u.gid, cases[i].gid);
        assert_int_equal(u.groups_count, cases[i].groups);
        assert_string_equal(u.home, cases[i].home);
    }
    agent_oci_user u;
    assert_int_equal(agent_oci_find_user("", eei_span(NULL, 0), eei_span(NULL, 0), &u, NULL), EE_OK); /* scratch images have neither file */
    assert_string_equal(u.home, "/root");
}

/* ---- bundle ---- */

static json_t *bundle_json(const agent_oci_bundle *b) {
    eei_buf text = EEI_BUF_INIT(1 << 20);
    json_t *root = NULL;
    assert_int_equal(agent_oci_write_bundle(b, &text, NULL), EE_OK);
    assert_int_equal(eei_json_parse(eei_buf_span(&text), 1 << 20, &root, NULL), EE_OK);
    eei_buf_clear(&text);
    return root;
}

static const char *const volumes[] = {"/data", NULL};
static const agent_oci_user user = {.uid = 1000, .gid = 1001, .groups = {44}, .groups_count = 1};
static const agent_oci_bundle full = {.rootfs = "/images/r",
                                      .shim = "/x/ee-shim",
                                      .cgroups_path = "/easyenclave-1/ee-2",
                                      .user = &user,
                                      .volumes = volumes,
                                      .userns_base = 100000,
                                      .userns_gid_base = 100000,
                                      .userns_size = 65536,
                                      .cgroup_limits = true,
                                      .swap_limit = true,
                                      .vcpus_milli = 1500,
                                      .pids_max = 64,
                                      .memory_bytes = 1 << 26,
                                      .tmpfs_bytes = 1 << 20,
                                      .files_max = 1024};

static const json_t *at(const json_t *value, const char *path) {
    char copy[200], *save = NULL;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *key = strtok_r(copy, ".", &save); key; key = strtok_r(NULL, ".", &save))
        value = json_is_array(value) ? json_array_get(value, (size_t)strtoul(key, NULL, 10)) : json_object_get(value, key);
    return value;
}

static bool has_mount(const json_t *root, const char *destination) {
    size_t i;
    json_t *m;
    json_array_foreach(at(root, "mounts"), i, m) {
        if (strcmp(json_string_value(json_object_get(m, "destination")), destination) == 0) return true;
    }
    return false;
}

static void test_W4_bundle_has_no_privilege(void **state) {
    static const char *const sets[] = {"bounding", "effective", "permitted", "inheritable", "ambient"};
    static const char *const namespaces[] = {"pid", "network", "ipc", "uts", "mount", "cgroup", "user"};
    (void)state;
    json_t *root = bundle_json(&full);
    for (size_t i = 0; i < 5; i++) {
        const json_t *set = json_object_get(at(root, "process.capabilities"), sets[i]);
        assert_true(json_is_array(set) && json_array_size(set) == 0);
    }
    assert_true(json_is_true(at(root, "process.noNewPrivileges")));
    assert_true(json_is_true(at(root, "root.readonly")));
    assert_int_equal(json_array_size(at(root, "process.env")), 0); /* W11: nothing of a job in here */
    assert_int_equal(json_array_size(at(root, "process.args")), 1);
    assert_string_equal(json_string_value(at(root, "process.rlimits.0.type")), "RLIMIT_CORE");
    assert_int_equal(json_integer_value(at(root, "process.rlimits.0.hard")), 0);
    assert_int_equal(json_array_size(at(root, "linux.namespaces")), 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(json_string_value(at(json_array_get(at(root, "linux.namespaces"), i), "type")), namespaces[i]);
    assert_string_equal(json_string_value(at(root, "linux.seccomp.defaultAction")), "SCMP_ACT_ERRNO");
    assert_int_equal(json_integer_value(at(root, "linux.uidMappings.0.hostID")), 100000);
    assert_int_equal(json_integer_value(at(root, "process.user.uid")), 1000);
    assert_int_equal(json_integer_value(at(root, "process.user.additionalGids.0")), 44);
    assert_true(has_mount(root, "/data"));
    assert_true(has_mount(root, "/ee-init"));
    assert_false(has_mount(root, "/sys"));
    json_decref(root);
}

static void test_W6_bundle_limits(void **state) {
    (void)state;
    json_t *root = bundle_json(&full);
    assert_int_equal(json_integer_value(at(root, "linux.resources.memory.limit")), 1 << 26);
    assert_int_equal(json_integer_value(at(root, "linux.resources.memory.swap")), 1 << 26);
    assert_int_equal(json_integer_value(at(root, "linux.resources.cpu.quota")), 150000);
    assert_int_equal(json_integer_value(at(root, "linux.resources.cpu.period")), 100000);
    assert_int_equal(json_integer_value(at(root, "linux.resources.pids.limit")), 64);
    json_decref(root);
    agent_oci_bundle none = full;
    none.cgroup_limits = false;
    none.cgroups_path = NULL;
    none.userns_size = 1;
    root = bundle_json(&none);
    assert_null(at(root, "linux.resources.memory"));
    assert_null(at(root, "linux.cgroupsPath"));
    assert_int_equal(json_integer_value(at(root, "process.user.uid")), 0); /* the only id there is */
    none.userns_size = 0;
    json_decref(root);
    root = bundle_json(&none);
    assert_null(at(root, "linux.uidMappings"));
    assert_int_equal(json_array_size(at(root, "linux.namespaces")), 6);
    json_decref(root);
}

static void test_config_out_of_memory(void **state) {
    const char *json = "{" PLATFORM ",\"config\":{\"Cmd\":[\"a\"],\"Env\":[\"A=1\"],\"Volumes\":{\"/data\":{}}}}";
    agent_oci_config c;
    (void)state;
    for (size_t n = 1;; n++) {
        (void)eei_alloc_fail_at(n);
        ee_status st = agent_oci_parse_config(eei_span_text(json), &c, NULL);
        size_t made = eei_alloc_fail_at(0);
        if (!st) {
            agent_oci_config_clear(&c);
            assert_true(made < n);
            assert_true(n > 1);
            return;
        }
        assert_true(st == EE_E_IMAGE || st == EE_E_NOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repository),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_manifest_layer_limit),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_W4_bundle_has_no_privilege),
        cmocka_unit_test(test_W6_bundle_limits),
        cmocka_unit_test(test_config_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
