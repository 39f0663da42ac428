/* test_image.c - layers that strangers wrote (threat W9): archives built here byte by byte, applied to a scratch root; what must not happen
 * is looked for outside of it. Runs without root (then owners are not set). */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "agent/image_layer.h"
#include "agent/image_tar.h"
#include "agent/image_tree.h"
#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static agent_rootfs rootfs;

/* ---- archives ---- */

typedef struct item {
    char type;
    const char *path, *link, *data;
    unsigned mode;
} item;

static void put_octal(uint8_t *field, size_t len, uint64_t value) {
    snprintf((char *)field, len, "%0*llo", (int)len - 1, (unsigned long long)value);
}

static void put_sum(uint8_t *h) {
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++) sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
}

static void put_header(eei_buf *out, const item *e, uint64_t size) {
    uint8_t h[512] = {0};
    snprintf((char *)h, 101, "%s", e->path);
    put_octal(h + 100, 8, e->mode ? e->mode : 0755);
    put_octal(h + 108, 8, 7);
    put_octal(h + 116, 8, 8);
    put_octal(h + 124, 12, size);
    put_octal(h + 136, 12, 1000000000);
    h[156] = (uint8_t)e->type;
    if (e->link) snprintf((char *)h + 157, 101, "%s", e->link);
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    put_sum(h);
    assert_int_equal(eei_buf_append(out, h, sizeof h), EE_OK);
}

static void put_data(eei_buf *out, const void *data, size_t len) {
    static const uint8_t zeros[512];
    assert_int_equal(eei_buf_append(out, data, len), EE_OK);
    assert_int_equal(eei_buf_append(out, zeros, (512 - len % 512) % 512), EE_OK);
}

static void put_item(eei_buf *out, const item *e) {
    size_t len = e->data ? strlen(e->data) : 0;
    put_header(out, e, len);
    put_data(out, e->data ? e->data : "", len);
}

static void put_end(eei_buf *out) {
    static const uint8_t zeros[1024];
    assert_int_equal(eei_buf_append(out, zeros, sizeof zeros), EE_OK);
}

static eei_buf archive(const item *items) {
    eei_buf out = EEI_BUF_INIT(16 << 20);
    for (; items->path; items++) put_item(&out, items);
    put_end(&out);
    return out;
}

/* ---- a scratch root: dir/root; dir/outside must stay as it is ---- */

static int begin(void **state) {
    char path[128];
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ee-image-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/outside", dir);
    if (mkdir(path, 0755)) return -1;
    snprintf(path, sizeof path, "%s/outside/precious", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "safe", 4) != 4) return -1;
    close(fd);
    snprintf(path, sizeof path, "%s/root", dir);
    if (mkdir(path, 0755)) return -1;
    rootfs = (agent_rootfs){.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                            .id_base = 100000,
                            .set_owner = geteuid() == 0,
                            .bytes_max = 1 << 20,
                            .entries_max = 2000};
    return rootfs.fd >= 0 ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    close(rootfs.fd);
    return agent_tree_remove(AT_FDCWD, dir);
}

static ee_status apply_bytes(ee_span bytes, size_t piece, ee_error *err) {
    agent_layer *layer = NULL;
    ee_status st = agent_layer_new(&rootfs, &layer, err);
    for (size_t at = 0; !st && at < bytes.len; at += piece)
        st = agent_layer_feed(layer, eei_span(bytes.data + at, bytes.len - at < piece ? bytes.len - at : piece), err);
    if (!st) st = agent_layer_finish(layer, err);
    agent_layer_free(layer);
    return st;
}

static ee_status apply(const item *items, ee_error *err) {
    eei_buf bytes = archive(items);
    ee_status st = apply_bytes(eei_buf_span(&bytes), 65536, err);
    eei_buf_clear(&bytes);
    return st;
}

static void must_apply(const item *items) {
    ee_error err = {0};
    if (apply(items, &err)) fail_msg("%s", err.message);
}

