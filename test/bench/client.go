//go:build linux

package main

import (
	"bytes"
	"fmt"
	"syscall"
	"time"
)

const (
	// discardFrom is from how many outstanding bytes an answer is only counted.
	discardFrom = 128 << 10
	// drainTime is how long answers are waited for after the measured time.
	drainTime = 5 * time.Second
	// reconnectsMax bounds the attempts of a patient client in a row.
	reconnectsMax = 100
	// errorsMax ends a run, which is void from the first one.
	errorsMax = 100
)

// client is the loop of a client process.
type client struct {
	*load
	meter    meter
	poll     *poller
	requests [][]byte
	next     int       // of requests
	conns    []*conn   // by descriptor
	free     []*conn   // without request, at a fixed rate; first in, first out
	due      []int64   // requests without connection: when they were due
	pending  int       // requests under way
	waits    []float64 // latencies in microseconds
	body     []byte    // what answers consist of
	buf      []byte
	stopping bool
	outcome  outcome
}

// conn is one connection of a client.
type conn struct {
	fd      int
	request []byte // under way, nil: none
	unsent  []byte // rest of it
	head    []byte // the part of an answer's head that came so far
	inBody  bool
	got     int   // bytes of the answer's body
	due     int64 // when the request was due
	last    bool  // the answer says that the connection ends
	done    bool  // answered, the end of the connection is waited for
	retried int
}

// runClient puts load on a proxy and tells what came of it.
func runClient(l *load) (*outcome, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	c := &client{load: l, poll: p, requests: l.requests(), body: pattern(discardFrom + 1), buf: make([]byte, 256<<10)}
	c.meter = newMeter(l)
	if l.Learned {
		if err := c.begins(); err != nil {
			return nil, err
		}
	}
	if l.Sticky {
		if c.requests, err = l.bind(len(c.requests)); err != nil {
			return nil, err
		}
	}
	if l.Socket {
		c.body = c.requests[0]
	}
	for range l.Conns {
		k := &conn{}
		if err := c.open(k); err != nil {
			return nil, err
		}
		c.free = append(c.free, k)
	}
	c.meter.start()
	if l.Rate == 0 {
		all := c.free
		c.free = nil
		for _, k := range all {
			c.send(k, c.meter.now())
		}
	}
	if err := c.run(); err != nil {
		return nil, err
	}
	c.outcome.Usage = c.meter.usage()
	if l.Rate > 0 {
		c.outcome.Latency = quantiles(c.waits)
	}
	return &c.outcome, nil
}

// open connects; with WebSocket it upgrades, too, and waits for that.
func (c *client) open(k *conn) error {
	fd, err := dial(c.Target)
	if err != nil {
		return err
	}
	*k = conn{fd: fd, retried: k.retried}
	if c.Socket {
		if err := c.join(fd); err != nil {
			return err
		}
	}
	if err := c.poll.add(fd, readable); err != nil {
		return fmt.Errorf("cannot poll a connection: %w", err)
	}
	for len(c.conns) <= fd {
		c.conns = append(c.conns, nil)
	}
	c.conns[fd] = k
	return nil
}

func (c *client) join(fd int) error {
	if _, err := syscall.Write(fd, c.upgrade()); err != nil {
		return fmt.Errorf("cannot ask for an upgrade: %w", err)
	}
	n, err := syscall.Read(fd, c.buf) // waits, see dial
	if err != nil {
		return fmt.Errorf("no answer to an upgrade: %w", err)
	}
	if b := c.buf[:n]; !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(b, []byte("\r\n\r\n")) {
		return fmt.Errorf("upgrade answered with %q", b)
	}
	return nil
}

func (c *client) run() error {
	interval := int64(1)
	if c.Rate > 0 {
		interval = int64(1e9 / c.Rate)
	}
	end, gap, due := c.meter.end, int64(50e6), c.meter.now()
	for {
		now := c.meter.tick()
		c.stopping = now >= end
		if c.stopping && c.pending == 0 && len(c.due) == 0 || c.outcome.Errors >= errorsMax {
			return nil
		}
		if now >= end+int64(drainTime) {
			c.fail(fmt.Errorf("%d requests were not answered within %v", c.pending+len(c.due), drainTime))
			return nil
		}
		if c.Rate > 0 {
			for ; due <= now && due < end; due += interval {
				c.ask(due)
			}
			gap = min(max(due-now, 0), 50e6)
		}
		events, err := c.poll.wait(gap)
		if err != nil {
			return err
		}
		for i := range events {
			if k := c.conns[events[i].Fd]; k != nil {
				c.serve(k, events[i].Events)
			}
		}
	}
}

// ask sends a request that is due on a free connection, or lets it wait.
func (c *client) ask(due int64) {
	if len(c.free) == 0 {
		c.due = append(c.due, due)
		return
	}
	k := c.free[0]
	c.free = append(c.free[:0], c.free[1:]...)
	c.send(k, due)
}

// send begins a request.
func (c *client) send(k *conn, due int64) {
	k.request, k.due = c.requests[c.next], due
	if c.next++; c.next == len(c.requests) {
		c.next = 0
	}
	k.retried = 0
	c.pending++
	c.begin(k)
}

