/* provider_api.c - what a provider signs for its nodes. Behind <eesdk/provider.h>. */
#include "attest/statement.h"
#include "attest/ticket.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/options.h"
#include "client_internal.h"

#include <eesdk/provider.h>

#include <stdio.h>
#include <string.h>

static const eei_options_kind ticket_options = {"ee_ticket_options", offsetof(ee_ticket_options, machine_id), sizeof(ee_ticket_options)};

static ee_status check_options(const ee_ticket_options *options, ee_error *err) {
    if (options->life_ms > EEI_TICKET_LIFE_MAX_MS)
        return eei_fail(err, EE_E_INVALID, "a boot ticket lives %u ms; at most %u", options->life_ms, EEI_TICKET_LIFE_MAX_MS);
    return client_check_name("a node", options->node, err);
}

static ee_status take_releases(const ee_ticket_options *options, ee_span out[EEI_TICKET_RELEASES_MAX], size_t *count, ee_error *err) {
    *count = 0;
    if (!options->releases) {
        out[(*count)++] = eei_span_text(ee_version());
        return EE_OK;
    }
    for (; options->releases[*count]; (*count)++) {
        if (*count == EEI_TICKET_RELEASES_MAX)
            return eei_fail(err, EE_E_INVALID, "a boot ticket names at most %u releases", EEI_TICKET_RELEASES_MAX);
        out[*count] = eei_span_text(options->releases[*count]);
        if (!out[*count].len) return eei_fail(err, EE_E_INVALID, "release %zu of a boot ticket is empty", *count + 1);
    }
    return EE_OK;
}

ee_status ee_ticket_make(ee_client *client, const ee_ticket_options *given, char **out, ee_error *err) {
    ee_ticket_options options;
    ee_span releases[EEI_TICKET_RELEASES_MAX];
    eei_buf text = EEI_BUF_INIT(2 * EEI_TICKET_BYTES_MAX);
    eei_ticket ticket = {.releases = {releases, 0}};
    if (!out) return eei_fail(err, EE_E_INVALID, "out is NULL");
    *out = NULL;
    if (!given) return eei_fail(err, EE_E_INVALID, "the options are missing: they name the node and the machine");
    ee_status st = eei_options_take(&ticket_options, given, &options, err);
    if (!st) st = check_options(&options, err);
    if (!st) st = client_resolve(&client, err);
    if (!st) st = take_releases(&options, releases, &ticket.releases.count, err);
    if (!st && eei_hex_decode(options.machine_id ? options.machine_id : "", ticket.machine_id, 16, err))
        st = eei_prefix(err, EE_E_INVALID, "machine_id");
    if (!st) st = eei_random(ticket.serial, sizeof ticket.serial, err);
    if (st) return st;
    memcpy(ticket.network_id, client->network_id, 32);
    ticket.role = options.uptime_server ? EEI_ROLE_UPTIME : EEI_ROLE_AGENT;
    ticket.not_after_ms = eei_wall_ms() + (options.life_ms ? options.life_ms : EEI_TICKET_LIFE_MAX_MS);
    st = eei_ticket_line(client->key, options.node, &ticket, &text, err);
    if (!st && !eei_buf_cstr(&text)) st = eei_nomem(err);
    if (!st) *out = (char *)eei_take(&text.data);
    eei_buf_clear(&text);
    return st;
}
