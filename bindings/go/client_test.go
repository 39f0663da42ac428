package easyenclave

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHeadlineWithoutANetwork(t *testing.T) {
	noSettings(t)
	ctx := context.Background()
	_, runErr := RunPrivateJob(ctx, JobSpec{Image: "myapp:latest", Env: map[string]string{"SECRET": "value"}})
	_, payErr := TransferCredits(ctx, "contractor-id", "$200")
	_, connectErr := Connect(ctx, "app-name")
	for _, err := range []error{runErr, payErr, connectErr} {
		var base *CallError
		if !errors.Is(err, ErrConfig) || !errors.As(err, &base) || !strings.Contains(base.Hint, "ee devnet up") {
			t.Error(err)
		}
	}
}

func TestArgumentsAreJudgedBeforeSettings(t *testing.T) {
	noSettings(t)
	ctx := context.Background()
	for name, spec := range map[string]JobSpec{
		"no image":          {},
		"NUL in the image":  {Image: "a\x00b"},
		"not UTF-8":         {Image: "a\xff"},
		"empty command":     {Image: "a", Command: []string{}},
		"NUL in an arg":     {Image: "a", Command: []string{"x", "\x00"}},
		"name with =":       {Image: "a", Env: map[string]string{"A=B": "c"}},
		"empty name":        {Image: "a", Env: map[string]string{"": "c"}},
		"digit first":       {Image: "a", Env: map[string]string{"1A": "c"}},
		"name with a space": {Image: "a", Env: map[string]string{"export A": "c"}},
		"name and newline":  {Image: "a", Env: map[string]string{"A\n": "c"}},
		"name with a NUL":   {Image: "a", Env: map[string]string{"A\x00": "c"}},
		"name not ASCII":    {Image: "a", Env: map[string]string{"\u00c4": "c"}},
		"NUL in a value":    {Image: "a", Env: map[string]string{"A": "s3cret\x00"}},
		"negative memory":   {Image: "a", Memory: -1},
		"negative timeout":  {Image: "a", Timeout: -1},
		"negative vcpus":    {Image: "a", VCPUs: -1},
		"unknown node name": {Image: "a", Node: "a\x00"},
	} {
		if _, err := RunPrivateJob(ctx, spec); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := RunPrivateJob(ctx, JobSpec{Image: "a", MaxCost: "1,00"}); !errors.Is(err, ErrInvalidAmount) {
		t.Error(err)
	}
	if _, err := TransferCredits(ctx, "a", "$1.0000001"); !errors.Is(err, ErrInvalidAmount) {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := RunPrivateJob(ctx, JobSpec{Image: "a", Stdin: io.MultiReader(strings.NewReader("x"), errReader{broken})}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestConfig(t *testing.T) {
	folder := noSettings(t)
	if _, err := New(Config{Profile: "nobody"}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "nobody") {
		t.Error(err)
	}
	if _, err := New(Config{URL: "http://127.0.0.1:1"}); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
	if _, err := New(Config{Budget: "5,00"}); !errors.Is(err, ErrInvalidAmount) {
		t.Error(err)
	}
	if _, err := New(Config{Timeout: -1}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	// a devnet file that others can read
	runtimeDir := filepath.Join(folder, "runtime")
	if err := os.MkdirAll(filepath.Join(runtimeDir, "easyenclave"), 0o700); err != nil {
		t.Fatal(err)
	}
	key, _ := GenerateAPIKey()
	told, _ := json.Marshal(map[string]any{"version": 1, "pid": os.Getpid(), "url": "https://127.0.0.1:1", "network": "devnet",
		"network_id": testNetworkID, "account": "dev", "api_key": key, "policy": "", "registry": "127.0.0.1:5000"})
	if err := os.WriteFile(filepath.Join(runtimeDir, "easyenclave/devnet.json"), told, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "0644") {
		t.Error(err)
	}
	if _, err := Devnet(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "0600") {
		t.Error(err)
	}
}

func TestClosedClient(t *testing.T) {
	client := configured(t, Config{})
	client.Close()
	client.Close()
	ctx := context.Background()
	_, balance := client.Balance(ctx)
	_, connect := client.Connect(ctx, "app-name")
	_, start := client.Start(ctx, JobSpec{Image: "a"})
	_, node := client.NodeAttestation(ctx, "node-a")
	for _, err := range []error{balance, connect, start, node} {
		if !errors.Is(err, ErrState) {
			t.Error(err)
		}
	}
}

func TestNodeAttestationRefusesBadNames(t *testing.T) {
	client := configured(t, Config{})
	ctx := context.Background()
	for _, name := range []string{"", "a/b", strings.Repeat("x", 64), "a\x00b", "\xff"} {
		if _, err := client.NodeAttestation(ctx, name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := client.NodeAttestation(ctx, "node-a", WithPolicy(Production()), Strict(), ConnectTimeout(time.Second)); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	gone, stop := context.WithCancel(ctx)
	stop()
	if _, err := client.NodeAttestation(gone, "node-a"); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	noGoroutineLeft(t, func() {
		short, done := context.WithTimeout(ctx, 50*time.Millisecond)
		defer done()
		client.NodeAttestation(short, "node-a")
	})
}

// The context's end comes through every call at once, says what it was, and leaves no goroutine.
func TestContext(t *testing.T) {
	client := configured(t, Config{URL: silentServer(t), Timeout: 700 * time.Millisecond, MaxRetries: -1})
	calls := map[string]func(ctx context.Context) error{
		"Connect":  func(ctx context.Context) error { _, err := client.Connect(ctx, "app-name"); return err },
		"Balance":  func(ctx context.Context) error { _, err := client.Balance(ctx); return err },
		"Transfer": func(ctx context.Context) error { _, err := client.TransferCredits(ctx, "a", "$1"); return err },
		"Call":     func(ctx context.Context) error { return client.Call(ctx, "GET", "/v1/nodes", nil, nil, "") },
		"Attest":   func(ctx context.Context) error { _, err := client.Attestation(ctx); return err },
		"Stop":     func(ctx context.Context) error { return client.Stop(ctx, "app-name") },
		"Deploy": func(ctx context.Context) error {
			return client.Deploy(ctx, AppSpec{Name: "app-name", Image: "127.0.0.1:1/a@sha256:" + strings.Repeat("ab", 32), Port: 80}, 0)
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			noGoroutineLeft(t, func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
				defer cancel()
				started := time.Now()
				err := call(ctx)
				if late := time.Since(started); late > 200*time.Millisecond {
					t.Errorf("came back after %v", late)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if !errors.Is(err, ErrTimeout) { // of a transfer too: its order cannot have left
					t.Error(err)
				}
			})
			over, cancel := context.WithCancel(context.Background())
			cancel()
			if err := call(over); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCancelled) {
				t.Errorf("with a context that was over: %v", err)
			}
		})
	}
	t.Run("the client's own deadline", func(t *testing.T) {
		if _, err := client.Balance(context.Background()); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestManyGoroutinesUseOneClient(t *testing.T) {
	client := configured(t, Config{URL: silentServer(t), Timeout: 100 * time.Millisecond, MaxRetries: -1})
	noGoroutineLeft(t, func() {
		var group sync.WaitGroup
		for i := 0; i < 16; i++ {
			group.Add(1)
			go func() {
				defer group.Done()
				if _, err := client.Balance(context.Background()); err == nil {
					t.Error("a balance came from nowhere")
				}
			}()
		}
		group.Wait()
	})
}

func TestCloseWhileACallRuns(t *testing.T) {
	client := configured(t, Config{URL: silentServer(t), Timeout: 200 * time.Millisecond, MaxRetries: -1})
	done := make(chan error)
	started := make(chan struct{})
	go func() {
		close(started)
		_, err := client.Balance(context.Background())
		done <- err
	}()
	<-started
	client.Close()
	if err := <-done; err == nil {
		t.Error("a balance came from nowhere")
	}
}

func TestHandle(t *testing.T) {
	var freed []string
	parent := newHandle("client", nil, func() { freed = append(freed, "client") })
	if err := parent.acquire(); err != nil {
		t.Fatal(err)
	}
	child := newHandle("app", parent, func() { freed = append(freed, "app") })
	if err := child.acquire(); err != nil {
		t.Fatal(err)
	}
	parent.close()
	child.close()
	child.close()
	if len(freed) != 0 {
		t.Error("freed while in use")
	}
	child.release()
	if strings.Join(freed, " ") != "app client" {
		t.Error(freed)
	}
	if err := child.acquire(); !errors.Is(err, ErrState) {
		t.Error(err)
	}
}

func TestDroppedClientsAreFreed(t *testing.T) {
	configured(t, Config{})
	threads := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	before := threads()
	for i := 0; i < 50; i++ { // each has a thread of its own
		if _, err := New(Config{URL: "https://127.0.0.1:1", APIKey: mustKey(t)}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); threads() > before+20 && time.Now().Before(deadline); {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if after := threads(); after > before+20 {
		t.Errorf("%d threads before, %d after 50 dropped clients", before, after)
	}
}

func mustKey(t *testing.T) string {
	key, err := GenerateAPIKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// appOver is an App whose connections lead to a server in this process.
func appOver(t *testing.T, handler http.Handler) *App {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	app := &App{host: "app-name.ee.internal", handle: newHandle("app", nil, func() {})}
	app.transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	t.Cleanup(func() { app.Close() })
	return app
}

func TestAppSpeaksHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/private", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Method+" "+r.Host+" "+r.URL.RawQuery)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/echo", http.StatusFound) })
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: 1\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	app := appOver(t, mux)
	ctx := context.Background()
	read := func(response *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if got := read(app.Get(ctx, "/api/private?a=1")); got != "GET app-name.ee.internal a=1" {
		t.Error(got)
	}
	if got := read(app.Post(ctx, "/echo", "text/plain", strings.NewReader("hello"))); got != "hello" {
		t.Error(got)
	}
	if got := read(app.HTTPClient().Get(app.BaseURL() + "/here")); got != "" {
		t.Error(got)
	}
	response, err := app.HTTPClient().Get(app.BaseURL() + "/away")
	if err != nil || response.StatusCode != http.StatusFound || response.Request.URL.Scheme != "https" {
		t.Errorf("%v %v", response, err)
	} else {
		response.Body.Close()
	}
	for _, address := range []string{"https://elsewhere.example/", "https://app-name.ee.internal.evil.example/", "https://app-name.ee.internal:444/", "ftp://app-name.ee.internal/"} {
		if _, err := app.HTTPClient().Get(address); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := app.Get(ctx, "api"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	streaming, cancel := context.WithCancel(ctx)
	response, err = app.Get(streaming, "/events")
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Error(line, err)
	}
	cancel()
	response.Body.Close()
}

func TestAppDialsItselfOnly(t *testing.T) {
	app := appOver(t, http.NotFoundHandler())
	for _, c := range [][2]string{{"tcp", "elsewhere.example:443"}, {"udp", "app-name.ee.internal:80"}, {"tcp", "app-name.ee.internal.evil.example:80"}, {"tcp", "127.0.0.1:80"}} {
		if _, err := app.DialContext(context.Background(), c[0], c[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", c, err)
		}
	}
	app.Close()
	if _, err := app.DialContext(context.Background(), "tcp", "app-name.ee.internal:80"); !errors.Is(err, ErrState) {
		t.Error(err)
	}
	if app.Attestation() != nil {
		t.Error("a closed app has no attestation")
	}
}
