package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// mebibyte is well beyond spliceMin.
const mebibyte = 1 << 20

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

// readRequest reads a whole request the way net/http does.
func readRequest(c net.Conn) ([]byte, error) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r.Body)
}

func TestLargeBodies(t *testing.T) {
	want := pattern(3 * mebibyte)
	p := startProxy(t, nil, startMember(t, func(c net.Conn) {
		for {
			body, err := readRequest(c)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			c.Write(body)
		}
	}))
	c := dial(t, p.address)
	r := bufio.NewReader(c)
	for range 3 { // kept alive on both sides
		go func() {
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", len(want))
			c.Write(want)
		}()
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if n := p.stats.accepted.Load(); n != 1 {
		t.Fatalf("%d client connections", n)
	}
}

func TestLargeAnswerCutOff(t *testing.T) {
	p := startProxy(t, nil, startMember(t, func(c net.Conn) {
		readRequest(c)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", mebibyte)
		c.Write(pattern(mebibyte / 2))
	}))
	got := say(t, p.address, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200") || len(body) > mebibyte/2 {
		t.Fatalf("%q and %d bytes", head, len(body))
	}
	if n := p.stats.faults[memberBroke].Load(); n != 1 {
		t.Fatalf("member_broke counted %d times", n)
	}
}

func TestLargeUploadRefusedEarly(t *testing.T) {
	p := startProxy(t, nil, startMember(t, func(c net.Conn) {
		buf := make([]byte, 100<<10)
		io.ReadFull(c, buf)
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}))
	c := dial(t, p.address)
	go func() {
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", 100*mebibyte)
		for range 100 {
			if _, err := c.Write(pattern(mebibyte)); err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("%v %v", resp, err)
	}
}

func TestClientGoneInLargeBodies(t *testing.T) {
	ended := make(chan struct{}, 2)
	p := startProxy(t, nil, startMember(t, func(c net.Conn) {
		defer func() { ended <- struct{}{} }()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if r.Method == "POST" {
			io.Copy(io.Discard, r.Body)
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 10*mebibyte)
		c.Write(pattern(mebibyte))
		io.Copy(io.Discard, c) // stalls
	}))
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10485760\r\n\r\n" + string(pattern(mebibyte))} {
		c := dial(t, p.address)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if request[0] == 'G' {
			io.ReadFull(c, make([]byte, mebibyte))
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		select {
		case <-ended:
		case <-time.After(2 * time.Second):
			t.Fatalf("the member's connection of %.4s is still open", request)
		}
	}
	for deadline := time.Now().Add(2 * time.Second); p.stats.faults[clientGone].Load() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("client_gone counted %d times, want 2", p.stats.faults[clientGone].Load())
		}
	}
}

// TestLargeBodiesSlowly: who does not read for a while gets every byte all the
// same, although the pipe between the two sides is given up meanwhile.
func TestLargeBodiesSlowly(t *testing.T) {
	want := pattern(2 * mebibyte)
	pause := 3 * spliceSlow / 2
	p := startProxy(t, nil, startMember(t, func(c net.Conn) {
		c.(*net.TCPConn).SetReadBuffer(64 << 10)
		for {
			time.Sleep(pause) // not waiting for anything: the pause is the case
			body, err := readRequest(c)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			c.Write(body)
		}
	}))
	for _, size := range []int{mebibyte / 2, 2 * mebibyte} { // without and with a goroutine
		c := dial(t, p.address).(*net.TCPConn)
		c.SetReadBuffer(64 << 10)
		go func() {
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", size)
			c.Write(want[:size])
		}()
		r := bufio.NewReader(c)
		if _, err := r.Peek(1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want[:size]) {
			t.Fatalf("%d of %d bytes, %v", len(got), size, err)
		}
	}
	p.pipes.trim()
	p.pipes.trim() // the second one closes what the first one found unused
	if p.pipes.lent != 0 || len(p.pipes.idle) != 0 {
		t.Errorf("%d pipes are not given back, %d not closed", p.pipes.lent, len(p.pipes.idle))
	}
}
