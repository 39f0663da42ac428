/* test_runtime_root.c - the runtime against a real registry, OCI runtime and kernel: pulls, runs, limits, isolation, secrets, recovery.
 * Needs root, runc or crun, skopeo, umoci, docker-registry, a static busybox; without them it prints what is missing and skips. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "agent/process.h"
#include "agent/runtime.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHIM        EE_BINARY_DIR "/bin/ee-shim"
#define DEADLINE_MS 30000
#define SECRET      "canary-4f1d-very-secret-9c"

static char work_dir[64], registry_host[64], missing[200];
static pid_t registry_pid;
static uv_loop_t the_loop, *const loop = &the_loop;
static agent_runtime *runtime;
static agent_image *image;
static uint8_t image_digest[32];

#if defined(__SANITIZE_THREAD__)
/* libuv is not instrumented: it closes descriptors unseen, and their numbers' next users look like racers. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void); /* the sanitizer looks it up by name */
const char *__tsan_default_suppressions(void) { return "race_top:close\nrace_top:closedir\nrace_top:fstat64\nrace_top:read\n"; }
#endif

/* ---- world ---- */

static void path_in(char out[300], const char *name) { snprintf(out, 300, "%s/%s", work_dir, name); }

static void write_file(const char *name, const char *text, mode_t mode) {
    char path[300];
    path_in(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* Run a tool; its output must be of no interest. */
static void tool(const char *const *argv) {
    char path[256];
    const char *args[24];
    ee_error err = {0};
    int code = -1;
    eei_buf errors = EEI_BUF_INIT(65536);
    assert_int_equal(agent_process_find(argv[0], path, sizeof path, &err), EE_OK);
    args[0] = path;
    for (size_t i = 1; (args[i] = argv[i]); i++) {
    }
    const char *env[] = {AGENT_PROCESS_PATH, "HOME=/nonexistent", NULL};
    agent_process_options o = {.argv = args, .env = env};
    assert_int_equal(agent_process_run(&o, &code, NULL, &errors, &err), EE_OK);
    if (code) print_error("%s: %s\n", argv[0], eei_buf_cstr(&errors));
    assert_int_equal(code, 0);
    eei_buf_clear(&errors);
}
#define TOOL(...) tool((const char *const[]){__VA_ARGS__, NULL})

static bool can_connect(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    return ok;
}

static uint16_t free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void start_registry(void) {
    char config[600], path[300], program[256];
    uint16_t port = free_port();
    snprintf(registry_host, sizeof registry_host, "127.0.0.1:%u", port);
    snprintf(config, sizeof config,
             "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: \"%s\"}\n", work_dir,
             registry_host);
    write_file("registry.yml", config, 0600);
    path_in(path, "registry.yml");
    assert_int_equal(agent_process_find("docker-registry", program, sizeof program, NULL), EE_OK);
    registry_pid = fork();
    if (registry_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execl(program, program, "serve", path, (char *)NULL);
        _exit(127);
    }
    uint64_t deadline = eei_mono_ms() + DEADLINE_MS;
    while (!can_connect(port)) {
        assert_true(eei_mono_ms() < deadline);
        poll(NULL, 0, 10); /* it has no other way to say that it is there */
    }
}

/* Digest of the only manifest of an OCI layout. */
static void layout_digest(const char *layout, uint8_t out[32]) {
    char path[400];
    eei_buf text = EEI_BUF_INIT(65536);
    json_t *index = NULL;
    snprintf(path, sizeof path, "%s/index.json", layout);
    assert_int_equal(eei_file_read(path, &text, NULL), EE_OK);
    assert_int_equal(eei_json_parse(eei_buf_span(&text), 65536, &index, NULL), EE_OK);
    const char *digest = json_string_value(json_object_get(json_array_get(json_object_get(index, "manifests"), 0), "digest"));
    assert_non_null(digest);
    assert_int_equal(eei_hex_decode(digest + 7, out, 32, NULL), EE_OK);
    json_decref(index);
    eei_buf_clear(&text);
}

static void push_image(const char *layout, const char *name) {
    char source[400], target[400];
    snprintf(source, sizeof source, "oci:%s:app", layout);
    snprintf(target, sizeof target, "docker://%s/%s:latest", registry_host, name);
    TOOL("skopeo", "copy", "-q", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false", source, target);
}

/* A busybox image: /bin with all applets, a passwd, a file that a second layer deletes. */
static void build_image(void) {
    char root[300], bin[300], layer1[300], layer2[300], layout[300], ref[320], busybox[300];
    path_in(root, "root");
    path_in(bin, "root/bin");
    path_in(layer1, "layer1.tar");
    path_in(layer2, "layer2.tar");
    path_in(layout, "layout");
    path_in(busybox, "root/bin/busybox");
    snprintf(ref, sizeof ref, "%s:app", layout);
    assert_int_equal(mkdir(root, 0755), 0);
    assert_int_equal(mkdir(bin, 0755), 0);
    TOOL("mkdir", "-p", "--", root);
    char etc[300], www[300];
    path_in(etc, "root/etc");
    path_in(www, "root/www");
    assert_int_equal(mkdir(etc, 0755), 0);
    assert_int_equal(mkdir(www, 0755), 0);
    TOOL("cp", "/bin/busybox", busybox);
    static const char *const applets[] = {"sh",   "cat", "echo",      "env",    "ls",      "id",       "sleep", "kill",
                                          "dd",   "ip",  "wget",      "httpd",  "unshare", "mount",    "head",  "tail",
                                          "wc",   "seq", "true",      "false",  "nc",      "ps",       "touch", "mknod",
                                          "grep", "yes", "sha256sum", "printf", "stat",    "hostname", "dmesg", "tr"};
    for (size_t i = 0; i < sizeof applets / sizeof *applets; i++) {
        char link[400];
        snprintf(link, sizeof link, "%s/%s", bin, applets[i]);
        assert_int_equal(symlink("busybox", link), 0);
    }
    write_file("root/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n", 0644);
    write_file("root/deleted-later", "x", 0644);
    write_file("root/plain", "not executable\n", 0644);
    write_file("root/no-interpreter", "#!/no/such/shell\n", 0755);
    write_file("root/no-program", "neither\n", 0755);
    write_file("root/www/index.html", "from-the-app\n", 0644);
    write_file(".wh.deleted-later", "", 0644);
    TOOL("tar", "-C", root, "-cf", layer1, ".");
    TOOL("tar", "-C", work_dir, "-cf", layer2, ".wh.deleted-later");
    TOOL("umoci", "init", "--layout", layout);
    TOOL("umoci", "new", "--image", ref);
    TOOL("umoci", "raw", "add-layer", "--image", ref, layer1);
    TOOL("umoci", "raw", "add-layer", "--image", ref, layer2);
    TOOL("umoci", "config", "--image", ref, "--config.cmd", "echo", "--config.cmd", "hello from the image", "--config.env",
         "FROM_IMAGE=yes", "--config.workingdir", "/made/for/me", "--config.exposedports", "8080/tcp");
    layout_digest(layout, image_digest);
    push_image(layout, "app");
}

typedef struct pulled {
    agent_image *image;
    ee_status status;
    ee_error err;
    unsigned progress, done;
} pulled;
static void on_progress(void *user, const char *phase, uint64_t done, uint64_t total) {
    pulled *p = user;
    assert_true(strcmp(phase, "pulling") == 0 || strcmp(phase, "unpacking") == 0);
    assert_true(done <= total);
    p->progress++;
}
static void on_pulled(void *user, ee_status status, agent_image *got, const ee_error *err) {
    pulled *p = user;
    p->status = status;
    p->image = got;
    if (status) p->err = *err;
    p->done++;
}
static void on_deadline(uv_timer_t *timer) { *(bool *)timer->data = true; }
static void on_nothing_closed(uv_handle_t *handle) { *(bool *)handle->data = true; }

/* Turn the loop until *flag is not 0, or fail at the deadline. */
static void wait_for(const unsigned *flag) {
    uv_timer_t timer;
    bool late = false, closed = false;
    timer.data = &late;
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, on_deadline, DEADLINE_MS, 0);
    while (!*flag && !late) uv_run(loop, UV_RUN_ONCE);
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, on_nothing_closed);
    while (!closed) uv_run(loop, UV_RUN_ONCE);
    assert_false(late);
}

static pulled pull(const char *name, const uint8_t digest[32]) {
    char repository[128];
    pulled p = {0};
    agent_image_request *request;
    ee_error err;
    snprintf(repository, sizeof repository, "%s/%s", registry_host, name);
    assert_int_equal(agent_image_prepare(runtime, repository, digest, true, on_progress, on_pulled, &p, &request, &err), EE_OK);
    assert_int_equal(p.done, 0); /* never from inside the call */
    wait_for(&p.done);
    return p;
}

static agent_runtime_options runtime_options(char root[300]) {
    path_in(root, "state");
    return (agent_runtime_options){.root_dir = root, .shim_path = SHIM};
}

static bool have(const char *program) {
    char path[256];
    return agent_process_find(program, path, sizeof path, NULL) == EE_OK;
}

static int setup(void **state) {
    char root[300];
    ee_error err = {0};
    (void)state;
    if (geteuid() != 0)
        snprintf(missing, sizeof missing, "not root");
    else if (!have("runc") && !have("crun"))
        snprintf(missing, sizeof missing, "neither runc nor crun");
    else if (!have("skopeo") || !have("umoci") || !have("docker-registry"))
        snprintf(missing, sizeof missing, "skopeo, umoci or docker-registry");
    else if (access("/bin/busybox", X_OK))
        snprintf(missing, sizeof missing, "/bin/busybox");
    else if (access(SHIM, X_OK))
        snprintf(missing, sizeof missing, SHIM " (build ee-shim)");
    if (missing[0]) {
        print_message("SKIPPED, all of it: %s\n", missing);
        return 0;
    }
    if (getenv("EE_TEST_LOG")) eei_log_set(eei_log_to_stderr, NULL, EEI_LOG_DEBUG);
    snprintf(work_dir, sizeof work_dir, "/tmp/ee-runtime-XXXXXX");
    assert_non_null(mkdtemp(work_dir));
    assert_int_equal(chmod(work_dir, 0711), 0);
    assert_int_equal(uv_loop_init(loop), 0);
    start_registry();
    build_image();
    agent_runtime_options o = runtime_options(root);
    ee_status st = agent_runtime_new(loop, &o, &runtime, &err);
    if (st) print_error("%s (%s)\n", err.message, err.hint);
    assert_int_equal(st, EE_OK);
    pulled p = pull("app", image_digest);
    if (p.status) print_error("%s\n", p.err.message);
    assert_int_equal(p.status, EE_OK);
    image = p.image;
    return 0;
}

static void on_closed(void *user) { *(unsigned *)user = 1; }

static void close_runtime(void) {
    unsigned done = 0;
    agent_runtime_close(runtime, on_closed, &done);
    wait_for(&done);
    agent_runtime_free(runtime);
    runtime = NULL;
}

static int teardown(void **state) {
    (void)state;
    if (missing[0]) return 0;
    if (runtime) {
        agent_image_release(image);
        close_runtime();
    }
    while (uv_run(loop, UV_RUN_NOWAIT)) {
    }
    assert_int_equal(uv_loop_close(loop), 0);
    kill(registry_pid, SIGKILL);
    waitpid(registry_pid, NULL, 0);
    TOOL("rm", "-rf", "--", work_dir);
    return 0;
}

#define NEEDS_ROOT()                                                                                                                       \
    do {                                                                                                                                   \
        (void)state;                                                                                                                       \
        if (missing[0]) skip();                                                                                                            \
    } while (0)

/* ---- runs ---- */

typedef struct ran {
    agent_run *run;
    eei_buf out, err;
    size_t out_bytes;
    unsigned started, done, outputs;
    uint64_t begin_us, started_us, first_us, end_us;
    bool keep; /* append output; else only count */
    agent_run_result result;
} ran;

static void on_started(void *user) {
    ran *r = user;
    assert_int_equal(r->outputs, 0);
    r->started++;
    r->started_us = eei_mono_us();
}
static void on_output(void *user, ee_stream_id stream, const void *data, size_t len) {
    ran *r = user;
    assert_int_equal(r->started, 1);
    if (!r->outputs++) r->first_us = eei_mono_us();
    r->out_bytes += len;
    if (r->keep) assert_int_equal(eei_buf_append(stream == EE_STDOUT ? &r->out : &r->err, data, len), EE_OK);
}
static void on_exit_of(void *user, const agent_run_result *result) {
    ran *r = user;
    r->result = *result;
    r->end_us = eei_mono_us();
    r->done++;
}
static const agent_run_callbacks callbacks = {on_started, on_output, on_exit_of};

typedef struct job {
    const char *args[8];
    eei_env env[4];
    size_t env_count;
    const char *input;
    agent_limits limits;
    uint64_t timeout_ms;
    agent_image *image; /* NULL: the busybox one */
} job;

static void start(ran *r, const job *j) {
    ee_span args[8];
    agent_run_options o = {.id = "test",
                           .args = args,
                           .env = j->env,
                           .env_count = j->env_count,
                           .stdin_data = eei_span_text(j->input),
                           .limits = j->limits,
                           .timeout_ms = j->timeout_ms};
    ee_error err = {0};
    for (; o.args_count < 8 && j->args[o.args_count]; o.args_count++) args[o.args_count] = eei_span_text(j->args[o.args_count]);
    *r = (ran){.out = EEI_BUF_INIT(1 << 20), .err = EEI_BUF_INIT(1 << 20), .keep = true, .begin_us = eei_mono_us()};
    ee_status st = agent_run_start(runtime, j->image ? j->image : image, &o, &callbacks, r, &r->run, &err);
    if (st) print_error("%s\n", err.message);
    assert_int_equal(st, EE_OK);
    assert_int_equal(r->done, 0);
}

static void finish(ran *r) {
    agent_run_free(eei_take(&r->run));
    eei_buf_clear(&r->out);
    eei_buf_clear(&r->err);
}

static const char *out_of(ran *r) {
    const char *text = eei_buf_cstr(&r->out);
    return text ? text : "";
}
static const char *err_of(ran *r) {
    const char *text = eei_buf_cstr(&r->err);
    return text ? text : "";
}

static void run(ran *r, const job *j) {
    start(r, j);
    wait_for(&r->done);
    if (getenv("EE_TEST_LOG"))
        print_message("out: %.600s\nerr: %.600s\nreason %s code %d: %s\n", out_of(r), err_of(r), agent_exit_word(r->result.reason),
                      r->result.exit_code, r->result.message);
}
#define SH(script)                                                                                                                         \
    { "sh", "-c", script }

static void test_hello(void **state) {
    ran r;
    NEEDS_ROOT();
    run(&r, &(job){.args = {NULL}});
    assert_string_equal(out_of(&r), "hello from the image\n");
    assert_string_equal(err_of(&r), "");
    assert_int_equal(r.result.reason, AGENT_EXITED);
    assert_int_equal(r.result.exit_code, 0);
    assert_int_equal(r.started, 1);
    assert_true(r.result.wall_ms >= 1);
    assert_true(r.result.memory_peak_bytes > 0 || !agent_runtime_get_facts(runtime)->limits_enforced);
    finish(&r);
}

static void test_exit_codes(void **state) {
    static const struct {
        const char *script;
        int code, signal;
    } cases[] = {{"exit 0", 0, 0},       {"exit 1", 1, 0},           {"exit 127", 127, 0},      {"exit 255", 255, 0},
                 {"kill -9 $$", 137, 9}, {"kill -TERM $$", 143, 15}, {"kill -SEGV $$", 139, 11}};
    NEEDS_ROOT();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ran r;
        run(&r, &(job){.args = SH(cases[i].script)});
        if (r.result.exit_code != cases[i].code) print_error("%s\n", cases[i].script);
        assert_int_equal(r.result.reason, AGENT_EXITED);
        assert_int_equal(r.result.exit_code, cases[i].code);
        assert_int_equal(r.result.signal, cases[i].signal);
        finish(&r);
    }
}

