/* agent.c - hands the tunnel's frames and streams to jobs, apps and health. Called by main.c's link callbacks. */
#include "agent/agent.h"

#include "agent/receipts.h"

#include <stdio.h>
#include <string.h>

void agent_send(agent *self, uint8_t type, const eei_schema *schema, const void *message) {
    eei_buf payload = EEI_BUF_INIT(EEI_FRAME_PAYLOAD_MAX);
    ee_error err = {0};
    ee_status st = eei_encode(schema, message, &payload, &err);
    if (!st && eei_link_is_open(self->link)) st = eei_link_send(self->link, type, EEI_FRAME_CRITICAL, eei_buf_span(&payload), &err);
    if (st) eei_log(EEI_LOG_WARN, "control.not_sent", "type=%s message=%s", eei_frame_name(type), err.message);
    eei_buf_clear(&payload);
}

void agent_refuse(eei_stream *stream, ee_status why, const char *message) {
    char reason[200];
    (void)snprintf(reason, sizeof reason, "%s: %s", ee_status_word(why), message);
    for (size_t len = strlen(reason); len && !eei_utf8_valid(eei_span(reason, len)); len--) reason[len - 1] = 0; /* no half character */
    eei_stream_reset(stream, reason);
}

void agent_on_control(agent *self, const eei_frame *frame) {
    switch (frame->type) {
    case EEI_FRAME_JOB:
    case EEI_FRAME_RECEIPT_ACK: agent_jobs_control(self, frame); break;
    case EEI_FRAME_APP: agent_apps_control(self, frame); break;
    case EEI_FRAME_CHALLENGE:
        if (!agent_attest_control(self, frame)) agent_health_control(self, frame);
        break;
    default: eei_log(EEI_LOG_DEBUG, "control.ignored", "type=%u", frame->type);
    }
    agent_receipts_go_on(self); /* the peer reads: there may be room again for what the queue did not take */
}

void agent_on_opened(agent *self, eei_stream *stream, ee_span payload) {
    eei_open open;
    eei_arena arena = EEI_ARENA_INIT(1024);
    ee_error err = {0};
    ee_status st = eei_decode(&eei_open_schema, payload, &arena, &open, &err);
    if (!st && open.kind == EEI_OPEN_JOB) {
        agent_jobs_stream(self, stream, &open);
    } else if (!st && open.kind == EEI_OPEN_APP) {
        agent_apps_stream(self, stream, &open);
    } else if (!st && open.kind == EEI_OPEN_HEALTH) {
        agent_health_stream(self, stream);
    } else if (!st && open.kind == EEI_OPEN_ATTEST) {
        agent_attest_stream(self, stream);
    } else {
        agent_refuse(stream, st ? st : EE_E_VERSION, st ? err.message : "this kind of stream is not known");
        eei_stream_free(stream);
    }
    eei_arena_clear(&arena);
}

void agent_on_session(agent *self) {
    agent_jobs_session(self);
    agent_apps_session(self);
}
