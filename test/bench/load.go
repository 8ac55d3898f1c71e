//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// What a client process does with TLS.
const (
	tlsFull   = "full"   // a new session with every request
	tlsResume = "resume" // a resumed session with every request
	tlsKeep   = "keep"   // kept connections
)

// load is what a client process is told on its standard input.
type load struct {
	Target netip.AddrPort
	Host   string // "%d" in it stands for a number below Vary
	Path   string // likewise
	Vary   int
	// HostVary is how many hosts there are; the number of a request counts
	// through them. 0: as many as Vary.
	HostVary int
	Sticky   bool // requests have the cookie that the proxy gave for them
	Learned  bool // requests are of sessions of the application, which begin first
	Upload   int  // bytes of the request's body
	Length   int  // of the expected answer's body
	Conns    int
	Close    bool    // every request on a connection of its own
	Socket   bool    // upgraded connections that echo messages of Length bytes
	TLS      string  // "" is in the clear
	Rate     float64 // requests per second whatever the answers take; 0: the next one after each answer
	Patient  bool    // connections may end between requests: the proxy reloads
	Warm     time.Duration
	Measure  time.Duration

	Proxy     int // process whose tree's CPU time is measured
	LoadCore  int
	ProxyCore int
}

// outcome is what a client process saw in the measured time.
type outcome struct {
	Round      int // of the measurement, from 0
	Requests   int64
	Errors     int64
	FirstError string
	Reconnects int64 // connections that the proxy ended between requests, orderly or not
	Unanswered int64 // of them those that ended with a request under way, which was sent again
	Usage      usage
	Latency    *latency // only at a fixed rate
}

// latency is in microseconds, from when a request was due, not from when
// there was a connection free for it.
type latency struct{ P50, P99, P999 float64 }

// requestsMax bounds how many different requests a client prepares.
const requestsMax = 1 << 14

// requests prepares what is sent, in turn.
func (l *load) requests() [][]byte {
	if l.Socket {
		return [][]byte{frame(l.Length)}
	}
	n := max(l.Vary, 1)
	// Of many, a fixed sample in random order: prefetchers must not learn it.
	random := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, min(n, requestsMax))
	for i := range all {
		at := i
		if n > requestsMax {
			at = random.IntN(n)
		}
		all[i] = l.request(at)
	}
	random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	return all
}

func (l *load) request(number int) []byte {
	return l.requestWith(number, "")
}

// requestWith is a request with further fields, each with its CRLF.
func (l *load) requestWith(number int, fields string) []byte {
	fill := func(s string) string { return strings.ReplaceAll(s, "%d", fmt.Sprint(number)) }
	host := fill(l.Host)
	if l.HostVary > 0 {
		host = strings.ReplaceAll(l.Host, "%d", fmt.Sprint(number%l.HostVary))
	}
	method, more := "GET", fields
	if l.Learned {
		more += fmt.Sprintf("Cookie: sid=%08x\r\n", number)
	}
	if l.Upload > 0 {
		method, more = "POST", fields+fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", l.Upload)
	}
	if l.Close {
		more += "Connection: close\r\n"
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: jetway-bench\r\nAccept: */*\r\n%s\r\n",
		method, fill(l.Path), host, more)
	return append([]byte(head), pattern(l.Upload)...)
}

// bind asks each request once and gives it the cookie that comes back; a proxy
// that sets none finds one of the client's own.
func (l *load) bind(requests int) ([][]byte, error) {
	conn, err := l.connect()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	all, buf := make([][]byte, requests), make([]byte, 64<<10)
	for i := range all {
		if _, err := conn.Write(l.request(i)); err != nil {
			return nil, fmt.Errorf("cannot ask for a cookie: %w", err)
		}
		head, body, err := readHead(conn, buf)
		if err != nil {
			return nil, err
		}
		if err := l.judge(head); err != nil {
			return nil, err
		}
		cookie := fmt.Sprintf("SRV=client%d", i)
		if set, _, _ := strings.Cut(string(value(head, "set-cookie")), ";"); set != "" {
			cookie = set
		}
		if _, err := io.CopyN(io.Discard, conn, int64(l.Length-len(body))); err != nil {
			return nil, fmt.Errorf("an answer ended early: %w", err)
		}
		all[i] = l.requestWith(i, "Cookie: "+cookie+"\r\n")
	}
	return all, nil
}

// upgrade asks for WebSocket.
func (l *load) upgrade() []byte {
	return fmt.Appendf(nil, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", l.Host)
}

// frame is a masked binary message of n bytes, at most 125.
func frame(n int) []byte {
	return append([]byte{0x82, 0x80 | byte(n), 0, 0, 0, 0}, pattern(n)...)
}

// judge looks at the head of an answer.
func (l *load) judge(head []byte) error {
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("unexpected answer: %.120q", head)
	}
	length, err := strconv.Atoi(string(value(head, "content-length")))
	if err != nil || length != l.Length {
		return fmt.Errorf("answer is not %d bytes: %.200q", l.Length, head)
	}
	return nil
}
