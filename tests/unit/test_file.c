/* test_file.c - small files: limits, atomic replacement, privacy. Works in a folder of its own under TMPDIR. Called by CTest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/alloc.h"
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char root[256];

static const char *at(const char *name) {
    static char path[4][512];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", root, name);
    return out;
}

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/ee-test-file-XXXXXX", tmp ? tmp : "/tmp");
    umask(022);
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    static const char *const left[] = {"f", "fifo", "link", "open/f", "open", "a/b/c", "a/b", "a", "full", "device"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        if (unlink(at(left[i]))) rmdir(at(left[i]));
    return rmdir(root); /* fails when a temporary file was left behind */
}

static void write_file(const char *path, const char *text, mode_t mode) {
    assert_int_equal(eei_file_write_atomic(path, eei_span_text(text), (unsigned)mode, NULL), EE_OK);
}

static void test_read_limits(void **state) {
    (void)state;
    ee_error err = {0};
    write_file(at("f"), "0123456789", 0600);
    for (size_t max = 0; max < 12; max++) {
        eei_buf b = EEI_BUF_INIT(max);
        ee_status st = eei_file_read(at("f"), &b, &err);
        assert_int_equal(st, max < 10 ? EE_E_LIMIT : EE_OK);
        assert_int_equal(b.len, max < 10 ? 0 : 10);
        eei_buf_clear(&b);
    }
    eei_buf b = EEI_BUF_INIT(100000);
    assert_int_equal(eei_file_read(at("none"), &b, &err), EE_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "/none: No such file"));
    assert_int_equal(eei_file_read(at("f/none"), &b, &err), EE_E_NOT_FOUND);
    assert_int_equal(eei_file_read(root, &b, &err), EE_E_IO); /* a folder */
    assert_int_equal(eei_buf_append_text(&b, "kept"), EE_OK);
    assert_int_equal(eei_file_read(at("f"), &b, &err), EE_OK);
    assert_string_equal(eei_buf_cstr(&b), "kept0123456789");
    eei_buf_clear(&b);
}

static void test_large_file(void **state) {
    (void)state;
    const size_t size = 50000;
    char *text = eei_malloc(size + 1);
    memset(text, 'x', size);
    text[size] = '\0';
    write_file(at("f"), text, 0644);
    eei_buf b = EEI_BUF_INIT_SECRET(size);
    assert_int_equal(eei_file_read(at("f"), &b, NULL), EE_OK);
    assert_string_equal(eei_buf_cstr(&b), text);
    eei_buf_clear(&b);
    eei_free(text);
}

static size_t names_in(const char *folder) {
    size_t count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    while (readdir(d)) count++;
    closedir(d);
    return count - 2; /* . and .. */
}

static unsigned mode_of(const char *path) {
    struct stat s;
    assert_int_equal(lstat(path, &s), 0);
    return (unsigned)s.st_mode & 07777u;
}

/* "fifo" read within 300 ms. text: what a writer, who is there, has written; NULL = there is none. */
static ee_status read_fifo(size_t max, const char *text, bool ends, ee_error *err) {
    eei_buf b = EEI_BUF_INIT(max);
    int reader = text ? open(at("fifo"), O_RDONLY | O_NONBLOCK) : -1, writer = text ? open(at("fifo"), O_WRONLY) : -1;
    size_t len = text ? strlen(text) : 0;
    if (text) assert_int_equal(write(writer, text, len), len);
    if (ends) close(writer); /* the other reader keeps what was written */
    ee_status st = eei_file_read_within(at("fifo"), 300, &b, err);
    if (!st) assert_string_equal(eei_buf_cstr(&b), text);
    if (st) assert_int_equal(b.len, 0);
    if (text && !ends) close(writer);
    if (text) close(reader);
    eei_buf_clear(&b);
    return st;
}

/* Nothing waits for ever for what may never come or never end. */
static void test_streams(void **state) {
    (void)state;
    ee_error err = {0};
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(read_fifo(10, "0123456789", true, &err), EE_OK);
    assert_int_equal(read_fifo(9, "0123456789", false, &err), EE_E_LIMIT);
    assert_int_equal(read_fifo(10, NULL, false, &err), EE_E_TIMEOUT);
    assert_non_null(strstr(err.message, "nobody writes to "));
    static const char *const idle[] = {"", "012"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(read_fifo(10, idle[i], false, &err), EE_E_TIMEOUT);
        assert_non_null(strstr(err.message, "did not end within 0.3 s"));
    }
    eei_buf b = EEI_BUF_INIT(100000);
    assert_int_equal(eei_file_read("/dev/zero", &b, &err), EE_E_LIMIT);
    assert_int_equal(eei_file_read("/dev/null", &b, &err), EE_OK);
    assert_int_equal(b.len, 0);
    eei_buf_clear(&b);
}

