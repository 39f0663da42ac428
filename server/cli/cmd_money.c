/* cmd_money.c - `ee transfer`, `ee balance`, `ee credits`. */
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ASK_ABOVE_MICROS = 50000000 }; /* $50: a sum worth a question */

/* Asks a person before a large sum. What is more than there is needs no question: the transfer itself says what is missing. */
static bool confirmed(cli *c, ee_client *client, const char *to, ee_money amount, int *code) {
    char sum[32], left[32], answer[16] = "";
    ee_balance balance;
    ee_error err = {0};
    if (amount <= ASK_ABOVE_MICROS || c->yes || c->json) return true;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) return true; /* a script said what it wants */
    if (ee_balance_get(client, c->cancel, &balance, &err)) {
        *code = cli_error(c, &err);
        return false;
    }
    if (amount > balance.available) return true;
    (void)fprintf(stderr, "Send %s from %s to %s?  Balance after: %s   [y/N] ", ee_money_format(amount, sum), balance.account, to,
                  ee_money_format(balance.available - amount, left));
    if (fgets(answer, sizeof answer, stdin) && tolower((unsigned char)answer[0]) == 'y') return true;
    (void)fprintf(stderr, "ee: nothing was sent\n");
    *code = 1;
    return false;
}

/* "--" says that what follows is no option; this command has no part of its own behind it. */
static void drop_dashes(char **words, int *count) {
    int kept = 0;
    for (int i = 0; i < *count; i++)
        if (kept < i || strcmp(words[i], "--") != 0) words[kept++] = words[i];
    *count = kept;
}

int cmd_transfer(cli *c, int argc, char **argv) {
    const char *memo = NULL, *key = NULL;
    char **rest = calloc((size_t)argc + 2, sizeof *rest), sum[32], left[32];
    int count, code;
    const cli_option known[] = {{"--memo", NULL, true, &memo, NULL, NULL, 0, NULL}, {"--key", NULL, true, &key, NULL, NULL, 0, NULL}};
    ee_error err = {0};
    ee_transfer transfer;
    ee_money amount = 0;
    if (!rest) return 1;
    code = cli_parse(c, "transfer", argc, argv, known, 2, rest, &count);
    if (!code) drop_dashes(rest, &count);
    if (!code && count != 2) code = cli_usage(c, "transfer", "give an account and an amount");
    if (!code && ee_money_parse(rest[1], &amount, &err)) code = cli_error(c, &err);
    ee_client *client = code ? NULL : cli_client(c, &code);
    if (client && confirmed(c, client, rest[0], amount, &code)) {
        if (ee_transfer_credits(client, rest[0], rest[1], memo, key, c->cancel, &transfer, &err)) {
            code = cli_error(c, &err);
            goto done;
        }
        (void)ee_money_format(transfer.amount, sum);
        (void)ee_money_format(transfer.balance_after, left);
        cli_note_done(c, transfer.idempotency_key, "the payment was made all the same: %s  %s to %.64s  key %s", transfer.id, sum, rest[0],
                      transfer.idempotency_key);
        if (c->json) {
            json_t *value =
                json_pack("{s:s, s:s, s:{s:s, s:I}, s:{s:s, s:I}, s:s, s:b}", "id", transfer.id, "to", rest[0], "amount", "usd", sum + 1,
                          "micros", (json_int_t)transfer.amount, "balance_after", "usd", left + 1, "micros",
                          (json_int_t)transfer.balance_after, "idempotency_key", transfer.idempotency_key, "replayed", transfer.replayed);
            cli_print_json(value);
            json_decref(value);
        } else {
            (void)printf("%s  %s  %s to %s  key %s  balance %s\n", transfer.replayed ? "replayed: was sent before" : "sent", transfer.id,
                         sum, rest[0], transfer.idempotency_key, left);
        }
    }
done:
    free(rest);
    return code;
}

