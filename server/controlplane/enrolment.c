/* enrolment.c - see enrolment.h. */
#include "controlplane/enrolment.h"

#include "attest/evidence.h"
#include "attest/statement.h"
#include "attest/ticket.h"

static ee_status find_uptime(const cp_context *cp, ee_span name, enrolment *out, ee_error *err) {
    for (size_t i = 0; i < cp->uptime_count; i++) {
        const cp_uptime *u = &cp->uptime[i];
        if (!eei_span_equal(eei_span_text(u->name), name)) continue;
        *out = (enrolment){.name = u->name,
                           .node_id = u->node_id,
                           .provider_pub = u->provider_pub,
                           .machine_id = u->machine_pinned ? u->machine_id : NULL};
        return EE_OK;
    }
    return eei_fail(err, EE_E_NOT_FOUND, "there is no uptime server \"%.*s\" in this network's genesis",
                    (int)(name.len > 63 ? 63 : name.len), (const char *)name.data);
}

ee_status enrolment_find(const cp_context *cp, uint64_t role, ee_span name, enrolment *out, ee_error *err) {
    registry_node *node = NULL;
    if (role == EEI_ROLE_UPTIME) return find_uptime(cp, name, out, err);
    if (role != EEI_ROLE_AGENT) return eei_fail(err, EE_E_PERMISSION, "only agents and uptime servers are enrolled");
    ee_status st = registry_get(cp->registry, name, &node, err);
    if (st) return st;
    const registry_profile *p = &node->profile;
    *out = (enrolment){
        .name = p->name, .node_id = p->node_id, .provider_pub = p->provider_pub, .machine_id = p->machine_pinned ? p->machine_id : NULL};
    return EE_OK;
}

ee_status enrolment_check_machine(const cp_context *cp, const enrolment *who, const ee_verdict *verdict, ee_error *err) {
    if (ee_verdict_simulated(verdict) && !cp->sandbox) return eei_fail(err, EE_E_ATTESTATION, "this network admits no simulated machines");
    if (who->machine_id && !eei_same(who->machine_id, eei_verdict_machine_id(verdict), 16))
        return eei_fail(err, EE_E_ATTESTATION, "node %s runs on another machine than its provider named", who->name);
    return EE_OK;
}

ee_status enrolment_check_ticket(const cp_context *cp, const enrolment *who, uint8_t role, const ee_verdict *verdict,
                                 const uint8_t instance_id[32], ticket_use *use, ee_error *err) {
    size_t count = 0;
    const eei_event *events = eei_verdict_events(verdict, &count);
    const uint8_t *machine = eei_verdict_machine_id(verdict);
    ee_span ticket = eei_verdict_ticket(verdict);
    if (!machine || !count) return eei_fail(err, EE_E_ATTESTATION, "the evidence is not verified");
    eei_ticket_expect expect = {.network_id = cp->network_id,
                                .node_id = who->node_id,
                                .provider_pub = who->provider_pub,
                                .machine_id = machine,
                                .role = role,
                                .release = events[0].payload,
                                .now_ms = eei_wall_ms()};
    ee_status st = EE_OK;
    if (eei_ticket_serial(ticket, use->serial)) st = tickets_used_by(cp->reader, use->serial, instance_id, &expect.used_by_it, err);
    if (!st) st = eei_ticket_check(ticket, &expect, use->serial, err);
    memcpy(use->node_id, who->node_id, 32);
    memcpy(use->instance_id, instance_id, 32);
    use->now_ms = expect.now_ms;
    return st;
}
