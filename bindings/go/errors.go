package easyenclave

// Errors: the story of a failed call, by kind and with details. Numbers and sentinels are in status_gen.go. Made by calls.go.

import (
	"encoding/json"
	"time"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

// Numbers of status.def that this package itself deals with; status_gen.go has the whole table.
const (
	statusConfig        = -1
	statusInvalid       = -5
	statusInvalidAmount = -6
	statusLowBalance    = -9
	statusBudget        = -10
	statusNoNode        = -11
	statusAttestation   = -12
	statusJobFailed     = -15
	statusJobTimeout    = -16
	statusTimeout       = -19
	statusCancelled     = -20
	statusUnknown       = -22
	statusNoMemory      = -25
	statusEnd           = -31
	statusIO            = -33
	statusState         = -34
	statusInternal      = -35
)

// CallError is the base of every error. Match the kind with errors.Is(err, ErrNotFound), and get at details with errors.As.
// It is not called Error: a struct that embeds a type of that name is no error any more.
type CallError struct {
	Kind                           error // one of the Err variables
	Code, Message, Hint, RequestID string
	Retryable                      bool
	RetryAfter                     time.Duration   // 0: not said
	Details                        json.RawMessage // a JSON object, nil if there is none
	Cause                          error           // may be context.Canceled or context.DeadlineExceeded
}

// Error says what happened and what to do.
func (e *CallError) Error() string {
	text := "easyenclave: " + e.Message
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// Unwrap gives the cause, if there is one.
func (e *CallError) Unwrap() error { return e.Cause }

// Is reports whether target is the error's kind.
func (e *CallError) Is(target error) bool { return target == e.Kind }

func (e *CallError) base() *CallError { return e }

// LowBalanceError: the account has less than this may cost, or (ErrBudget) it is over a cap that was set.
type LowBalanceError struct {
	*CallError
	Needed, Available, Locked Money
}

// Unwrap gives the CallError.
func (e *LowBalanceError) Unwrap() error { return e.CallError }

// InvalidAmountError: Offset is the place in the text, in bytes.
type InvalidAmountError struct {
	*CallError
	Offset int
}

// Unwrap gives the CallError.
func (e *InvalidAmountError) Unwrap() error { return e.CallError }

// NoNodeError: Rejected says for each node why not.
type NoNodeError struct {
	*CallError
	Rejected map[string]string
}

// Unwrap gives the CallError.
func (e *NoNodeError) Unwrap() error { return e.CallError }

// AttestationError: the other side did not prove what it runs. FailedCheck is the first check that failed; Attestation has all of them
// where it came that far, else it is nil.
type AttestationError struct {
	*CallError
	FailedCheck string
	Attestation *Attestation

	refusal uint64
}

// Unwrap gives the CallError.
func (e *AttestationError) Unwrap() error { return e.CallError }

// JobFailedError: a job ended with a non-zero exit code (JobResult.Check), reached its time limit (ErrJobTimeout) or was cancelled
// (ErrCancelled). Result is what came until then; nil if nothing did.
type JobFailedError struct {
	*CallError
	Result *JobResult
}

// Unwrap gives the CallError.
func (e *JobFailedError) Unwrap() error { return e.CallError }

// OutcomeUnknownError: no answer came, and it may have been done. Repeat the call with the key: it cannot happen twice.
type OutcomeUnknownError struct {
	*CallError
	IdempotencyKey string
}

// Unwrap gives the CallError.
func (e *OutcomeUnknownError) Unwrap() error { return e.CallError }

func newError(status int32, message string) *CallError {
	row, known := statusTable[status]
	if !known {
		status = statusInternal
		row = statusTable[status]
	}
	return &CallError{Kind: sentinel(status), Code: row.Word, Message: message, Retryable: row.Retryable}
}

// errorFrom makes the error of a call that failed; nil if it did not.
func errorFrom(story raw.Ee_error) error {
	status := story.GetStatus()
	if status == 0 {
		return nil
	}
	base := newError(status, story.GetMessage())
	base.Hint = story.GetHint()
	base.RequestID = story.GetRequest_id()
	base.Retryable = base.Retryable || story.GetRetryable() != 0
	base.RetryAfter = time.Duration(story.GetRetry_after_ms()) * time.Millisecond
	if details := story.GetDetails(); json.Valid([]byte(details)) {
		base.Details = json.RawMessage(details)
	}
	var told struct {
		Check    string            `json:"check"`
		Rejected map[string]string `json:"rejected"`
	}
	if base.Details != nil {
		_ = json.Unmarshal(base.Details, &told) // details of another shape leave it empty
	}
	switch status {
	case statusLowBalance, statusBudget:
		return &LowBalanceError{base, Money(story.GetNeeded()), Money(story.GetAvailable()), Money(story.GetLocked())}
	case statusInvalidAmount:
		return &InvalidAmountError{base, int(story.GetOffset_bytes())}
	case statusNoNode:
		return &NoNodeError{base, told.Rejected}
	case statusAttestation:
		return &AttestationError{CallError: base, FailedCheck: told.Check, refusal: story.GetRefusal()}
	case statusUnknown:
		return &OutcomeUnknownError{base, story.GetIdempotency_key()}
	}
	return base
}
