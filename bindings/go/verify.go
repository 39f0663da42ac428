package easyenclave

// Attestation on its own: what is acceptable (Policy), what was found (Attestation), and checking saved evidence with no network.

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

// Check is one named check of an attestation. Status: pass, fail, skipped. Explain is a sentence for people. Reason of a failed one:
// expired (get newer collateral, or set the clock), malformed or attestation.
type Check struct{ Name, Status, Expected, Actual, Explain, Reason string }

// BootEvent is what firmware, boot loader or kernel measured before anything of ours ran. Register, digest and data are proved by the
// quote; Type and its Name are the log's own word. Data is nil where the log does not hold what was measured, or it is long.
type BootEvent struct {
	RTMR   int
	Type   uint32
	Name   string // "EV_SEPARATOR"; empty for a type that has no name
	Digest string // SHA-384 in hex: what the register was extended with
	Data   []byte
}

// UnmarshalJSON reads an event of a verdict, whose bytes are in hex.
func (e *BootEvent) UnmarshalJSON(document []byte) error {
	var told struct {
		RTMR         int
		Type         uint32
		Name, Digest string
		Data         *string
	}
	err := json.Unmarshal(document, &told)
	if err == nil && told.Data != nil {
		e.Data, err = hex.DecodeString(*told.Data)
	}
	e.RTMR, e.Type, e.Name, e.Digest = told.RTMR, told.Type, told.Name, told.Digest
	return err
}

// Attestation is what was checked about the other side, and how it came out. A value: it holds no connection.
type Attestation struct {
	Verified, Simulated bool // Simulated: true on a devnet; never accepted by Production()
	Checks              []Check
	Measurements        map[string]string // mrtd, rtmr0 to rtmr3, mr_seam, mr_config_id, mr_owner, mr_owner_config
	Quote               map[string]any    // all that the quote and its PCK certificate say: bytes in hex as they lie there, numbers
	BootEvents          []BootEvent       // the boot log, where there was one and it replays to the quote's registers
	TCBStatus, Node     string
	AdvisoryIDs         []string
	VerifiedAt          time.Time
	PolicyHash          string

	text     string
	evidence []byte
}

// WriteTo writes the evidence, for VerifyEvidence or `ee verify` on any machine.
func (a *Attestation) WriteTo(w io.Writer) (int64, error) {
	if len(a.evidence) == 0 {
		return 0, newError(statusState, "there is no evidence: the check ended before there was any")
	}
	n, err := w.Write(a.evidence)
	return int64(n), err
}

// String is the table of `ee verify`.
func (a *Attestation) String() string { return a.text }

// attestationFrom copies all of a verdict, which stays the caller's.
func attestationFrom(verdict raw.Ee_verdict) (*Attestation, error) {
	if verdict == nil || verdict.Swigcptr() == 0 {
		return nil, nil
	}
	var told struct {
		Verified, Simulated bool
		Node                string
		TCBStatus           string   `json:"tcb_status"`
		AdvisoryIDs         []string `json:"advisory_ids"`
		Checks              []Check
		VerifiedAt          time.Time   `json:"verified_at"`
		PolicyHash          string      `json:"policy_hash"`
		BootEvents          []BootEvent `json:"boot_events"`
	}
	document := []byte(raw.Ee_verdict_json(verdict))
	if err := json.Unmarshal(document, &told); err != nil {
		return nil, newError(statusInternal, "a verdict cannot be read: "+err.Error())
	}
	found := &Attestation{
		Verified: told.Verified, Simulated: told.Simulated, Checks: told.Checks, TCBStatus: told.TCBStatus, Node: told.Node,
		AdvisoryIDs: told.AdvisoryIDs, VerifiedAt: told.VerifiedAt, PolicyHash: told.PolicyHash, BootEvents: told.BootEvents, text: raw.Ee_verdict_text(verdict),
	}
	found.Quote, found.Measurements = quoteFields(document)
	// A verdict without evidence is still worth showing; WriteTo says that there is none.
	_ = invoke(func(e raw.Ee_error) { found.evidence = raw.Ees_verdict_evidence(verdict, e) })
	return found, nil
}

