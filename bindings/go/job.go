package easyenclave

// Private jobs: what is asked for, the running job, its result. Started by client.go.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

const (
	eventProgress = 1
	eventOutput   = 2
	eventDone     = 3

	stdinMax      = 64 << 20 // more than C takes, which then says how much that is
	dropGraceMs   = 2000
	cancelGraceMs = 1000            // TERM to KILL of a job whose caller's context ended
	cancelWait    = 3 * time.Second // in all, for what came so far and its receipt
	streamStdout  = 1
	streamStderr  = 2
)

// JobSpec says what to run. The zero value of a field means its default.
type JobSpec struct {
	Image          string
	Command        []string          // nil: the image's own
	Env            map[string]string // only ever sent inside the attested channel
	Stdin          io.Reader         // read whole before the job starts
	Stdout, Stderr io.Writer         // output as it comes; it is in the result as well
	CaptureLimit   int64             // bytes kept per stream; 0: 1 MiB
	VCPUs          float64           // 0: 1; at most three decimals
	Memory         int64             // bytes; 0: 512 MiB
	Timeout        time.Duration     // 0: 10 minutes
	MaxCost        Amount            // "": none
	Node           string            // only this one; "": the lowest effective price
	Policy         *Policy           // nil: the client's
	OnProgress     func(Progress)    // called on the goroutine that runs or follows the job
	IdempotencyKey string            // "": one is made
}

// String shows names of Env, never values.
func (s JobSpec) String() string {
	names := make([]string, 0, len(s.Env))
	for name := range s.Env {
		names = append(names, name)
	}
	sort.Strings(names)
	return fmt.Sprintf("JobSpec{Image: %q, Command: %q, Env: %q}", s.Image, s.Command, names)
}

// GoString is String, so that %#v shows no secrets either.
func (s JobSpec) GoString() string { return s.String() }

// Progress is how far a job is. Total 0: not known.
type Progress struct {
	Phase       string
	Done, Total int64
	Message     string
}

// Chunk is a piece of output. Seq is one sequence over both streams, from 1, with no gaps; between the two it is as the machine read them.
type Chunk struct {
	Stream string // "stdout" or "stderr"
	Seq    uint64
	Time   time.Time
	Data   []byte
}

// Receipt is what a job was charged, signed by the attested machine that ran it; checked before you see it.
type Receipt struct {
	ID, JobID, Period, Node, Status string
	VCPUSeconds                     float64 // metered: time by the vcpus reserved
	PerVCPUHour                     Money
	Locked, Charged, Refunded       Money
	Signed                          string // the signed bytes, base64url
}

// JobResult is what a job came to. A non-zero exit code is a result; Check makes it an error.
type JobResult struct {
	JobID, ImageDigest, Node string
	Reason                   string // exited, out_of_memory, timed_out, cancelled
	ExitCode                 int    // 128 + n when signal n ended it
	Stdout, Stderr           []byte
	Truncated                bool
	Cost, Locked             Money
	Receipt                  Receipt
	Attestation              *Attestation
}

// Check is nil when the exit code is 0, else a *JobFailedError.
func (r *JobResult) Check() error {
	if r.ExitCode == 0 {
		return nil
	}
	return &JobFailedError{newError(statusJobFailed, fmt.Sprintf("job %s ended with exit code %d", r.JobID, r.ExitCode)), r}
}

// String is three lines for people. Output comes from others and is shown with its control characters escaped.
func (r *JobResult) String() string {
	attested := "not attested"
	if r.Attestation != nil && r.Attestation.Verified {
		attested = "attested"
		if r.Attestation.Simulated {
			attested += " (simulated)"
		}
	}
	return fmt.Sprintf("job %s %s with code %d on %s, %s\nstdout %d bytes %s, stderr %d bytes %s\ncost %v of %v locked, image %s",
		r.JobID, r.Reason, r.ExitCode, r.Node, attested, len(r.Stdout), preview(r.Stdout), len(r.Stderr), preview(r.Stderr), r.Cost, r.Locked, r.ImageDigest)
}

func preview(text []byte) string {
	if len(text) > 60 {
		return strconv.QuoteToASCII(string(text[:60])) + "..."
	}
	return strconv.QuoteToASCII(string(text))
}

