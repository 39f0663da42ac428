/* messages.c - the field tables behind messages.h: key, kind, required, maximum. Nothing but data. Proto: docs/protocol.md#messages */
#include "messages.h"

#include "base/limits.h"

#define FIELD(type, key_, member, kind_, required_, max_, most_, sub_)                                                                     \
    {                                                                                                                                      \
        .key = (key_), .kind = (kind_), .required = (required_), .name = #member, .offset = offsetof(type, member), .max = (max_),         \
        .most = (most_), .sub = (sub_)                                                                                                     \
    }
#define SCHEMA(name_, fields_)                                                                                                             \
    const eei_schema eei_##name_##_schema = {                                                                                              \
        .name = #name_, .size = sizeof(eei_##name_), .fields = (fields_), .count = sizeof(fields_) / sizeof *(fields_)}

static const eei_field hello_fields[] = {
    FIELD(eei_hello, 1, versions, EEI_KIND_NUMBERS, true, 0, 8, NULL),
    FIELD(eei_hello, 2, features, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_hello, 3, role, EEI_KIND_U64, true, 16, 0, NULL),
    FIELD(eei_hello, 4, instance_pub, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_hello, 5, r, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_hello, 6, session_id, EEI_KIND_FIXED, false, 16, 0, NULL),
    FIELD(eei_hello, 7, head_root, EEI_KIND_FIXED, false, 32, 0, NULL),
    FIELD(eei_hello, 8, head_size, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_hello, 9, release, EEI_KIND_TEXT, false, 64, 0, NULL),
    FIELD(eei_hello, 10, node, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_hello, 11, policy_hash, EEI_KIND_FIXED, false, 32, 0, NULL),
    FIELD(eei_hello, 128, limits_off, EEI_KIND_BOOL, false, 0, 0, NULL),
};
SCHEMA(hello, hello_fields);

static const eei_field accept_fields[] = {
    FIELD(eei_accept, 1, session_id, EEI_KIND_FIXED, true, 16, 0, NULL),
    FIELD(eei_accept, 2, state, EEI_KIND_TEXT, false, 32, 0, NULL),
    FIELD(eei_accept, 3, health_interval_ms, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_accept, 4, time_ms, EEI_KIND_U64, true, 0, 0, NULL),
};
SCHEMA(accept, accept_fields);

static const eei_field reject_fields[] = {
    FIELD(eei_reject, 1, word, EEI_KIND_TEXT, true, 32, 0, NULL),
    FIELD(eei_reject, 2, message, EEI_KIND_TEXT, false, 512, 0, NULL),
    FIELD(eei_reject, 3, retry_after_ms, EEI_KIND_U64, false, 0, 0, NULL),
};
SCHEMA(reject, reject_fields);

static const eei_field open_fields[] = {
    FIELD(eei_open, 1, kind, EEI_KIND_U64, true, 16, 0, NULL),
    FIELD(eei_open, 2, target, EEI_KIND_TEXT, false, 64, 0, NULL),
    FIELD(eei_open, 3, instance_id, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_open, 4, token, EEI_KIND_BYTES, false, 1024, 0, NULL),
};
SCHEMA(open, open_fields);

static const eei_field token_fields[] = {
    FIELD(eei_token, 1, kind, EEI_KIND_U64, true, 16, 0, NULL),
    FIELD(eei_token, 2, target, EEI_KIND_TEXT, false, 64, 0, NULL),
    FIELD(eei_token, 3, instance_id, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_token, 4, account, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_token, 5, not_after_ms, EEI_KIND_U64, true, 0, 0, NULL),
};
SCHEMA(token, token_fields);

static const eei_field ticket_fields[] = {
    FIELD(eei_ticket, 1, network_id, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_ticket, 2, node_id, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_ticket, 3, role, EEI_KIND_U64, true, 255, 0, NULL),
    FIELD(eei_ticket, 4, machine_id, EEI_KIND_FIXED, true, 16, 0, NULL),
    FIELD(eei_ticket, 5, releases, EEI_KIND_TEXTS, true, 64, EEI_TICKET_RELEASES_MAX, NULL),
    FIELD(eei_ticket, 6, serial, EEI_KIND_FIXED, true, 16, 0, NULL),
    FIELD(eei_ticket, 7, not_after_ms, EEI_KIND_U64, true, 0, 0, NULL),
};
SCHEMA(ticket, ticket_fields);

