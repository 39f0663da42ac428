package easyenclave

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const testNetworkID = "abababababababababababababababababababababababababababababababab"

// sourceDir is the checkout.
func sourceDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("EE_SOURCE_DIR"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// noSettings takes every setting away: no EE_*, new and empty folders. Returns the folder.
func noSettings(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pair := range os.Environ() {
		if name := strings.SplitN(pair, "=", 2)[0]; strings.HasPrefix(name, "EE_") && name != "EE_SOURCE_DIR" {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", folder)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(folder, "config"))
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(folder, "runtime"))
	return folder
}

// configured is a client of a network that is not there.
func configured(t *testing.T, config Config) *Client {
	t.Helper()
	noSettings(t)
	t.Setenv("EE_NETWORK_ID", testNetworkID)
	if config.URL == "" {
		config.URL = "https://127.0.0.1:1"
	}
	key, err := GenerateAPIKey()
	if err != nil {
		t.Fatal(err)
	}
	config.APIKey = key
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// silentServer takes connections and says nothing.
func silentServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		var taken []net.Conn
		for {
			one, err := listener.Accept()
			if err != nil {
				break
			}
			taken = append(taken, one)
		}
		for _, one := range taken {
			one.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-stopped
	})
	return "https://" + listener.Addr().String()
}

// noGoroutineLeft fails when work leaves goroutines behind. What ends by itself gets a moment for it.
func noGoroutineLeft(t *testing.T, work func()) {
	t.Helper()
	work() // once before, for what is made once
	before := runtime.NumGoroutine()
	for i := 0; i < 5; i++ {
		work()
	}
	deadline := time.Now().Add(3 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
	}
}
