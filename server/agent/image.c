/* image.c - the store of images: one pull per digest, however many wait; least recently used ones go when space is needed. See image.h.
 * skopeo fetches, image_unpack.c checks and unpacks on a worker thread. Called by runtime.c, on its loop. */
#include "image.h"

#include "attest/digest.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/log.h"
#include "image_tree.h"
#include "image_unpack.h"
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INSPECT_TIMEOUT_MS 60000u
#define PROGRESS_MS        200u
#define TOOL_ENV_MAX       16

struct agent_image {
    agent_store *store;
    agent_image *next;
    unsigned references;
    uint64_t last_used_ms, bytes;
    uint8_t digest[32], manifest_digest[32], config_digest[32];
    agent_oci_config config;
    agent_oci_user user;
    char dir[384], rootfs[400];
};

typedef struct pull pull;
struct agent_image_request {
    agent_store *store;
    pull *pull;         /* NULL: answered from the cache, by the turn handle */
    agent_image *image; /* then; referenced */
    agent_image_request *next;
    agent_image_progress_fn progress;
    agent_image_done_fn done;
    void *user;
    uv_timer_t turn;
    bool dead;
};

struct pull {
    agent_store *store;
    pull *next;
    agent_image_request *requests;
    char repository[256];
    bool insecure, through_index, working;
    uint8_t digest[32], manifest_digest[32];
    agent_oci_manifest manifest;
    eei_buf manifest_json;
    char dir[384]; /* image_dir/tmp-... */
    agent_process *process;
    uv_timer_t ticker;
    uv_work_t work;
    agent_unpack unpack;
    ee_status status; /* the first failure; the loop's */
    ee_error err;
    ee_status work_status; /* the worker's, until it is done */
    ee_error work_err;
};

struct agent_store {
    agent_store_options o;
    char dir[256], skopeo[256];
    const char *env[TOOL_ENV_MAX + 4];
    char *env_texts[TOOL_ENV_MAX + 4];
    agent_image *images;
    pull *pulls;
    unsigned busy; /* pulls, removals and answers under way */
    bool closing;
    void (*closed)(void *user);
    void *closed_user;
};

static void one_less(agent_store *s) {
    if (--s->busy == 0 && s->closing && s->closed) {
        void (*closed)(void *user) = eei_take(&s->closed);
        closed(s->closed_user);
    }
}

/* ---- removing folders, on a worker thread ---- */

typedef struct removal {
    uv_work_t work;
    agent_store *store;
    char dir[384];
} removal;

static void remove_dir(const char *dir) {
    int rc = agent_tree_remove(AT_FDCWD, dir);
    if (rc) eei_log(EEI_LOG_WARN, "image.left", "dir=%s errno=%d", dir, rc);
}

static void on_remove(uv_work_t *work) { remove_dir(((removal *)work->data)->dir); }

static void on_removed(uv_work_t *work, int status) {
    removal *r = work->data;
    agent_store *s = r->store;
    (void)status;
    eei_free(r);
    one_less(s);
}

/* Out of the way at once (renamed if it was whole), gone soon. */
static void remove_later(agent_store *s, const char *dir) {
    removal *r = eei_calloc(1, sizeof *r);
    if (!r) {
        remove_dir(dir);
        return;
    }
    r->store = s;
    r->work.data = r;
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    s->busy++;
    if (uv_queue_work(s->o.loop, &r->work, on_remove, on_removed)) on_removed(&r->work, 0);
}

/* ---- images ---- */

static agent_image *find_image(agent_store *s, const uint8_t digest[32]) {
    for (agent_image *i = s->images; i; i = i->next)
        if (eei_same(i->digest, digest, 32)) return i;
    return NULL;
}

static void free_image(agent_image *image) {
    if (!image) return;
    agent_oci_config_clear(&image->config);
    eei_free(image);
}

static void unlink_image(agent_store *s, agent_image *image) {
    for (agent_image **at = &s->images; *at; at = &(*at)->next)
        if (*at == image) {
            *at = image->next;
            return;
        }
}

static void temporary_name(const agent_store *s, char out[384]) {
    uint8_t random[8];
    char hex[17];
    if (eei_random(random, sizeof random, NULL)) memset(random, 0, sizeof random); /* then mkdir or rename fails if there are two */
    eei_hex_encode(eei_span(random, sizeof random), hex);
    snprintf(out, 384, "%s/tmp-%s", s->dir, hex);
}

