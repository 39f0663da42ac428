/* limits.h - every maximum, with its reason. A limit that only one module knows lives in that module's header instead. */
#ifndef EEI_LIMITS_H
#define EEI_LIMITS_H

#define EEI_FRAME_HEADER_BYTES   12u
#define EEI_FRAME_PAYLOAD_MAX    65536u      /* largest control frame: evidence with quote (8 KiB), event log and collateral fits 4x */
#define EEI_DATA_PAYLOAD_MAX     16360u      /* header + websocket header + data stay within one 16,384-byte TLS record */
#define EEI_WS_MESSAGE_MAX       131072u     /* one websocket message: any one frame, or several small ones */
#define EEI_MSGPACK_DEPTH_MAX    8u          /* docs/protocol.md: depth of signed bodies */
#define EEI_MSGPACK_ITEMS_MAX    16384u      /* total values in one message: bounds msgpack-c's allocation to about 400 KiB */
#define EEI_MESSAGE_BYTES_MAX    (1u << 20)  /* one message inside the inner channel (secrets with 512 KiB of env and stdin pieces) */
#define EEI_STREAMS_MAX          1024u       /* open streams of one connection */
#define EEI_STREAM_WINDOW        262144u     /* initial credit of a stream: 256 KiB = a 10 ms round trip at 25 MiB/s */
#define EEI_STREAM_WINDOW_MAX    (16u << 20) /* a stream's credit may open up to this */
#define EEI_SESSION_BUFFER_MAX   (32u << 20) /* all streams of one connection together */
#define EEI_JSON_BYTES_MAX       (1u << 20)  /* an API body or collateral */
#define EEI_JSON_DEPTH_MAX       16u         /* threat B6 */
#define EEI_JSON_ITEMS_MAX       200000u     /* names and values of one text: at most 50 MiB; a full evidence file has 120,000 */
#define EEI_QUOTE_BYTES_MAX      65536u      /* 3x the largest quote seen */
#define EEI_COLLATERAL_BYTES_MAX (1u << 20)
#define EEI_EVIDENCE_BYTES_MAX   61440u      /* evidence in one frame, and in a certificate extension (threat Q18) */
#define EEI_EVENTS_MAX           4096u       /* RTMR3 events of one boot */
#define EEI_EVENT_PAYLOAD_MAX    4096u       /* of one of them: a configuration, an app */
#define EEI_BOOT_EVENTS_MAX      512u        /* boot log in evidence: twice the longest boots seen */
#define EEI_BOOT_DATA_MAX        256u        /* what one of its events shows of what was measured */
#define EEI_BOOT_LOG_BYTES_MAX   32768u      /* all of it: a quote and 300 RTMR3 events still fit beside it */
#define EEI_NAME_BYTES_MAX       63u         /* account, node and app names: one DNS label */
#define EEI_ENV_BYTES_MAX        (1u << 20)  /* all of a job's environment together */
#define EEI_ENV_ITEM_BYTES_MAX   131071u     /* one NAME=value of it; Linux starts no program with a longer one (MAX_ARG_STRLEN) */
#define EEI_ARGS_MAX             1024u       /* command arguments, env names */
#define EEI_STDIN_BYTES_MAX      (1u << 20)  /* whole stdin given at the start; streaming comes with its own frames */
#define EEI_OUTPUT_CAPTURE_MAX   (64u << 20) /* most output a result keeps per stream */
#define EEI_HTTP_BODY_MAX        (1u << 20)  /* body of one API request */
#define EEI_RESPONSE_BODY_MAX    (64u << 20) /* ee_app_request() without streaming */
#define EEI_REPLY_HEAD_MAX       65536u      /* all headers of an answer: a PCS sends a certificate chain of 5 KiB in one */

/* Deadlines, milliseconds (docs/protocol.md, deadlines). */
#define EEI_TLS_DEADLINE_MS         10000u
#define EEI_HELLO_DEADLINE_MS       10000u
#define EEI_EVIDENCE_DEADLINE_MS    30000u
#define EEI_PING_IDLE_MS            20000u
#define EEI_DEAD_MS                 60000u
#define EEI_JOB_CONNECT_DEADLINE_MS 30000u /* an admitted job whose caller does not connect is cancelled, its lock returned */
#define EEI_NONCE_LIFE_MS           60000u
#define EEI_REQUEST_SKEW_MS         300000u  /* Ee-Time against the control plane's clock */
#define EEI_EVIDENCE_AGE_MAX_MS     1800000u /* older evidence is not routed to, and no connection opens on an older quote */
#define EEI_CERT_LIFE_S             3600u    /* a certificate outlives no quote by much; longer ones are refused */
#define EEI_CERT_RENEW_S            600u     /* a third of that age: two renewals may fail before anybody is refused */
#define EEI_CONNECTION_LIFE_S       900u     /* a request after that opens a new connection, which is proved anew (threat Q17) */
#define EEI_TICKET_LIFE_MAX_MS      600000u  /* a boot ticket is for the boot that is about to be: it is worth little to who steals it */
#define EEI_TICKET_BYTES_MAX        2048u    /* a boot ticket with that many releases, twice over */
#define EEI_TICKET_RELEASES_MAX     16u      /* what a provider may boot next */
#endif
