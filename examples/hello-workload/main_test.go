package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	server := httptest.NewServer(handler())
	defer server.Close()
	for _, c := range []struct {
		method, path, body, want string
		status                   int
	}{
		{"GET", "/api/private", "", `{"hello":"from behind the tunnel"}`, 200},
		{"POST", "/echo", "hello", "hello", 200},
		{"POST", "/digest", "abc", `{"bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}`, 200},
		{"GET", "/bytes?n=3", "", "abc", 200},
		{"GET", "/bytes?n=0", "", "", 200},
		{"GET", "/bytes?n=-1", "", "n must be 0 to 1073741824\n", 400},
		{"GET", "/bytes?n=x", "", "n must be 0 to 1073741824\n", 400},
		{"GET", "/events?n=2&interval=1ms", "", "id: 1\ndata: {\"event\":1}\n\nid: 2\ndata: {\"event\":2}\n\n", 200},
		{"GET", "/events?interval=1h", "", "interval must be 0 to 1m0s\n", 400},
		{"GET", "/ws", "", "this is a WebSocket\n", 426},
		{"GET", "/healthz", "", "", 204},
		{"GET", "/other", "", "404 page not found\n", 404},
	} {
		request, err := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != c.status || string(body) != c.want {
			t.Errorf("%s %s: %d %q, %v", c.method, c.path, response.StatusCode, body, err)
		}
	}
}

func TestLongEcho(t *testing.T) {
	server := httptest.NewServer(handler())
	defer server.Close()
	sent := strings.Repeat("0123456789", 100000)
	response, err := http.Post(server.URL+"/echo", "text/plain", strings.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got, err := io.ReadAll(response.Body); string(got) != sent || err != nil {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
}

func TestManyBytes(t *testing.T) {
	server := httptest.NewServer(handler())
	defer server.Close()
	response, err := http.Get(server.URL + "/bytes?n=1000001")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); n != 1000001 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