static void test_write_replaces_whole_files(void **state) {
    (void)state;
    ee_error err = {0};
    eei_buf b = EEI_BUF_INIT(100);
    write_file(at("f"), "old and long", 0644);
    assert_int_equal(mode_of(at("f")), 0644);
    umask(0777); /* the mode is what was asked for, whatever the umask */
    write_file(at("f"), "new", 0600);
    umask(022);
    assert_int_equal(mode_of(at("f")), 0600);
    assert_int_equal(eei_file_read(at("f"), &b, NULL), EE_OK);
    assert_string_equal(eei_buf_cstr(&b), "new");
    assert_int_equal(eei_file_write_atomic(at("none/f"), eei_span_text("x"), 0600, &err), EE_E_IO);
    assert_int_equal(mkdir(at("full"), 0700), 0);
    const size_t names = names_in(root);
    assert_int_equal(eei_file_write_atomic(at("full"), eei_span_text("x"), 0600, &err), EE_E_IO); /* a folder is in the way */
    assert_int_equal(names_in(root), names);                                                      /* the temporary file is gone */
    assert_int_equal(eei_file_write_atomic(at("f"), eei_span(NULL, 0), 0600, &err), EE_OK);
    eei_buf_reset(&b);
    assert_int_equal(eei_file_read(at("f"), &b, NULL), EE_OK);
    assert_int_equal(b.len, 0);
    eei_buf_clear(&b);
}

static void test_write_replaces_a_link_not_its_target(void **state) {
    (void)state;
    write_file(at("f"), "target", 0644);
    (void)!symlink(at("f"), at("link"));
    write_file(at("link"), "secret", 0600);
    eei_buf b = EEI_BUF_INIT(100);
    assert_int_equal(eei_file_read(at("f"), &b, NULL), EE_OK);
    assert_string_equal(eei_buf_cstr(&b), "target");
    eei_buf_clear(&b);
    unlink(at("link"));
}

static void assert_holds(const char *path, const char *text) {
    eei_buf b = EEI_BUF_INIT(100);
    assert_int_equal(eei_file_read(path, &b, NULL), EE_OK);
    assert_string_equal(eei_buf_cstr(&b), text);
    eei_buf_clear(&b);
}

static ee_status write_named(const char *path, const char *text, ee_error *err) {
    return eei_file_write_named(path, eei_span_text(text), 0600, err);
}

/* What a user named: a link stays a link, to a file that is there or not yet. */
static void test_a_named_link_is_followed(void **state) {
    (void)state;
    ee_error err = {0};
    struct stat s;
    write_file(at("f"), "old", 0644);
    const size_t names = names_in(root);
    static const char *const leads_to[] = {"f", "./f", NULL};
    for (size_t i = 0; i < sizeof leads_to / sizeof leads_to[0]; i++) {
        assert_int_equal(symlink(leads_to[i] ? leads_to[i] : at("f"), at("link")), 0);
        assert_int_equal(write_named(at("link"), "new", &err), EE_OK);
        assert_holds(at("f"), "new");
        assert_int_equal(mode_of(at("f")), 0600);
        unlink(at("f"));
        assert_int_equal(write_named(at("link"), "made", &err), EE_OK); /* it led nowhere */
        assert_holds(at("f"), "made");
        assert_int_equal(lstat(at("link"), &s), 0);
        assert_true(S_ISLNK(s.st_mode));
        unlink(at("link"));
    }
    assert_int_equal(symlink("link", at("link")), 0);
    assert_int_equal(write_named(at("link"), "x", &err), EE_E_IO);
    assert_non_null(strstr(err.message, "/link: Too many levels"));
    unlink(at("link"));
    assert_int_equal(write_named(at("none/f"), "x", &err), EE_E_IO);
    assert_int_equal(write_named(root, "x", &err), EE_E_IO);
    assert_int_equal(names_in(root), names); /* no temporary file is left */
}

