package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// TestParkedConnections: idle ones give up their goroutine and come back for a
// request, end in time, and end with the server.
func TestParkedConnections(t *testing.T) {
	t.Parallel() // it waits for most of its time
	const idle = 10 * time.Second
	p := startProxy(t, func(c *Config) { c.Timeouts.Header, c.Timeouts.Idle = idle, idle },
		startMember(t, echoMember(plainAnswer)))
	if p.lot == nil {
		t.Skip("this system parks nothing")
	}
	ask := func(c net.Conn) {
		t.Helper()
		io.WriteString(c, plainRequest)
		buf := make([]byte, 4096)
		for n := 0; !bytes.HasSuffix(buf[:n], []byte("0123456789")); {
			m, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	conns := make([]net.Conn, 50)
	for i := range conns {
		conns[i] = dial(t, p.address)
		if i%2 == 0 {
			ask(conns[i])
		}
	}
	parked := func() int {
		p.lot.mu.Lock()
		defer p.lot.mu.Unlock()
		return len(p.lot.parked)
	}
	for deadline := time.Now().Add(idle); parked() < len(conns); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d are parked", parked(), len(conns))
		}
	}
	for _, c := range conns[:40] {
		ask(c)
		ask(c) // parked or not, it is served
	}
	if n := p.conns.len(); n != len(conns) {
		t.Fatalf("%d connections, want %d", n, len(conns))
	}
	start := time.Now()
	for _, c := range conns[40:] {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("an idle connection ended with %v", err)
		}
	}
	if d := time.Since(start); d > 2*idle {
		t.Fatalf("idle connections ended after %v", d)
	}
}