static void evict(agent_store *s, agent_image *image) {
    char gone[384], hex[65];
    eei_hex_encode(eei_span(image->digest, 32), hex);
    eei_log(EEI_LOG_INFO, "image.evicted", "digest=sha256:%s bytes=%llu", hex, (unsigned long long)image->bytes);
    temporary_name(s, gone);
    unlink_image(s, image);
    remove_later(s, rename(image->dir, gone) == 0 ? gone : image->dir);
    free_image(image);
}

/* Least recently used first, until all fit. keep: the one that was just added. */
static void make_room(agent_store *s, const agent_image *keep) {
    uint64_t total = 0;
    for (agent_image *i = s->images; i; i = i->next) total += i->bytes;
    while (total > s->o.cache_bytes) {
        agent_image *oldest = NULL;
        for (agent_image *i = s->images; i; i = i->next) {
            if (i == keep) continue;
            if (i->references && s->o.evicting) s->o.evicting(s->o.user, i);
            if (!i->references && (!oldest || i->last_used_ms < oldest->last_used_ms)) oldest = i;
        }
        if (!oldest) return; /* all in use: over the mark until something ends */
        total -= oldest->bytes;
        evict(s, oldest);
    }
}

void agent_image_hold(agent_image *image) { image->references++; }

void agent_image_release(agent_image *image) {
    if (!image) return;
    EE_ASSERT(image->references > 0);
    image->references--;
    image->last_used_ms = eei_mono_ms();
    if (!image->references && !image->store->closing) make_room(image->store, NULL);
}

const uint8_t *agent_image_digest(const agent_image *image) { return image->digest; }
const uint8_t *agent_image_manifest_digest(const agent_image *image) { return image->manifest_digest; }
const uint8_t *agent_image_config_digest(const agent_image *image) { return image->config_digest; }
uint64_t agent_image_size(const agent_image *image) { return image->bytes; }
uint16_t agent_image_port(const agent_image *image) { return image->config.port; }
const agent_oci_config *agent_image_config(const agent_image *image) { return &image->config; }
const agent_oci_user *agent_image_user(const agent_image *image) { return &image->user; }
const char *agent_image_rootfs(const agent_image *image) { return image->rootfs; }

/* ---- requests ---- */

static void tell_progress(pull *p, const char *phase, uint64_t done, uint64_t total) {
    for (agent_image_request *r = p->requests; r; r = r->next)
        if (!r->dead && r->progress) r->progress(r->user, phase, done < total ? done : total, total);
}

static void answer(agent_image_request *r, ee_status status, agent_image *image, const ee_error *err) {
    if (r->dead) return;
    r->dead = true; /* a cancel from inside the callback finds nothing to do */
    if (image) agent_image_hold(image);
    r->done(r->user, status, image, status ? err : NULL);
}

static void on_turn_closed(uv_handle_t *handle) {
    agent_image_request *r = handle->data;
    agent_store *s = r->store;
    eei_free(r);
    one_less(s);
}

static void on_turn(uv_timer_t *timer) {
    agent_image_request *r = timer->data;
    answer(r, EE_OK, r->image, NULL);
    agent_image_release(r->image);
    uv_close((uv_handle_t *)timer, on_turn_closed);
}

static void answer_from_cache(agent_image_request *r, agent_image *image) {
    agent_store *s = r->store;
    agent_image_hold(image);
    image->last_used_ms = eei_mono_ms();
    r->image = image;
    r->turn.data = r;
    s->busy++;
    (void)uv_timer_init(s->o.loop, &r->turn); /* cannot fail */
    (void)uv_timer_start(&r->turn, on_turn, 0, 0);
}

static void stop_pull(pull *p) {
    if (!p->status) p->status = eei_fail(&p->err, EE_E_CANCELLED, "the pull was cancelled");
    atomic_store(&p->unpack.stop, true);
    if (p->process) agent_process_kill(p->process);
}

void agent_image_request_cancel(agent_image_request *r) {
    bool wanted = false;
    if (r->dead) return;
    r->dead = true;
    if (!r->pull) return; /* its turn comes, and says nothing */
    for (agent_image_request *other = r->pull->requests; other; other = other->next) wanted = wanted || !other->dead;
    if (!wanted) stop_pull(r->pull);
}

/* ---- the pull ---- */

static void on_ticker_closed(uv_handle_t *handle) {
    pull *p = handle->data;
    agent_store *s = p->store;
    while (p->requests) {
        agent_image_request *r = p->requests;
        p->requests = r->next;
        eei_free(r);
    }
    eei_buf_clear(&p->manifest_json);
    eei_free(p);
    one_less(s);
}

