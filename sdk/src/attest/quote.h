/* quote.h - TDX quotes, version 4 and 5, as plain structs. Parses only; nothing in the result is true before verify.c says so.
 * Called by verify.c, pck.c's caller and the fuzzer. Spec: Intel TDX DCAP Quoting Library API, "TD Quote format". */
#ifndef EEI_QUOTE_H
#define EEI_QUOTE_H
#include "base/reader.h"

enum {
    EEI_QUOTE_HEADER_BYTES = 48,
    EEI_QE_REPORT_BYTES = 384,
    EEI_BODY_TD10 = 2, /* v5 body types; a v4 quote always has the first */
    EEI_BODY_TD15 = 3,
    EEI_CERT_PCK_CHAIN = 5, /* inner certification data: PEM chain, leaf first */
};

/* The QE's SGX report. Spec: Intel SDM, REPORT structure. */
typedef struct eei_qe_report {
    uint8_t cpusvn[16], miscselect[4], attributes[16], mrenclave[32], mrsigner[32], report_data[64];
    uint16_t isvprodid, isvsvn;
} eei_qe_report;

typedef struct eei_quote {
    uint16_t version, body_type;
    uint32_t tee_type;
    size_t bytes_used;   /* without trailing */
    ee_span signed_part; /* header, descriptor and body: what the attestation key signs */
    /* TD report */
    uint8_t tee_tcb_svn[16], mr_seam[48], mr_signer_seam[48], seam_attributes[8];
    uint64_t td_attributes, xfam;
    uint8_t mrtd[48], mr_config_id[48], mr_owner[48], mr_owner_config[48], rtmr[4][48], report_data[64];
    uint8_t tee_tcb_svn2[16], mr_service_td[48]; /* TD 1.5 */
    /* authentication data */
    uint8_t signature[64], attestation_key[64];
    ee_span qe_report_bytes;
    eei_qe_report qe_report;
    uint8_t qe_report_signature[64];
    ee_span qe_auth_data;
    uint16_t cert_type; /* 1..5 */
    ee_span cert_data;
    ee_span trailing; /* after the last signed or counted byte: outside every signature, never looked into */
} eei_quote;

/* Spans borrow from bytes. EE_E_MALFORMED, EE_E_VERSION, EE_E_LIMIT. */
ee_status eei_quote_parse(ee_span bytes, eei_quote *out, ee_error *err) EE_MUST_USE;
#endif
