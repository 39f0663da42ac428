/* cmd_devnet_faults.c - `ee devnet kill` and `ee devnet heal`: bad days by hand, and back without losing the ledger. The supervisor does
 * it; this asks and waits for its answer. See cmd_devnet_parts.h. */
#include "base/clock.h"
#include "cli/cmd_devnet_parts.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

enum { ANSWER_MS = 45000 /* more than the supervisor waits for a program to be ready */ };

void devnet_find_ended(const json_t *children, char out[256]) {
    size_t i, len = 0;
    json_t *item;
    out[0] = 0;
    json_array_foreach(json_object_get(children, "items"), i, item) {
        if (json_is_true(json_object_get(item, "running")) || len >= 200) continue;
        len += (size_t)snprintf(out + len, 256 - len, "%s%.31s", len ? ", " : "", cli_text(item, "name"));
    }
}

static json_t *find_item(const json_t *children, const char *name, size_t *place) {
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(children, "items"), i, item) {
        if (strcmp(cli_text(item, "name"), name) != 0) continue;
        *place = i;
        return item;
    }
    return NULL;
}

static ee_status send_order(pid_t pid, size_t place, bool heals, ee_error *err) {
    union sigval value = {.sival_int = (int)place | (heals ? DEVNET_HEAL : DEVNET_KILL)};
    return sigqueue(pid, DEVNET_ORDER, value) == 0 ? EE_OK : eei_fail_errno(err, EE_E_IO, errno, "telling the devnet's supervisor");
}

/* Until the supervisor has counted one more order for this program. *item is the program's then, in *children. */
static ee_status wait_for_answer(const devnet *net, const char *name, long long answered, json_t **children, json_t **item, ee_error *err) {
    uint64_t deadline = eei_mono_ms() + ANSWER_MS;
    for (size_t place;;) {
        *children = devnet_read_children(net);
        *item = find_item(*children, name, &place);
        if (*item && cli_number(*item, "answered") > answered) return EE_OK;
        json_decref(*children);
        *children = NULL;
        if (!devnet_running(net)) return eei_fail(err, EE_E_CLOSED, "the devnet ended meanwhile");
        if (eei_mono_ms() >= deadline)
            return eei_fail(err, EE_E_TIMEOUT, "the devnet's supervisor did not answer within %d s", ANSWER_MS / 1000);
        (void)poll(NULL, 0, 20);
    }
}

static bool is_node(const char *name) { return strncmp(name, "node-", 5) == 0; }

static void tell_one(const cli *c, bool heals, const char *name, const json_t *item) {
    if (c->json) return;
    if (!heals)
        (void)printf("%s is killed; `ee devnet heal %s` starts it again\n", name, name);
    else
        (void)printf("%s runs again (process %lld)%s\n", name, cli_number(item, "pid"),
                     is_node(name) ? "; it gets work once it has attested and passed its checks (`ee nodes`)" : "");
}

static ee_status order_one(const cli *c, const devnet *net, pid_t pid, bool heals, const char *name, json_t *done, ee_error *err) {
    json_t *children = devnet_read_children(net), *after = NULL;
    size_t place = 0;
    json_t *item = find_item(children, name, &place);
    bool runs = json_is_true(json_object_get(item, "running"));
    ee_status st = EE_OK;
    if (!item)
        st = eei_hint(err, eei_fail(err, EE_E_NOT_FOUND, "the devnet has no program \"%.63s\"", name), "`ee devnet status` lists them");
    else if (runs == heals)
        st = eei_fail(err, EE_E_CONFLICT, "%s %s", name, heals ? "runs already" : "has ended already");
    if (!st) st = send_order(pid, place, heals, err);
    if (!st) st = wait_for_answer(net, name, cli_number(item, "answered"), &after, &item, err);
    if (!st && *cli_text(item, "failure"))
        st = eei_hint(err, eei_fail(err, EE_E_SERVER, "%s", cli_text(item, "failure")), "`ee devnet logs %s` may say more", name);
    if (!st) tell_one(c, heals, name, item);
    if (!st)
        json_array_append_new(done,
                              json_pack("{s:s, s:b, s:I}", "name", name, "running", heals, "pid", (json_int_t)cli_number(item, "pid")));
    json_decref(after);
    json_decref(children);
    return st;
}

/* All that ended, in the order in which a devnet starts its programs. */
static ee_status heal_all(const cli *c, const devnet *net, pid_t pid, json_t *done, ee_error *err) {
    json_t *children = devnet_read_children(net), *item;
    size_t i;
    ee_status st = EE_OK;
    json_array_foreach(json_object_get(children, "items"), i, item) {
        if (!st && !json_is_true(json_object_get(item, "running"))) st = order_one(c, net, pid, true, cli_text(item, "name"), done, err);
    }
    json_decref(children);
    return st;
}

int devnet_fault(cli *c, const devnet *net, bool heals, const char *name) {
    ee_error err = {0};
    json_t *done = json_array();
    pid_t pid = devnet_running(net);
    ee_status st = EE_OK;
    if (!pid)
        st = eei_hint(&err, eei_fail(&err, EE_E_CONFIG, "no devnet is up"), "run `ee devnet up`");
    else if (name)
        st = order_one(c, net, pid, heals, name, done, &err);
    else
        st = heal_all(c, net, pid, done, &err);
    if (!st && c->json) {
        json_t *document = json_pack("{s:O}", "items", done);
        cli_print_json(document);
        json_decref(document);
    } else if (!st && json_array_size(done) == 0) {
        (void)printf("everything runs; there is nothing to heal\n");
    }
    json_decref(done);
    return st ? cli_error(c, &err) : 0;
}
