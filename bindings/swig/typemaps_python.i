/* typemaps_python.i - how the types of eesdk.i cross into Python. Not what crosses (eesdk.i). Included by eesdk.i.
 *
 * A failed call raises eesdk_raw.RawError, whose args are the fields of ee_error and, last, what the call returned all the same
 * (a stopped job's result, a refused quote's verdict) or None. Texts are str without a NUL inside; bytes are anything with a buffer. */

%pythoncode %{RawError = _eesdk_raw.RawError%}

%init %{
    ees_raw_error = PyErr_NewException("eesdk_raw.RawError", NULL, NULL);
    Py_XINCREF(ees_raw_error);
    PyModule_AddObject(m, "RawError", ees_raw_error);
%}

%{
static PyObject *ees_raw_error;

static PyObject *ees_text(const char *text) { return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace"); }

/* Takes over kept (what the call returned), raises, and gives NULL. */
static PyObject *ees_raise(const ee_error *e, PyObject *kept) {
    PyObject *args = NULL;
    if (!PyErr_Occurred())
        args = Py_BuildValue("(iiIIiKLLLNNNNNKO)", (int)e->status, (int)e->http_status, e->native_code, e->retry_after_ms, (int)e->retryable,
                             (unsigned long long)e->offset_bytes, (long long)e->needed, (long long)e->available, (long long)e->locked,
                             ees_text(e->message), ees_text(e->hint), ees_text(e->request_id), ees_text(e->idempotency_key),
                             ees_text(e->details), (unsigned long long)e->refusal, kept ? kept : Py_None);
    if (args) PyErr_SetObject(ees_raw_error, args);
    Py_XDECREF(args);
    Py_XDECREF(kept);
    return NULL;
}
%}

/* ---- in: text ---- */
%typemap(in) const char * (Py_ssize_t length) {
    if (!PyUnicode_Check($input)) {
        PyErr_Format(PyExc_TypeError, "$symname: argument $argnum must be str, not %s", Py_TYPE($input)->tp_name);
        SWIG_fail;
    }
    $1 = (char *)PyUnicode_AsUTF8AndSize($input, &length);
    if (!$1) SWIG_fail;
    if (strlen($1) != (size_t)length) {
        PyErr_SetString(PyExc_ValueError, "$symname: argument $argnum has a NUL character inside");
        SWIG_fail;
    }
}
%typemap(freearg) const char * ""

/* ---- in: bytes; the view is held while the lock is released ---- */
%typemap(in) (const void *bytes, size_t bytes_len) (Py_buffer view) {
    view.obj = NULL;
    if (PyObject_GetBuffer($input, &view, PyBUF_SIMPLE) != 0) SWIG_fail;
    $1 = view.buf;
    $2 = (size_t)view.len;
}
%typemap(arginit) (const void *bytes, size_t bytes_len) { view$argnum.obj = NULL; }
%typemap(freearg) (const void *bytes, size_t bytes_len) { PyBuffer_Release(&view$argnum); }
%apply (const void *bytes, size_t bytes_len) {
    (const void *command, size_t command_len), (const void *env, size_t env_len), (const void *input, size_t input_len),
    (const void *json, size_t json_len), (const void *quote, size_t quote_len), (const void *report_data, size_t report_data_len), (const void *ccel, size_t ccel_len),
    (const void *headers, size_t headers_len), (const void *body, size_t body_len)
};

/* ---- in: enums are numbers ---- */
%typemap(in) ee_status, ee_stream_id {
    long number = PyLong_AsLong($input);
    if (number == -1 && PyErr_Occurred()) SWIG_fail;
    $1 = ($1_ltype)number;
}

/* ---- in: None is no handle; a handle of another kind is refused ---- */
%typemap(in) const ee_policy *policy, ee_cancel *cancel {
    void *pointer = NULL;
    if (!SWIG_IsOK(SWIG_ConvertPtr($input, &pointer, $1_descriptor, 0))) %argument_fail(SWIG_TypeError, "$type", $symname, $argnum);
    $1 = ($1_ltype)pointer;
}
%typemap(in) SWIGTYPE * {
    void *pointer = NULL;
    if ($input == Py_None || !SWIG_IsOK(SWIG_ConvertPtr($input, &pointer, $1_descriptor, 0)))
        %argument_fail(SWIG_TypeError, "$type", $symname, $argnum);
    $1 = ($1_ltype)pointer;
}

/* ---- the error: no argument in Python ---- */
%typemap(in, numinputs=0) ee_error *err (ee_error story) {
    memset(&story, 0, sizeof story);
    $1 = &story;
}
%typemap(argout) ee_error *err {
    if ($1->status != EE_OK) {
        ees_raise($1, $result);
        SWIG_fail;
    }
}

/* ---- out ---- */
%typemap(out) const char *, char * {
    if ($1) {
        $result = ees_text($1);
    } else {
        Py_INCREF(Py_None);
        $result = Py_None;
    }
}
%typemap(newfree) char * "ee_string_free($1);"
%typemap(out) ee_span { $result = PyBytes_FromStringAndSize((const char *)$1.data, (Py_ssize_t)$1.len); }
%typemap(out) ees_bytes {
    $result = PyBytes_FromStringAndSize((const char *)$1.data, (Py_ssize_t)$1.len);
    free($1.data);
}
%typemap(out) ee_money { $result = PyLong_FromLongLong($1); }
%typemap(out) SWIGTYPE * {
    if ($1) {
        $result = SWIG_NewPointerObj((void *)$1, $1_descriptor, 0);
    } else {
        Py_INCREF(Py_None);
        $result = Py_None;
    }
}

/* ---- out: small structs are tuples ---- */
%typemap(in, numinputs=0) ee_transfer *out (ee_transfer transfer) {
    memset(&transfer, 0, sizeof transfer);
    $1 = &transfer;
}
%typemap(argout) ee_transfer *out {
    Py_DECREF($result);
    $result = Py_BuildValue("(NNLLi)", ees_text($1->id), ees_text($1->idempotency_key), (long long)$1->amount,
                            (long long)$1->balance_after, (int)$1->replayed);
}
%typemap(in, numinputs=0) ee_balance *out (ee_balance balance) {
    memset(&balance, 0, sizeof balance);
    $1 = &balance;
}
%typemap(argout) ee_balance *out {
    Py_DECREF($result);
    $result = Py_BuildValue("(LLN)", (long long)$1->available, (long long)$1->locked, ees_text($1->account));
}
/* (kind, stream, seq, time_unix_ms, data, phase, done, total, message) */
%typemap(in, numinputs=0) ee_job_event *out (ee_job_event event) {
    memset(&event, 0, sizeof event);
    $1 = &event;
}
%typemap(argout) ee_job_event *out {
    Py_DECREF($result);
    $result = Py_BuildValue("(iiKKNNKKN)", (int)$1->kind, (int)$1->stream, (unsigned long long)$1->seq,
                            (unsigned long long)$1->time_unix_ms,
                            PyBytes_FromStringAndSize((const char *)$1->data.data, (Py_ssize_t)$1->data.len),
                            ees_text($1->phase ? $1->phase : ""), (unsigned long long)$1->done, (unsigned long long)$1->total,
                            ees_text($1->message ? $1->message : ""));
}

/* ---- what Python alone has: Go has types of its own for times and sizes ---------------------------------------------------------------- */
%nothread;
%inline %{
static uint64_t ees_duration_parse(const char *text, ee_error *err) {
    uint64_t out = 0;
    ees_end(ee_duration_parse(text, &out, err), err);
    return out;
}

static uint64_t ees_size_parse(const char *text, ee_error *err) {
    uint64_t out = 0;
    ees_end(ee_size_parse(text, &out, err), err);
    return out;
}
%}
