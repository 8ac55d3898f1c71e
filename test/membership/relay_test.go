package membership

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

// relay stands in front of a node's gossip port, UDP and TCP: it records what
// goes there, and can block it. Nodes answer to addresses that they were told,
// so packets need to go one way only.
type relay struct {
	address string
	port    int
	target  string
	blocked atomic.Bool

	mu      sync.Mutex // guards what follows
	packets [][]byte
	streams [][]byte // what each connection sent
	conns   map[net.Conn]bool
	done    bool
}

const recordedMax = 4000 // packets, and streams

func newRelay(t testing.TB, target int) *relay {
	t.Helper()
	r := &relay{port: harness.FreePort(t), target: harness.Loopback(target), conns: map[net.Conn]bool{}}
	r.address = harness.Loopback(r.port)
	ln, err := net.Listen("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	in, err := net.ListenPacket("udp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("udp", r.target)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.udp(in, out) })
	wg.Go(func() { r.tcp(ln, &wg) })
	t.Cleanup(func() {
		in.Close()
		out.Close()
		ln.Close()
		r.mu.Lock()
		r.done = true
		for c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		wg.Wait()
	})
	return r
}

func (r *relay) block(on bool) {
	r.blocked.Store(on)
	if !on {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

func (r *relay) udp(in net.PacketConn, out net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := in.ReadFrom(buf)
		if err != nil {
			return
		}
		if r.blocked.Load() {
			continue
		}
		r.mu.Lock()
		if len(r.packets) < recordedMax {
			r.packets = append(r.packets, append([]byte(nil), buf[:n]...))
		}
		r.mu.Unlock()
		out.Write(buf[:n]) // refused while nobody listens there
	}
}

func (r *relay) tcp(ln net.Listener, wg *sync.WaitGroup) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		if r.blocked.Load() {
			c.Close()
			continue
		}
		wg.Go(func() { r.stream(c) })
	}
}

func (r *relay) stream(c net.Conn) {
	defer c.Close()
	target, err := net.DialTimeout("tcp", r.target, 5*time.Second)
	if err != nil {
		return
	}
	defer target.Close()
	r.mu.Lock()
	r.conns[c], r.conns[target] = true, true
	done := r.done
	r.mu.Unlock()
	if done {
		return
	}
	defer func() {
		r.mu.Lock()
		delete(r.conns, c)
		delete(r.conns, target)
		r.mu.Unlock()
	}()
	back := make(chan struct{})
	go func() {
		defer close(back)
		io.Copy(c, target)
		c.Close()
	}()
	var sent []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if len(sent) < 1<<20 {
				sent = append(sent, buf[:n]...)
			}
			target.Write(buf[:n])
		}
		if err != nil {
			break
		}
	}
	target.Close()
	<-back
	r.mu.Lock()
	if len(r.streams) < recordedMax {
		r.streams = append(r.streams, sent)
	}
	r.mu.Unlock()
}

// recorded returns what came so far.
func (r *relay) recorded() (packets, streams [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.packets...), append([][]byte(nil), r.streams...)
}
