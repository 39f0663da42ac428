/* boot_log.c - boot logs in evidence: made small, replayed, compared with a quote's registers, shown. See boot_log.h.
 * Proto: docs/protocol.md#boot-log. Threat Q13. */
#include "attest/boot_log.h"

#include "attest/crypto.h"
#include "attest/verdict.h"
#include "base/limits.h"

#include <string.h>

enum { EVENT_BYTES = 62, DATA_HEAD_BYTES = 4 }; /* most that an event takes on the wire beside its data */

/* ---- made small ------------------------------------------------------------------------------------------------------ */

static bool is_digest_of(const uint8_t digest[48], ee_span data) {
    uint8_t made[48];
    eei_sha384(data, made);
    return eei_secret_equal(eei_span(made, 48), eei_span(digest, 48));
}

static ee_status take_events(ee_span area, eei_boot_event *list, size_t count, ee_error *err) {
    eei_ccel log;
    eei_ccel_event event;
    ee_status st = eei_ccel_open(area, &log, err);
    for (size_t i = 0; !st && i < count; i++) {
        st = eei_ccel_next(&log, &event, err);
        if (st) break;
        list[i].rtmr = event.rtmr;
        list[i].type = event.type;
        memcpy(list[i].digest, event.digest, 48);
        if (event.data.len && event.data.len <= EEI_BOOT_DATA_MAX && is_digest_of(event.digest, event.data)) list[i].data = event.data;
    }
    return st;
}

/* RTMR3's data always stays: without it nobody can tell a boot's event from one of ours. */
static bool keeps_data(const eei_boot_event *e, size_t longest) { return e->data.len && (e->data.len <= longest || e->rtmr == 3); }

static size_t longest_data(const eei_boot_event *list, size_t count) {
    size_t longest = EEI_BOOT_DATA_MAX;
    for (; longest >= 16; longest /= 2) {
        size_t bytes = 0;
        for (size_t i = 0; i < count; i++) bytes += EVENT_BYTES + (keeps_data(&list[i], longest) ? DATA_HEAD_BYTES + list[i].data.len : 0);
        if (bytes <= EEI_BOOT_LOG_BYTES_MAX) return longest;
    }
    return 0;
}

static ee_status own_data(eei_boot_event *list, size_t count, eei_arena *arena, ee_error *err) {
    size_t longest = longest_data(list, count);
    for (size_t i = 0; i < count; i++) {
        if (!keeps_data(&list[i], longest)) {
            list[i].data = (ee_span){NULL, 0};
            continue;
        }
        uint8_t *copy = eei_arena_alloc(arena, list[i].data.len);
        if (!copy) return eei_arena_error(arena, err);
        memcpy(copy, list[i].data.data, list[i].data.len);
        list[i].data.data = copy;
    }
    return EE_OK;
}

ee_status eei_boot_log_compact(ee_span area, eei_arena *arena, eei_boot_event **out, size_t *count, ee_error *err) {
    eei_ccel_replayed sum;
    *out = NULL;
    *count = 0;
    ee_status st = eei_ccel_replay(area, &sum, err);
    if (st) return st;
    size_t n = sum.events[0] + sum.events[1] + sum.events[2] + sum.events[3];
    eei_boot_event *list = eei_arena_alloc(arena, (n + 1) * sizeof *list);
    if (!list) return eei_arena_error(arena, err);
    st = take_events(area, list, n, err);
    if (!st) st = own_data(list, n, arena, err);
    if (st) return st;
    *out = list;
    *count = n;
    return EE_OK;
}

/* ---- replayed -------------------------------------------------------------------------------------------------------- */

ee_status eei_boot_log_replay(const eei_boot_event *events, size_t count, eei_boot_registers *out, ee_error *err) {
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < count; i++) {
        const eei_boot_event *e = &events[i];
        if (e->rtmr >= EEI_RTMR_COUNT)
            return eei_fail(err, EE_E_MALFORMED, "boot event %zu is for RTMR%llu, the last is RTMR3", i + 1, (unsigned long long)e->rtmr);
        if (e->type == EEI_EV_NO_ACTION || e->type > UINT32_MAX)
            return eei_fail(err, EE_E_MALFORMED, "boot event %zu has type 0x%llx, which extends nothing", i + 1,
                            (unsigned long long)e->type);
        if (e->data.len && !is_digest_of(e->digest, e->data))
            return eei_fail(err, EE_E_AUTH, "boot event %zu shows other data than was measured", i + 1);
        eei_rtmr_extend(out->rtmr[e->rtmr], e->digest);
        out->events[e->rtmr]++;
    }
    return EE_OK;
}

