// hello-workload is the smallest app worth deploying, and what the benchmarks talk to: one static file, an HTTP server with keep-alive.
// Build: CGO_ENABLED=0 go build. It listens on PORT (8080) of all addresses of its container, which has no way out but the agent's.
//
//	GET  /api/private    {"hello":"from behind the tunnel"}
//	ANY  /echo           the request's body, at most 64 MiB
//	ANY  /digest         {"bytes":N,"sha256":"..."} of the request's body, of any size
//	GET  /bytes?n=N      N bytes, at most 1 GiB
//	GET  /events?n=N     N server-sent events (10), one each interval=D (100ms)
//	GET  /ws             a WebSocket that sends back what it gets, at most 1 MiB a frame
//	GET  /healthz        204
package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	bytesMax    = 1 << 30
	echoMax     = 64 << 20
	eventsMax   = 1 << 20
	frameMax    = 1 << 20
	intervalMax = time.Minute
	blockBytes  = 64 << 10
	drainTime   = 2 * time.Second
)

// number reads ?name=, which must be 0 to most.
func number(r *http.Request, name string, otherwise, most int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s must be 0 to %d", name, most)
	}
	return n, nil
}

func private(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"hello":"from behind the tunnel"}`)
}

func echo(w http.ResponseWriter, r *http.Request) {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	// All of it before the first byte back: over HTTP/1 net/http stops reading once it answers.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, echoMax))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body) // a client that went away is no news to anybody
}

func digest(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"bytes":%d,"sha256":"%x"}`, n, hash.Sum(nil))
}

var block = func() []byte {
	out := make([]byte, blockBytes)
	for i := range out {
		out[i] = byte('a' + i%26)
	}
	return out
}()

func bytes(w http.ResponseWriter, r *http.Request) {
	n, err := number(r, "n", 1024, bytesMax)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	for n > 0 {
		piece := block
		if n < int64(len(piece)) {
			piece = piece[:n]
		}
		if _, err := w.Write(piece); err != nil {
			return
		}
		n -= int64(len(piece))
	}
}

func events(w http.ResponseWriter, r *http.Request) {
	n, err := number(r, "n", 10, eventsMax)
	interval := 100 * time.Millisecond
	if text := r.URL.Query().Get("interval"); err == nil && text != "" {
		interval, err = time.ParseDuration(text)
		if err == nil && (interval < 0 || interval > intervalMax) {
			err = fmt.Errorf("interval must be 0 to %v", intervalMax)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flusher, _ := w.(http.Flusher)
	for i := int64(0); i < n; i++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {\"event\":%d}\n\n", i+1, i+1); err != nil {
			return
		}
		if flusher != nil {
			flusher.Flush()
		}
		if i+1 == n {
			return
		}
		select {
		case <-time.After(interval):
		case <-r.Context().Done():
			return
		}
	}
}

// The opening of RFC 6455 sect. 4; then frames are the connection's own business.
func ws(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	hijacker, ok := w.(http.Hijacker)
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" || !ok {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a WebSocket", http.StatusUpgradeRequired)
		return
	}
	conn, stream, err := hijacker.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(accept[:]))
	for stream.Flush() == nil && sendBack(stream) {
	}
}

// sendBack answers one frame: data with the same, a ping with a pong, a close with a close. False after the last one.
func sendBack(stream *bufio.ReadWriter) bool {
	const opClose, opPing, opPong = 8, 9, 10
	var head [2]byte
	if _, err := io.ReadFull(stream, head[:]); err != nil {
		return false
	}
	op, size := head[0]&15, uint64(head[1]&127)
	if extra := map[uint64]int{126: 2, 127: 8}[size]; extra > 0 {
		var long [8]byte
		if _, err := io.ReadFull(stream, long[8-extra:]); err != nil {
			return false
		}
		size = binary.BigEndian.Uint64(long[:])
	}
	if head[1]&128 == 0 || size > frameMax { // a client's frames are masked
		return false
	}
	masked := make([]byte, 4+size)
	if _, err := io.ReadFull(stream, masked); err != nil {
		return false
	}
	mask, data := masked[:4], masked[4:]
	for i := range data {
		data[i] ^= mask[i%4]
	}
	if op == opPing {
		head[0] = head[0]&0xf0 | opPong
	}
	stream.WriteByte(head[0])
	switch {
	case size < 126:
		stream.WriteByte(byte(size))
	case size < 1<<16:
		stream.Write(binary.BigEndian.AppendUint16([]byte{126}, uint16(size)))
	default:
		stream.Write(binary.BigEndian.AppendUint64([]byte{127}, size))
	}
	stream.Write(data)
	return stream.Flush() == nil && op != opClose
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/private", private)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/digest", digest)
	mux.HandleFunc("/bytes", bytes)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/ws", ws)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	return mux
}

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	go func() {
		<-stop.Done()
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		server.Shutdown(ctx)
	}()
	log.Printf("hello-workload: listening on %s", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
