package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

func testPool(t *testing.T, serve func(net.Conn)) *pool {
	t.Helper()
	p := &pool{pools: NewPools(), address: startMember(t, serve)}
	t.Cleanup(func() { p.Close() })
	return p
}

func mustGet(t *testing.T, p *pool) *memberConn {
	t.Helper()
	mc, err := p.get(context.Background(), time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	return mc
}

// TestPoolLines: what each request touches of a pool and of a connection is on as
// few cache lines as it can be; the allocator aligns sizes that are powers of two.
func TestPoolLines(t *testing.T) {
	var p pool
	if unsafe.Sizeof(p) != 128 || unsafe.Offsetof(p.pools)+unsafe.Sizeof(p.pools) > 64 {
		t.Errorf("a pool has %d bytes, up to its pools %d", unsafe.Sizeof(p), unsafe.Offsetof(p.pools)+unsafe.Sizeof(p.pools))
	}
	if n := unsafe.Sizeof(memberConn{}); n != 128 {
		t.Errorf("a connection has %d bytes", n)
	}
}

func hold(c net.Conn) { io.Copy(io.Discard, c) }

func TestPoolTakesTheNewest(t *testing.T) {
	p := testPool(t, hold)
	a, b := mustGet(t, p), mustGet(t, p)
	a.keep(time.Now())
	b.keep(time.Now())
	if got := mustGet(t, p); got != b || !got.reused {
		t.Fatal("the newest idle connection was not used")
	}
	if got := mustGet(t, p); got != a {
		t.Fatal("the other one was not used")
	}
	if p.open != 2 {
		t.Fatalf("%d connections are counted, want 2", p.open)
	}
	a.discard()
	b.discard()
	if p.open != 0 {
		t.Fatalf("%d connections are counted, want 0", p.open)
	}
}

// TestPoolDropsWhatIsNotSilent: bytes that nobody asked for, and ends.
func TestPoolDropsWhatIsNotSilent(t *testing.T) {
	for name, spoil := range map[string]func(net.Conn){
		"bytes": func(c net.Conn) { c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) },
		"end":   func(c net.Conn) { c.Close() },
		"reset": func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
	} {
		var conns atomic.Int32
		spoiled := make(chan struct{})
		p := testPool(t, func(c net.Conn) {
			if conns.Add(1) == 1 {
				<-spoiled
				spoil(c)
			}
			hold(c) // keeps open what was not closed
		})
		mc := mustGet(t, p)
		mc.keep(time.Now())
		close(spoiled)
		deadline := time.Now().Add(2 * time.Second)
		for mc.quiet() && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if got := mustGet(t, p); got == mc || got.reused {
			t.Fatalf("%s: a spoiled connection was used", name)
		}
	}
}

func TestPoolSweepsTheOld(t *testing.T) {
	p := testPool(t, hold)
	mc := mustGet(t, p)
	now := time.Now()
	mc.keep(now)
	p.sweep(now.Add(idleDefault - time.Second))
	if p.idle != mc || mc.next != nil {
		t.Fatal("a young connection was closed")
	}
	p.sweep(now.Add(idleDefault))
	if p.idle != nil || p.open != 0 {
		t.Fatalf("idle %v, open %d after the sweep", p.idle, p.open)
	}
	mc = mustGet(t, p)
	mc.noteKeepAlive(5)
	mc.keep(now)
	p.sweep(now.Add(4 * time.Second)) // a second before the member would
	if p.idle != nil {
		t.Fatal("the member's own limit was not minded")
	}
}

func TestPoolWaits(t *testing.T) {
	p := testPool(t, hold)
	mc := mustGet(t, p)
	p.open = poolMax
	if _, err := p.get(context.Background(), 10*time.Millisecond, false); !errors.Is(err, errOverloaded) {
		t.Fatalf("error %v, want errOverloaded", err)
	}
	got := make(chan *memberConn)
	wait := func() {
		go func() {
			c, _ := p.get(context.Background(), 5*time.Second, false)
			got <- c
		}()
		for waiting := 0; waiting == 0; {
			p.mu.Lock()
			waiting = len(p.waiters)
			p.mu.Unlock()
		}
	}
	wait()
	mc.keep(time.Now())
	if c := <-got; c != mc || !c.reused {
		t.Fatal("the connection given back was not handed over")
	}
	wait()
	mc.discard() // a place becomes free instead
	if c := <-got; c == nil || c == mc {
		t.Fatal("the free place was not used")
	}
	if p.open != poolMax {
		t.Fatalf("%d connections are counted, want %d", p.open, poolMax)
	}
}

func TestPoolOfAVanishedMember(t *testing.T) {
	p := testPool(t, hold)
	mc := mustGet(t, p)
	p.Close()
	mc.keep(time.Now())
	if p.idle != nil || p.open != 0 {
		t.Fatalf("idle %v, open %d", p.idle, p.open)
	}
	mc = mustGet(t, p) // for a request that chose the member before
	if mc.keep(time.Now()); p.idle != nil || p.open != 0 {
		t.Fatalf("idle %v, open %d after another request", p.idle, p.open)
	}
}