static void test_streams(void **state) {
    ran r;
    NEEDS_ROOT();
    run(&r,
        &(job){.args = SH("for i in $(seq 1 2000); do echo out $i; echo err $i >&2; done; echo via >/dev/stdout; echo via >/dev/stderr")});
    assert_int_equal(r.result.exit_code, 0);
    for (int which = 0; which < 2; which++) {
        const char *at = which ? err_of(&r) : out_of(&r);
        for (int i = 1; i <= 2000; i++) {
            char want[32];
            int n = snprintf(want, sizeof want, "%s %d\n", which ? "err" : "out", i);
            assert_memory_equal(at, want, (size_t)n);
            at += n;
        }
        assert_string_equal(at, "via\n");
    }
    finish(&r);
}

static void test_stdin(void **state) {
    char *big = eei_malloc(1 << 20);
    ran r;
    NEEDS_ROOT();
    assert_non_null(big);
    run(&r, &(job){.args = {"cat"}, .input = "to the job"});
    assert_string_equal(out_of(&r), "to the job");
    finish(&r);
    run(&r, &(job){.args = {"cat"}}); /* none: end of file at once */
    assert_int_equal(r.result.exit_code, 0);
    assert_string_equal(out_of(&r), "");
    finish(&r);
    memset(big, 'x', (1 << 20) - 1);
    big[(1 << 20) - 1] = '\0';
    run(&r, &(job){.args = {"wc", "-c"}, .input = big});
    assert_string_equal(out_of(&r), "1048575\n");
    finish(&r);
    run(&r, &(job){.args = {"true"}, .input = big}); /* nobody reads it */
    assert_int_equal(r.result.exit_code, 0);
    finish(&r);
    eei_free(big);
}

