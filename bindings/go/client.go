// Package easyenclave runs private jobs, pays in credits and reaches private APIs, over libeesdk.
//
//	result, err := easyenclave.RunPrivateJob(ctx, easyenclave.JobSpec{Image: "myapp:latest", Env: map[string]string{"SECRET": "value"}})
//	_, err = easyenclave.TransferCredits(ctx, "contractor-id", "$200")
//	client, err := easyenclave.Connect(ctx, "app-name")
//	response, err := client.Get(ctx, "/api/private")
//
// These use Default(), made on first use from EE_* variables, the active profile or a running devnet. Every call that can wait takes a
// context first and honours it. Errors answer errors.Is for their kind (ErrLowBalance) and errors.As for details (*LowBalanceError).
//
// To build: PKG_CONFIG_PATH=<build>/lib/pkgconfig, or an installed libeesdk.
package easyenclave

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

const noRetries = 1<<32 - 1 // UINT32_MAX, as client.h says

// Config of a Client. The zero value looks everything up: EE_* environment, the active profile, a running devnet, each value on its own.
type Config struct {
	Profile, URL, APIKey string
	Policy               *Policy
	Timeout              time.Duration // of one call to the control plane; 0: 30 seconds
	MaxRetries           int           // of calls that are safe to repeat; 0: 3; negative: none
	Budget               Amount        // ceiling over everything this client spends; "": none
	PCCSURL, PCCSCA      string        // a PCCS to ask for collateral before the control plane is, and the PEM file its certificate is checked against
}

// String shows no key.
func (c Config) String() string {
	return fmt.Sprintf("Config{Profile: %q, URL: %q, APIKey: %t}", c.Profile, c.URL, c.APIKey != "")
}

// GoString is String, so that %#v shows no key either.
func (c Config) GoString() string { return c.String() }

// Client is one account on one network. Many goroutines may use one at once.
type Client struct {
	handle *handle
	c      raw.Ee_client
}

// New makes a client. Nothing is connected before the first call, which verifies the control plane's attestation.
func New(config Config) (*Client, error) {
	if err := checkText("profile", config.Profile, "url", config.URL, "the API key", config.APIKey, "budget", string(config.Budget),
		"the PCCS's URL", config.PCCSURL, "the PCCS's CA", config.PCCSCA); err != nil {
		return nil, err
	}
	if config.Budget != "" {
		if _, err := ParseMoney(string(config.Budget)); err != nil {
			return nil, err
		}
	}
	if config.Timeout < 0 {
		return nil, newError(statusInvalid, fmt.Sprintf("the timeout is %v; it cannot be negative", config.Timeout))
	}
	retries := uint(config.MaxRetries)
	if config.MaxRetries < 0 {
		retries = noRetries
	}
	client := &Client{}
	err := invoke(func(e raw.Ee_error) {
		client.c = raw.Ees_client_new(config.Profile, config.URL, config.APIKey, string(config.Budget), config.Policy.pointer(),
			milliseconds(config.Timeout), retries, config.PCCSURL, config.PCCSCA, e)
	})
	runtime.KeepAlive(config.Policy)
	if err != nil {
		return nil, err
	}
	pointer := client.c
	client.handle = newHandle("client", nil, func() { raw.Ee_client_free(pointer) })
	runtime.SetFinalizer(client, func(c *Client) { go c.handle.close() })
	return client, nil
}

var (
	defaultMu     sync.Mutex // guards: defaultClient
	defaultClient *Client
)

// Default is the client of the headline calls. A failure is not remembered: the next call looks again. When the devnet that it was made for
// is started anew, it gives way to a new one.
func Default() (*Client, error) {
	defaultMu.Lock()
	defer defaultMu.Unlock()
	if defaultClient != nil && defaultClient.stale() {
		defaultClient = nil // whoever still uses it keeps it
	}
	if defaultClient == nil {
		client, err := New(Config{})
		if err != nil {
			return nil, err
		}
		client.announce()
		defaultClient = client
	}
	return defaultClient, nil
}