var measurementNames = []string{"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_seam", "mr_config_id", "mr_owner", "mr_owner_config"}

// quoteFields is what is left of a verdict's JSON when what it says of itself is taken away: empty for a quote that is not authentic.
func quoteFields(document []byte) (map[string]any, map[string]string) {
	quote, measurements := map[string]any{}, map[string]string{}
	if json.Unmarshal(document, &quote) != nil {
		return nil, nil
	}
	if quote["authentic"] != true {
		return map[string]any{}, measurements
	}
	for _, name := range []string{"verified", "simulated", "node", "tcb_status", "advisory_ids", "checks", "verified_at", "policy_hash", "authentic", "boot_events"} {
		delete(quote, name)
	}
	for _, name := range measurementNames {
		if value, ok := quote[name].(string); ok {
			measurements[name] = value
		}
	}
	return quote, measurements
}

// Policy is what is acceptable, under which trust anchor. Immutable. A pin that the evidence cannot answer is a failure.
type Policy struct{ c raw.Ee_policy }

func newPolicy(call func(e raw.Ee_error) raw.Ee_policy) (*Policy, error) {
	policy := &Policy{}
	if err := invoke(func(e raw.Ee_error) { policy.c = call(e) }); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(policy, func(p *Policy) { raw.Ee_policy_free(p.c) })
	return policy, nil
}

// pointer is nil for a nil policy, which stands for the default one. The caller keeps p alive over the call.
func (p *Policy) pointer() raw.Ee_policy {
	if p == nil {
		return nil
	}
	if p.c == nil {
		panic("easyenclave: a Policy must come from Production, LoadPolicy, ParsePolicy or Devnet")
	}
	return p.c
}

// Production is Intel's root, sealed and non-debug TDs, TCB up to date: the strictest there is, and the default.
func Production() *Policy {
	policy, err := newPolicy(raw.Ees_policy_production)
	if err != nil { // out of memory, which Go does not survive elsewhere either
		panic(err)
	}
	return policy
}

// LoadPolicy reads a policy.toml; the error names file, line and key of what is wrong.
func LoadPolicy(path string) (*Policy, error) {
	if err := checkText("the policy's path", path); err != nil {
		return nil, err
	}
	return newPolicy(func(e raw.Ee_error) raw.Ee_policy { return raw.Ees_policy_load(path, e) })
}

// ParsePolicy reads the same from text; name stands for the file in errors.
func ParsePolicy(toml, name string) (*Policy, error) {
	if err := checkText("the policy", toml, "name", name); err != nil {
		return nil, err
	}
	return newPolicy(func(e raw.Ee_error) raw.Ee_policy { return raw.Ees_policy_parse(toml, name, e) })
}

// Devnet accepts simulated quotes of the devnet that runs on this machine, and nothing else.
func Devnet() (*Policy, error) {
	path, toml, err := devnetPolicy()
	if err != nil {
		return nil, err
	}
	return ParsePolicy(toml, path)
}

// Pin gives a copy with one more pin: mrtd, rtmr0 to rtmr3, mr_seam, mr_config_id, mr_owner, mr_owner_config,
// image or genesis, as hex of its full length.
func (p *Policy) Pin(what, hex string) (*Policy, error) {
	if err := checkText("what", what, "hex", hex); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(p)
	return newPolicy(func(e raw.Ee_error) raw.Ee_policy { return raw.Ees_policy_pin(p.pointer(), what, hex, e) })
}

// PinImage gives a copy that accepts one image only; the digest may have "sha256:" in front.
func (p *Policy) PinImage(digest string) (*Policy, error) { return p.Pin("image", digest) }