/* A FIFO or a device is written to and is there afterwards, whatever comes of it. */
static void test_a_named_stream_is_written_to(void **state) {
    (void)state;
    ee_error err = {0};
    struct stat s;
    char text[16] = "";
    unlink(at("fifo"));
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    int reader = open(at("fifo"), O_RDONLY | O_NONBLOCK);
    assert_int_equal(write_named(at("fifo"), "evidence", &err), EE_OK);
    assert_int_equal(read(reader, text, sizeof text - 1), 8);
    assert_string_equal(text, "evidence");
    close(reader);
    assert_int_equal(write_named(at("fifo"), "evidence", &err), EE_E_TIMEOUT);
    assert_non_null(strstr(err.message, "nobody reads from "));
    assert_int_equal(lstat(at("fifo"), &s), 0);
    assert_true(S_ISFIFO(s.st_mode));
    unlink(at("fifo"));
    if (mknod(at("device"), S_IFCHR | 0600, makedev(1, 7))) { /* the full one */
        printf("SKIP: only root can make a device\n");
        skip();
    }
    assert_int_equal(write_named(at("device"), "evidence", &err), EE_E_IO);
    assert_int_equal(lstat(at("device"), &s), 0);
    assert_true(S_ISCHR(s.st_mode));
}

static void test_private_files(void **state) {
    (void)state;
    ee_error err = {0};
    static const struct {
        mode_t mode;
        ee_status want;
    } cases[] = {{0600, EE_OK},       {0400, EE_OK},       {0700, EE_OK},      {0640, EE_E_CONFIG},
                 {0604, EE_E_CONFIG}, {0601, EE_E_CONFIG}, {0620, EE_E_CONFIG}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(at("f"), "key", cases[i].mode);
        if (eei_file_check_private(at("f"), &err) != cases[i].want) fail_msg("%o: %s", (unsigned)cases[i].mode, err.message);
    }
    assert_non_null(strstr(err.message, "is open to others (mode 0620)"));
    assert_string_equal(err.hint, "it must be yours alone: chmod 600");
    write_file(at("f"), "key", 0600);
    (void)!symlink(at("f"), at("link"));
    assert_int_equal(eei_file_check_private(at("link"), &err), EE_E_CONFIG);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(eei_file_check_private(root, &err), EE_E_CONFIG);
    assert_int_equal(eei_file_check_private(at("none"), &err), EE_E_CONFIG);
    assert_int_equal(mkdir(at("open"), 0777), 0);
    assert_int_equal(chmod(at("open"), 0777), 0);
    write_file(at("open/f"), "key", 0600);
    assert_int_equal(eei_file_check_private(at("open/f"), &err), EE_E_CONFIG);
    assert_non_null(strstr(err.message, "is writable by others (mode 0777)"));
}

static void test_make_dirs(void **state) {
    (void)state;
    ee_error err = {0};
    assert_int_equal(eei_make_dirs(at("a//b/c/"), 0700, &err), EE_OK);
    assert_int_equal(eei_make_dirs(at("a/b/c"), 0700, &err), EE_OK); /* again is fine */
    assert_int_equal(mode_of(at("a/b")), 0700);
    write_file(at("f"), "", 0600);
    assert_int_equal(eei_make_dirs(at("f/x"), 0700, &err), EE_E_IO);
    assert_int_equal(eei_make_dirs(at("f"), 0700, &err), EE_E_IO);
    assert_int_equal(eei_make_dirs("", 0700, &err), EE_E_INVALID);
    assert_int_equal(eei_make_dirs("/", 0700, &err), EE_OK);
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    write_file(at("f"), "first", 0600);
    size_t made = 0;
    for (size_t n = 1;; n++) {
        eei_buf b = EEI_BUF_INIT(100);
        eei_alloc_fail_at(n);
        ee_status st = eei_file_write_atomic(at("f"), eei_span_text("again"), 0600, NULL);
        if (!st) st = write_named(at("f"), "again", NULL);
        if (!st) st = eei_file_read(at("f"), &b, NULL);
        if (!st) st = eei_file_check_private(at("f"), NULL);
        if (!st) st = eei_make_dirs(at("a/b"), 0700, NULL);
        made = eei_alloc_fail_at(0);
        eei_buf_clear(&b);
        assert_int_equal(st, made >= n ? EE_E_NOMEM : EE_OK);
        assert_int_equal(eei_file_read(at("f"), &b, NULL), EE_OK); /* never half-written */
        assert_true(strcmp(eei_buf_cstr(&b), "first") == 0 || strcmp(eei_buf_cstr(&b), "again") == 0);
        eei_buf_clear(&b);
        if (made < n) break;
    }
    assert_true(made >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_limits),
        cmocka_unit_test(test_large_file),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_write_replaces_whole_files),
        cmocka_unit_test(test_write_replaces_a_link_not_its_target),
        cmocka_unit_test(test_a_named_link_is_followed),
        cmocka_unit_test(test_a_named_stream_is_written_to),
        cmocka_unit_test(test_private_files),
        cmocka_unit_test(test_make_dirs),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