func (c *Client) stale() bool {
	if c.handle.acquire() != nil {
		return false // closed by its user, which every call says
	}
	defer c.handle.release()
	return raw.Ee_client_stale(c.c) != 0
}

// announce tells a person at a terminal that a devnet is in use: it looks like the real thing and is not.
func (c *Client) announce() {
	var told struct {
		URL struct{ Value, Origin string }
	}
	if json.Unmarshal([]byte(raw.Ee_client_config_json(c.c)), &told) != nil || !strings.HasPrefix(told.URL.Origin, "devnet file") {
		return
	}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "easyenclave: using devnet at %s: simulated attestation, nothing here is secret\n", told.URL.Value)
	}
}

// RunPrivateJob is Client.RunPrivateJob on Default().
func RunPrivateJob(ctx context.Context, spec JobSpec) (*JobResult, error) {
	built, err := spec.build() // what is wrong with the arguments is told before anything is looked up
	if err != nil {
		return nil, err
	}
	defer built.free()
	client, err := Default()
	if err != nil {
		return nil, err
	}
	return run(ctx, client.handle, client.c, built)
}

// TransferCredits is Client.TransferCredits on Default().
func TransferCredits(ctx context.Context, to string, amount Amount, options ...TransferOption) (*Transfer, error) {
	if err := checkTransfer(to, amount); err != nil {
		return nil, err
	}
	client, err := Default()
	if err != nil {
		return nil, err
	}
	return client.TransferCredits(ctx, to, amount, options...)
}

// Connect is Client.Connect on Default().
func Connect(ctx context.Context, app string, options ...ConnectOption) (*App, error) {
	if err := checkText("app", app); err != nil {
		return nil, err
	}
	client, err := Default()
	if err != nil {
		return nil, err
	}
	return client.Connect(ctx, app, options...)
}

// RunPrivateJob runs a private workload: price quoted, credits locked, node chosen and attested by this process, secrets sent only inside
// the channel to it, output streamed back, receipt verified. A non-zero exit code is a result. When ctx ends, the job is cancelled: a
// *JobFailedError, whose cause is ctx.Err(), then has what came until then, within a few seconds.
func (c *Client) RunPrivateJob(ctx context.Context, spec JobSpec) (*JobResult, error) {
	built, err := spec.build()
	if err != nil {
		return nil, err
	}
	defer built.free()
	return run(ctx, c.handle, c.c, built)
}

// Start starts a job: it returns once the job is admitted, attested and has its secrets. ctx bounds the start only.
func (c *Client) Start(ctx context.Context, spec JobSpec) (*Job, error) {
	built, err := spec.build()
	if err != nil {
		return nil, err
	}
	defer built.free()
	return startJob(ctx, c.handle, c.c, built)
}

// PriceQuote is what a job may cost on the node with the lowest effective price. Nothing is locked by asking.
type PriceQuote struct {
	Node, Tier                      string
	PerVCPUHour, Effective, Ceiling Money // Effective: with the node's trust taken into account; Ceiling: what would be locked
	Trust                           float64
	Rejected                        map[string]string // node -> why it cannot take the job
}

// Quote asks what a job may cost.
func (c *Client) Quote(ctx context.Context, spec JobSpec) (*PriceQuote, error) {
	built, err := spec.build()
	if err != nil {
		return nil, err
	}
	defer built.free()
	if err := c.handle.acquire(); err != nil {
		return nil, err
	}
	defer c.handle.release()
	var text string
	err = cancellable(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) { text = raw.Ees_job_quote(c.c, built.c, spec.Policy.pointer(), cancel, e) })
	})
	runtime.KeepAlive(spec.Policy)
	if err != nil {
		return nil, withVerdict(c.c, err)
	}
	var told struct {
		Items []struct {
			Node, Tier         string
			PerVCPUHour        moneyJSON `json:"price_per_vcpu_hour"`
			Effective, Ceiling moneyJSON
			TrustPPM           int64 `json:"trust_ppm"`
		}
		Rejected map[string]string
	}
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		return nil, newError(statusInternal, "a quote cannot be read: "+err.Error())
	}
	if len(told.Items) == 0 {
		return nil, &NoNodeError{newError(statusNoNode, "no node can take this"), told.Rejected}
	}
	best := told.Items[0]
	return &PriceQuote{best.Node, best.Tier, best.PerVCPUHour.money(), best.Effective.money(), best.Ceiling.money(), float64(best.TrustPPM) / 1e6,
		told.Rejected}, nil
}