// Unpinned gives a copy that pins no measurement and accepts any: for a first look at a quote, which shows what could be pinned.
func (p *Policy) Unpinned() (*Policy, error) {
	defer runtime.KeepAlive(p)
	return newPolicy(func(e raw.Ee_error) raw.Ee_policy { return raw.Ees_policy_unpinned(p.pointer(), e) })
}

// Hash is the SHA-256 of the policy's canonical form, as in every attestation.
func (p *Policy) Hash() string {
	defer runtime.KeepAlive(p)
	return raw.Ee_policy_hash(p.pointer())
}

// TOML is the whole policy as policy.toml: ParsePolicy makes the same one of it, with the same hash. Reasons and comments are not kept.
func (p *Policy) TOML() (string, error) {
	defer runtime.KeepAlive(p)
	var text string
	if err := invoke(func(e raw.Ee_error) { text = raw.Ees_policy_toml(p.pointer(), e) }); err != nil {
		return "", err
	}
	return text, nil
}

// Simulated reports whether simulated quotes are acceptable.
func (p *Policy) Simulated() bool {
	defer runtime.KeepAlive(p)
	return raw.Ee_policy_simulated(p.pointer()) != 0
}

const evidenceMax = 4 << 20 // what an evidence file may have; of an endless reader one byte more is enough to say so

// VerifyEvidence checks saved evidence with no network at all. A zero time means the time stored in it. On failure the
// *AttestationError has every check, where it came that far.
func VerifyEvidence(r io.Reader, p *Policy, at time.Time) (*Attestation, error) {
	when, err := unix(at)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "ee-evidence-")
	if err != nil {
		return nil, newError(statusIO, err.Error())
	}
	defer os.Remove(file.Name())
	_, err = io.Copy(file, io.LimitReader(r, evidenceMax+1))
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, newError(statusIO, err.Error())
	}
	defer runtime.KeepAlive(p)
	return verdictOf(func(e raw.Ee_error) raw.Ee_verdict { return raw.Ees_verify_file(file.Name(), p.pointer(), when, e) })
}

// VerifyQuote checks a raw TDX quote against collateral JSON, offline. reportData is nil, or what the quote must be bound to. A zero time
// means now. Input that cannot be read is refused like any other: *AttestationError has the checks.
func VerifyQuote(quote, collateral []byte, p *Policy, reportData *[64]byte, now time.Time, options ...VerifyOption) (*Attestation, error) {
	var bound []byte
	var set verifyOptions
	for _, option := range options {
		option(&set)
	}
	if set.hasCCEL && len(set.ccel) == 0 {
		return nil, newError(statusInvalid, "the boot log is empty: give /sys/firmware/acpi/tables/data/CCEL, or leave the option out")
	}
	when, err := unix(now)
	if err != nil {
		return nil, err
	}
	if reportData != nil {
		bound = reportData[:]
	}
	defer runtime.KeepAlive(p)
	return verdictOf(func(e raw.Ee_error) raw.Ee_verdict {
		return raw.Ees_verify_quote(quote, collateral, p.pointer(), when, bound, set.ccel, e)
	})
}

// VerifyOption adds something to what VerifyQuote checks.
type VerifyOption func(*verifyOptions)

type verifyOptions struct {
	ccel    []byte
	hasCCEL bool
}

// BootLog is the machine's boot log, /sys/firmware/acpi/tables/data/CCEL: it must replay to the quote's registers.
func BootLog(ccel []byte) VerifyOption {
	return func(o *verifyOptions) { o.ccel, o.hasCCEL = ccel, true }
}

// CollateralSource says where FetchCollateral gets collateral. The zero value looks everything up.
type CollateralSource struct {
	PCCSURL string        // "https://host:port"; "": EE_PCCS_URL, else Intel's PCS
	PCCSCA  string        // PEM file that its certificate is checked against; "": EE_PCCS_CA, else this machine's CAs
	Cache   string        // folder; "": EE_PCCS_CACHE, else one below ~/.cache
	NoCache bool          // nothing is kept
	Timeout time.Duration // of everything together; 0: 20 seconds
}