static void test_environment_and_place(void **state) {
    ran r;
    NEEDS_ROOT();
    run(&r, &(job){.args = SH("echo $FROM_IMAGE $MINE $HOME $(pwd) $(hostname) $(cat /etc/hosts | head -1); test -e /deleted-later && echo "
                              "still-there; env | wc -l"),
                   .env = {{eei_span_text("MINE"), eei_span_text("a=b c")}},
                   .env_count = 1});
    assert_string_equal(
        out_of(&r),
        "yes a=b c /root /made/for/me sandbox 127.0.0.1 localhost\n7\n"); /* PATH HOME HOSTNAME FROM_IMAGE MINE, and sh's PWD SHLVL */
    finish(&r);
    run(&r, &(job){.args = SH("echo $FROM_IMAGE"), .env = {{eei_span_text("FROM_IMAGE"), eei_span_text("overridden")}}, .env_count = 1});
    assert_string_equal(out_of(&r), "overridden\n");
    finish(&r);
}

/* ---- W11: secrets ---- */

static const char *needle;
static unsigned hits;
static int look_into(const char *path, const struct stat *info, int kind, struct FTW *at) {
    static char text[1 << 21];
    (void)at;
    if (kind != FTW_F || !S_ISREG(info->st_mode)) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    if (n > 0 && memmem(text, (size_t)n, needle, strlen(needle))) hits++;
    return 0;
}

