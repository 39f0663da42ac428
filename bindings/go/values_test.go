package easyenclave

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

func TestMoneyVectors(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(sourceDir(t), "tests/vectors/money/amounts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Cases []struct {
			Text, Word string
			Micros     *int64
			Offset     int
		}
		Format []struct {
			Micros int64
			Text   string
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Cases) < 60 || len(vectors.Format) < 10 {
		t.Fatalf("only %d and %d vectors", len(vectors.Cases), len(vectors.Format))
	}
	for _, c := range vectors.Cases {
		got, err := ParseMoney(c.Text)
		if c.Micros != nil {
			if err != nil || int64(got) != *c.Micros {
				t.Errorf("%q: %d, %v; want %d", c.Text, got, err, *c.Micros)
			}
			continue
		}
		var refused *InvalidAmountError
		if !errors.As(err, &refused) || !errors.Is(err, ErrInvalidAmount) || refused.Code != c.Word || refused.Offset != c.Offset {
			t.Errorf("%q: %v; want %s at %d", c.Text, err, c.Word, c.Offset)
		}
	}
	for _, c := range vectors.Format {
		if got := Money(c.Micros).String(); got != c.Text {
			t.Errorf("%d: %s; want %s", c.Micros, got, c.Text)
		}
	}
}

func TestNothingAfterANULIsOverlooked(t *testing.T) {
	if _, err := ParseMoney("$1\x0000"); !errors.Is(err, ErrInvalidAmount) {
		t.Error(err)
	}
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		amount Amount
		want   Money
	}{{"$200", 200000000}, {Dollars(200), 200000000}, {Cents(5), 50000}, {Cents(12345), 123450000}} {
		if got, err := ParseMoney(string(c.amount)); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.amount, got, err)
		}
	}
	for _, amount := range []Amount{Dollars(0), Dollars(-1), Cents(-1), Cents(-1 << 63), Dollars(1 << 62)} {
		if _, err := ParseMoney(string(amount)); !errors.Is(err, ErrInvalidAmount) {
			t.Errorf("%s: %v", amount, err)
		}
	}
}