/* The end, good or bad. Requests that come from inside the callbacks find no pull of this digest and start their own. */
static void end_pull(pull *p, agent_image *image) {
    agent_store *s = p->store;
    for (pull **at = &s->pulls; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    if (p->status && p->dir[0]) remove_later(s, p->dir);
    if (image) agent_image_hold(image);
    for (agent_image_request *r = p->requests; r; r = r->next) answer(r, p->status, image, &p->err);
    if (image) agent_image_release(image);
    uv_close((uv_handle_t *)&p->ticker, on_ticker_closed);
}

static void fail_pull(pull *p, ee_status status) {
    if (!p->status) p->status = status;
    end_pull(p, NULL);
}

/* skopeo's stderr to a status and our own words; its own go to the node's log. Spec: none; the texts are of containers/image and of the
 * distribution API's error codes. */
static ee_status classify(const pull *p, const agent_process_result *r, ee_error *err) {
    static const char no_image[] = "the registry has no such image: push it there, or check its name and digest";
    static const char other[] = "the registry delivered something else than was asked for";
    static const char login[] = "the registry wants a login, and private registries are not supported yet";
    static const struct {
        const char *text;
        ee_status status;
        const char *meaning;
    } table[] = {
        {"manifest unknown", EE_E_IMAGE, no_image},
        {"name unknown", EE_E_IMAGE, no_image},
        {"not known to registry", EE_E_IMAGE, no_image},
        {"igest did not match", EE_E_IMAGE, other},
        {"does not match", EE_E_IMAGE, other},
        {"unauthorized", EE_E_IMAGE, login},
        {"authentication required", EE_E_IMAGE, login},
        {"denied", EE_E_IMAGE, "the registry refused access"},
        {"file too large", EE_E_IMAGE, "the image is over this node's limit"},
        {"no space left", EE_E_IO, "no space left for images"},
        {"connection refused", EE_E_CONNECT, "the node cannot reach the registry: nothing listens there"},
        {"no such host", EE_E_CONNECT, "the node cannot reach the registry: its name is not known"},
        {"x509:", EE_E_CONNECT, "the node does not accept the registry's certificate"},
        {"server gave HTTP response to HTTPS", EE_E_CONNECT, "the registry speaks plain HTTP"},
        {"dial tcp", EE_E_CONNECT, "the node cannot reach the registry"},
        {"timeout", EE_E_CONNECT, "the registry does not answer the node"},
    };
    char line[400], name[300];
    char hex[65];
    eei_hex_encode(eei_span(p->digest, 32), hex);
    snprintf(name, sizeof name, "%.200s@sha256:%.12s...", p->repository, hex);
    if (r->timed_out) return eei_fail(err, EE_E_TIMEOUT, "%s: the pull did not end in time", name);
    agent_process_last_line(r->err, line, sizeof line);
    const char *says = strstr(line, "msg=");
    eei_log(EEI_LOG_WARN, "image.refused", "image=%s code=%d tool=%s", name, r->exit_code, says ? says + 4 : line);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strstr(line, table[i].text)) return eei_fail(err, table[i].status, "%s: %s", name, table[i].meaning);
    return eei_fail(err, EE_E_IMAGE, "%s: it cannot be pulled; the node's log has what its tool said", name);
}

static void source_text(const pull *p, const uint8_t digest[32], char *out, size_t cap) {
    char hex[65];
    eei_hex_encode(eei_span(digest, 32), hex);
    snprintf(out, cap, "docker://%s@sha256:%s", p->repository, hex);
}

static void start_inspect(pull *p);
static void start_copy(pull *p);

static ee_status keep_manifest(pull *p, ee_span text, ee_error *err) {
    eei_sha256_ctx *sha = NULL;
    uint8_t got[32];
    ee_status st = eei_sha256_new(&sha, err);
    if (st) return st;
    eei_sha256_add(sha, text);
    eei_sha256_end(sha, got);
    eei_sha256_free(sha);
    if (!eei_same(got, p->manifest_digest, 32))
        return eei_fail(err, EE_E_IMAGE, "%s: the registry delivered a manifest that is not what its digest says", p->repository);
    eei_buf_reset(&p->manifest_json);
    if (eei_buf_append_span(&p->manifest_json, text)) return eei_nomem(err);
    return agent_oci_parse_manifest(text, &p->manifest, err);
}