// TransferOption changes a transfer.
type TransferOption func(*transferOptions)

type transferOptions struct{ key, memo string }

// IdempotencyKey makes repeated calls move money once.
func IdempotencyKey(key string) TransferOption { return func(o *transferOptions) { o.key = key } }

// Memo is a note of at most 140 bytes that both accounts see.
func Memo(text string) TransferOption { return func(o *transferOptions) { o.memo = text } }

// Transfer is a payment that was made. Replayed: the key had been used for the same transfer before, and nothing moved again.
type Transfer struct {
	ID, To, IdempotencyKey string
	Amount, BalanceAfter   Money
	Replayed               bool
}

func checkTransfer(to string, amount Amount) error {
	if err := checkText("to", to); err != nil {
		return err
	}
	_, err := ParseMoney(string(amount))
	return err
}

// TransferCredits pays another account. When ctx ends after the order may have left and before an answer came, the error is an
// *OutcomeUnknownError with the key to repeat the call with; when it ends before that, nothing was transferred.
func (c *Client) TransferCredits(ctx context.Context, to string, amount Amount, options ...TransferOption) (*Transfer, error) {
	var set transferOptions
	for _, option := range options {
		option(&set)
	}
	if err := checkTransfer(to, amount); err != nil {
		return nil, err
	}
	if err := checkText("memo", set.memo, "the idempotency key", set.key); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(ctx, "nothing was transferred")
	}
	if err := c.handle.acquire(); err != nil {
		return nil, err
	}
	var made *Transfer
	err := c.waitFor(ctx, func(cancel raw.Ee_cancel) error {
		out := raw.NewEe_transfer()
		defer raw.DeleteEe_transfer(out)
		err := invoke(func(e raw.Ee_error) {
			raw.Ees_transfer_credits(c.c, to, string(amount), set.memo, set.key, cancel, out, e)
		})
		if err == nil {
			made = &Transfer{out.GetId(), to, out.GetIdempotency_key(), Money(out.GetAmount()), Money(out.GetBalance_after()), out.GetReplayed() != 0}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// Balance is what the account can spend, and what is held for running or not yet settled work.
type Balance struct {
	Account           string
	Available, Locked Money
}

// Balance asks for the account's balance.
func (c *Client) Balance(ctx context.Context) (*Balance, error) {
	if err := c.handle.acquire(); err != nil {
		return nil, err
	}
	var found *Balance
	err := c.waitFor(ctx, func(cancel raw.Ee_cancel) error {
		out := raw.NewEe_balance()
		defer raw.DeleteEe_balance(out)
		err := invoke(func(e raw.Ee_error) { raw.Ees_balance_get(c.c, cancel, out, e) })
		if err == nil {
			found = &Balance{out.GetAccount(), Money(out.GetAvailable()), Money(out.GetLocked())}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// waitFor makes a call with the handle that was acquired for it.
func (c *Client) waitFor(ctx context.Context, call func(cancel raw.Ee_cancel) error) error {
	defer c.handle.release()
	return withVerdict(c.c, cancellable(ctx, call))
}

// Connect resolves an app, reaches its machine through the proxy, and attests it. No byte of a request leaves before.
func (c *Client) Connect(ctx context.Context, app string, options ...ConnectOption) (*App, error) {
	if err := checkText("app", app); err != nil {
		return nil, err
	}
	return connectApp(ctx, c.handle, c.c, app, options)
}

// Call calls the control plane's HTTP API as this account: for what has no method of its own. body and answer are for encoding/json and may
// be nil; key is an idempotency key or "".
func (c *Client) Call(ctx context.Context, method, path string, body, answer any, key string) error {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return newError(statusInvalid, err.Error())
		}
	}
	if err := checkText("method", method, "path", path, "the idempotency key", key); err != nil {
		return err
	}
	if err := c.handle.acquire(); err != nil {
		return err
	}
	var text string
	err := c.waitFor(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) { text = raw.Ees_client_call(c.c, method, path, string(sent), key, cancel, e) })
	})
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		return newError(statusInternal, "the control plane's answer cannot be read: "+err.Error())
	}
	return nil
}

// AppSpec says what to deploy.
type AppSpec struct {
	Name, Image    string
	Command        []string
	Port           uint16 // the app listens on it inside; never open on the host
	VCPUs          float64
	Memory         int64
	Node           string
	IdempotencyKey string
}

// Deploy deploys an app and waits until its port answers, at most for timeout (0: five minutes).
func (c *Client) Deploy(ctx context.Context, spec AppSpec, timeout time.Duration) error {
	if err := checkText("name", spec.Name, "image", spec.Image, "node", spec.Node, "the idempotency key", spec.IdempotencyKey); err != nil {
		return err
	}
	command, err := block("command", spec.Command)
	if err != nil {
		return err
	}
	if spec.Memory < 0 || spec.VCPUs < 0 || timeout < 0 {
		return newError(statusInvalid, "memory, vcpus and timeout cannot be negative")
	}
	if timeout == 0 {
		timeout = 5 * time.Minute
	}
	if err := c.handle.acquire(); err != nil {
		return err
	}
	return c.waitFor(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) {
			raw.Ees_app_deploy(c.c, spec.Name, spec.Image, command, spec.Port, spec.VCPUs, uint64(spec.Memory), spec.Node, spec.IdempotencyKey,
				int64(timeout/time.Millisecond), cancel, e)
		})
	})
}

