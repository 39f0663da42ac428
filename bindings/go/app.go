package easyenclave

// Private apps: net/http and raw connections over attested sockets. Made by client.go.

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

const redirectsMax = 10

// App is a verified way to a private app. It is an http.RoundTripper and a dialer, for the app and for nothing else. Many goroutines may
// use one at once.
type App struct {
	handle     *handle
	c          raw.Ee_app
	client     raw.Ee_client
	host       string // "app-name.ee.internal"
	options    connectOptions
	transport  *http.Transport
	judgeTurns sync.Mutex // one dial at a time while onAttested has the last word: the attestation that it sees is that dial's
}

var _ http.RoundTripper = (*App)(nil)

// ConnectOption changes how Connect reaches an app.
type ConnectOption func(*connectOptions)

type connectOptions struct {
	policy     *Policy
	strict     bool
	timeout    time.Duration
	onAttested func(*Attestation) error
}

// WithPolicy judges the app's machine by another policy than the client's.
func WithPolicy(p *Policy) ConnectOption { return func(o *connectOptions) { o.policy = p } }

// Strict asks for a full quote on every connection, not for a signed statement of the session.
func Strict() ConnectOption { return func(o *connectOptions) { o.strict = true } }

// ConnectTimeout is for resolving, attesting and connecting, each time; the default is 30 seconds.
func ConnectTimeout(d time.Duration) ConnectOption { return func(o *connectOptions) { o.timeout = d } }

// OnAttested has the last word about every connection: an error refuses it.
func OnAttested(f func(*Attestation) error) ConnectOption {
	return func(o *connectOptions) { o.onAttested = f }
}

func (o *connectOptions) timeoutMs() uint { return milliseconds(o.timeout) }

func milliseconds(d time.Duration) uint {
	ms := (d + time.Millisecond - 1) / time.Millisecond
	if ms < 0 {
		return 1
	}
	if ms > 1<<31 {
		return 1 << 31
	}
	return uint(ms)
}

func connectApp(ctx context.Context, client *handle, c raw.Ee_client, name string, options []ConnectOption) (*App, error) {
	app := &App{client: c}
	for _, option := range options {
		option(&app.options)
	}
	if err := client.acquire(); err != nil {
		return nil, err
	}
	err := cancellable(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) {
			app.c = raw.Ees_connect(c, name, app.options.policy.pointer(), app.options.timeoutMs(), flag(app.options.strict), cancel, e)
		})
	})
	runtime.KeepAlive(app.options.policy)
	if err != nil {
		err = withVerdict(c, err)
		client.release()
		return nil, err
	}
	pointer := app.c
	app.handle = newHandle("app", client, func() { raw.Ee_app_free(pointer) })
	app.host = strings.TrimPrefix(raw.Ee_app_base_url(app.c), "https://")
	// Plain HTTP is spoken inside the attested channel; no proxy of the environment has a say.
	app.transport = &http.Transport{DialContext: app.DialContext, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second}
	if app.options.onAttested != nil {
		attestation, err := app.attestation()
		if err == nil {
			err = app.options.onAttested(attestation)
		}
		if err != nil {
			app.Close()
			return nil, err
		}
	}
	runtime.SetFinalizer(app, func(a *App) { go a.Close() })
	return app, nil
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

// BaseURL is "https://app-name.ee.internal".
func (a *App) BaseURL() string { return "https://" + a.host }

// Attestation is of the machine the app was reached on last, which was verified before. Nil once the App is closed.
func (a *App) Attestation() *Attestation {
	found, err := a.attestation()
	if err != nil {
		return nil
	}
	return found
}

func (a *App) attestation() (*Attestation, error) {
	if err := a.handle.acquire(); err != nil {
		return nil, err
	}
	defer a.handle.release()
	return attestationFrom(raw.Ee_app_attestation(a.c))
}

// Get asks for a path of the app. The caller closes the body.
func (a *App) Get(ctx context.Context, path string) (*http.Response, error) {
	return a.do(ctx, http.MethodGet, path, "", nil)
}