static const char *content(const char *path) {
    static char text[4096];
    char full[256];
    snprintf(full, sizeof full, "%s/%s", dir, path);
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return "(absent)";
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static struct stat info_of(const char *path) {
    struct stat info = {0};
    char full[256];
    snprintf(full, sizeof full, "%s/%s", dir, path);
    (void)lstat(full, &info);
    return info;
}

static unsigned count_in(const char *path) {
    char full[256];
    snprintf(full, sizeof full, "%s/%s", dir, path);
    struct stat info;
    return stat(full, &info) == 0 ? (unsigned)info.st_nlink : 0;
}

/* ---- tests ---- */

static void test_plain(void **state) {
    (void)state;
    must_apply((item[]){{'5', "./", NULL, NULL, 0},
                        {'5', "./bin/", NULL, NULL, 0755},
                        {'0', "./bin/tool", NULL, "#!x", 04755},
                        {'2', "./bin/link", "tool", NULL, 0},
                        {'1', "./bin/hard", "./bin/tool", NULL, 0},
                        {'6', "fifo", NULL, NULL, 0600},
                        {'0', "deep/er/file", NULL, "made its parents", 0},
                        {'0', "/absolute", NULL, "inside", 0644},
                        {'\0', "olddir/", NULL, NULL, 0700},
                        {'0', "empty", NULL, NULL, 0644},
                        {0}});
    assert_string_equal(content("root/bin/tool"), "#!x");
    assert_string_equal(content("root/bin/link"), "#!x");
    assert_string_equal(content("root/bin/hard"), "#!x");
    assert_string_equal(content("root/deep/er/file"), "made its parents");
    assert_string_equal(content("root/absolute"), "inside");
    assert_string_equal(content("root/empty"), "");
    assert_true(S_ISFIFO(info_of("root/fifo").st_mode));
    assert_true(S_ISDIR(info_of("root/olddir").st_mode));
    struct stat tool = info_of("root/bin/tool");
    assert_int_equal(tool.st_nlink, 2);
    assert_int_equal(tool.st_mode & 07777, 0755); /* set-uid is gone */
    assert_int_equal(tool.st_mtime, 1000000000);
    if (rootfs.set_owner) assert_true(tool.st_uid == 100007 && tool.st_gid == 100008);
    assert_int_equal(rootfs.bytes, 3 + 16 + 6);
}

static void test_any_split_gives_the_same(void **state) {
    (void)state;
    eei_buf bytes = archive((item[]){{'5', "a", NULL, NULL, 0}, {'0', "a/b", NULL, "0123456789", 0}, {'2', "a/c", "b", NULL, 0}, {0}});
    for (size_t piece = 1; piece < 1100; piece = piece * 3 / 2 + 1) {
        ee_error err = {0};
        if (apply_bytes(eei_buf_span(&bytes), piece, &err)) fail_msg("pieces of %zu: %s", piece, err.message);
        assert_string_equal(content("root/a/c"), "0123456789");
    }
    eei_buf_clear(&bytes);
}

static void test_layers_replace(void **state) {
    (void)state;
    must_apply((item[]){{'5', "d", NULL, NULL, 0},
                        {'0', "d/x", NULL, "1", 0},
                        {'0', "f", NULL, "1", 0},
                        {'2', "l", "d", NULL, 0},
                        {'0', "hidden", NULL, "1", 0},
                        {0}});
    must_apply((item[]){{'5', "d", NULL, NULL, 0700}, /* stays, with its content */
                        {'0', "f", NULL, "2", 0},     /* file by file */
                        {'0', "l/y", NULL, "via", 0}, /* through a link of a lower layer (usr-merged images do) */
                        {'0', ".wh.hidden", NULL, NULL, 0},
                        {0}});
    assert_string_equal(content("root/d/x"), "1");
    assert_string_equal(content("root/f"), "2");
    assert_string_equal(content("root/d/y"), "via");
    assert_string_equal(content("root/hidden"), "(absent)");
    assert_string_equal(content("root/.wh.hidden"), "(absent)");
    assert_int_equal(info_of("root/d").st_mode & 0777, 0700);
    must_apply((item[]){{'0', "d", NULL, "now a file", 0}, {'5', "l", NULL, NULL, 0}, {0}}); /* directory by file, link by directory */
    assert_string_equal(content("root/d"), "now a file");
    assert_true(S_ISDIR(info_of("root/l").st_mode));
}

static void test_whiteouts_are_about_lower_layers(void **state) {
    (void)state;
    must_apply((item[]){{'0', "d/old", NULL, "1", 0}, {'0', "d/sub/old", NULL, "1", 0}, {'0', "e/old", NULL, "1", 0}, {0}});
    must_apply((item[]){{'0', "d/new", NULL, "2", 0},
                        {'0', "d/.wh..wh..opq", NULL, NULL, 0},
                        {'0', "d/later", NULL, "2", 0},
                        {'0', "e/keep", NULL, "2", 0},
                        {'0', "e/.wh.keep", NULL, NULL, 0},
                        {'0', "e/.wh.never-was", NULL, NULL, 0},
                        {'0', "e/.wh..wh.plnk", NULL, NULL, 0},
                        {0}});
    assert_string_equal(content("root/d/old"), "(absent)");
    assert_string_equal(content("root/d/sub/old"), "(absent)");
    assert_string_equal(content("root/d/new"), "2");
    assert_string_equal(content("root/d/later"), "2");
    assert_string_equal(content("root/e/old"), "1");
    assert_string_equal(content("root/e/keep"), "2");
}

static void test_W9_nothing_gets_out(void **state) {
    static const struct {
        const char *name;
        item items[5];
        ee_status want;
    } cases[] = {
        {"dot dot", {{'0', "../outside/new", NULL, "x", 0}}, EE_E_IMAGE},
        {"dot dot within", {{'0', "a/../../outside/new", NULL, "x", 0}}, EE_E_IMAGE},
        {"through an absolute link", {{'2', "l", "/tmp", NULL, 0}, {'0', "l/ee-escaped", NULL, "x", 0}}, EE_E_IMAGE},
        {"through a relative link", {{'2', "l", "../outside", NULL, 0}, {'0', "l/precious", NULL, "x", 0}}, EE_E_IMAGE},
        {"through two links",
         {{'2', "a", "../..", NULL, 0}, {'2', "b", "a/outside", NULL, 0}, {'0', "b/precious", NULL, "x", 0}},
         EE_E_IMAGE},
        {"onto a link", {{'2', "l", "../outside/precious", NULL, 0}, {'0', "l", NULL, "x", 0}}, EE_OK}, /* replaces the link */
        {"hard link out", {{'1', "h", "../outside/precious", NULL, 0}}, EE_E_IMAGE},
        {"hard link by a link", {{'2', "l", "../outside", NULL, 0}, {'1', "h", "l/precious", NULL, 0}}, EE_E_IMAGE},
        {"hard link to nothing", {{'1', "h", "nothing", NULL, 0}}, EE_E_IMAGE},
        {"hard link to a directory", {{'5', "d", NULL, NULL, 0}, {'1', "h", "d", NULL, 0}}, EE_E_IMAGE},
        {"hard link to the root", {{'1', "h", "/", NULL, 0}}, EE_E_IMAGE},
        {"whiteout by a link", {{'2', "l", "../outside", NULL, 0}, {'0', "l/.wh.precious", NULL, NULL, 0}}, EE_E_IMAGE},
        {"opaque by a link", {{'2', "l", "../outside", NULL, 0}, {'0', "l/.wh..wh..opq", NULL, NULL, 0}}, EE_E_IMAGE},
        {"whiteout of dot dot", {{'0', "d/.wh...", NULL, NULL, 0}}, EE_E_IMAGE},
        {"whiteout of dot", {{'0', "d/.wh..", NULL, NULL, 0}}, EE_E_IMAGE},
        {"whiteout of nothing", {{'0', "d/.wh.", NULL, NULL, 0}}, EE_E_IMAGE},
        {"whiteout with content", {{'0', "d/.wh.x", NULL, "data", 0}}, EE_E_IMAGE},
        {"device", {{'4', "sda", NULL, NULL, 0}, {'3', "null", NULL, NULL, 0}}, EE_OK}, /* left out */
        {"file where the root is", {{'0', ".", NULL, "x", 0}}, EE_E_IMAGE},
        {"link without target", {{'2', "l", NULL, NULL, 0}}, EE_E_IMAGE},
        {"unknown type", {{'S', "sparse", NULL, NULL, 0}}, EE_E_IMAGE},
        {"file as a parent", {{'0', "f", NULL, "x", 0}, {'0', "f/below", NULL, "x", 0}}, EE_E_IMAGE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ee_error err = {0};
        ee_status st = apply(cases[i].items, &err);
        if (st != cases[i].want) fail_msg("%s: status %d (%s)", cases[i].name, st, err.message);
        if (strcmp(content("outside/precious"), "safe") != 0 || count_in("outside") != 2 || info_of("outside/precious").st_nlink != 1)
            fail_msg("%s: got out", cases[i].name);
        assert_int_equal(access("/tmp/ee-escaped", F_OK), -1);
        assert_int_equal(end(NULL), 0);
        assert_int_equal(begin(NULL), 0);
    }
    assert_int_equal(info_of("root/sda").st_mode, 0);
}

/* Links that lead out are kept as they are (they are right inside of the sandbox); only nothing is written through them. */
static void test_W9_limits(void **state) {
    ee_error err;
    (void)state;
    rootfs.bytes_max = 10;
    assert_int_equal(apply((item[]){{'0', "a", NULL, "12345", 0}, {'0', "b", NULL, "12345", 0}, {0}}, &err), EE_OK);
    assert_int_equal(apply((item[]){{'0', "c", NULL, "1", 0}, {0}}, &err), EE_E_IMAGE);
    assert_non_null(strstr(err.message, "10 bytes"));
    rootfs.bytes_max = 1000;
    rootfs.entries_max = rootfs.entries + 2;
    assert_int_equal(apply((item[]){{'0', "a", NULL, NULL, 0}, {'0', "b", NULL, NULL, 0}, {0}}, &err), EE_OK);
    assert_int_equal(apply((item[]){{'0', "a", NULL, NULL, 0}, {0}}, &err), EE_E_IMAGE);
    assert_non_null(strstr(err.message, "files"));
}

static void put_long(eei_buf *out, char type, const char *text, size_t len) {
    put_header(out, &(item){.type = type, .path = "././@LongLink"}, len);
    put_data(out, text, len);
}

static void test_W9_depth_and_names(void **state) {
    char path[2 * (AGENT_TREE_DEPTH_MAX + 1) + 1], name[300];
    (void)state;
    for (unsigned extra = 0; extra < 2; extra++) {
        eei_buf out = EEI_BUF_INIT(1 << 20);
        for (unsigned i = 0; i < AGENT_TREE_DEPTH_MAX + extra; i++) memcpy(path + 2 * i, "d/", 3);
        put_long(&out, 'L', path, strlen(path) + 1);
        put_header(&out, &(item){.type = '5', .path = "cut"}, 0);
        put_end(&out);
        assert_int_equal(apply_bytes(eei_buf_span(&out), 512, NULL), extra ? EE_E_IMAGE : EE_OK);
        eei_buf_clear(&out);
    }
    for (size_t len = 255; len <= 256; len++) {
        eei_buf out = EEI_BUF_INIT(1 << 20);
        memset(name, 'n', len);
        put_long(&out, 'L', name, len);
        put_item(&out, &(item){.type = '0', .path = "cut", .data = "x"});
        put_end(&out);
        assert_int_equal(apply_bytes(eei_buf_span(&out), 512, NULL), len > 255 ? EE_E_IMAGE : EE_OK);
        eei_buf_clear(&out);
    }
}

static void test_pax(void **state) {
    static const struct {
        const char *record;
        ee_status want;
        const char *file;
    } cases[] = {
        {"16 path=renamed\n", EE_OK, "root/renamed"},
        {"11 size=3\n17 path=size-told\n", EE_E_IMAGE, NULL}, /* "11" is one too many */
        {"10 size=1\n", EE_OK, "root/f"},
        {"30 mtime=1234567890.123456789\n", EE_OK, "root/f"},
        {"9 uid=-1\n", EE_E_IMAGE, NULL},
        {"10 uid=99\n", EE_OK, "root/f"},
        {"13 comment=x\n", EE_OK, "root/f"},
        {"26 GNU.sparse.major=1.0....\n", EE_E_IMAGE, NULL},
        {"28 GNU.sparse.realsize=1000\n", EE_E_IMAGE, NULL},
        {"5 a=\n", EE_OK, "root/f"},
        {"3 \n", EE_E_IMAGE, NULL},
        {"16 path=renamed", EE_E_IMAGE, NULL},
        {"99 path=x\n", EE_E_IMAGE, NULL},
        {"path=x\n", EE_E_IMAGE, NULL},
        {"11 nothing\n", EE_E_IMAGE, NULL},
        {"26 path=../outside/escape\n", EE_E_IMAGE, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        eei_buf out = EEI_BUF_INIT(1 << 20);
        ee_error err = {0};
        put_long(&out, 'g', "11 comment=", 11); /* dropped */
        put_long(&out, 'x', cases[i].record, strlen(cases[i].record));
        put_item(&out, &(item){.type = '0', .path = "f", .data = "1"});
        put_end(&out);
        ee_status st = apply_bytes(eei_buf_span(&out), 700, &err);
        if (st != cases[i].want) fail_msg("%s: %d %s", cases[i].record, st, err.message);
        if (cases[i].file) assert_string_equal(content(cases[i].file), "1");
        eei_buf_clear(&out);
        assert_int_equal(end(NULL), 0);
        assert_int_equal(begin(NULL), 0);
    }
}

static void test_broken_archives(void **state) {
    (void)state;
    eei_buf whole = archive((item[]){{'0', "f", NULL, "content", 0}, {0}});
    ee_span bytes = eei_buf_span(&whole);
    assert_int_equal(apply_bytes(eei_span(bytes.data, 1024), 512, NULL), EE_OK);         /* no end mark: many writers */
    assert_int_equal(apply_bytes(eei_span(bytes.data, 512 + 3), 512, NULL), EE_E_IMAGE); /* in the data */
    assert_int_equal(apply_bytes(eei_span(bytes.data, 100), 512, NULL), EE_E_IMAGE);     /* in a header */
    for (size_t i = 0; i < 512; i++) {                                                   /* any byte of a header: the checksum sees it */
        if (i >= 148 && i < 156) continue;
        whole.data[i] ^= 1;
        if (apply_bytes(bytes, 512, NULL) != EE_E_IMAGE) fail_msg("byte %zu", i);
        whole.data[i] ^= 1;
    }
    eei_buf_clear(&whole);
    uint8_t huge[512] = {0};
    memcpy(huge, "f", 1);
    huge[124] = 0x80;
    memset(huge + 125, 0xff, 11);
    huge[156] = '0';
    put_sum(huge);
    assert_int_equal(apply_bytes(eei_span(huge, 512), 512, NULL), EE_E_IMAGE); /* 2^88 bytes, GNU's way */
}

static void test_out_of_memory(void **state) {
    (void)state;
    eei_buf bytes = archive((item[]){{'0', "a/b", NULL, "x", 0}, {0}});
    for (size_t n = 1;; n++) {
        (void)eei_alloc_fail_at(n);
        ee_status st = apply_bytes(eei_buf_span(&bytes), 65536, NULL);
        size_t made = eei_alloc_fail_at(0);
        if (!st) {
            assert_true(made < n && n > 2);
            break;
        }
        assert_int_equal(st, EE_E_NOMEM);
    }
    eei_buf_clear(&bytes);
}

static void test_complete(void **state) {
    const char *volumes[] = {"/data/deep", NULL};
    agent_oci_config config = {.volumes = volumes, .working_dir = "/srv/../made"};
    agent_oci_user user = {.uid = 5, .gid = 6};
    ee_error err = {0};
    (void)state;
    must_apply((item[]){{'2', "proc", "../outside", NULL, 0},
                        {'2', "tmp", "/outside", NULL, 0},
                        {'5', "ee-init", NULL, NULL, 0},
                        {'0', "etc/hosts", NULL, NULL, 0},
                        {'0', "etc/resolv.conf", NULL, "mine", 0},
                        {0}});
    ee_status st = agent_rootfs_complete(&rootfs, &config, &user, &err);
    if (st) fail_msg("%s", err.message);
    assert_true(S_ISDIR(info_of("root/proc").st_mode)); /* mounts go where they are meant to */
    assert_true(S_ISDIR(info_of("root/tmp").st_mode));
    assert_true(S_ISREG(info_of("root/ee-init").st_mode));
    assert_true(S_ISDIR(info_of("root/data/deep").st_mode));
    assert_true(S_ISDIR(info_of("root/var/tmp").st_mode));
    assert_non_null(strstr(content("root/etc/hosts"), "127.0.0.1 localhost"));
    assert_string_equal(content("root/etc/resolv.conf"), "mine");
    assert_int_equal(count_in("outside"), 2);
    assert_int_equal(agent_rootfs_complete(&rootfs, &config, &user, &err), EE_OK); /* again is fine */
}

static void test_read_inside_only(void **state) {
    eei_buf text = EEI_BUF_INIT(100);
    (void)state;
    must_apply((item[]){{'0', "etc/passwd", NULL, "in", 0},
                        {'2', "etc/up", "../../outside/precious", NULL, 0},
                        {'2', "etc/same", "passwd", NULL, 0},
                        {'6', "etc/fifo", NULL, NULL, 0},
                        {0}});
    assert_int_equal(agent_tree_read(rootfs.fd, "etc/same", &text), EE_OK);
    assert_string_equal(eei_buf_cstr(&text), "in");
    eei_buf_reset(&text);
    assert_int_equal(agent_tree_read(rootfs.fd, "etc/up", &text), EE_OK);
    assert_int_equal(agent_tree_read(rootfs.fd, "etc/fifo", &text), EE_OK); /* does not hang */
    assert_int_equal(agent_tree_read(rootfs.fd, "etc", &text), EE_OK);
    assert_int_equal(text.len, 0);
    eei_buf_clear(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain, begin, end),
        cmocka_unit_test_setup_teardown(test_any_split_gives_the_same, begin, end),
        cmocka_unit_test_setup_teardown(test_layers_replace, begin, end),
        cmocka_unit_test_setup_teardown(test_whiteouts_are_about_lower_layers, begin, end),
        cmocka_unit_test_setup_teardown(test_W9_nothing_gets_out, begin, end),
        cmocka_unit_test_setup_teardown(test_W9_limits, begin, end),
        cmocka_unit_test_setup_teardown(test_W9_depth_and_names, begin, end),
        cmocka_unit_test_setup_teardown(test_pax, begin, end),
        cmocka_unit_test_setup_teardown(test_broken_archives, begin, end),
        cmocka_unit_test_setup_teardown(test_out_of_memory, begin, end),
        cmocka_unit_test_setup_teardown(test_complete, begin, end),
        cmocka_unit_test_setup_teardown(test_read_inside_only, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