static void on_inspected(void *user, const agent_process_result *r) {
    pull *p = user;
    p->process = NULL;
    if (p->status) {
        end_pull(p, NULL);
        return;
    }
    ee_status st = r->exit_code || r->truncated ? classify(p, r, &p->err) : keep_manifest(p, r->out, &p->err);
    if (!st && p->manifest.is_index && p->through_index) st = eei_fail(&p->err, EE_E_IMAGE, "%s: an index of indexes", p->repository);
    if (!st && p->manifest.packed_bytes > p->store->o.image_bytes_max)
        st = eei_fail(&p->err, EE_E_IMAGE, "the image has %llu bytes, this node's limit is %llu",
                      (unsigned long long)p->manifest.packed_bytes, (unsigned long long)p->store->o.image_bytes_max);
    if (st) {
        fail_pull(p, st);
    } else if (p->manifest.is_index) {
        p->through_index = true;
        memcpy(p->manifest_digest, p->manifest.config.digest, 32);
        start_inspect(p);
    } else {
        start_copy(p);
    }
}

static void start_inspect(pull *p) {
    char source[400];
    source_text(p, p->manifest_digest, source, sizeof source);
    const char *argv[] = {p->store->skopeo, "inspect", "--raw", p->insecure ? "--tls-verify=false" : "--tls-verify=true", source, NULL};
    agent_process_options o = {.argv = argv, .env = p->store->env, .output_max = AGENT_OCI_MANIFEST_MAX, .timeout_ms = INSPECT_TIMEOUT_MS};
    ee_status st = agent_process_start(p->store->o.loop, &o, on_inspected, p, &p->process, &p->err);
    if (st) fail_pull(p, st);
}

/* ---- unpack ---- */

static void on_work(uv_work_t *work) {
    pull *p = work->data;
    p->unpack.dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    ee_error *err = &p->work_err;
    ee_status st =
        p->unpack.dir_fd < 0 ? eei_fail_errno(err, EE_E_IO, errno, "cannot open the pulled image") : agent_unpack_run(&p->unpack, err);
    if (!st && agent_tree_remove(p->unpack.dir_fd, "blobs")) st = eei_fail(err, EE_E_IO, "cannot remove the pulled blobs");
    if (p->unpack.dir_fd >= 0) close(p->unpack.dir_fd);
    p->work_status = st;
}

static agent_image *make_image(pull *p, ee_status *st) {
    agent_store *s = p->store;
    agent_image *image = eei_calloc(1, sizeof *image);
    char hex[65];
    if (!image) {
        *st = eei_nomem(&p->err);
        return NULL;
    }
    eei_hex_encode(eei_span(p->digest, 32), hex);
    snprintf(image->dir, sizeof image->dir, "%s/%s", s->dir, hex);
    snprintf(image->rootfs, sizeof image->rootfs, "%s/rootfs", image->dir);
    if (rename(p->dir, image->dir)) {
        *st = eei_fail_errno(&p->err, EE_E_IO, errno, "cannot keep the image");
        eei_free(image);
        return NULL;
    }
    image->store = s;
    image->bytes = p->unpack.bytes;
    image->last_used_ms = eei_mono_ms();
    memcpy(image->digest, p->digest, 32);
    memcpy(image->manifest_digest, p->manifest_digest, 32);
    memcpy(image->config_digest, p->manifest.config.digest, 32);
    image->config = p->unpack.config;
    image->user = p->unpack.user;
    memset(&p->unpack.config, 0, sizeof p->unpack.config);
    image->next = s->images;
    s->images = image;
    eei_log(EEI_LOG_INFO, "image.ready", "digest=sha256:%s bytes=%llu layers=%zu", hex, (unsigned long long)image->bytes,
            p->manifest.layers_count);
    return image;
}

static void on_unpacked(uv_work_t *work, int status) {
    pull *p = work->data;
    agent_image *image = NULL;
    p->working = false;
    uv_timer_stop(&p->ticker);
    if (status && !p->status) p->status = eei_fail(&p->err, EE_E_CANCELLED, "the pull was cancelled");
    if (!p->status && p->work_status) {
        p->status = p->work_status;
        p->err = p->work_err;
    }
    if (!p->status) image = find_image(p->store, p->digest); /* came from another repository meanwhile */
    if (image)
        remove_later(p->store, p->dir);
    else if (!p->status)
        image = make_image(p, &p->status);
    if (image) make_room(p->store, image);
    agent_oci_config_clear(&p->unpack.config);
    end_pull(p, image);
}