func (c *client) begin(k *conn) {
	k.unsent, k.inBody, k.got, k.head = k.request, c.Socket, 0, k.head[:0]
	c.flush(k)
}

func (c *client) flush(k *conn) {
	n, e := write(k.fd, k.unsent, 0)
	if e != 0 && !again(e) {
		c.broke(k, e)
		return
	}
	waited := len(k.unsent) < len(k.request)
	k.unsent = k.unsent[n:]
	switch {
	case len(k.unsent) > 0 && !waited:
		c.poll.change(k.fd, readable|writable)
	case len(k.unsent) == 0 && waited:
		c.poll.change(k.fd, readable)
	}
}

// serve does what a connection is ready for.
func (c *client) serve(k *conn, events uint32) {
	fd := k.fd
	if events&writable != 0 && len(k.unsent) > 0 {
		c.flush(k)
	}
	if events&(readable|ended) == 0 || k.fd != fd {
		return
	}
	if left := c.Length - k.got; k.inBody && left > discardFrom {
		n, e := discard(k.fd, int64(left))
		switch {
		case e == 0 && n > 0:
			c.counted(k, n)
		case !again(e):
			c.broke(k, e)
		}
		return
	}
	n, e := read(k.fd, c.buf)
	if e != 0 || n == 0 {
		if !again(e) {
			c.broke(k, e)
		}
		return
	}
	c.take(k, c.buf[:n])
}

// take judges bytes of an answer.
func (c *client) take(k *conn, b []byte) {
	if k.request == nil || k.done {
		c.drop(k, fmt.Errorf("%d bytes that no one asked for: %.40q", len(b), b))
		return
	}
	if !k.inBody {
		if len(k.head) > 0 {
			k.head = append(k.head, b...)
			b = k.head
		}
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			if len(k.head) == 0 {
				k.head = append(k.head, b...)
			}
			return
		}
		head := b[:end+4]
		if err := c.judge(head); err != nil {
			c.drop(k, err)
			return
		}
		k.last = c.Patient && bytes.EqualFold(value(head, "connection"), []byte("close"))
		k.inBody, b = true, b[end+4:]
	}
	want := c.body
	if !c.Socket {
		want = c.body[k.got%26:] // the pattern repeats
	}
	if len(b) > c.size()-k.got || len(b) <= len(want) && !bytes.Equal(b, want[:len(b)]) {
		c.drop(k, fmt.Errorf("wrong bytes at %d of an answer: %.40q", k.got, b))
		return
	}
	c.counted(k, len(b))
}

// size is how many bytes the body of an answer has.
func (c *client) size() int {
	if c.Socket {
		return len(c.body)
	}
	return c.Length
}

func (c *client) counted(k *conn, n int) {
	if k.got += n; k.got == c.size() {
		c.answered(k)
	}
}

// answered ends a request.
func (c *client) answered(k *conn) {
	now := c.meter.now()
	c.pending--
	k.request, k.inBody = nil, false
	if c.meter.measuring(k.due, now, c.Rate > 0) {
		c.outcome.Requests++
		if c.Rate > 0 {
			c.waits = append(c.waits, float64(now-k.due)/1e3)
		}
	}
	if c.Close || k.last {
		k.done = true // serve sees the end
		return
	}
	c.proceed(k, now)
}

// proceed gives a connection its next request.
func (c *client) proceed(k *conn, now int64) {
	switch {
	case c.Rate == 0 && !c.stopping:
		c.send(k, now)
	case len(c.due) > 0:
		due := c.due[0]
		c.due = c.due[1:]
		c.send(k, due)
	default:
		c.free = append(c.free, k)
	}
}

// broke handles the end of a connection.
func (c *client) broke(k *conn, e syscall.Errno) {
	idle := k.request == nil
	switch {
	case k.done:
		if !c.Close {
			c.outcome.Reconnects++
		}
		c.reopen(k)
	case c.Patient && !k.inBody && len(k.head) == 0 && k.retried < reconnectsMax:
		c.outcome.Reconnects++
		if !idle {
			c.outcome.Unanswered++
		}
		k.retried++
		c.reopen(k)
	default:
		c.drop(k, fmt.Errorf("connection ended (%d) with %d of %d bytes of an answer", int(e), k.got, c.Length))
	}
}

// reopen replaces a connection that ended; a request under way is sent again.
func (c *client) reopen(k *conn) {
	request, due, answered := k.request, k.due, k.done
	c.shut(k)
	if err := c.open(k); err != nil {
		if request != nil {
			c.pending--
		}
		c.fail(err)
		return
	}
	k.request, k.due = request, due
	switch {
	case request != nil:
		c.begin(k)
	case answered:
		c.proceed(k, c.meter.now())
	}
}

func (c *client) shut(k *conn) {
	c.conns[k.fd] = nil
	syscall.Close(k.fd)
}

// drop counts an error and replaces its connection.
func (c *client) drop(k *conn, err error) {
	c.fail(err)
	if k.request != nil {
		c.pending--
	}
	k.request, k.done = nil, true
	if c.outcome.Errors < errorsMax {
		c.reopen(k)
	} else {
		c.shut(k)
	}
}

func (c *client) fail(err error) {
	if c.outcome.Errors++; c.outcome.FirstError == "" {
		c.outcome.FirstError = err.Error()
	}
}
