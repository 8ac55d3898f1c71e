//go:build linux

package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
)

const (
	// answerMax is the largest answer that a member gives.
	answerMax = 10 << 20
	// fileFrom is from which size answers are sent from a file, so that the
	// member need not copy them.
	fileFrom = 64 << 10
	// memberHeadMax bounds a request head.
	memberHeadMax = 32 << 10
)

// memberSpec is what the process of members is told on its standard input.
type memberSpec struct {
	Count int // listeners, each of them one member
}

// members is the process that plays all of them: one loop, answers made
// beforehand. The last segment of the path says what is asked for:
//
//	bN    N bytes
//	up    100 bytes, once the request's body is there
//	echo  the request's own head
//	hold  nothing, ever
//	ws    an upgrade to WebSocket; what comes then goes back
type members struct {
	poll      *poller
	listeners map[int]bool
	conns     []*memberConn // by descriptor
	answers   map[int][]byte
	file      int // holds answerMax bytes of pattern
	buf       []byte
}

// memberConn is one connection from a proxy.
type memberConn struct {
	fd     int
	head   []byte // the part of a head that came so far
	skip   int64  // bytes of the request's body still to come
	answer []byte // given once they came
	out    []byte // what could not be written yet
	off    int64  // of the file, the next byte to send
	left   int64  // bytes of the file to send
	raw    bool   // upgraded: what comes goes back
	polls  uint32 // events asked for
}

// runMembers serves until standard input ends.
func runMembers(spec memberSpec) error {
	p, err := newPoller()
	if err != nil {
		return err
	}
	s := &members{poll: p, listeners: map[int]bool{}, answers: map[int][]byte{}, buf: make([]byte, 64<<10)}
	if s.file, err = patternFile(); err != nil {
		return err
	}
	var ports []int
	for range spec.Count {
		fd, port, err := listen([4]byte{127, 0, 0, 2})
		if err != nil {
			return err
		}
		if err := p.add(fd, readable); err != nil {
			return fmt.Errorf("cannot poll a listener: %w", err)
		}
		s.listeners[fd] = true
		ports = append(ports, port)
	}
	if err := json.NewEncoder(os.Stdout).Encode(ports); err != nil {
		return fmt.Errorf("cannot report the ports: %w", err)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin) // ends with the process that started this one
		os.Exit(0)
	}()
	return s.run()
}