/* How often the text is in files of a folder, and in all command lines. */
static unsigned hits_in_files(const char *dir, const char *text) {
    needle = text;
    hits = 0;
    assert_int_equal(nftw(dir, look_into, 16, FTW_PHYS), 0);
    return hits;
}
static unsigned hits_in_proc(const char *file, const char *text) {
    DIR *d = opendir("/proc");
    needle = text;
    hits = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[300];
        struct stat info = {.st_mode = S_IFREG};
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || strtol(e->d_name, NULL, 10) == getpid()) continue;
        snprintf(path, sizeof path, "/proc/%s/%s", e->d_name, file);
        look_into(path, &info, FTW_F, NULL);
    }
    closedir(d);
    return hits;
}

static void test_W11_secrets_only_in_the_job(void **state) {
    char root[300], file[300];
    ran r;
    NEEDS_ROOT();
    path_in(root, "state");
    start(&r, &(job){.args = SH("echo got:${#TOKEN}; kill -STOP $$; sleep 100"),
                     .env = {{eei_span_text("TOKEN"), eei_span_text(SECRET)}},
                     .env_count = 1,
                     .input = SECRET});
    wait_for(&r.outputs);
    assert_string_equal(out_of(&r), "got:26\n"); /* it arrived */
    assert_int_equal(hits_in_proc("environ", SECRET),
                     1); /* control: the search finds it where it must be, in the job, and not in the shim */
    assert_int_equal(hits_in_proc("cmdline", SECRET), 0);
    assert_int_equal(hits_in_files(root, SECRET), 0);
    path_in(file, "state/b/control");
    write_file("state/b/control", "xx" SECRET "xx", 0600);
    assert_int_equal(hits_in_files(root, SECRET), 1); /* control: the search finds what is there */
    unlink(file);
    agent_run_cancel(r.run, 0);
    wait_for(&r.done);
    assert_int_equal(hits_in_files(root, SECRET), 0);
    assert_int_equal(hits_in_proc("environ", SECRET), 0);
    finish(&r);
}

static void test_W11_first_process_is_closed_to_the_job(void **state) {
    ran r;
    NEEDS_ROOT();
    run(&r,
        &(job){
            .args = SH(
                "cat /proc/1/environ; (echo x >/proc/1/fd/4); cat /proc/1/maps; cat /proc/1/mem; cat /proc/self/limits | grep core; true"),
            .env = {{eei_span_text("TOKEN"), eei_span_text(SECRET)}},
            .env_count = 1});
    assert_null(strstr(out_of(&r), SECRET));
    assert_null(strstr(out_of(&r), "ee-init"));
    assert_non_null(strstr(err_of(&r), "'/proc/1/environ': Permission denied"));
    assert_non_null(strstr(err_of(&r), "/proc/1/fd/4: Permission denied"));
    assert_non_null(strstr(err_of(&r), "'/proc/1/mem': Permission denied"));
    assert_non_null(strstr(out_of(&r), "core file size        0                    0")); /* L4 */
    finish(&r);
}

/* ---- W6: limits ---- */

static void test_W6_memory_limit(void **state) {
    ran r;
    NEEDS_ROOT();
    if (!agent_runtime_get_facts(runtime)->limits_enforced) skip();
    run(&r, &(job){.args = {"tail", "/dev/zero"}, .limits = {.memory_bytes = 32 << 20}}); /* keeps its last line, which never ends */
    assert_int_equal(r.result.reason, AGENT_OUT_OF_MEMORY);
    assert_int_equal(r.result.exit_code, 137);
    assert_true(r.result.oom_kills >= 1);
    assert_true(r.result.memory_peak_bytes > 24 << 20 && r.result.memory_peak_bytes <= 32 << 20);
    finish(&r);
    run(&r,
        &(job){.args = SH("tail /dev/zero; echo survived"), .limits = {.memory_bytes = 32 << 20}}); /* a child is killed, the job copes */
    assert_int_equal(r.result.reason, AGENT_EXITED);
    assert_int_equal(r.result.oom_kills, 1);
    assert_string_equal(out_of(&r), "survived\n");
    finish(&r);
}

static void test_W6_tmpfs_limit(void **state) {
    ran r;
    NEEDS_ROOT();
    run(&r, &(job){.args = SH("dd if=/dev/zero of=/tmp/x bs=64k count=100 2>/dev/null; stat -c %s /tmp/x; i=0; while touch /run/f$i "
                              "2>/dev/null; do i=$((i+1)); done; test $i -lt 400 && echo few"),
                   .limits = {.memory_bytes = 64 << 20, .tmpfs_bytes = 1 << 20}});
    assert_string_equal(out_of(&r), "1048576\nfew\n");
    finish(&r);
}

static void test_W6_fork_bomb(void **state) {
    ran r;
    NEEDS_ROOT();
    if (!agent_runtime_get_facts(runtime)->limits_enforced) skip();
    run(&r, &(job){.args = SH("i=0; while [ $i -lt 100 ]; do sleep 60 & echo $i; i=$((i+1)); done"),
                   .limits = {.pids_max = 40},
                   .timeout_ms = 20000});
    assert_int_equal(r.result.exit_code, 2);
    assert_non_null(strstr(err_of(&r), "can't fork: Resource temporarily unavailable"));
    assert_non_null(strstr(out_of(&r), "\n20\n"));
    assert_null(strstr(out_of(&r), "\n40\n"));
    finish(&r);
    run(&r, &(job){.args = SH("b() { b | b & b; }; b 2>/dev/null; sleep 60"), .limits = {.pids_max = 40}, .timeout_ms = 1500});
    assert_true(r.end_us - r.started_us < 10000000); /* ends one way or the other, with everything it started */
    finish(&r);
    run(&r, &(job){.args = SH("echo fine")}); /* and the node is well */
    assert_string_equal(out_of(&r), "fine\n");
    finish(&r);
}

