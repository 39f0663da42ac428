package easyenclave

// The one place that calls package raw: who owns a C object, how a context ends a call, how a failure becomes an error.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

// handle is a C object. It is freed once: when it was closed, no call uses it, and nothing that was made from it is left.
type handle struct {
	mu     sync.Mutex // guards: users, closed, freed
	users  int
	closed bool
	freed  bool
	kind   string
	free   func()
	parent *handle
}

// newHandle takes the object over; parent, which may be nil, was acquired for it by the caller.
func newHandle(kind string, parent *handle, free func()) *handle {
	return &handle{kind: kind, parent: parent, free: free}
}

func (h *handle) acquire() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return newError(statusState, "the "+h.kind+" is closed")
	}
	h.users++
	return nil
}

func (h *handle) release() {
	h.mu.Lock()
	h.users--
	h.freeIfUnused()
}

func (h *handle) close() { h.closeWith(nil) }

// closeWith is close with another way to free the object, unless it was closed before.
func (h *handle) closeWith(free func()) {
	h.mu.Lock()
	if free != nil && !h.closed {
		h.free = free
	}
	h.closed = true
	h.freeIfUnused()
}

// freeIfUnused gives the lock back.
func (h *handle) freeIfUnused() {
	last := h.closed && h.users == 0 && !h.freed
	h.freed = h.freed || last
	h.mu.Unlock()
	if !last {
		return
	}
	h.free()
	if h.parent != nil {
		h.parent.release()
	}
}

// invoke makes one raw call that takes an ee_error.
func invoke(call func(e raw.Ee_error)) error {
	story := raw.NewEe_error()
	if story.Swigcptr() == 0 {
		return newError(statusNoMemory, "out of memory")
	}
	defer raw.DeleteEe_error(story)
	call(story)
	return errorFrom(story)
}

// withVerdict gives the error of a call made with client c its verdict, where the other side was refused. The caller holds the client.
func withVerdict(c raw.Ee_client, err error) error {
	var refused *AttestationError
	if !errors.As(err, &refused) || refused.Attestation != nil || refused.refusal == 0 {
		return err
	}
	var verdict raw.Ee_verdict
	if invoke(func(e raw.Ee_error) { verdict = raw.Ees_client_refused(c, refused.refusal, e) }) != nil {
		return err // it is not kept any more
	}
	defer raw.Ee_verdict_free(verdict)
	if found, unreadable := attestationFrom(verdict); unreadable == nil {
		refused.Attestation = found
	}
	return err
}

// cancellable makes a call that takes an ee_cancel, which is fired when ctx ends. Nothing of it runs any more when it returns.
func cancellable(ctx context.Context, call func(cancel raw.Ee_cancel) error) error {
	if err := ctx.Err(); err != nil {
		return ended(ctx, "the call was not made")
	}
	if ctx.Done() == nil {
		return call(nil)
	}
	var cancel raw.Ee_cancel
	if err := invoke(func(e raw.Ee_error) { cancel = raw.Ees_cancel_new(e) }); err != nil {
		return err
	}
	defer raw.Ee_cancel_free(cancel)
	returned, joined := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(joined)
		select {
		case <-ctx.Done():
			raw.Ee_cancel_fire(cancel)
		case <-returned:
		}
	}()
	err := call(cancel)
	close(returned)
	<-joined
	return becauseOf(ctx, err)
}

// becauseOf names the context's end as the cause of a call that was cancelled by it. What may have been done all the same keeps its own words.
func becauseOf(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	failed, ok := err.(interface{ base() *CallError })
	if ok && failed.base().Kind == ErrOutcomeUnknown && failed.base().Cause == nil {
		failed.base().Cause = ctx.Err()
	}
	if ok && failed.base().Kind == ErrCancelled && failed.base().Cause == nil {
		base, told := failed.base(), ended(ctx, "the call was left before an answer came")
		base.Kind, base.Code, base.Message, base.Retryable, base.Cause = told.Kind, told.Code, told.Message, told.Retryable, told.Cause
	}
	return err
}

func ended(ctx context.Context, message string) *CallError {
	status := int32(statusCancelled)
	if ctx.Err() == context.DeadlineExceeded {
		status = statusTimeout
	}
	failed := newError(status, message+": "+ctx.Err().Error())
	failed.Cause = ctx.Err()
	return failed
}

// checkText refuses what C would cut short or not take as text. Names and values in turn: checkText("to", to, "memo", memo).
func checkText(pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if strings.IndexByte(pairs[i+1], 0) >= 0 {
			return newError(statusInvalid, pairs[i]+" has a NUL character inside")
		}
		if !utf8.ValidString(pairs[i+1]) {
			return newError(statusInvalid, pairs[i]+" is not valid UTF-8")
		}
	}
	return nil
}

// block is a list of strings as C takes it: each closed by a NUL.
func block(name string, texts []string) ([]byte, error) {
	var out []byte
	for i, text := range texts {
		if err := checkText(fmt.Sprintf("%s[%d]", name, i), text); err != nil {
			return nil, err
		}
		out = append(append(out, text...), 0)
	}
	return out, nil
}
