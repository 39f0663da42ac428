// verify.go - judges quotes and evidence files through the Go package, for verifiers.py, which says what the lines on both sides are.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	ee "github.com/easyenclave/easyenclave/bindings/go"
)

type question struct {
	Policy               string
	Quote, Collateral    []byte
	ReportData           []byte `json:"report_data"`
	Evidence, PolicyFile string
	Now                  int64
}

type verdict struct {
	Verified     bool              `json:"verified"`
	Simulated    bool              `json:"simulated"`
	TCBStatus    string            `json:"tcb_status"`
	AdvisoryIDs  []string          `json:"advisory_ids"`
	Node         string            `json:"node"`
	VerifiedAt   int64             `json:"verified_at"`
	PolicyHash   string            `json:"policy_hash"`
	Checks       [][6]string       `json:"checks"`
	Quote        map[string]any    `json:"quote"`
	Measurements map[string]string `json:"measurements"`
	Text         string            `json:"text"`
}

type answer struct {
	Word    string   `json:"word"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
	Check   string   `json:"check"`
	Verdict *verdict `json:"verdict"`
	Seconds float64  `json:"seconds"`
}

func value(a *ee.Attestation) *verdict {
	if a == nil {
		return nil
	}
	checks := [][6]string{}
	for _, c := range a.Checks {
		checks = append(checks, [6]string{c.Name, c.Status, c.Expected, c.Actual, c.Explain, c.Reason})
	}
	return &verdict{a.Verified, a.Simulated, a.TCBStatus, a.AdvisoryIDs, a.Node, a.VerifiedAt.Unix(), a.PolicyHash, checks, a.Quote, a.Measurements, a.String()}
}

func ask(q question) (*ee.Attestation, error) {
	var bound *[64]byte
	var at time.Time
	var policy *ee.Policy
	var err error
	if q.PolicyFile != "" {
		policy, err = ee.LoadPolicy(q.PolicyFile)
	} else if q.Policy != "" {
		policy, err = ee.ParsePolicy(q.Policy, "policy.toml")
	}
	if err != nil {
		return nil, err
	}
	if q.Now != 0 {
		at = time.Unix(q.Now, 0)
	}
	if q.Evidence != "" {
		file, err := os.Open(q.Evidence)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return ee.VerifyEvidence(file, policy, at)
	}
	if q.ReportData != nil {
		bound = new([64]byte)
		copy(bound[:], q.ReportData)
	}
	return ee.VerifyQuote(q.Quote, q.Collateral, policy, bound, at)
}

// spent is the processor time of this process so far.
func spent() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func judge(q question) answer {
	started := spent()
	found, err := ask(q)
	told := answer{Word: "ok", Verdict: value(found), Seconds: (spent() - started).Seconds()}
	var call *ee.CallError
	var refused *ee.AttestationError
	if errors.As(err, &call) {
		told.Word, told.Message, told.Hint = call.Code, call.Message, call.Hint
	} else if err != nil {
		told.Word, told.Message = fmt.Sprintf("not a CallError: %T", err), err.Error()
	}
	if errors.As(err, &refused) {
		told.Check, told.Verdict = refused.FailedCheck, value(refused.Attestation)
	}
	return told
}

func main() {
	in, out := bufio.NewReaderSize(os.Stdin, 1<<20), json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			panic(err)
		}
		if err := out.Encode(judge(q)); err != nil {
			panic(err)
		}
	}
}