static void start_unpack(pull *p) {
    const agent_store_options *o = &p->store->o;
    p->unpack.manifest = &p->manifest;
    p->unpack.bytes_max = o->image_bytes_max;
    p->unpack.entries_max = o->entries_max;
    p->unpack.id_base = o->id_base;
    p->unpack.set_owner = o->set_owner;
    p->work.data = p;
    p->working = true;
    int rc = uv_queue_work(o->loop, &p->work, on_work, on_unpacked);
    if (rc) fail_pull(p, eei_fail_errno(&p->err, EE_E_IO, -rc, "no worker thread"));
}

/* ---- copy ---- */

static void on_copied(void *user, const agent_process_result *r) {
    pull *p = user;
    p->process = NULL;
    if (p->status)
        end_pull(p, NULL);
    else if (r->exit_code)
        fail_pull(p, classify(p, r, &p->err));
    else
        start_unpack(p);
}

static uint64_t bytes_in(const char *dir) {
    uint64_t total = 0;
    DIR *d = opendir(dir);
    struct stat info;
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d));)
        if (fstatat(dirfd(d), e->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode)) total += (uint64_t)info.st_size;
    closedir(d);
    return total;
}

static void on_tick(uv_timer_t *timer) {
    pull *p = timer->data;
    char blobs[400];
    if (p->working) {
        tell_progress(p, "unpacking", atomic_load(&p->unpack.packed_done), p->manifest.packed_bytes);
        return;
    }
    snprintf(blobs, sizeof blobs, "%s/blobs", p->dir);
    tell_progress(p, "pulling", bytes_in(blobs), p->manifest.packed_bytes);
}

static void start_copy(pull *p) {
    agent_store *s = p->store;
    char source[400], target[400];
    temporary_name(s, p->dir);
    if (mkdir(p->dir, 0711)) { /* searchable: the sandbox's root, nobody out here, must get to rootfs/ */
        ee_status st = eei_fail_errno(&p->err, EE_E_IO, errno, "cannot make %s", p->dir);
        p->dir[0] = '\0';
        fail_pull(p, st);
        return;
    }
    source_text(p, p->manifest_digest, source, sizeof source);
    snprintf(target, sizeof target, "dir:%s/blobs", p->dir); /* a fresh folder each time: skopeo trusts files that are there */
    const char *argv[] = {s->skopeo,
                          "copy",
                          "--quiet",
                          "--insecure-policy",
                          "--preserve-digests",
                          p->insecure ? "--src-tls-verify=false" : "--src-tls-verify=true",
                          source,
                          target,
                          NULL};
    agent_process_options o = {.argv = argv, .env = s->env, .timeout_ms = s->o.pull_timeout_ms, .file_bytes_max = s->o.image_bytes_max};
    ee_status st = agent_process_start(s->o.loop, &o, on_copied, p, &p->process, &p->err);
    if (st) {
        fail_pull(p, st);
        return;
    }
    (void)uv_timer_start(&p->ticker, on_tick, 0, PROGRESS_MS);
}

/* ---- the store ---- */

static void on_first_turn(uv_timer_t *timer) {
    pull *p = timer->data;
    if (p->status)
        end_pull(p, NULL); /* cancelled before it began */
    else
        start_inspect(p);
}

static pull *new_pull(agent_store *s, const char *repository, const uint8_t digest[32], bool insecure) {
    pull *p = eei_calloc(1, sizeof *p);
    if (!p) return NULL;
    p->store = s;
    p->insecure = insecure;
    p->manifest_json = (eei_buf)EEI_BUF_INIT(AGENT_OCI_MANIFEST_MAX);
    snprintf(p->repository, sizeof p->repository, "%s", repository);
    memcpy(p->digest, digest, 32);
    memcpy(p->manifest_digest, digest, 32);
    p->ticker.data = p;
    (void)uv_timer_init(s->o.loop, &p->ticker);            /* cannot fail */
    (void)uv_timer_start(&p->ticker, on_first_turn, 0, 0); /* failures of the start are told from the loop, like all others */
    p->next = s->pulls;
    s->pulls = p;
    s->busy++;
    return p;
}

/* Same digest from somewhere else is the same image; but a pull that fails there says nothing about here. */
static pull *find_pull(agent_store *s, const char *repository, const uint8_t digest[32]) {
    for (pull *p = s->pulls; p; p = p->next)
        if (!p->status && eei_same(p->digest, digest, 32) && strcmp(p->repository, repository) == 0) return p;
    return NULL;
}