static void test_cpu_is_limited_and_metered(void **state) {
    ran r;
    NEEDS_ROOT();
    if (!agent_runtime_get_facts(runtime)->limits_enforced) skip();
    run(&r, &(job){.args = SH("while :; do :; done"), .limits = {.vcpus_milli = 200}, .timeout_ms = 1000});
    assert_int_equal(r.result.reason, AGENT_TIMED_OUT);
    assert_true(r.result.wall_ms >= 1000);
    assert_in_range(r.result.cpu_usec, 20000, 200 * r.result.wall_ms * 3 / 2 + 50000);
    finish(&r);
}

static void test_timeout(void **state) {
    ran r;
    NEEDS_ROOT();
    run(&r, &(job){.args = SH("trap '' TERM; echo up; sleep 1000"), .timeout_ms = 200});
    assert_int_equal(r.result.reason, AGENT_TIMED_OUT);
    assert_string_equal(out_of(&r), "up\n");
    assert_int_equal(r.result.exit_code, 137);
    assert_true(r.result.wall_ms >= 200 && r.result.wall_ms < 5000);
    finish(&r);
}

static void test_cancel(void **state) {
    ran r;
    NEEDS_ROOT();
    start(&r, &(job){.args = SH("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")}); /* told to end, ends by itself */
    wait_for(&r.outputs);
    agent_run_cancel(r.run, 20000);
    wait_for(&r.done);
    assert_string_equal(out_of(&r), "up\nbye\n");
    assert_int_equal(r.result.reason, AGENT_CANCELLED);
    assert_int_equal(r.result.exit_code, 3);
    finish(&r);
    start(&r, &(job){.args = SH("trap '' TERM; echo up; while :; do sleep 1; done")}); /* does not listen */
    wait_for(&r.outputs);
    agent_run_cancel(r.run, 100);
    wait_for(&r.done);
    assert_int_equal(r.result.reason, AGENT_CANCELLED);
    assert_int_equal(r.result.exit_code, 137);
    finish(&r);
    start(&r, &(job){.args = SH("echo never"), .limits = {.pids_max = 77}}); /* before there is a sandbox */
    agent_run_cancel(r.run, 1000);
    assert_int_equal(r.done, 0);
    wait_for(&r.done);
    assert_int_equal(r.result.reason, AGENT_CANCELLED);
    assert_int_equal(r.started, 0);
    finish(&r);
    start(&r, &(job){.args = SH("sleep 1000")}); /* nobody is interested any more */
    wait_for(&r.started);
    finish(&r);
}

static void test_command_not_found(void **state) {
    static const struct {
        const char *command;
        const char *says;
        int code;
    } cases[] = {{"no-such-command", "is not in the image", 127},
                 {"/bin/nothing", "is not in the image", 127},
                 {"/plain", "is in the image but is not executable: it has no executable bit", 126},
                 {"/etc", "is a folder of the image, not a program", 126},
                 {"/no-interpreter", "is in the image, but the interpreter that it names is not", 126},
                 {"/no-program", "is in the image but is no program: neither a #! line nor a format of this machine", 126},
                 {"", "is not in the image", 127},
                 {"/etc/passwd/x", "is not in the image", 127}};
    NEEDS_ROOT();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ran r;
        run(&r, &(job){.args = {cases[i].command}});
        char want[256];
        (void)snprintf(want, sizeof want, "the command \"%s\" %s", cases[i].command, cases[i].says);
        assert_string_equal(r.result.message, want);
        assert_int_equal(r.result.reason, AGENT_COMMAND_NOT_FOUND);
        assert_int_equal(r.result.exit_code, cases[i].code);
        assert_int_equal(r.started, 0);
        assert_int_equal(r.result.wall_ms, 0);
        finish(&r);
    }
}

/* ---- W7: output ---- */

static long resident_kib(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void on_pause_over(uv_timer_t *timer) { *(unsigned *)timer->data = 1; }

static void test_W7_flood_with_paused_reader(void **state) {
    uv_timer_t timer;
    unsigned over = 0;
    ran r;
    NEEDS_ROOT();
    start(&r, &(job){.args = SH("dd if=/dev/zero bs=64k count=3200 2>/dev/null; echo end >&2")}); /* 200 MiB */
    r.keep = false;
    wait_for(&r.outputs);
    agent_run_pause_output(r.run);
    size_t before = r.out_bytes;
    long memory = resident_kib();
    timer.data = &over;
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, on_pause_over, 300, 0);
    wait_for(&over);
    uv_close((uv_handle_t *)&timer, NULL);
    assert_int_equal(r.out_bytes, before); /* not one byte while paused */
    assert_int_equal(r.done, 0);
    agent_run_resume_output(r.run);
    wait_for(&r.done);
    assert_int_equal(r.out_bytes, 3200 * 65536 + 4); /* and none lost */
    assert_true(resident_kib() - memory < 32 * 1024);
    finish(&r);
}

/* ---- W3, W4: isolation ---- */

static void test_W4_nothing_to_escape_with(void **state) {
    ran r;
    NEEDS_ROOT();
    run(&r, &(job){.args = SH("grep -E '^(CapEff|CapBnd|CapPrm|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t' | tr '\\n' ' ';"
                              "touch /x 2>/dev/null || echo read-only; touch /bin/x 2>/dev/null || echo read-only;"
                              "mount -t tmpfs x /tmp 2>/dev/null || echo no-mount; unshare -U true 2>/dev/null || echo no-userns; unshare "
                              "-n true 2>/dev/null || echo no-netns;"
                              "mknod /tmp/d b 8 0 2>/dev/null || echo no-devices; dmesg >/dev/null 2>&1 || echo no-dmesg;"
                              "ls /sys | wc -l; ls /proc/1/root >/dev/null 2>&1 || echo no-root; cat /proc/kcore 2>/dev/null | wc -c; ls "
                              "/dev | tr '\\n' ' '")});
    const char *want = "CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:0000000000000000 NoNewPrivs:1 Seccomp:2 "
                       "read-only\nread-only\nno-mount\nno-userns\nno-netns\nno-devices\nno-dmesg\n0\nno-root\n0\n"
                       "console";
    const char *got = out_of(&r);
    if (strncmp(got, want, strlen(want) - 7) != 0) print_error("%s\n", got);
    assert_memory_equal(got, want, strlen(want) - 7);
    assert_null(strstr(got, "sda"));
    assert_null(strstr(got, "vda"));
    assert_null(strstr(got, "kmsg"));
    assert_null(strstr(got, "tdx"));
    finish(&r);
    if (!agent_runtime_get_facts(runtime)->user_namespace) return;
    run(&r, &(job){.args = {"cat", "/proc/self/uid_map"}});
    assert_non_null(strstr(out_of(&r), "100000      65536")); /* root in there is nobody out here */
    finish(&r);
}

