/* main.c - `ee`: global flags, the verb table, help, Ctrl-C. The commands are in cmd_*.c. */
#include "cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const cli_command cli_commands[] = {
#ifdef EE_SIMTDX /* a production build has no simulated machines and so no devnet */
    {"devnet", "up|down|status|env|logs|kill|heal", "a whole network on this machine, with simulated TDX",
     "  ee devnet up [--port P] [--registry-port P] [--attest-interval 30s]\n"
     "                                                        start it; says what there is to try\n"
     "  ee devnet down                                        stop it; nothing is left running\n"
     "  ee devnet status                                      what runs; 0 when all of it does, else 1\n"
     "  ee devnet env [ACCOUNT]                               shell lines that point this shell at it, as dev or as ACCOUNT\n"
     "  ee devnet logs [WHO]                                  control, node-a, uptime-1, registry ...\n"
     "  ee devnet kill WHO                                    end one of them as a crash would\n"
     "  ee devnet heal [WHO]                                  start again what ended; the ledger is kept\n",
     cmd_devnet},
#endif
    {"run", "IMAGE [-- CMD...]", "run a private job",
     "  -e NAME[=VALUE|=@FILE|=-]  an environment variable; NAME alone takes it from this shell\n"
     "  --env-file FILE            NAME=value lines\n"
     "  -i                         pass standard input\n"
     "  --vcpus N --memory 512M --timeout 10m --max-cost $0.50 --node N --key K\n"
     "  --quote                    show prices only; nothing is locked. 5 when it would be over --max-cost, 8 when no node can take it\n"
     "  --raw                      a terminal gets the job's bytes as they are; else control sequences but colours are shown as \\xNN\n"
     "  --color=never              without the job's colours\n"
     "  The exit code is the job's own; 125 when the network failed.\n",
     cmd_run},
    {"transfer", "TO AMOUNT", "pay another account",
     "  --memo TEXT   --key K (repeat safely)   --yes (do not ask)\n"
     "  On a terminal a transfer of more than $50 asks first. Without one, or with --json, it goes through: a script said what it wants.\n",
     cmd_transfer},
    {"balance", "", "what you have and what is locked", "", cmd_balance},
    {"credits", "buy [ACCOUNT] AMOUNT", "credit a payment (the network owner's)",
     "  ee credits buy [ACCOUNT] AMOUNT --reference REF       to your own account when none is named\n"
     "  REF is the payment's own number: it is credited once, however often this is repeated. On a devnet it may be left out.\n"
     "  The owner's token comes from EE_ADMIN_TOKEN_FILE (0600), EE_ADMIN_TOKEN, admin_token of the profile, or the devnet.\n",
     cmd_credits},
    {"jobs", "[ls|show ID|cancel ID]", "your jobs", "  ee jobs [ls]\n  ee jobs show ID\n  ee jobs cancel ID\n", cmd_jobs},
    {"apps", "[ls|show|deploy|stop]", "apps of the network",
     "  ee apps [ls]\n  ee apps show APP\n  ee apps deploy NAME IMAGE --port P [--vcpus N] [--memory M] [--node N] [-- CMD...]\n  ee apps "
     "stop APP\n",
     cmd_apps},
    {"curl", "APP/PATH", "one HTTP request to a private app",
     "  -X METHOD  -H 'Name: value'  -d BODY|@FILE|@-  -T FILE|-  -i  -o FILE  -f  --raw\n"
     "  -T sends a file with PUT, -d @FILE with POST. Bodies may have any size, both ways; with --json an answer has at most 64 MiB.\n"
     "  The exit code is 0 whatever the app answers, as with curl. With -f (--fail) an answer of 400 or more gives 22, and no body.\n",
     cmd_curl},
    {"forward", "APP [PORT]", "a local port that leads to a private app", "", cmd_forward},
    {"nodes", "[ls|show NODE]", "nodes, prices, trust",
     "  --eligible                 only those that can take work\n  --explain                  state, price / trust = effective, and why a "
     "node gets no work\n",
     cmd_nodes},
    {"node", "ticket NAME", "for providers: let a machine boot as a node",
     "  ee node ticket NAME --machine ID > FILE    sign, as its provider, that this machine may boot once as this node\n"
     "    --release R      what may boot; may be repeated. The default is this version\n"
     "    --life 5m        until it must have been used; at most 10m, which is the default\n"
     "    --uptime-server  for an uptime server\n"
     "  The agent reads the file (node.ticket, EE_NODE_TICKET). A ticket is no secret: it fits no other machine, and works once.\n",
     cmd_node},
    {"verify", "APP|NODE|control|FILE|--quote FILE", "check attestation, step by step",
     "  ee verify APP|NODE|control    attest it now: the app's agent, the node's agent, the control plane\n"
     "    --policy F                  judge by this policy.toml, or by production, instead of the configured policy\n"
     "    --strict                    a new quote for this connection, not a signed statement on one; of an app or a node\n"
     "    --export F                  keep the evidence, also of a refusal\n"
     "  ee verify FILE                a saved evidence file; no network is used, with --offline or without\n"
     "    --policy F  --at TIME       by EE_POLICY, else the configured network's policy, else production; for the time stored in it\n"
     "  ee verify --quote FILE --collateral FILE\n"
     "    --root intel|FILE.der       trust anchor; the default is intel\n"
     "    --accept-tcb STATUS         accept this TCB status too; UpToDate is the only one otherwise. May be repeated\n"
     "    --policy F                  a whole policy in place of the two; with none of the three EE_POLICY, else any measurement: read the "
     "table\n"
     "    --pccs URL|intel            fetch the collateral, in place of --collateral\n"
     "    --ccel FILE                 the machine's boot log; it must give RTMR0 to RTMR2\n"
     "    --report-data HEX           the 64 bytes the quote must carry\n"
     "    --at TIME  --export F\n"
     "  TIME is unix seconds or 2026-01-31T13:04:11Z. FILE may be -, standard input. app/NAME and node/NAME say which of the two is "
     "meant.\n"
     "  Exit code: 0 verified; 6 refused; 2 nothing that could be judged; else that of the error's word, as for any command.\n"
     "  --json has all checks and fields. What a policy says: `ee help policy`.\n",
     cmd_verify},
    {"policy", "init|check|show", "what is acceptable: make, check and show a policy.toml",
     "  ee policy init APP|NODE|control > policy.toml   accept exactly what it and the control plane run now\n"
     "  ee policy check FILE                            say what is wrong with it, by line (exit code 2); its hash when nothing is\n"
     "  ee policy show                                  the policy in use, and where it comes from\n"
     "  EE_POLICY=policy.toml, or `policy` of a profile, judges by it from then on; `ee verify --policy policy.toml` once.\n",
     cmd_policy},
    {"config", "show", "where every setting comes from", "", cmd_config},
    {NULL, NULL, NULL, NULL, NULL},
};