static const eei_field spec_fields[] = {
    FIELD(eei_spec, 1, kind, EEI_KIND_U64, true, 2, 0, NULL),
    FIELD(eei_spec, 2, repository, EEI_KIND_TEXT, true, 255, 0, NULL),
    FIELD(eei_spec, 3, tag, EEI_KIND_TEXT, false, 128, 0, NULL),
    FIELD(eei_spec, 4, image_digest, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_spec, 5, args, EEI_KIND_TEXTS, false, 65536, EEI_ARGS_MAX, NULL),
    FIELD(eei_spec, 6, env_names, EEI_KIND_TEXTS, false, 255, EEI_ARGS_MAX, NULL),
    FIELD(eei_spec, 7, vcpus_milli, EEI_KIND_U64, true, 1024000, 0, NULL),
    FIELD(eei_spec, 8, memory_bytes, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_spec, 9, wall_ms, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_spec, 10, output_max, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_spec, 11, port, EEI_KIND_U64, false, 65535, 0, NULL),
    FIELD(eei_spec, 12, name, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_spec, 13, node, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_spec, 14, insecure_registry, EEI_KIND_BOOL, false, 0, 0, NULL),
};
SCHEMA(spec, spec_fields);

static const eei_field spend_auth_fields[] = {
    FIELD(eei_spend_auth, 1, auth_id, EEI_KIND_FIXED, true, 16, 0, NULL),
    FIELD(eei_spend_auth, 2, spec_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_spend_auth, 3, price, EEI_KIND_U64, true, INT64_MAX, 0, NULL),
    FIELD(eei_spend_auth, 4, node, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_spend_auth, 5, max_total, EEI_KIND_U64, true, INT64_MAX, 0, NULL),
    FIELD(eei_spend_auth, 6, not_after_ms, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_spend_auth, 7, control_instance, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_spend_auth, 8, policy_hash, EEI_KIND_FIXED, false, 32, 0, NULL),
};
SCHEMA(spend_auth, spend_auth_fields);

static const eei_field transfer_order_fields[] = {
    FIELD(eei_transfer_order, 1, from, EEI_KIND_TEXT, true, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_transfer_order, 2, to, EEI_KIND_TEXT, true, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_transfer_order, 3, amount, EEI_KIND_U64, true, INT64_MAX, 0, NULL),
    FIELD(eei_transfer_order, 4, memo, EEI_KIND_TEXT, false, 140, 0, NULL),
    FIELD(eei_transfer_order, 5, key, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_transfer_order, 6, not_after_ms, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_transfer_order, 7, control_instance, EEI_KIND_FIXED, true, 32, 0, NULL),
};
SCHEMA(transfer_order, transfer_order_fields);

static const eei_field job_fields[] = {
    FIELD(eei_job, 1, job_id, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_job, 2, spec, EEI_KIND_BYTES, false, 60000, 0, NULL),
    FIELD(eei_job, 3, spend_auth, EEI_KIND_BYTES, false, 1024, 0, NULL),
    FIELD(eei_job, 4, account_pub, EEI_KIND_FIXED, false, 32, 0, NULL),
    FIELD(eei_job, 5, account, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_job, 6, price, EEI_KIND_U64, false, INT64_MAX, 0, NULL),
    FIELD(eei_job, 7, locked, EEI_KIND_U64, false, INT64_MAX, 0, NULL),
    FIELD(eei_job, 8, period_start_ms, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_job, 9, connect_by_ms, EEI_KIND_U64, false, 0, 0, NULL),
};
SCHEMA(job, job_fields);

static const eei_field job_state_fields[] = {
    FIELD(eei_job_state, 1, job_id, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_job_state, 2, state, EEI_KIND_TEXT, true, 32, 0, NULL),
    FIELD(eei_job_state, 3, word, EEI_KIND_TEXT, false, 32, 0, NULL),
    FIELD(eei_job_state, 4, message, EEI_KIND_TEXT, false, 512, 0, NULL),
};
SCHEMA(job_state, job_state_fields);