static void test_W3_only_loopback(void **state) {
    char script[300];
    ran r;
    NEEDS_ROOT();
    snprintf(script, sizeof script,
             "ip -o link | wc -l; ip -o addr | grep -c 127.0.0.1; ip route | wc -l; nc 127.0.0.1 %s 2>&1; nc 169.254.169.254 80 2>&1; nc "
             "10.0.0.1 80 2>&1",
             strchr(registry_host, ':') + 1);
    run(&r, &(job){.args = SH(script), .timeout_ms = 15000});
    assert_memory_equal(out_of(&r), "1\n1\n0\n", 6);
    assert_non_null(strstr(out_of(&r), "Connection refused")); /* the host's loopback is not this one */
    assert_non_null(strstr(out_of(&r), "(169.254.169.254): Network is unreachable"));
    assert_non_null(strstr(out_of(&r), "(10.0.0.1): Network is unreachable"));
    finish(&r);
}

static void test_app_is_reached_inside_only(void **state) {
    char answer[2000] = {0};
    size_t len = 0;
    ee_error err;
    int fd = -1;
    ran r;
    NEEDS_ROOT();
    assert_int_equal(agent_image_port(image), 8080);
    start(&r, &(job){.args = SH("httpd -f -p 8080 -h /www & echo up; wait")});
    assert_int_equal(agent_run_connect(r.run, 8080, &fd, &err), EE_E_APP_UNAVAILABLE); /* not yet */
    wait_for(&r.outputs);
    uint64_t deadline = eei_mono_ms() + DEADLINE_MS;
    while (agent_run_connect(r.run, 8080, &fd, &err) != EE_OK) assert_true(eei_mono_ms() < deadline); /* httpd binds after the echo */
    assert_int_equal(agent_run_connect(r.run, 8081, &(int){0}, &err), EE_E_APP_UNAVAILABLE);
    assert_false(can_connect(8080)); /* no port out here */
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
    assert_int_equal(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    for (p.events = POLLIN; poll(&p, 1, DEADLINE_MS) == 1;) {
        ssize_t n = read(fd, answer + len, sizeof answer - 1 - len);
        if (n <= 0) break;
        len += (size_t)n;
    }
    assert_non_null(strstr(answer, "200 OK"));
    assert_non_null(strstr(answer, "from-the-app"));
    close(fd);
    uint64_t begin = eei_mono_us();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(agent_run_connect(r.run, 8080, &fd, &err), EE_OK);
        close(fd);
    }
    print_message("connect into the app: %llu us\n", (unsigned long long)((eei_mono_us() - begin) / 100));
    agent_run_cancel(r.run, 0);
    wait_for(&r.done);
    assert_int_equal(agent_run_connect(r.run, 8080, &fd, &err), EE_E_APP_UNAVAILABLE);
    finish(&r);
}

/* ---- images ---- */

static void test_pull_failures(void **state) {
    uint8_t other[32] = {1, 2, 3};
    char saved[64];
    NEEDS_ROOT();
    pulled p = pull("app", other);
    assert_int_equal(p.status, EE_E_IMAGE);
    char want[256]; /* in our words alone */
    (void)snprintf(want, sizeof want,
                   "%s/app@sha256:010203000000...: the registry has no such image: push it there, or check its name and digest",
                   registry_host);
    assert_string_equal(p.err.message, want);
    p = pull("nothing/here", image_digest);
    assert_int_equal(p.status, EE_OK); /* the digest is what counts: it is here already */
    agent_image_release(p.image);
    snprintf(saved, sizeof saved, "%s", registry_host);
    snprintf(registry_host, sizeof registry_host, "127.0.0.1:%u", free_port());
    p = pull("app", other);
    assert_int_equal(p.status, EE_E_CONNECT);
    assert_non_null(strstr(p.err.message, "...: the node cannot reach the registry: nothing listens there"));
    snprintf(registry_host, sizeof registry_host, "%s", saved);
    agent_image_request *request;
    ee_error err;
    assert_int_equal(agent_image_prepare(runtime, "busybox", other, true, NULL, on_pulled, &p, &request, &err), EE_E_INVALID);
    assert_int_equal(agent_image_prepare(runtime, "reg.example/x:tag", other, true, NULL, on_pulled, &p, &request, &err), EE_E_INVALID);
}

static void test_single_flight_and_cancel(void **state) {
    char repository[128];
    uint8_t other[32] = {9};
    pulled a = {0}, b = {0}, c = {0};
    agent_image_request *ra, *rb, *rc;
    ee_error err;
    NEEDS_ROOT();
    snprintf(repository, sizeof repository, "%s/app", registry_host);
    assert_int_equal(agent_image_prepare(runtime, repository, other, true, on_progress, on_pulled, &a, &ra, &err), EE_OK);
    assert_int_equal(agent_image_prepare(runtime, repository, other, true, on_progress, on_pulled, &b, &rb, &err), EE_OK);
    agent_image_request_cancel(ra);
    wait_for(&b.done);
    assert_int_equal(a.done, 0);
    assert_int_equal(b.status, EE_E_IMAGE);
    assert_int_equal(agent_image_prepare(runtime, repository, image_digest, true, NULL, on_pulled, &c, &rc, &err), EE_OK);
    agent_image_request_cancel(rc);
    pulled d = pull("app", image_digest);
    assert_int_equal(c.done, 0);
    agent_image_release(d.image);
}

/* Path of a blob in the registry's store. */
static void registry_blob(const char *hex, char out[500]) {
    snprintf(out, 500, "%s/registry/docker/registry/v2/blobs/sha256/%.2s/%s/data", work_dir, hex, hex);
}

