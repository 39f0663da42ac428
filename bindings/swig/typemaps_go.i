/* typemaps_go.i - how the types of eesdk.i cross into Go. Not what crosses (eesdk.i). Included by eesdk.i.
 *
 * The error and the small structs are C objects that Go makes, passes and reads: New..., Get..., Delete.... Bytes go in as pointer and
 * length for the time of the call, and come out as a copy: C never keeps a Go pointer, Go never keeps one of C's. Texts with a NUL inside
 * are refused by the wrapper, since SWIG cuts them there. */

/* Python's alone: Go has no lock to release. */
%define %thread %enddef
%define %nothread %enddef

/* Named here so that each handle is a Go type of its own: else SWIG lets one pass for another. */
%nodefaultctor;
%nodefaultdtor;
struct ee_app {};
struct ee_cancel {};
struct ee_client {};

struct ee_forward {};
struct ee_job {};
struct ee_policy {};
struct ee_response {};
struct ee_result {};
struct ee_upload {};
struct ee_verdict {};
struct ees_job_spec {};
%clearnodefaultctor;
%clearnodefaultdtor;

/* ---- in: bytes, borrowed for the call ---- */
%typemap(gotype) (const void *bytes, size_t bytes_len) "[]byte"
%typemap(in) (const void *bytes, size_t bytes_len) {
    $1 = $input.array;
    $2 = (size_t)$input.len;
}
%apply (const void *bytes, size_t bytes_len) {
    (const void *command, size_t command_len), (const void *env, size_t env_len), (const void *input, size_t input_len),
    (const void *json, size_t json_len), (const void *quote, size_t quote_len), (const void *report_data, size_t report_data_len), (const void *ccel, size_t ccel_len),
    (const void *headers, size_t headers_len), (const void *body, size_t body_len)
};

/* ---- numbers ---- */
%typemap(gotype) ee_money "int64"
%typemap(in) ee_money "$1 = (ee_money)$input;"
%typemap(out) ee_money "$result = (long long)$1;"
%typemap(gotype) ee_status, ee_stream_id, ee_job_event_kind "int32"
%typemap(in) ee_status, ee_stream_id, ee_job_event_kind "$1 = ($1_ltype)$input;"
%typemap(out) ee_status, ee_stream_id, ee_job_event_kind "$result = (int)$1;"

/* ---- out: bytes and texts are copied ---- */
%insert(go_wrapper) %{
// copyOf takes bytes that lie in C's memory into Go's.
func copyOf(borrowed []byte) []byte { return append([]byte(nil), borrowed...) }

%}
%typemap(gotype) ee_span, ees_bytes "[]byte"
%typemap(out) ee_span {
    $result.array = (void *)$1.data;
    $result.len = (intgo)$1.len;
    $result.cap = (intgo)$1.len;
}
%typemap(goout) ee_span %{
    $result = copyOf($1)
%}
%typemap(out) ees_bytes {
    $result.array = $1.data;
    $result.len = (intgo)$1.len;
    $result.cap = (intgo)$1.len;
}
%typemap(goout) ees_bytes %{
    $result = copyOf($1)
    Ees_free($1)
%}
%typemap(newfree) char * "ee_string_free($1);"

%inline %{
/* Gives back the memory of an ees_bytes, once it is copied. */
static void ees_free(const void *bytes, size_t bytes_len) {
    (void)bytes_len;
    free((void *)(uintptr_t)bytes);
}
%}

/* ---- what Go makes and reads: fields as in types.h, client.h and jobs.h ---- */
%immutable;
typedef struct ee_error {
    ee_status status;
    int32_t http_status;
    uint32_t retry_after_ms;
    int32_t retryable;
    uint64_t refusal;
    uint64_t offset_bytes;
    ee_money needed;
    ee_money available;
    ee_money locked;
    char message[512];
    char hint[256];
    char request_id[48];
    char idempotency_key[72];
    char details[1024];
} ee_error;
typedef struct ee_transfer {
    char id[40];
    char idempotency_key[72];
    ee_money amount;
    ee_money balance_after;
    int32_t replayed;
} ee_transfer;
typedef struct ee_balance {
    ee_money available;
    ee_money locked;
    char account[64];
} ee_balance;
typedef struct ee_job_event {
    ee_job_event_kind kind;
    ee_stream_id stream;
    uint64_t seq;
    uint64_t time_unix_ms;
    ee_span data;
    const char *phase;
    uint64_t done, total;
    const char *message;
} ee_job_event;
%mutable;