static const eei_field app_fields[] = {
    FIELD(eei_app, 1, app_id, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_app, 2, name, EEI_KIND_TEXT, true, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_app, 3, spec, EEI_KIND_BYTES, false, 60000, 0, NULL),
    FIELD(eei_app, 4, epoch, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_app, 5, account, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
};
SCHEMA(app, app_fields);

static const eei_field app_state_fields[] = {
    FIELD(eei_app_state, 1, app_id, EEI_KIND_TEXT, true, 64, 0, NULL),    FIELD(eei_app_state, 2, epoch, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_app_state, 3, state, EEI_KIND_TEXT, true, 32, 0, NULL),     FIELD(eei_app_state, 4, word, EEI_KIND_TEXT, false, 32, 0, NULL),
    FIELD(eei_app_state, 5, message, EEI_KIND_TEXT, false, 512, 0, NULL),
};
SCHEMA(app_state, app_state_fields);

static const eei_field app_event_fields[] = {
    FIELD(eei_app_event, 1, id, EEI_KIND_TEXT, true, 128, 0, NULL),
    FIELD(eei_app_event, 2, image_digest, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_app_event, 3, spec_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
};
SCHEMA(app_event, app_event_fields);

static const eei_field receipt_fields[] = {
    FIELD(eei_receipt, 1, network_id, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 2, period_start_ms, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_receipt, 3, node, EEI_KIND_TEXT, true, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_receipt, 4, instance_id, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 5, auth_id, EEI_KIND_FIXED, true, 16, 0, NULL),
    FIELD(eei_receipt, 6, sequence, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_receipt, 7, job_id, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_receipt, 8, image_digest, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 9, spec_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 10, env_commitment, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 11, input_commitment, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 12, output_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 13, output_bytes, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_receipt, 14, exit_code, EEI_KIND_U64, false, 255, 0, NULL),
    FIELD(eei_receipt, 15, reason, EEI_KIND_TEXT, true, 32, 0, NULL),
    FIELD(eei_receipt, 16, start_ms, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_receipt, 17, end_ms, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_receipt, 18, vcpus_milli, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_receipt, 19, vcpu_ms, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_receipt, 20, cpu_us, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_receipt, 21, memory_peak, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_receipt, 22, price, EEI_KIND_U64, false, INT64_MAX, 0, NULL),
    FIELD(eei_receipt, 23, charge, EEI_KIND_U64, false, INT64_MAX, 0, NULL),
    FIELD(eei_receipt, 24, spend_auth_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_receipt, 25, policy_hash, EEI_KIND_FIXED, false, 32, 0, NULL),
    FIELD(eei_receipt, 26, previous, EEI_KIND_FIXED, false, 32, 0, NULL),
    FIELD(eei_receipt, 27, log_root, EEI_KIND_FIXED, false, 32, 0, NULL),
};
SCHEMA(receipt, receipt_fields);

static const eei_field receipt_ack_fields[] = {
    FIELD(eei_receipt_ack, 1, job_id, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_receipt_ack, 2, receipt_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
};
SCHEMA(receipt_ack, receipt_ack_fields);

static const eei_field challenge_fields[] = {
    FIELD(eei_challenge, 1, kind, EEI_KIND_U64, true, 3, 0, NULL),
    FIELD(eei_challenge, 2, r, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_challenge, 3, slot, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_challenge, 4, observer, EEI_KIND_TEXT, false, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_challenge, 5, strict, EEI_KIND_BOOL, false, 0, 0, NULL),
    FIELD(eei_challenge, 6, policy_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
};
SCHEMA(challenge, challenge_fields);

static const eei_field app_probe_fields[] = {
    FIELD(eei_app_probe, 1, app_id, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_app_probe, 2, ok, EEI_KIND_BOOL, false, 0, 0, NULL),
    FIELD(eei_app_probe, 3, message, EEI_KIND_TEXT, false, 200, 0, NULL),
};
SCHEMA(app_probe, app_probe_fields);

static const eei_field health_fields[] = {
    FIELD(eei_health, 1, challenge_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_health, 2, observer, EEI_KIND_TEXT, true, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_health, 3, sequence, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_health, 4, time_ms, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_health, 5, apps, EEI_KIND_MESSAGES, false, 0, 256, &eei_app_probe_schema),
    FIELD(eei_health, 6, jobs_running, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_health, 7, vcpus_free_milli, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_health, 8, memory_free, EEI_KIND_U64, false, 0, 0, NULL),
};
SCHEMA(health, health_fields);

static const eei_field observation_fields[] = {
    FIELD(eei_observation, 1, observer, EEI_KIND_TEXT, true, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_observation, 2, node, EEI_KIND_TEXT, true, EEI_NAME_BYTES_MAX, 0, NULL),
    FIELD(eei_observation, 3, slot, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_observation, 4, sent_ms, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_observation, 5, received_ms, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_observation, 6, response, EEI_KIND_BYTES, false, 32768, 0, NULL),
    FIELD(eei_observation, 7, error, EEI_KIND_TEXT, false, 32, 0, NULL),
};
SCHEMA(observation, observation_fields);

static const eei_field env_fields[] = {
    FIELD(eei_env, 1, name, EEI_KIND_TEXT, true, 255, 0, NULL),
    FIELD(eei_env, 2, value, EEI_KIND_BYTES, false, EEI_ENV_BYTES_MAX, 0, NULL),
};
SCHEMA(env, env_fields);

static const eei_field secrets_fields[] = {
    FIELD(eei_secrets, 1, auth_id, EEI_KIND_FIXED, true, 16, 0, NULL),
    FIELD(eei_secrets, 2, spec_hash, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_secrets, 3, instance_id, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_secrets, 4, k_env, EEI_KIND_FIXED, true, 32, 0, NULL),
    FIELD(eei_secrets, 5, env, EEI_KIND_MESSAGES, false, 0, EEI_ARGS_MAX, &eei_env_schema),
    FIELD(eei_secrets, 6, stdin_data, EEI_KIND_BYTES, false, EEI_STDIN_BYTES_MAX, 0, NULL),
};
SCHEMA(secrets, secrets_fields);

static const eei_field job_start_fields[] = {
    FIELD(eei_job_start, 1, job_id, EEI_KIND_TEXT, true, 64, 0, NULL),
    FIELD(eei_job_start, 2, secrets, EEI_KIND_BYTES, true, EEI_MESSAGE_BYTES_MAX, 0, NULL),
};
SCHEMA(job_start, job_start_fields);

static const eei_field progress_fields[] = {
    FIELD(eei_progress, 1, phase, EEI_KIND_TEXT, true, 32, 0, NULL),
    FIELD(eei_progress, 2, done, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_progress, 3, total, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_progress, 4, message, EEI_KIND_TEXT, false, 200, 0, NULL),
};
SCHEMA(progress, progress_fields);

static const eei_field output_fields[] = {
    FIELD(eei_output, 1, seq, EEI_KIND_U64, true, 0, 0, NULL),
    FIELD(eei_output, 2, stream, EEI_KIND_U64, true, 2, 0, NULL),
    FIELD(eei_output, 3, time_ms, EEI_KIND_U64, false, 0, 0, NULL),
    FIELD(eei_output, 4, data, EEI_KIND_BYTES, false, 65536, 0, NULL),
};
SCHEMA(output, output_fields);

static const eei_field result_fields[] = {
    FIELD(eei_result, 1, word, EEI_KIND_TEXT, false, 32, 0, NULL),
    FIELD(eei_result, 2, message, EEI_KIND_TEXT, false, 512, 0, NULL),
    FIELD(eei_result, 3, receipt, EEI_KIND_BYTES, false, 4096, 0, NULL),
    FIELD(eei_result, 4, stdout_truncated, EEI_KIND_BOOL, false, 0, 0, NULL),
    FIELD(eei_result, 5, stderr_truncated, EEI_KIND_BOOL, false, 0, 0, NULL),
};
SCHEMA(result, result_fields);

static const eei_field cancel_job_fields[] = {
    FIELD(eei_cancel_job, 1, grace_ms, EEI_KIND_U64, false, 600000, 0, NULL),
};
SCHEMA(cancel_job, cancel_job_fields);