static void test_Q14_tampered_layer(void **state) {
    char layout[300], ref[320], path[500], blob_path[400], hex[65], extra[300];
    uint8_t digest[32];
    eei_buf text = EEI_BUF_INIT(65536);
    json_t *manifest = NULL;
    NEEDS_ROOT();
    path_in(layout, "layout2");
    path_in(extra, "layer2.tar");
    snprintf(ref, sizeof ref, "%s:app", layout);
    write_file("other-file", "content of the other image\n", 0644);
    TOOL("tar", "-C", work_dir, "-cf", extra, "other-file");
    TOOL("umoci", "init", "--layout", layout);
    TOOL("umoci", "new", "--image", ref);
    TOOL("umoci", "raw", "add-layer", "--image", ref, extra);
    layout_digest(layout, digest);
    push_image(layout, "tampered");
    eei_hex_encode(eei_span(digest, 32), hex);
    snprintf(blob_path, sizeof blob_path, "%s/blobs/sha256/%s", layout, hex);
    assert_int_equal(eei_file_read(blob_path, &text, NULL), EE_OK);
    assert_int_equal(eei_json_parse(eei_buf_span(&text), 65536, &manifest, NULL), EE_OK);
    const char *layer = json_string_value(json_object_get(json_array_get(json_object_get(manifest, "layers"), 0), "digest"));
    registry_blob(layer + 7, path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char byte;
    assert_true(fd >= 0 && pread(fd, &byte, 1, 20) == 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 20), 1);
    pulled p = pull("tampered", digest);
    assert_int_equal(p.status, EE_E_IMAGE);
    assert_null(p.image);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 20), 1); /* control: untampered it is fine */
    close(fd);
    p = pull("tampered", digest);
    if (p.status) print_error("%s\n", p.err.message);
    assert_int_equal(p.status, EE_OK);
    assert_memory_equal(agent_image_digest(p.image), digest, 32);
    agent_image_release(p.image);
    json_decref(manifest);
    eei_buf_clear(&text);
}

/* ---- speed ---- */

static void test_warm_start(void **state) {
    uint64_t best = UINT64_MAX, cold;
    agent_limits limits = {.memory_bytes = 48 << 20};
    ran r;
    NEEDS_ROOT();
    run(&r, &(job){.args = {"echo", "x"}, .limits = limits});
    cold = r.first_us - r.begin_us;
    finish(&r);
    for (int i = 0; i < 5; i++) {
        unsigned over = 0;
        uv_timer_t timer = {.data = &over};
        uv_timer_init(loop, &timer);
        uv_timer_start(&timer, on_pause_over, 400, 0); /* the spare gets its time, as between real jobs */
        wait_for(&over);
        uv_close((uv_handle_t *)&timer, NULL);
        run(&r, &(job){.args = {"echo", "x"}, .limits = limits});
        if (r.first_us - r.begin_us < best) best = r.first_us - r.begin_us;
        finish(&r);
    }
    print_message("first output: cold %.1f ms, prepared %.1f ms\n", (double)cold / 1000, (double)best / 1000);
    assert_true(best < 30000);
}

/* ---- recovery ---- */