static ee_cancel *cancel_for_signal;
static volatile sig_atomic_t interrupts, at_once;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (interrupts++ || at_once) _exit(130);
    ee_cancel_fire(cancel_for_signal);
}

void cli_interrupt_ends(bool now) { at_once = now; }

static void print_help(FILE *to) {
    cli_fold_lines(to, "ee: run private jobs, pay in credits, reach private APIs\n\n"
                       "usage: ee [--json] [--profile P] [--url U] [--color=auto|always|never] [-q] COMMAND ...\n\n");
    for (const cli_command *command = cli_commands; command->name; command++) {
        char line[128];
        (void)snprintf(line, sizeof line, "  %-9s  %s", command->name, command->summary);
        cli_fold_lines(to, line);
    }
    cli_fold_lines(to, "\n`ee help COMMAND` tells more. `ee --version` tells the version. Start with `ee devnet up`.\n");
}

static void print_command_help(const cli_command *command) {
    char head[256];
    (void)snprintf(head, sizeof head, "usage: ee %s %s\n  %s\n", command->name, command->args, command->summary);
    cli_fold_lines(stdout, head);
    cli_fold_lines(stdout, command->help);
}

static const cli_command *find_command(const char *name) {
    for (const cli_command *command = cli_commands; command->name; command++)
        if (strcmp(command->name, name) == 0) return command;
    return NULL;
}

static json_t *command_json(const cli_command *command) {
    return json_pack("{s:s, s:s, s:s, s:s}", "name", command->name, "arguments", command->args, "summary", command->summary, "help",
                     command->help);
}

static void help_json(const cli_command *only) {
    json_t *all = json_array(), *document = only ? command_json(only) : json_pack("{s:O}", "commands", all);
    for (const cli_command *command = cli_commands; command->name; command++) json_array_append_new(all, command_json(command));
    cli_print_json(document);
    json_decref(document);
    json_decref(all);
}

