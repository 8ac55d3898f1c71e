package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/balancer"
)

// Requests that end otherwise than with an answer have their line too: one that
// panics, whose client is answered all the same, and one whose client leaves in
// the middle of its head. A connection that says nothing has none.
func TestAccessLogOfOtherEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	member := startMember(t, func(c net.Conn) { c.Close() })
	// An endpoint without a pool of this package is our own mistake, and panics.
	bad := func(*balancer.Endpoint) io.Closer { return io.NopCloser(nil) }
	router := limitedRouter(t, bad, member)
	s, stop := startServer(t, Config{Listeners: []ListenerConfig{{Name: "http", Address: "127.0.0.1:0", PublicPort: 80}},
		Timeouts:  Timeouts{Header: 30 * time.Second, Idle: 30 * time.Second, Connect: 30 * time.Second, ResponseHeader: 30 * time.Second, Drain: 30 * time.Second},
		AccessLog: AccessLogConfig{Path: path, Format: LogJSON}}, router)
	say := func(text string, answered bool) {
		t.Helper()
		c, err := net.Dial("tcp", s.Addresses()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(c, text)
		if answered {
			if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 500 ") || !strings.Contains(string(b), "(crashed, request ") {
				t.Errorf("%q is answered %q (%v)", text, b, err)
			}
		}
	}
	say("GET /panics HTTP/1.1\r\nHost: a.test\r\n\r\n", true)
	say("POST /panics HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nhalf", true)
	say("GET /half HTTP/1.1\r\nHos", false)
	say("", false)
	for range 3000 {
		if b, _ := os.ReadFile(path); strings.Count(string(b), "\n") == 3 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for line := range strings.Lines(string(b)) {
		var v struct {
			Status                    int
			Reason, Phase, ID, Domain string
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		switch {
		case v.Status == 500 && v.Reason == "crashed" && v.Phase == "connect" && v.Domain == "d":
			found["panic"]++
		case v.Status == 499 && v.Reason == "client_gone" && v.Phase == "head":
			found["half"]++
		default:
			t.Errorf("unexpected line: %s", line)
		}
	}
	if found["panic"] != 2 || found["half"] != 1 {
		t.Errorf("lines: %v\n%s", found, b)
	}
	if n := s.stats.panics.Load(); n != 2 || s.InFlight() != 0 {
		t.Errorf("%d panics, %d in flight", n, s.InFlight())
	}
}

// startServer runs a Server until stop or the end of the test.
func startServer(t *testing.T, cfg Config, router *balancer.Router) (s *Server, stop func()) {
	t.Helper()
	s, err := New(cfg, router, testLog())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	done := false
	stop = func() {
		if !done {
			done = true
			cancel()
			<-ended
		}
	}
	t.Cleanup(stop)
	return s, stop
}