static unsigned entries(const char *name) {
    char path[300];
    unsigned n = 0;
    path_in(path, name);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

/* This program again, as another agent: argv is what it needs to know of this one. ready: its descriptor 3, or -1. */
static pid_t start_other(const char *what, const char *root, int ready) {
    char hex[65];
    eei_hex_encode(eei_span(image_digest, 32), hex);
    pid_t child = fork();
    if (child) return child;
    if (ready >= 0) dup2(ready, 3); /* without close-on-exec */
    execl("/proc/self/exe", "test_runtime_root", what, root, registry_host, hex, (char *)NULL);
    _exit(126);
}

/* It starts a job and is killed with it running. */
static void doomed_agent(const char *root) {
    agent_runtime_options o = {.root_dir = root, .shim_path = SHIM};
    agent_image_request *request;
    char repository[128];
    pulled p = {0};
    ran r;
    ee_error err;
    uv_loop_init(loop);
    snprintf(repository, sizeof repository, "%s/app", registry_host);
    if (agent_runtime_new(loop, &o, &runtime, &err)) _exit(1);
    if (agent_image_prepare(runtime, repository, image_digest, true, NULL, on_pulled, &p, &request, &err)) _exit(2);
    wait_for(&p.done);
    if (p.status) _exit(3);
    image = p.image;
    start(&r, &(job){.args = SH("trap '' TERM HUP; echo up; sleep 424242"),
                     .env = {{eei_span_text("TOKEN"), eei_span_text("doomed-" SECRET)}},
                     .env_count = 1});
    wait_for(&r.outputs);
    if (write(3, "r", 1) != 1) _exit(4);
    uv_run(loop, UV_RUN_DEFAULT);
    _exit(5);
}

static void test_recovery_after_kill(void **state) {
    agent_runtime *second = NULL;
    char root[300], byte;
    int pair[2];
    ee_error err = {0};
    uv_loop_t own;
    NEEDS_ROOT();
    path_in(root, "doomed");
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    pid_t child = start_other("doomed", root, pair[1]);
    close(pair[1]);
    assert_int_equal(read(pair[0], &byte, 1), 1);
    close(pair[0]);
    agent_runtime_options o = {.root_dir = root, .shim_path = SHIM};
    assert_int_equal(uv_loop_init(&own), 0);
    assert_int_equal(agent_runtime_new(&own, &o, &second, &err), EE_E_CONFLICT); /* it lives */
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(entries("doomed/b") >= 1);
    assert_int_equal(agent_runtime_new(&own, &o, &second, &err), EE_OK);
    assert_int_equal(entries("doomed/b"), 0);
    assert_int_equal(entries("doomed/oci-runc") + entries("doomed/oci-crun"), 0);
    assert_int_equal(entries("doomed/images"), 0);
    assert_int_equal(hits_in_proc("environ", "doomed-" SECRET), 0); /* no job left */
    unsigned done = 0;
    agent_runtime_close(second, on_closed, &done);
    while (!done) uv_run(&own, UV_RUN_ONCE);
    agent_runtime_free(second);
    while (uv_run(&own, UV_RUN_NOWAIT)) {
    }
    assert_int_equal(uv_loop_close(&own), 0);
}

static void test_close_with_work_under_way(void **state) {
    char root[300];
    agent_runtime *mine = runtime;
    agent_image *first = image;
    ran r[2];
    ee_error err;
    NEEDS_ROOT();
    path_in(root, "other");
    agent_runtime_options o = {.root_dir = root, .shim_path = SHIM};
    assert_int_equal(agent_runtime_new(loop, &o, &runtime, &err), EE_OK);
    pulled p = pull("app", image_digest);
    assert_int_equal(p.status, EE_OK);
    image = p.image;
    start(&r[0], &(job){.args = SH("yes")});
    r[0].keep = false;
    wait_for(&r[0].outputs);
    agent_run_pause_output(r[0].run);
    start(&r[1], &(job){.args = SH("sleep 1000"), .limits = {.pids_max = 55}});
    pulled q = {0};
    uint8_t other[32] = {7};
    char repository[128];
    agent_image_request *request;
    snprintf(repository, sizeof repository, "%s/app", registry_host);
    assert_int_equal(agent_image_prepare(runtime, repository, other, true, NULL, on_pulled, &q, &request, &err), EE_OK);
    unsigned done = 0;
    agent_runtime_close(runtime, on_closed, &done);
    assert_int_equal(r[0].done + r[1].done + q.done, 0);
    wait_for(&done);
    assert_int_equal(r[0].result.reason, AGENT_CANCELLED);
    assert_int_equal(r[1].result.reason, AGENT_CANCELLED);
    assert_int_equal(r[0].done + r[1].done, 2);
    assert_int_equal(q.status, EE_E_CANCELLED);
    finish(&r[0]);
    finish(&r[1]);
    agent_image_release(image);
    agent_runtime_free(runtime);
    runtime = mine;
    image = first;
    assert_int_equal(entries("other/b"), 0);
}

/* ---- without root ---- */

/* In a child that gave root up. Exit code: 0 fine, 77 this machine does not allow it, else the line that failed. */
#define MUST(condition)                                                                                                                    \
    do {                                                                                                                                   \
        if (!(condition)) _exit(__LINE__ % 200 + 1);                                                                                       \
    } while (0)

static void unprivileged_agent(const char *root) {
    char shim[320];
    snprintf(shim, sizeof shim, "%s/shim", root);
    agent_runtime_options o = {.root_dir = root, .shim_path = shim};
    agent_image_request *request;
    char repository[128];
    pulled p = {0};
    int fd = -1;
    ran r;
    ee_error err = {0};
    MUST(setgroups(0, NULL) == 0 && setresgid(12345, 12345, 12345) == 0 && setresuid(12345, 12345, 12345) == 0);
    (void)prctl(PR_SET_DUMPABLE, 1);
    uv_loop_init(loop);
    ee_status st = agent_runtime_new(loop, &o, &runtime, &err);
    if (st) {
        print_message("without root: %s (%s)\n", err.message, err.hint);
        fflush(stdout);
        _exit(st == EE_E_CONFIG && err.hint[0] ? 77 : 99);
    }
    MUST(!agent_runtime_get_facts(runtime)->limits_enforced && agent_runtime_get_facts(runtime)->rootless);
    snprintf(repository, sizeof repository, "%s/app", registry_host);
    MUST(agent_image_prepare(runtime, repository, image_digest, true, NULL, on_pulled, &p, &request, &err) == EE_OK);
    wait_for(&p.done);
    if (p.status) print_message("without root: %s\n", p.err.message);
    fflush(stdout);
    MUST(p.status == EE_OK);
    image = p.image;
    start(&r, &(job){.args = SH("id -u; httpd -f -p 8080 -h /www & echo up; wait")});
    wait_for(&r.outputs);
    uint64_t deadline = eei_mono_ms() + DEADLINE_MS;
    while (agent_run_connect(r.run, 8080, &fd, &err) != EE_OK) MUST(eei_mono_ms() < deadline);
    agent_run_cancel(r.run, 0);
    wait_for(&r.done);
    MUST(strcmp(out_of(&r), "0\nup\n") == 0 && r.result.reason == AGENT_CANCELLED);
    finish(&r);
    agent_image_release(image);
    close_runtime();
    _exit(0);
}

static void test_rootless(void **state) {
    char root[300], shim[320];
    eei_buf program = EEI_BUF_INIT(64 << 20);
    int status;
    NEEDS_ROOT();
    path_in(root, "rootless");
    assert_int_equal(mkdir(root, 0711), 0);
    assert_int_equal(chown(root, 12345, 12345), 0);
    /* A checkout in root's own home is closed to everybody else: the program goes where the other user can read it. */
    snprintf(shim, sizeof shim, "%s/shim", root);
    assert_int_equal(eei_file_read(SHIM, &program, NULL), EE_OK);
    assert_int_equal(eei_file_write_atomic(shim, eei_buf_span(&program), 0755, NULL), EE_OK);
    eei_buf_clear(&program);
    pid_t child = start_other("rootless", root, -1);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status) print_error("without root: wait status %#x\n", (unsigned)status);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* argv: what, root_dir, registry, image digest */
static int other_agent(char **argv) {
    snprintf(registry_host, sizeof registry_host, "%s", argv[3]);
    if (eei_hex_decode(argv[4], image_digest, 32, NULL)) return 125;
    if (strcmp(argv[1], "doomed") == 0) doomed_agent(argv[2]);
    if (strcmp(argv[1], "rootless") == 0) unprivileged_agent(argv[2]);
    return 124;
}

int main(int argc, char **argv) {
    if (argc == 5) return other_agent(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_stdin),
        cmocka_unit_test(test_environment_and_place),
        cmocka_unit_test(test_W11_secrets_only_in_the_job),
        cmocka_unit_test(test_W11_first_process_is_closed_to_the_job),
        cmocka_unit_test(test_W6_memory_limit),
        cmocka_unit_test(test_W6_tmpfs_limit),
        cmocka_unit_test(test_W6_fork_bomb),
        cmocka_unit_test(test_cpu_is_limited_and_metered),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_command_not_found),
        cmocka_unit_test(test_W7_flood_with_paused_reader),
        cmocka_unit_test(test_W4_nothing_to_escape_with),
        cmocka_unit_test(test_W3_only_loopback),
        cmocka_unit_test(test_app_is_reached_inside_only),
        cmocka_unit_test(test_pull_failures),
        cmocka_unit_test(test_single_flight_and_cancel),
        cmocka_unit_test(test_Q14_tampered_layer),
        cmocka_unit_test(test_warm_start),
        cmocka_unit_test(test_recovery_after_kill),
        cmocka_unit_test(test_close_with_work_under_way),
        cmocka_unit_test(test_rootless),
    };
    if (getenv("EE_TEST_ONLY")) cmocka_set_test_filter(getenv("EE_TEST_ONLY"));
    return cmocka_run_group_tests(tests, setup, teardown);
}