static int help(const cli *c, int argc, char **argv) {
    const cli_command *command = argc > 1 ? find_command(argv[1]) : NULL;
    if (argc > 1 && !command) return cli_usage(c, "", "there is no command \"%s\"", argv[1]);
    if (argc > 2) return cli_usage(c, "", "write: ee help [COMMAND]");
    if (c->json)
        help_json(command);
    else if (command)
        print_command_help(command);
    else
        print_help(stdout);
    return 0;
}

static int version(const cli *c) {
    if (c->json)
        (void)printf("{\"version\": \"%s\"}\n", ee_version());
    else
        (void)printf("ee %s\n", ee_version());
    return 0;
}

static int set_color(cli *c, const char *when) {
    if (strcmp(when, "always") == 0)
        c->color = true;
    else if (strcmp(when, "never") == 0)
        c->color = false;
    else if (strcmp(when, "auto") != 0)
        return cli_usage(c, "", "--color %s is none of auto, always, never", when);
    return 0;
}

/* --profile P, --url U, --color W, each also with "=". 1 when argv[*i] is one of them, 0 when it is none, -1 after telling an error. */
static int take_global_value(cli *c, int argc, char **argv, int *i) {
    static const char *const names[] = {"--profile", "--url", "--color"};
    const char *arg = argv[*i], *value;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        size_t len = strlen(names[n]);
        if (strncmp(arg, names[n], len) != 0 || (arg[len] && arg[len] != '=')) continue;
        value = arg[len] ? arg + len + 1 : *i + 1 < argc ? argv[++*i] : NULL;
        if (!value || !*value) {
            (void)cli_usage(c, "", "%s needs a value", names[n]);
            return -1;
        }
        if (n == 0) c->profile = value;
        if (n == 1) c->url = value;
        return n == 2 && set_color(c, value) ? -1 : 1;
    }
    return 0;
}

/* Global flags may stand before or after the command, up to "--"; they are taken out of argv. -1 after telling an error. */
static int take_globals(cli *c, int argc, char **argv) {
    int kept = 1;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) /* first of all: it decides how errors look */
        if (strcmp(argv[i], "--json") == 0) c->json = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            for (; i < argc; i++) argv[kept++] = argv[i];
            break;
        }
        int taken = take_global_value(c, argc, argv, &i);
        if (taken < 0) return -1;
        if (taken || strcmp(argv[i], "--json") == 0) continue;
        if (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--quiet") == 0)
            c->quiet = true;
        else if (strcmp(argv[i], "--yes") == 0)
            c->yes = true;
        else if (strcmp(argv[i], "--no-color") == 0)
            c->color = false;
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    return kept;
}

/* A closed descriptor 0 to 2 would be given to the next socket, and a job's output with it. Opened so that using it is still an error. */
static void keep_standard_descriptors(void) {
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static bool asks_help(const char *arg) { return arg && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0); }

static int dispatch(cli *c, int argc, char **argv) {
    if (argc < 2 && !c->json) print_help(stderr);
    if (argc < 2) return c->json ? cli_usage(c, "", "the command is missing") : 2;
    if (asks_help(argv[1])) return help(c, 1, argv);
    if (strcmp(argv[1], "--version") == 0) return version(c);
    if (strcmp(argv[1], "help") == 0) return help(c, argc - 1, argv + 1);
    const cli_command *command = find_command(argv[1]);
    if (!command) return cli_usage(c, "", "there is no command \"%s\"; `ee help` lists them", argv[1]);
    if (argc > 2 && (asks_help(argv[2]) || (argv[2][0] != '-' && asks_help(argv[3])))) {
        char *both[] = {argv[0], argv[1], NULL};
        return help(c, 2, both);
    }
    return command->run(c, argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    cli c = {.color = !getenv("NO_COLOR")};
    struct sigaction action = {.sa_handler = on_interrupt};
    int code;
    ee_error err = {0};
    keep_standard_descriptors();
    if (ee_cancel_new(&c.cancel, &err)) return cli_error(&c, &err);
    cancel_for_signal = c.cancel;
    (void)sigaction(SIGINT, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a write tells: what is under way (a job that costs money) is ended in order */
    argc = take_globals(&c, argc, argv);
    code = argc < 0 ? 2 : dispatch(&c, argc, argv);
    code = interrupts && code ? 130 : cli_finish_output(&c, code);
    ee_client_free(c.client);
    ee_cancel_free(c.cancel);
    return code;
}
