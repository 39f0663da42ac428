/* main.c - `ee`: global flags, the verb table, help, Ctrl-C. The commands are in cmd_*.c. */
#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const cli_command cli_commands[] = {
#ifdef EE_SIMTDX /* a production build has no simulated machines and so no devnet */
    {"devnet", "up|down|status|env|logs", "a whole network on this machine, with simulated TDX",
     "  ee devnet up [--port P] [--registry-port P] [--attest-interval 30s]\n"
     "                                                        start it; says what there is to try\n"
     "  ee devnet down                                        stop it; nothing is left running\n"
     "  ee devnet status                                      what runs\n"
     "  ee devnet env                                         shell lines that point this shell at it\n"
     "  ee devnet logs [WHO]                                  control, node-a, uptime-1, registry ...\n",
     cmd_devnet},
#endif
    {"run", "IMAGE [-- CMD...]", "run a private job",
     "  -e NAME[=VALUE|=@FILE|=-]  an environment variable; NAME alone takes it from this shell\n"
     "  --env-file FILE            NAME=value lines\n"
     "  -i                         pass standard input\n"
     "  --vcpus N --memory 512M --timeout 10m --max-cost $0.50 --node N --key K\n"
     "  --quote                    show prices only; nothing is locked\n"
     "  The exit code is the job's own; 125 when the network failed.\n",
     cmd_run},
    {"transfer", "TO AMOUNT", "pay another account", "  --memo TEXT   --key K (repeat safely)   --yes (do not ask)\n", cmd_transfer},
    {"balance", "", "what you have and what is locked", "", cmd_balance},
    {"credits", "buy ACCOUNT AMOUNT", "mint credits against a payment (the owner's; EE_ADMIN_TOKEN)",
     "  ee credits buy ACCOUNT AMOUNT --reference REF\n", cmd_credits},
    {"jobs", "[ls|show ID|cancel ID]", "your jobs", "", cmd_jobs},
    {"apps", "[ls|show|deploy|stop]", "apps of the network",
     "  ee apps [ls]\n  ee apps show APP\n  ee apps deploy NAME IMAGE --port P [--vcpus N] [--memory M] [--node N] [-- CMD...]\n  ee apps "
     "stop APP\n",
     cmd_apps},
    {"curl", "APP/PATH", "one HTTP request to a private app", "  -X METHOD  -H 'Name: value'  -d BODY|@FILE  -i  -o FILE\n", cmd_curl},
    {"forward", "APP [PORT]", "a local port that leads to a private app", "", cmd_forward},
    {"nodes", "[ls|show NODE]", "nodes, prices, trust", "  --eligible\n", cmd_nodes},
    {"verify", "APP|FILE|control", "check attestation, step by step",
     "  ee verify APP [--export F]     attest the app's agent now\n  ee verify control              attest the control plane now\n"
     "  ee verify FILE [--policy F]    check a saved evidence file, with no network\n",
     cmd_verify},
    {"config", "show", "where every setting comes from", "", cmd_config},
    {NULL, NULL, NULL, NULL, NULL},
};

static ee_cancel *cancel_for_signal;
static volatile sig_atomic_t interrupts;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (interrupts++) _exit(130);
    ee_cancel_fire(cancel_for_signal);
}

static void print_help(FILE *to) {
    (void)fprintf(
        to, "ee: run private jobs, pay in credits, reach private APIs\n\nusage: ee [--json] [--profile P] [--url U] [-q] COMMAND ...\n\n");
    for (const cli_command *command = cli_commands; command->name; command++)
        (void)fprintf(to, "  %-9s %s\n", command->name, command->summary);
    (void)fprintf(to, "\n`ee help COMMAND` tells more. `ee --version` tells the version. Start with `ee devnet up`.\n");
}

static const cli_command *find_command(const char *name) {
    for (const cli_command *command = cli_commands; command->name; command++)
        if (strcmp(command->name, name) == 0) return command;
    return NULL;
}

static int help(const cli *c, int argc, char **argv) {
    if (argc < 2) {
        print_help(stdout);
        return 0;
    }
    const cli_command *command = find_command(argv[1]);
    if (!command) return cli_usage(c, "", "there is no command \"%s\"", argv[1]);
    (void)printf("usage: ee %s %s\n  %s\n%s", command->name, command->args, command->summary, command->help);
    return 0;
}

/* Global flags may stand before or after the command, up to "--"; they are taken out of argv. */
static int take_globals(cli *c, int argc, char **argv) {
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            for (; i < argc; i++) argv[kept++] = argv[i];
            break;
        }
        if (strcmp(argv[i], "--json") == 0)
            c->json = true;
        else if (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--quiet") == 0)
            c->quiet = true;
        else if (strcmp(argv[i], "--yes") == 0)
            c->yes = true;
        else if (strcmp(argv[i], "--no-color") == 0)
            c->color = false;
        else if (strcmp(argv[i], "--profile") == 0 && i + 1 < argc)
            c->profile = argv[++i];
        else if (strcmp(argv[i], "--url") == 0 && i + 1 < argc)
            c->url = argv[++i];
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    return kept;
}

int main(int argc, char **argv) {
    cli c = {.color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR")};
    struct sigaction action = {.sa_handler = on_interrupt};
    int code;
    ee_error err = {0};
    if (ee_cancel_new(&c.cancel, &err)) return cli_error(&c, &err);
    cancel_for_signal = c.cancel;
    (void)sigaction(SIGINT, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    argc = take_globals(&c, argc, argv);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        code = argc < 2 ? 2 : 0;
    } else if (strcmp(argv[1], "--version") == 0) {
        (void)printf("ee %s\n", ee_version());
        code = 0;
    } else if (strcmp(argv[1], "help") == 0) {
        code = help(&c, argc - 1, argv + 1);
    } else {
        const cli_command *command = find_command(argv[1]);
        if (command && argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            char *both[] = {argv[0], argv[1], NULL};
            code = help(&c, 2, both);
        } else {
            code = command ? command->run(&c, argc - 1, argv + 1)
                           : cli_usage(&c, "", "there is no command \"%s\"; `ee help` lists them", argv[1]);
        }
    }
    if (interrupts && code) code = 130;
    ee_client_free(c.client);
    ee_cancel_free(c.cancel);
    return code;
}