// Post sends body to a path of the app. The caller closes the answer's body.
func (a *App) Post(ctx context.Context, path, contentType string, body io.Reader) (*http.Response, error) {
	return a.do(ctx, http.MethodPost, path, contentType, body)
}

func (a *App) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, newError(statusInvalid, fmt.Sprintf("the path is %q; it must start with \"/\"", path))
	}
	request, err := http.NewRequestWithContext(ctx, method, a.BaseURL()+path, body)
	if err != nil {
		return nil, newError(statusInvalid, err.Error())
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	return a.RoundTrip(request) // redirects are handed back, as in every language
}

// RoundTrip sends one request to the app. Any other host is refused.
func (a *App) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := a.checkURL(request.URL); err != nil {
		if request.Body != nil {
			request.Body.Close()
		}
		return nil, err
	}
	inner := request.Clone(request.Context())
	inner.URL.Scheme = "http" // inside the channel
	inner.URL.Host = a.host
	response, err := a.transport.RoundTrip(inner)
	if response != nil {
		response.Request = request
	}
	return response, err
}

func (a *App) checkURL(u *url.URL) error {
	if u == nil || (u.Scheme != "https" && u.Scheme != "http") || !strings.EqualFold(u.Host, a.host) {
		shown := ""
		if u != nil {
			shown = u.Scheme + "://" + u.Host
		}
		return newError(statusInvalid, fmt.Sprintf("this reaches %s only, not %q", a.BaseURL(), shown))
	}
	return nil
}

// HTTPClient is an http.Client for the app. It follows redirects within the app, and hands back those to another host.
func (a *App) HTTPClient() *http.Client {
	return &http.Client{Transport: a, CheckRedirect: func(request *http.Request, via []*http.Request) error {
		if a.checkURL(request.URL) != nil || len(via) >= redirectsMax {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// DialContext opens a connection whose bytes go to the app's port, for any protocol. The address must name the app; its port is not looked at.
func (a *App) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host := address
	if name, _, err := net.SplitHostPort(address); err == nil {
		host = name
	}
	if !strings.HasPrefix(network, "tcp") || !strings.EqualFold(host, a.host) {
		return nil, newError(statusInvalid, fmt.Sprintf("this reaches %s over tcp only, not %s %q", a.host, network, address))
	}
	if err := a.handle.acquire(); err != nil {
		return nil, err
	}
	connected, err := a.dial(ctx)
	if err != nil {
		a.handle.release()
		return nil, err
	}
	return connected, nil
}

// dial is called with the handle acquired, and leaves it to the connection.
func (a *App) dial(ctx context.Context) (net.Conn, error) {
	if a.options.onAttested != nil {
		a.judgeTurns.Lock()
		defer a.judgeTurns.Unlock()
	}
	fd := -1
	err := cancellable(ctx, func(cancel raw.Ee_cancel) error {
		return invoke(func(e raw.Ee_error) {
			fd = raw.Ees_app_socket(a.c, a.options.timeoutMs(), flag(a.options.strict), cancel, e)
		})
	})
	if err != nil {
		return nil, withVerdict(a.client, err)
	}
	file := os.NewFile(uintptr(fd), "easyenclave-app")
	plain, err := net.FileConn(file) // has a descriptor of its own
	file.Close()
	if err != nil {
		return nil, newError(statusIO, err.Error())
	}
	if a.options.onAttested != nil {
		attestation, err := attestationFrom(raw.Ee_app_attestation(a.c))
		if err == nil {
			err = a.options.onAttested(attestation)
		}
		if err != nil {
			plain.Close()
			return nil, err
		}
	}
	return &appConn{UnixConn: plain.(*net.UnixConn), app: a.handle}, nil
}

// appConn keeps the app, and through it the client, until it is closed.
type appConn struct {
	*net.UnixConn
	app  *handle
	once sync.Once
}

func (c *appConn) Close() error {
	err := c.UnixConn.Close()
	c.once.Do(c.app.release)
	return err
}

// Close lets go: idle connections now, others when they are closed.
func (a *App) Close() error {
	runtime.SetFinalizer(a, nil)
	a.transport.CloseIdleConnections()
	a.handle.close()
	return nil
}
