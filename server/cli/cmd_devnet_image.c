/* cmd_devnet_image.c - the sample image: Debian's static busybox with a job that says hello and a small site, as a real OCI image in a real
 * registry. See cmd_devnet_parts.h. */
#include "attest/statement.h"
#include "base/encoding.h"
#include "base/file.h"
#include "cli/cmd_devnet_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSYBOX "/bin/busybox"
enum { BUSYBOX_MAX = 8 << 20, RECIPE = 3 /* raise when the image's content changes */ };

static const char hello[] =
    "#!/bin/sh\n"
    "# What `run_private_job(image=\"myapp:latest\", env={\"SECRET\": ...})` runs. It proves that the secret arrived without telling it.\n"
    "echo \"hello from a private job; SECRET has ${#SECRET} characters\"\n";
static const char private_page[] = "{\"hello\": \"from behind the tunnel\"}\n";
static const char index_page[] = "<!doctype html><title>app-name</title><p>A private app. Try /api/private\n";

static const char *const applets[] = {"sh",   "ash",     "cat",    "cp",  "date",   "dd",     "echo", "env",   "false",     "find",  "grep",
                                      "head", "hexdump", "httpd",  "id",  "ip",     "kill",   "ls",   "mkdir", "mount",     "mknod", "nc",
                                      "od",   "ping",    "printf", "ps",  "pwd",    "rm",     "sed",  "seq",   "sha256sum", "sleep", "sort",
                                      "stat", "tail",    "tar",    "tee", "test",   "touch",  "tr",   "true",  "unshare",   "uname", "wc",
                                      "wget", "yes",     "xargs",  "awk", "md5sum", "base64", "sync", "trap",  NULL};

static ee_status write_file(const char *root, const char *name, const char *text, size_t len, unsigned mode, ee_error *err) {
    char path[DEVNET_PATH_MAX + 128];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return eei_file_write_atomic(path, eei_span(text, len), mode, err);
}

static ee_status make_rootfs(const char *root, ee_span busybox, ee_error *err) {
    static const char *const dirs[] = {"bin", "app", "www/api", "tmp", "proc", "dev", "sys", "etc", NULL};
    char path[DEVNET_PATH_MAX + 128];
    ee_status st = EE_OK;
    for (size_t i = 0; !st && dirs[i]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, dirs[i]);
        st = eei_make_dirs(path, 0755, err);
    }
    (void)snprintf(path, sizeof path, "%s/bin/busybox", root);
    if (!st) st = eei_file_write_atomic(path, busybox, 0755, err);
    for (size_t i = 0; !st && applets[i]; i++) {
        (void)snprintf(path, sizeof path, "%s/bin/%s", root, applets[i]);
        if (symlink("busybox", path) != 0 && errno != EEXIST) st = eei_fail_errno(err, EE_E_IO, errno, "%s", path);
    }
    if (!st) st = write_file(root, "app/hello", hello, sizeof hello - 1, 0755, err);
    if (!st) st = write_file(root, "www/api/private", private_page, sizeof private_page - 1, 0644, err);
    if (!st) st = write_file(root, "www/index.html", index_page, sizeof index_page - 1, 0644, err);
    return st;
}

static ee_status pack(const char *work, const char *rootfs, ee_error *err) {
    char layout[DEVNET_PATH_MAX + 64], image[DEVNET_PATH_MAX + 80];
    (void)snprintf(layout, sizeof layout, "%s/layout", work);
    (void)snprintf(image, sizeof image, "%s:latest", layout);
    const char *rootless = geteuid() == 0 ? NULL : "--rootless";
    const char *const init[] = {"umoci", "init", "--layout", layout, NULL};
    const char *const new_image[] = {"umoci", "new", "--image", image, NULL};
    const char *const insert[] = {
        "umoci", "insert", "--image", image, rootless ? rootless : rootfs, rootless ? rootfs : "/", rootless ? "/" : NULL, NULL};
    const char *const config[] = {
        "umoci",    "config", "--image", image, "--config.cmd", "/app/hello", "--config.env", "PATH=/bin", "--config.exposedports",
        "8080/tcp", NULL};
    ee_status st = devnet_tool(init, err);
    if (!st) st = devnet_tool(new_image, err);
    if (!st) st = devnet_tool(insert, err);
    if (!st) st = devnet_tool(config, err);
    return st;
}

ee_status devnet_make_image(const devnet *net, char layout[DEVNET_PATH_MAX], ee_error *err) {
    eei_buf busybox = EEI_BUF_INIT(BUSYBOX_MAX);
    uint8_t hash[32];
    char hex[65], name[128], work[DEVNET_PATH_MAX], rootfs[DEVNET_PATH_MAX + 16], done[DEVNET_PATH_MAX];
    ee_status st = eei_file_read(BUSYBOX, &busybox, err);
    if (st) return eei_hint(err, eei_prefix(err, EE_E_CONFIG, "the sample image needs Debian's busybox-static"), "./dev setup installs it");
    eei_sha256(eei_buf_span(&busybox), hash);
    eei_hex_encode(eei_span(hash, 8), hex);
    (void)snprintf(name, sizeof name, "myapp-%s-%d", hex, RECIPE);
    int n = snprintf(done, sizeof done, "%s/%s", net->cache, name);
    if (n < 0 || (size_t)n >= sizeof done - 32) st = eei_fail(err, EE_E_CONFIG, "the path %s is too long", net->cache);
    (void)snprintf(layout, DEVNET_PATH_MAX, "%.480s/layout", done);
    if (!st && access(layout, F_OK) != 0) {
        (void)snprintf(work, sizeof work, "%.480s.%d", done, (int)getpid());
        (void)snprintf(rootfs, sizeof rootfs, "%s/rootfs", work);
        st = devnet_remove_dir(work, err);
        if (!st) st = make_rootfs(rootfs, eei_buf_span(&busybox), err);
        if (!st) st = pack(work, rootfs, err);
        if (!st) st = devnet_remove_dir(rootfs, err);
        if (!st && rename(work, done) != 0 && errno != EEXIST && errno != ENOTEMPTY) st = eei_fail_errno(err, EE_E_IO, errno, "%s", done);
        if (!st) st = devnet_remove_dir(work, err);
    }
    eei_buf_clear(&busybox);
    return st;
}

ee_status devnet_push_image(const devnet *net, const char *layout, ee_error *err) {
    char from[DEVNET_PATH_MAX + 32], to[128];
    (void)snprintf(from, sizeof from, "oci:%s:latest", layout);
    (void)snprintf(to, sizeof to, "docker://127.0.0.1:%u/myapp:latest", net->registry_port);
    const char *const copy[] = {"skopeo", "copy", "-q", "--dest-tls-verify=false", from, to, NULL};
    return devnet_tool(copy, err);
}