ee_status agent_store_prepare(agent_store *s, const char *repository, const uint8_t digest[32], bool insecure_http_ok,
                              agent_image_progress_fn progress, agent_image_done_fn done, void *user, agent_image_request **out,
                              ee_error *err) {
    bool loopback = false;
    *out = NULL;
    if (s->closing) return eei_fail(err, EE_E_STATE, "the runtime is closing");
    ee_status st = agent_oci_check_repository(repository, &loopback, err);
    if (st) return st;
    agent_image_request *r = eei_calloc(1, sizeof *r);
    if (!r) return eei_nomem(err);
    *r = (agent_image_request){.store = s, .progress = progress, .done = done, .user = user};
    agent_image *image = find_image(s, digest);
    if (image) {
        answer_from_cache(r, image);
        *out = r;
        return EE_OK;
    }
    pull *p = find_pull(s, repository, digest);
    if (!p) p = new_pull(s, repository, digest, insecure_http_ok && loopback);
    if (!p) {
        eei_free(r);
        return eei_nomem(err);
    }
    r->pull = p;
    r->next = p->requests;
    p->requests = r;
    *out = r;
    return EE_OK;
}

static bool is_image_name(const char *name) {
    uint8_t digest[32];
    return strlen(name) == 64 && eei_hex_decode(name, digest, 32, NULL) == EE_OK;
}

/* Only what carries our names is touched: a wrong image_dir must not cost somebody's files. */
static ee_status clear_dir(const agent_store *s, ee_error *err) {
    int rc = 0;
    DIR *d = opendir(s->dir);
    if (!d) return eei_fail_errno(err, EE_E_CONFIG, errno, "cannot open the image directory %s", s->dir);
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, "tmp-", 4) == 0 || is_image_name(e->d_name)) {
            int failed = agent_tree_remove(dirfd(d), e->d_name);
            if (failed) rc = failed;
        }
    closedir(d);
    return rc ? eei_fail_errno(err, EE_E_CONFIG, rc, "cannot clear the image directory %s", s->dir) : EE_OK;
}

static ee_status make_env(agent_store *s, ee_error *err) {
    size_t n = 0;
    char home[300];
    snprintf(home, sizeof home, "HOME=%s", s->dir);
    s->env_texts[n++] = eei_strdup(AGENT_PROCESS_PATH);
    s->env_texts[n++] = eei_strdup(home);
    for (const char *const *e = s->o.tool_env; e && *e; e++) {
        if (n == TOOL_ENV_MAX + 3) return eei_fail(err, EE_E_CONFIG, "more than %d variables for skopeo", TOOL_ENV_MAX);
        s->env_texts[n++] = eei_strdup(*e);
    }
    for (size_t i = 0; i < n; i++) {
        if (!s->env_texts[i]) return eei_nomem(err);
        s->env[i] = s->env_texts[i];
    }
    return EE_OK;
}

ee_status agent_store_new(const agent_store_options *options, agent_store **out, ee_error *err) {
    *out = NULL;
    agent_store *s = eei_calloc(1, sizeof *s);
    if (!s) return eei_nomem(err);
    s->o = *options;
    snprintf(s->dir, sizeof s->dir, "%s", options->dir);
    ee_status st = agent_process_find("skopeo", s->skopeo, sizeof s->skopeo, err);
    if (st) {
        st = eei_fail(err, EE_E_CONFIG, "skopeo is not installed");
        st = eei_hint(err, st, "images are pulled with it: apt-get install skopeo");
    }
    if (!st) st = make_env(s, err);
    if (!st) st = clear_dir(s, err);
    s->o.dir = s->dir;
    s->o.tool_env = NULL;
    if (st)
        agent_store_free(s);
    else
        *out = s;
    return st;
}

void agent_store_close(agent_store *s, void (*done)(void *user), void *user) {
    s->closing = true;
    s->closed = done;
    s->closed_user = user;
    s->busy++;
    for (pull *p = s->pulls; p; p = p->next) stop_pull(p);
    one_less(s);
}

void agent_store_free(agent_store *s) {
    if (!s) return;
    while (s->images) {
        agent_image *image = s->images;
        s->images = image->next;
        free_image(image);
    }
    for (size_t i = 0; i < TOOL_ENV_MAX + 4; i++) eei_free(s->env_texts[i]);
    eei_free(s);
}