int cmd_balance(cli *c, int argc, char **argv) {
    ee_balance balance;
    ee_error err = {0};
    int code = 0;
    char available[32], locked[32];
    (void)argv;
    if (argc > 1) return cli_usage(c, "balance", "it takes no arguments");
    ee_client *client = cli_client(c, &code);
    if (!client) return code;
    if (ee_balance_get(client, c->cancel, &balance, &err)) return cli_error(c, &err);
    (void)ee_money_format(balance.available, available);
    (void)ee_money_format(balance.locked, locked);
    if (c->json) {
        json_t *value =
            json_pack("{s:s, s:{s:s, s:I}, s:{s:s, s:I}}", "account", balance.account, "available", "usd", available + 1, "micros",
                      (json_int_t)balance.available, "locked", "usd", locked + 1, "micros", (json_int_t)balance.locked);
        cli_print_json(value);
        json_decref(value);
    } else {
        (void)printf("account    %s\navailable  %s\nlocked     %s\n", balance.account, available, locked);
    }
    return 0;
}

/* A payment's own number credits it once. On a devnet nobody pays: there one is made. */
static const char *own_reference(cli *c, char made[48], int *code) {
    unsigned char random[8];
    json_t *settings = json_loads(ee_client_config_json(c->client), 0, NULL);
    bool devnet = cli_uses_devnet(settings);
    json_decref(settings);
    if (!devnet)
        *code = cli_usage(c, "credits", "--reference is missing: the payment's own number, so that it is credited once");
    else if (getentropy(random, sizeof random) != 0)
        *code = 1;
    else
        (void)snprintf(made, 48, "devnet-%02x%02x%02x%02x%02x%02x%02x%02x", random[0], random[1], random[2], random[3], random[4],
                       random[5], random[6], random[7]);
    return made;
}

static int buy(cli *c, const char *account, const char *amount, const char *reference) {
    char made[48] = "", sum[32], left[32];
    ee_balance mine = {.account = ""};
    ee_error err = {0};
    int code = 0;
    ee_client *client = cli_client(c, &code);
    if (client && !reference) reference = own_reference(c, made, &code);
    if (!code && !account && ee_balance_get(client, c->cancel, &mine, &err)) code = cli_error(c, &err);
    if (code) return code;
    json_t *body = json_pack("{s:s, s:s, s:s}", "account", account ? account : mine.account, "amount", amount, "reference", reference);
    json_t *answer = cli_call(c, "POST", "/v1/credits/purchase", body, reference, &code);
    if (answer)
        cli_note_done(c, reference, "the credit was made all the same: %.80s  %s to %.64s  reference %.64s", cli_text(answer, "id"),
                      cli_money(answer, "amount", sum), cli_text(answer, "to"), reference);
    if (answer && c->json)
        cli_print_json(answer);
    else if (answer)
        (void)printf("%s  %s  %s to %s  reference %s  balance %s\n",
                     json_is_true(json_object_get(answer, "replayed")) ? "replayed: was credited before" : "credited",
                     cli_text(answer, "id"), cli_money(answer, "amount", sum), cli_text(answer, "to"), reference,
                     cli_money(answer, "balance_after", left));
    json_decref(answer);
    json_decref(body);
    return code;
}

int cmd_credits(cli *c, int argc, char **argv) {
    const char *reference = NULL;
    char **rest = calloc((size_t)argc + 2, sizeof *rest);
    int count, code;
    const cli_option known[] = {{"--reference", NULL, true, &reference, NULL, NULL, 0, NULL}};
    ee_money amount;
    ee_error err = {0};
    if (!rest) return 1;
    code = cli_parse(c, "credits", argc, argv, known, 1, rest, &count);
    if (!code && (count < 2 || count > 3 || strcmp(rest[0], "buy") != 0))
        code = cli_usage(c, "credits", "write: ee credits buy [ACCOUNT] AMOUNT --reference REF");
    if (!code && ee_money_parse(rest[count - 1], &amount, &err)) code = cli_error(c, &err);
    if (!code) code = buy(c, count == 3 ? rest[1] : NULL, rest[count - 1], reference);
    free(rest);
    return code;
}
