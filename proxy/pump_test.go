package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestBodyPause: a client that was far ahead of the minimum rate may pause, also
// where the deadline in force is an older one.
func TestBodyPause(t *testing.T) {
	p := startProxy(t, func(cfg *Config) {
		cfg.Timeouts.Header, cfg.Timeouts.BodyMinRate = time.Second, 1000
	}, startMember(t, func(c net.Conn) {
		if _, err := readRequest(c); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}))
	c := dial(t, p.address)
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10020\r\n\r\n0123456789")
	time.Sleep(300 * time.Millisecond) // the pauses are the case
	c.Write(pattern(10000))
	time.Sleep(1200 * time.Millisecond) // beyond the first deadline, below what 10,000 bytes earned
	io.WriteString(c, "0123456789")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v, want 200", resp, err)
	}
}