// patternFile makes a file of answerMax bytes in memory.
func patternFile() (int, error) {
	f, err := os.CreateTemp("/dev/shm", "jetway-bench-")
	if err != nil {
		if f, err = os.CreateTemp("", "jetway-bench-"); err != nil {
			return -1, fmt.Errorf("cannot make the file of answers: %w", err)
		}
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if _, err := f.Write(pattern(answerMax)); err != nil {
		return -1, fmt.Errorf("cannot fill the file of answers: %w", err)
	}
	return syscall.Dup(int(f.Fd()))
}

// pattern is the body of an answer of n bytes.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}

func (s *members) run() error {
	for {
		events, err := s.poll.wait(1e9)
		if err != nil {
			return err
		}
		for i := range events {
			fd := int(events[i].Fd)
			if s.listeners[fd] {
				s.accept(fd)
				continue
			}
			if c := s.conns[fd]; c != nil && !s.serve(c, events[i].Events) {
				syscall.Close(fd)
				s.conns[fd] = nil
			}
		}
	}
}

func (s *members) accept(listener int) {
	for {
		fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		for len(s.conns) <= fd {
			s.conns = append(s.conns, nil)
		}
		if s.poll.add(fd, readable) != nil {
			syscall.Close(fd)
			continue
		}
		s.conns[fd] = &memberConn{fd: fd, polls: readable}
	}
}

// serve does what a connection is ready for; false ends it.
func (s *members) serve(c *memberConn, events uint32) bool {
	if events&writable != 0 && !s.flush(c) {
		return false
	}
	if events&(readable|ended) == 0 {
		return true
	}
	if c.skip > 0 {
		n, e := discard(c.fd, c.skip)
		if e != 0 || n == 0 {
			return again(e)
		}
		return s.skipped(c, int64(n))
	}
	n, e := read(c.fd, s.buf)
	if e != 0 || n == 0 {
		return again(e)
	}
	if c.raw {
		c.out = append(c.out, s.buf[:n]...)
		return s.flush(c)
	}
	in := s.buf[:n]
	if len(c.head) > 0 {
		c.head = append(c.head, in...)
		in = c.head
	}
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 {
		if len(c.head) == 0 {
			c.head = append(c.head, in...)
		}
		return len(c.head) < memberHeadMax
	}
	ok := s.request(c, in[:end+4], int64(len(in)-end-4))
	c.head = c.head[:0]
	return ok
}

// request answers one request of whose body so many bytes are there.
func (s *members) request(c *memberConn, head []byte, body int64) bool {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	line = bytes.TrimSuffix(line, []byte(" HTTP/1.1"))
	what := line[bytes.LastIndexByte(line, '/')+1:]
	switch {
	case len(what) > 1 && what[0] == 'b':
		n, err := strconv.Atoi(string(what[1:]))
		if err != nil || n > answerMax {
			return false
		}
		return s.send(c, n)
	case string(what) == "session":
		// As an application that begins the session which the client names.
		answer := s.small(100)
		at := bytes.Index(answer, []byte("\r\n\r\n"))
		c.out = append(append(c.out, answer[:at]...), "\r\nSet-Cookie: "...)
		c.out = append(append(c.out, value(head, "cookie")...), answer[at:]...)
		return s.flush(c)
	case string(what) == "up":
		length, err := strconv.ParseInt(string(value(head, "content-length")), 10, 64)
		if err != nil {
			return false
		}
		c.answer = s.small(100)
		c.skip = length
		return s.skipped(c, body)
	case string(what) == "echo":
		c.out = append(answerHead(len(head)), head...)
		return s.flush(c)
	case string(what) == "hold":
		return true
	case string(what) == "ws":
		sum := sha1.Sum(append(bytes.Clone(value(head, "sec-websocket-key")), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
		c.raw = true
		c.out = fmt.Appendf(c.out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		return s.flush(c)
	}
	return false
}

func answerHead(n int) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: member\r\n"+
		"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", n)
}

// value returns a field's value; name is in lower case.
func value(head []byte, name string) []byte {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}

func (s *members) skipped(c *memberConn, n int64) bool {
	if c.skip -= n; c.skip > 0 {
		return true
	}
	c.out = append(c.out, c.answer...)
	return c.skip == 0 && s.flush(c)
}

// small is a whole answer of n bytes.
func (s *members) small(n int) []byte {
	if a := s.answers[n]; a != nil {
		return a
	}
	s.answers[n] = append(answerHead(n), pattern(n)...)
	return s.answers[n]
}

// send answers with n bytes.
func (s *members) send(c *memberConn, n int) bool {
	if n >= fileFrom {
		c.out = append(c.out, answerHead(n)...)
		c.off, c.left = 0, int64(n)
		return s.flush(c)
	}
	a := s.small(n)
	if len(c.out) == 0 {
		sent, e := write(c.fd, a, 0)
		if e != 0 && !again(e) {
			return false
		}
		a = a[sent:]
	}
	if len(a) == 0 {
		return true
	}
	c.out = append(c.out, a...)
	return s.flush(c)
}

// flush writes what is due, and asks to be called again for the rest.
func (s *members) flush(c *memberConn) bool {
	for len(c.out) > 0 {
		more := 0
		if c.left > 0 {
			more = syscall.MSG_MORE
		}
		n, e := write(c.fd, c.out, more)
		if e != 0 {
			return again(e) && s.want(c, readable|writable)
		}
		c.out = append(c.out[:0], c.out[n:]...)
	}
	for c.left > 0 {
		n, err := syscall.Sendfile(c.fd, s.file, &c.off, int(c.left))
		if err != nil {
			return (err == syscall.EAGAIN || err == syscall.EINTR) && s.want(c, readable|writable)
		}
		c.left -= int64(n)
	}
	return s.want(c, readable)
}

func (s *members) want(c *memberConn, events uint32) bool {
	if c.polls == events {
		return true
	}
	c.polls = events
	return s.poll.change(c.fd, events) == nil
}