void eei_boot_log_keep(ee_verdict *v, const eei_boot_event *events, size_t count) {
    v->has_boot_log = true;
    v->boot_events = eei_arena_alloc(&v->arena, (count + 1) * sizeof *v->boot_events);
    if (!v->boot_events) {
        v->nomem = true;
        return;
    }
    v->boot_event_count = count;
    for (size_t i = 0; i < count; i++) {
        v->boot_events[i] = events[i];
        v->boot_events[i].data = eei_verdict_copy(v, events[i].data);
    }
}

/* ---- the check ------------------------------------------------------------------------------------------------------- */

/* The log must be all that these registers ever saw: one without events has to be as it was at reset. */
static ee_status gives_registers(ee_verdict *v, const eei_boot_registers *made, unsigned count, ee_error *why) {
    for (unsigned i = 0; i < count; i++) {
        if (eei_same(made->rtmr[i], v->quote.rtmr[i], 48)) continue;
        eei_verdict_compare(v, EEI_CHECK_BOOT_LOG, eei_verdict_printf(v, "rtmr%u %s", i, eei_verdict_hex(v, v->quote.rtmr[i], 48)),
                            eei_verdict_hex(v, made->rtmr[i], 48));
        return eei_fail(why, EE_E_AUTH, "replaying its %zu events for RTMR%u does not give the quote's RTMR%u", made->events[i], i, i);
    }
    return EE_OK;
}

/* In evidence RTMR3 goes on with our own events (check event_log). So that none of them hides among the boot's, those show what they
 * measured. */
static ee_status boot_part_of_rtmr3(const ee_verdict *v, ee_error *why) {
    const ee_span label = eei_span_text(EEI_EVENT_LABEL);
    for (size_t i = 0; i < v->boot_event_count; i++) {
        const eei_boot_event *e = &v->boot_events[i];
        if (e->rtmr != 3) continue;
        if (!e->data.len) return eei_fail(why, EE_E_AUTH, "boot event %zu extends RTMR3 and does not show what was measured", i + 1);
        if (e->data.len >= label.len && eei_span_equal(eei_span(e->data.data, label.len), label))
            return eei_fail(why, EE_E_AUTH, "boot event %zu extends RTMR3 with an event of an instance: it belongs into the event log",
                            i + 1);
    }
    return EE_OK;
}

void eei_boot_log_judge(ee_verdict *v) {
    ee_error why = {0};
    eei_boot_registers made;
    if (v->rows[EEI_CHECK_BOOT_LOG].state == EEI_CHECK_FAILED) return; /* it could not be read */
    if (!v->has_boot_log) {
        eei_verdict_skip(v, EEI_CHECK_BOOT_LOG,
                         v->has_statement ? "the evidence carries no boot log: the registers are known, not what went into them"
                                          : "no boot log was given: the registers are known, not what went into them");
        return;
    }
    ee_status st = eei_boot_log_replay(v->boot_events, v->boot_event_count, &made, &why);
    if (!st) st = gives_registers(v, &made, made.events[3] && !v->has_statement ? 4 : 3, &why);
    if (!st && v->has_statement) st = boot_part_of_rtmr3(v, &why);
    if (!st) memcpy(v->boot_rtmr3, made.rtmr[3], 48);
    const char *good = st ? NULL
                          : eei_verdict_printf(v, "%zu events replay to RTMR0-2%s", v->boot_event_count,
                                               made.events[3] ? ", and RTMR3 begins with theirs" : "");
    eei_verdict_judge(v, EEI_CHECK_BOOT_LOG, st, &why, good);
}

/* ---- shown ----------------------------------------------------------------------------------------------------------- */

static json_t *hex_or_null(ee_span bytes) {
    char hex[2 * EEI_BOOT_DATA_MAX + 1];
    EE_ASSERT(bytes.len <= EEI_BOOT_DATA_MAX);
    if (!bytes.len) return json_null();
    eei_hex_encode(bytes, hex);
    return json_string(hex);
}

json_t *eei_boot_log_json(const eei_boot_event *events, size_t count) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        const eei_boot_event *e = &events[i];
        json_t *item = json_pack("{s:I, s:I, s:s*, s:o, s:o}", "rtmr", (json_int_t)e->rtmr, "type", (json_int_t)e->type, "name",
                                 eei_ccel_type_name(e->type), "digest", hex_or_null(eei_span(e->digest, 48)), "data", hex_or_null(e->data));
        ok = item && !json_array_append_new(list, item);
    }
    if (ok) return list;
    json_decref(list);
    return NULL;
}