// Stop stops an app.
func (c *Client) Stop(ctx context.Context, name string) error {
	if err := checkText("name", name); err != nil {
		return err
	}
	if err := c.handle.acquire(); err != nil {
		return err
	}
	return c.waitFor(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) { raw.Ees_app_stop(c.c, name, cancel, e) })
	})
}

// Attestation is of the control plane, as last checked; the first call connects.
func (c *Client) Attestation(ctx context.Context) (*Attestation, error) {
	if err := c.handle.acquire(); err != nil {
		return nil, err
	}
	var found *Attestation
	err := c.waitFor(ctx, func(cancel raw.Ee_cancel) error {
		var verdict raw.Ee_verdict
		err := invoke(func(e raw.Ee_error) { verdict = raw.Ees_client_attestation(c.c, cancel, e) })
		if err == nil {
			found, err = attestationFrom(verdict)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// NodeAttestation is a node's own proof: its agent is challenged and judged in a channel of its own, apart from any app or job. WithPolicy,
// Strict, ConnectTimeout and OnAttested mean what they mean for Connect; an image that a policy pins is not asked for, since that is an
// app's or job's. When the node is refused, the *AttestationError has every check.
func (c *Client) NodeAttestation(ctx context.Context, node string, options ...ConnectOption) (*Attestation, error) {
	if err := checkText("node", node); err != nil {
		return nil, err
	}
	var set connectOptions
	for _, option := range options {
		option(&set)
	}
	if err := c.handle.acquire(); err != nil {
		return nil, err
	}
	defer c.handle.release()
	var verdict raw.Ee_verdict
	err := cancellable(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) {
			verdict = raw.Ees_node_attestation(c.c, node, set.policy.pointer(), set.timeoutMs(), flag(set.strict), cancel, e)
		})
	})
	runtime.KeepAlive(set.policy)
	if err != nil {
		return nil, withVerdict(c.c, err)
	}
	defer raw.Ee_verdict_free(verdict)
	found, err := attestationFrom(verdict)
	if err == nil && set.onAttested != nil {
		err = set.onAttested(found)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Close lets go, as soon as nothing that came from this client is in use. Its jobs and apps are closed by themselves.
func (c *Client) Close() error {
	runtime.SetFinalizer(c, nil)
	c.handle.close()
	return nil
}