// builtSpec is a JobSpec that was checked as far as can be without a network, ready for C.
type builtSpec struct {
	c    raw.Ees_job_spec
	spec JobSpec
}

func (s JobSpec) build() (*builtSpec, error) {
	if s.Image == "" {
		return nil, newError(statusInvalid, "the image is missing")
	}
	if err := checkText("image", s.Image, "node", s.Node, "the idempotency key", s.IdempotencyKey, "the highest cost", string(s.MaxCost)); err != nil {
		return nil, err
	}
	if s.Command != nil && len(s.Command) == 0 {
		return nil, newError(statusInvalid, "the command is empty; leave it out for the image's own")
	}
	if s.VCPUs < 0 || math.IsNaN(s.VCPUs) || math.IsInf(s.VCPUs, 0) {
		return nil, newError(statusInvalid, fmt.Sprintf("VCPUs is %v; it must be a number above zero", s.VCPUs))
	}
	if s.Memory < 0 || s.CaptureLimit < 0 || s.Timeout < 0 {
		return nil, newError(statusInvalid, "memory, capture limit and timeout cannot be negative")
	}
	if s.MaxCost != "" {
		if _, err := ParseMoney(string(s.MaxCost)); err != nil {
			return nil, err
		}
	}
	command, err := block("command", s.Command)
	if err != nil {
		return nil, err
	}
	env, err := envBlock(s.Env)
	if err != nil {
		return nil, err
	}
	var input []byte
	if s.Stdin != nil {
		if input, err = io.ReadAll(io.LimitReader(s.Stdin, stdinMax+1)); err != nil {
			return nil, fmt.Errorf("easyenclave: reading Stdin: %w", err)
		}
	}
	timeout := (s.Timeout + time.Millisecond - 1) / time.Millisecond
	built := &builtSpec{spec: s}
	err = invoke(func(e raw.Ee_error) {
		built.c = raw.Ees_job_spec_new(s.Image, command, env, input, s.VCPUs, uint64(s.Memory), uint64(timeout), uint64(s.CaptureLimit),
			string(s.MaxCost), s.Node, s.IdempotencyKey, e)
	})
	if err != nil {
		return nil, err
	}
	return built, nil
}

func (b *builtSpec) free() { raw.Ees_job_spec_free(b.c) }

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func envBlock(env map[string]string) ([]byte, error) {
	var out []byte
	for name, value := range env {
		if !envName.MatchString(name) {
			return nil, newError(statusInvalid, fmt.Sprintf("%q cannot be the name of an env variable: letters, digits and _, not a digit first", name))
		}
		if err := checkText("env "+name, value); err != nil { // the name, never the value
			return nil, err
		}
		out = append(append(append(append(out, name...), '='), value...), 0)
	}
	return out, nil
}

// Job is a started job. Close cancels it unless it ended; one that is only forgotten goes on, for as long as the process does. Logs and Wait take from the same flow: what one saw, the other does not.
type Job struct {
	handle *handle
	c      raw.Ee_job
	id     string
	spec   JobSpec // Stdout, Stderr and OnProgress are used when it is followed

	turn   sync.Mutex // guards what follows, and that one goroutine at a time takes events
	event  raw.Ee_job_event
	over   bool
	result *JobResult
	failed error
}

func startJob(ctx context.Context, client *handle, c raw.Ee_client, spec *builtSpec) (*Job, error) {
	if err := client.acquire(); err != nil {
		return nil, err
	}
	if spec.spec.OnProgress != nil {
		spec.spec.OnProgress(Progress{Phase: "quoting"})
	}
	job := &Job{spec: spec.spec}
	job.spec.Env, job.spec.Stdin = nil, nil
	err := cancellable(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) { job.c = raw.Ees_job_start(c, spec.c, spec.spec.Policy.pointer(), cancel, e) })
	})
	runtime.KeepAlive(spec.spec.Policy)
	if err != nil {
		err = withVerdict(c, err)
		client.release()
		return nil, err
	}
	job.id = raw.Ee_job_id(job.c)
	job.event = raw.NewEe_job_event()
	pointer, event := job.c, job.event
	job.handle = newHandle("job", client, func() { // it was forgotten, not closed
		raw.DeleteEe_job_event(event)
		raw.Ee_job_detach(pointer)
	})
	runtime.SetFinalizer(job, func(j *Job) { go j.handle.close() })
	return job, nil
}