// FetchCollateral gets the collateral JSON that VerifyQuote checks this quote with, from the cache or a PCCS. Keep it in a file to verify
// with no network.
func FetchCollateral(ctx context.Context, quote []byte, from CollateralSource) ([]byte, error) {
	if err := checkText("the PCCS's URL", from.PCCSURL, "the PCCS's CA", from.PCCSCA, "the cache", from.Cache); err != nil {
		return nil, err
	}
	if from.Timeout < 0 {
		return nil, newError(statusInvalid, fmt.Sprintf("the timeout is %v; it cannot be negative", from.Timeout))
	}
	keepNothing := 0
	if from.NoCache {
		keepNothing = 1
	}
	var collateral []byte
	err := cancellable(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) {
			collateral = raw.Ees_collateral_fetch(quote, from.PCCSURL, from.PCCSCA, from.Cache, keepNothing, milliseconds(from.Timeout), cancel, e)
		})
	})
	if err != nil {
		return nil, err
	}
	return collateral, nil
}

// CollateralValidUntil tells until when everything in collateral is valid; the zero time when that cannot be known: it is not signed
// throughout under one root.
func CollateralValidUntil(collateral []byte) (time.Time, error) {
	var seconds uint64
	err := invoke(func(e raw.Ee_error) { seconds = raw.Ees_collateral_valid_until(collateral, e) })
	if err != nil || seconds == 0 {
		return time.Time{}, err
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// unix gives 0, which stands for "not said", for the zero time alone: a time before 1970 must not become now.
func unix(t time.Time) (uint64, error) {
	if t.IsZero() {
		return 0, nil
	}
	if t.Unix() <= 0 {
		return 0, newError(statusInvalid, fmt.Sprintf("the time %v is before 1970", t))
	}
	return uint64(t.Unix()), nil
}

func verdictOf(call func(e raw.Ee_error) raw.Ee_verdict) (*Attestation, error) {
	var verdict raw.Ee_verdict
	failed := invoke(func(e raw.Ee_error) { verdict = call(e) })
	found, err := attestationFrom(verdict)
	if verdict != nil && verdict.Swigcptr() != 0 {
		raw.Ee_verdict_free(verdict)
	}
	if failed != nil {
		if refused, ok := failed.(*AttestationError); ok {
			refused.Attestation = found
		}
		return nil, failed
	}
	return found, err
}

// devnetPolicy reads the running devnet's file, trusted only if it is a regular file, ours alone, in a folder of ours: as C does it for
// the client.
func devnetPolicy() (path, toml string, err error) {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if !strings.HasPrefix(base, "/") {
		base = filepath.Join(os.Getenv("HOME"), ".local/state")
	}
	path = filepath.Join(base, "easyenclave", "devnet.json")
	refuse := func(format string, args ...any) (string, string, error) {
		failed := newError(statusConfig, fmt.Sprintf(format, args...))
		failed.Hint = "run `ee devnet up`"
		return path, "", failed
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return refuse("no devnet file: %v", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return refuse("devnet file: %v", err)
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return refuse("devnet file: %v", err)
	}
	if !info.Mode().IsRegular() || !ours(info) || info.Mode().Perm()&0o077 != 0 {
		return refuse("devnet file %s must be a regular file of yours with mode 0600", path)
	}
	if !ours(folder) || folder.Mode().Perm()&0o022 != 0 {
		return refuse("the folder of devnet file %s must be yours and not writable by others", path)
	}
	var told struct{ Policy string }
	if err := json.NewDecoder(io.LimitReader(file, 1<<16)).Decode(&told); err != nil || told.Policy == "" {
		return refuse("devnet file %s names no policy", path)
	}
	return path, told.Policy, nil
}

func ours(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