func TestErrorTable(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(sourceDir(t), "sdk/include/eesdk/status.def"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^EE_STATUS\(\w+, *(-?\d+), *"(\w+)", *\d+, *"\w*", *"(\w*)", *\d+, *(\d)`)
	rows := row.FindAllStringSubmatch(string(data), -1)
	if len(rows) != len(statusTable) || len(rows) < 30 {
		t.Fatalf("%d rows in status.def, %d here", len(rows), len(statusTable))
	}
	for _, match := range rows {
		number, _ := strconv.Atoi(match[1])
		got := statusTable[int32(number)]
		if got.Word != match[2] || got.Kind != match[3] || got.Retryable != (match[4] == "1") {
			t.Errorf("%d is %+v here, %q in status.def", number, got, match[0])
		}
		if word := raw.Ee_status_word(int32(number)); word != got.Word {
			t.Errorf("%d is %q in the library, %q here", number, word, got.Word)
		}
		if number != 0 {
			var err error = newError(int32(number), "m")
			if !errors.Is(err, sentinel(number)) || errors.Is(err, sentinel(number-1)) {
				t.Errorf("%d does not match its kind alone", number)
			}
		}
	}
}

func TestErrorsUnwrap(t *testing.T) {
	low := fmt.Errorf("paying: %w", &LowBalanceError{newError(statusLowBalance, "too little"), 400000, 120000, 3000000})
	var as *LowBalanceError
	var base *CallError
	if !errors.Is(low, ErrLowBalance) || errors.Is(low, ErrBudget) || !errors.As(low, &as) || !errors.As(low, &base) {
		t.Fatal(low)
	}
	if as.Needed.String() != "$0.40" || base.Code != "low_balance" || as.Error() != "easyenclave: too little" {
		t.Errorf("%v %v %v", as.Needed, base.Code, as)
	}
	cause := errors.New("cause")
	for _, err := range []error{&InvalidAmountError{&CallError{Cause: cause}, 0}, &NoNodeError{&CallError{Cause: cause}, nil},
		&AttestationError{CallError: &CallError{Cause: cause}}, &JobFailedError{&CallError{Cause: cause}, nil}, &OutcomeUnknownError{&CallError{Cause: cause}, ""}} {
		if !errors.Is(err, cause) {
			t.Errorf("%T hides its cause", err)
		}
	}
	full := &CallError{Message: "m", Hint: "do this", RequestID: "01JH"}
	if full.Error() != "easyenclave: m; do this (request 01JH)" {
		t.Error(full)
	}
}

func TestResult(t *testing.T) {
	result := &JobResult{JobID: "job_1", Reason: "exited", ExitCode: 3, Node: "node-a", Stdout: []byte("a\x1b[31m"), Cost: 36, Locked: 400000,
		Attestation: &Attestation{Verified: true, Simulated: true}}
	shown := result.String()
	if strings.Count(shown, "\n") != 2 || strings.Contains(shown, "\x1b") || !strings.Contains(shown, "$0.000036 of $0.40") {
		t.Error(shown)
	}
	var failed *JobFailedError
	if err := result.Check(); !errors.Is(err, ErrJobFailed) || !errors.As(err, &failed) || failed.Result != result {
		t.Error(err)
	}
	result.ExitCode = 0
	if err := result.Check(); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	spec := JobSpec{Image: "a", Env: map[string]string{"SECRET": "s3cret"}}
	config := Config{APIKey: "ee_sk_s3cret"}
	for _, shown := range []string{fmt.Sprint(spec), fmt.Sprintf("%+v %#v", spec, spec), fmt.Sprintf("%v %+v %#v", config, config, config)} {
		if strings.Contains(shown, "s3cret") {
			t.Error(shown)
		}
	}
	if !strings.Contains(fmt.Sprint(spec), "SECRET") {
		t.Error(spec)
	}
}

func TestPolicy(t *testing.T) {
	policy := Production()
	if policy.Simulated() || len(policy.Hash()) != 64 || policy.Hash() != Production().Hash() {
		t.Error(policy.Hash())
	}
	pinned, err := policy.PinImage("sha256:" + strings.Repeat("0", 64))
	if err != nil || pinned.Hash() == policy.Hash() {
		t.Error(err)
	}
	for _, pin := range [][2]string{{"mrtd", "00"}, {"rtmr9", strings.Repeat("0", 96)}, {"image", "zz"}, {"mrtd", "a\x00"}} {
		if _, err := policy.Pin(pin[0], pin[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", pin, err)
		}
	}
	first, err := policy.Unpinned()
	if err != nil || first.Hash() == policy.Hash() {
		t.Error(err)
	}
	ours, err := policy.Pin("genesis", strings.Repeat("5e", 32))
	if err != nil || ours.Hash() == policy.Hash() {
		t.Error(err)
	}
	named, err := ParsePolicy("[[profile]]\nname = \"a \\\"b\\\" \\\\ é\"\nmrtd = \""+strings.Repeat("ab", 48)+"\"\n", "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Policy{policy, pinned, first, ours, named} {
		toml, err := p.TOML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePolicy(toml, "again")
		if err != nil || again.Hash() != p.Hash() {
			t.Errorf("%v\n%s", err, toml)
		}
	}
	if _, err := (*Policy)(nil).TOML(); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := ParsePolicy("no toml at all", "x"); err == nil {
		t.Error("took what is no policy")
	}
	if _, err := LoadPolicy("/nowhere/policy.toml"); err == nil {
		t.Error("took a file that is not there")
	}
}

func statusOf(found *Attestation, check string) string {
	for _, c := range found.Checks {
		if c.Name == check {
			return c.Status
		}
	}
	return ""
}

func TestBootEventsAreRead(t *testing.T) {
	var events []BootEvent
	document := `[{"rtmr":2,"type":6,"name":"EV_EVENT_TAG","digest":"ab","data":"6869"},{"rtmr":0,"type":153,"digest":"cd","data":null}]`
	if err := json.Unmarshal([]byte(document), &events); err != nil {
		t.Fatal(err)
	}
	if e := events[0]; e.RTMR != 2 || e.Type != 6 || e.Name != "EV_EVENT_TAG" || e.Digest != "ab" || string(e.Data) != "hi" {
		t.Errorf("%+v", e)
	}
	if e := events[1]; e.RTMR != 0 || e.Type != 153 || e.Name != "" || e.Data != nil {
		t.Errorf("%+v", e)
	}
	if json.Unmarshal([]byte(`[{"data":"zz"}]`), &events) == nil {
		t.Error("took data that is not hex")
	}
}

func TestVerifyRefusesGarbage(t *testing.T) {
	if _, err := VerifyEvidence(strings.NewReader("{}"), nil, time.Time{}); err == nil {
		t.Error("took an empty evidence file")
	}
	for _, quote := range [][]byte{nil, {4, 0}, bytes.Repeat([]byte{255}, 70000)} {
		if _, err := VerifyQuote(quote, []byte("{}"), nil, nil, time.Time{}); err == nil {
			t.Errorf("took %d bytes as a quote", len(quote))
		}
	}
	for _, log := range [][]byte{nil, []byte("no boot log")} {
		_, err := VerifyQuote([]byte{4, 0}, []byte("{}"), nil, nil, time.Time{}, BootLog(log))
		var refused *AttestationError
		if log == nil && errors.As(err, &refused) || err == nil {
			t.Errorf("an empty boot log was left out without a word: %v", err)
		}
		if log != nil && (!errors.As(err, &refused) || statusOf(refused.Attestation, "boot_log") != "fail") {
			t.Errorf("took %q as a boot log: %v", log, err)
		}
	}
	if _, err := (&Attestation{}).WriteTo(&bytes.Buffer{}); !errors.Is(err, ErrState) {
		t.Error(err)
	}
}

// A time before 1970 is nobody's, and the machine's clock is not what was asked for.
func TestVerifyRefusesTimesBefore1970(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Unix(-1, 0), time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, err := VerifyQuote([]byte{4, 0}, []byte("{}"), nil, nil, at); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", at, err)
		}
		if _, err := VerifyEvidence(strings.NewReader("{}"), nil, at); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", at, err)
		}
	}
}

type endless struct{ read int64 }

func (e *endless) Read(to []byte) (int, error) {
	e.read += int64(len(to))
	return len(to), nil
}

func TestVerifyEvidenceEndsAtItsLimit(t *testing.T) {
	from := &endless{}
	if _, err := VerifyEvidence(from, nil, time.Time{}); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "larger than 4194304 bytes") {
		t.Error(err)
	}
	if from.read > 8<<20 {
		t.Errorf("read %d bytes", from.read)
	}
}

func TestKeys(t *testing.T) {
	key, err := GenerateAPIKey()
	if err != nil || !strings.HasPrefix(key, "ee_sk_") {
		t.Fatal(err)
	}
	if public, err := APIKeyPublic(key); err != nil || len(public) != 64 {
		t.Error(public, err)
	}
	if _, err := APIKeyPublic(key[:len(key)-1]); err == nil || strings.Contains(err.Error(), key[6:20]) {
		t.Error(err)
	}
}
