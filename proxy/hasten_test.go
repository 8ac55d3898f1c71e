package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestHasten: long answers that go fast get more room, so many at a time and no
// others, and only until they end.
func TestHasten(t *testing.T) {
	pools := NewPools()
	s := &Server{}
	start := time.Now()
	answer := func(payload, left int64, took time.Duration) *exchange {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		x := &exchange{server: s, headAt: start, tick: start.Add(took), mc: &memberConn{Conn: near, pool: &pool{pools: pools}, in: &input{}}}
		x.respBody = body{in: x.mc.in, framing: framingLength, payload: payload, left: left}
		x.hasten()
		return x
	}
	for name, x := range map[string]*exchange{
		"it began":          answer(wideAfter-1, 8<<20, time.Millisecond),
		"it is nearly over": answer(wideAfter, wideLeft-1, time.Millisecond),
		"it goes slowly":    answer(wideRate, 8<<20, time.Second+time.Millisecond),
	} {
		if x.mc.wide || x.passMax() != bufferSize {
			t.Errorf("although %s", name)
		}
	}
	var wide []*exchange
	for range wideMax {
		x := answer(wideRate, 8<<20, time.Second)
		if !x.mc.wide || x.passMax() != largeSize {
			t.Fatalf("only %d", len(wide))
		}
		wide = append(wide, x)
	}
	if answer(wideRate, 8<<20, time.Second).mc.wide {
		t.Error("one too many")
	}
	wide[0].mc.narrow()
	wide[0].mc.narrow() // has an effect once
	if n := pools.wide.Load(); n != wideMax-1 || !answer(wideRate, 8<<20, time.Second).mc.wide {
		t.Errorf("%d after one ended", n)
	}
}

// TestLongAnswers: every byte of long answers, by the kernel and through buffers,
// with all kinds of ends, and nothing stays wide.
func TestLongAnswers(t *testing.T) {
	want := pattern(6 * mebibyte)
	p := startProxy(t, nil, startMember(t, func(c net.Conn) {
		for {
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			switch r.URL.Path {
			case "/length":
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(want))
				c.Write(want)
			case "/chunks":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for rest := want; len(rest) > 0; rest = rest[min(100_000, len(rest)):] {
					n := min(100_000, len(rest))
					fmt.Fprintf(c, "%x\r\n%s\r\n", n, rest[:n])
				}
				io.WriteString(c, "0\r\n\r\n")
			default:
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				c.Write(want)
				return
			}
		}
	}))
	for _, proto := range []string{"HTTP/1.0", "HTTP/1.1"} {
		for _, path := range []string{"/length", "/chunks", "/end", "/length"} {
			c := dial(t, p.address)
			fmt.Fprintf(c, "GET %s %s\r\nHost: a.test\r\n\r\n", path, proto)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s %s: %d of %d bytes, %v", proto, path, len(got), len(want), err)
			}
			c.Close()
		}
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		wide := int32(0)
		for _, u := range p.router.Table().Upstreams() {
			for _, e := range u.Endpoints() {
				wide += e.Transport.(*pool).pools.wide.Load()
			}
		}
		if wide == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections stay wide", wide)
		}
	}
}