// ID names the job everywhere.
func (j *Job) ID() string { return j.id }

// Wait follows the job to its end. When ctx ends first the job goes on, and may be waited for again. Output goes to the spec's writers.
// A job that reached its time limit or was cancelled gives a *JobFailedError with what came until then.
func (j *Job) Wait(ctx context.Context) (*JobResult, error) {
	j.turn.Lock()
	defer j.turn.Unlock()
	err := cancellable(ctx, func(cancel raw.Ee_cancel) error {
		for {
			chunk, err := j.next(cancel)
			if err != nil || j.over {
				return err
			}
			if chunk != nil {
				if err := j.write(chunk); err != nil {
					return err
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return j.result, j.failed
}

// Cancel asks the job to end: TERM now, KILL after the grace. Wait then gives what came until then.
func (j *Job) Cancel(ctx context.Context, grace time.Duration) error {
	if ctx.Err() != nil {
		return ended(ctx, "the job was not cancelled")
	}
	return j.cancel(uint(grace / time.Millisecond))
}

func (j *Job) cancel(graceMs uint) error {
	if err := j.handle.acquire(); err != nil {
		return err
	}
	defer j.handle.release()
	return invoke(func(e raw.Ee_error) { raw.Ees_job_cancel(j.c, graceMs, e) })
}

// Close lets go of the job, and cancels it unless it ended.
func (j *Job) Close() error {
	_ = j.cancel(dropGraceMs) // if it cannot be told, letting go withdraws it at the control plane
	runtime.SetFinalizer(j, nil)
	pointer, event := j.c, j.event
	j.handle.closeWith(func() {
		raw.DeleteEe_job_event(event)
		raw.Ee_job_free(pointer)
	})
	return nil
}

// next takes one event; nil and no error for progress, or when the job is over. Called with turn held.
func (j *Job) next(cancel raw.Ee_cancel) (*Chunk, error) {
	if j.over {
		return nil, nil
	}
	if err := j.handle.acquire(); err != nil {
		return nil, err
	}
	defer j.handle.release()
	err := invoke(func(e raw.Ee_error) { raw.Ees_job_next(j.c, -1, cancel, j.event, e) })
	if err != nil {
		if !errors.Is(err, ErrCancelled) { // of this wait, not of the job
			j.over, j.failed = true, err
			return nil, nil
		}
		return nil, err
	}
	switch j.event.GetKind() {
	case eventProgress:
		if j.spec.OnProgress != nil {
			j.spec.OnProgress(Progress{j.event.GetPhase(), int64(j.event.GetDone()), int64(j.event.GetTotal()), j.event.GetMessage()})
		}
	case eventOutput:
		stream := "stdout"
		if j.event.GetStream() == streamStderr {
			stream = "stderr"
		}
		return &Chunk{stream, j.event.GetSeq(), time.UnixMilli(int64(j.event.GetTime_unix_ms())), j.event.GetData()}, nil
	case eventDone:
		return nil, j.finish()
	}
	return nil, nil
}

func (j *Job) finish() error {
	var c raw.Ee_result
	failed := invoke(func(e raw.Ee_error) { c = raw.Ees_job_result(j.c, e) })
	if c != nil && c.Swigcptr() != 0 {
		result, err := resultFrom(c)
		raw.Ee_result_free(c)
		if err != nil {
			return err
		}
		j.result = result
	}
	j.over = true
	j.failed = failed
	if base, ok := failed.(*CallError); ok && (base.Kind == ErrJobTimeout || base.Kind == ErrCancelled || base.Kind == ErrJobFailed) {
		j.failed = &JobFailedError{base, j.result} // it ran; what kept it from running (ErrCommand, ErrImage) is an error of its own kind
		j.result = nil
	}
	return nil
}

func (j *Job) write(chunk *Chunk) error {
	to := j.spec.Stdout
	if chunk.Stream == "stderr" {
		to = j.spec.Stderr
	}
	if to == nil {
		return nil
	}
	_, err := to.Write(chunk.Data)
	return err
}

// run is RunPrivateJob once the spec is built: whatever goes wrong on this side cancels the job.
func run(ctx context.Context, client *handle, c raw.Ee_client, spec *builtSpec) (*JobResult, error) {
	job, err := startJob(ctx, client, c, spec)
	if err != nil {
		return nil, err
	}
	defer job.Close()
	result, err := job.Wait(ctx)
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return result, err
	}
	return job.stopBecauseOf(ctx)
}

// stopBecauseOf ends the job of a context that has ended, and waits a little for what came until then and its receipt.
func (j *Job) stopBecauseOf(ctx context.Context) (*JobResult, error) {
	patience, done := context.WithTimeout(context.Background(), cancelWait)
	defer done()
	failed := &JobFailedError{CallError: ended(ctx, "the job was cancelled")}
	if j.cancel(cancelGraceMs) != nil {
		return nil, failed
	}
	result, err := j.Wait(patience)
	if err == nil {
		return result, nil // it ended by itself in this very moment
	}
	var stopped *JobFailedError
	if errors.As(err, &stopped) {
		failed.Result = stopped.Result
	}
	return nil, failed
}

func resultFrom(c raw.Ee_result) (*JobResult, error) {
	var told struct {
		ID, Period, Node, Status, Signed string
		JobID                            string    `json:"job_id"`
		VCPUSeconds                      string    `json:"vcpu_seconds"`
		PerVCPUHour                      moneyJSON `json:"price_per_vcpu_hour"`
		Locked, Charged, Refunded        moneyJSON
	}
	if err := json.Unmarshal([]byte(raw.Ee_result_receipt_json(c)), &told); err != nil {
		return nil, newError(statusInternal, "a receipt cannot be read: "+err.Error())
	}
	seconds, err := strconv.ParseFloat(told.VCPUSeconds, 64)
	if err != nil {
		return nil, newError(statusInternal, "a receipt cannot be read: "+err.Error())
	}
	attestation, err := attestationFrom(raw.Ee_result_attestation(c))
	if err != nil {
		return nil, err
	}
	return &JobResult{
		JobID: raw.Ee_result_job_id(c), ImageDigest: raw.Ee_result_image_digest(c), Node: raw.Ee_result_node(c), Reason: raw.Ee_result_reason(c),
		ExitCode: raw.Ee_result_exit_code(c), Stdout: raw.Ee_result_output(c, streamStdout), Stderr: raw.Ee_result_output(c, streamStderr),
		Truncated: raw.Ee_result_truncated(c) != 0, Cost: Money(raw.Ee_result_cost(c)), Locked: Money(raw.Ee_result_locked(c)),
		Receipt: Receipt{
			ID: told.ID, JobID: told.JobID, Period: told.Period, Node: told.Node, Status: told.Status, VCPUSeconds: seconds, PerVCPUHour: told.PerVCPUHour.money(),
			Locked: told.Locked.money(), Charged: told.Charged.money(), Refunded: told.Refunded.money(), Signed: told.Signed,
		},
		Attestation: attestation,
	}, nil
}

// LogIter gives a job's output as it comes, like bufio.Scanner. It ends when the job does, or its context.
type LogIter struct {
	ctx   context.Context
	job   *Job
	chunk Chunk
	err   error
}

// Logs follows the job's output.
func (j *Job) Logs(ctx context.Context) *LogIter { return &LogIter{ctx: ctx, job: j} }

// Next waits for a chunk; false at the end, and then Err says whether it was a good one.
func (it *LogIter) Next() bool {
	if it.err != nil {
		return false
	}
	it.job.turn.Lock()
	defer it.job.turn.Unlock()
	found := false
	it.err = cancellable(it.ctx, func(cancel raw.Ee_cancel) error {
		for !found && !it.job.over {
			chunk, err := it.job.next(cancel)
			if err != nil {
				return err
			}
			if chunk != nil {
				it.chunk, found = *chunk, true
			}
		}
		return nil
	})
	if it.err == nil && it.job.over {
		if _, ran := it.job.failed.(*JobFailedError); !ran { // how the job itself ended is for Wait
			it.err = it.job.failed
		}
	}
	return found
}

// Chunk is what Next found.
func (it *LogIter) Chunk() Chunk { return it.chunk }

// Err is why Next gave false; nil when the job ended.
func (it *LogIter) Err() error { return it.err }
