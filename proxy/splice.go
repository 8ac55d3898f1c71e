package proxy

import (
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// spliceMin is from how many bytes on a body is moved by the kernel
	// (splice(2) on Linux) instead of through a buffer.
	spliceMin = 64 << 10
	// spliceStep is how much a pipe takes at once.
	spliceStep = 256 << 10
	// spliceSlow is how long a step may take. What is slower than a step each
	// spliceSlow goes through a buffer again: that costs little at such a pace,
	// and a pipe costs two descriptors and memory of the kernel.
	spliceSlow = 200 * time.Millisecond
	// pipesMax bounds the pipes. Without privileges a user has 64 MiB of the
	// kernel for all pipes together (fs.pipe-user-pages-soft).
	pipesMax = 64
)

// pipes lends pipes to bodies that are moved by the kernel. Safe for
// concurrent use.
type pipes struct {
	limit int

	mu     sync.Mutex // guards all below
	idle   []*pipe    // the newest is used first
	unused int        // least number of idle ones since trim
	lent   int
}

// take returns an empty pipe; nil where all are in use, or there are none here.
func (ps *pipes) take() *pipe {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.lent >= ps.limit {
		return nil
	}
	if n := len(ps.idle); n > 0 {
		p := ps.idle[n-1]
		ps.idle = ps.idle[:n-1]
		ps.unused = min(ps.unused, n-1)
		ps.lent++
		return p
	}
	p := newPipe()
	if p != nil {
		ps.lent++
	}
	return p
}

// giveBack takes a pipe back. One that is not empty is closed.
func (ps *pipes) giveBack(p *pipe) {
	if p.holds > 0 {
		p.close()
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.lent--; p.holds == 0 {
		ps.idle = append(ps.idle, p)
	}
}

// trim closes the pipes that nobody took since the last time.
func (ps *pipes) trim() {
	ps.mu.Lock()
	old := ps.idle[:ps.unused]
	ps.idle = slices.Clone(ps.idle[ps.unused:])
	ps.unused = len(ps.idle)
	ps.mu.Unlock()
	for _, p := range old {
		p.close()
	}
}

// plain returns the TCP connection of c where its bytes are those of HTTP,
// nil where they are encrypted.
func plain(c net.Conn) *net.TCPConn {
	switch c := c.(type) {
	case *sock:
		return c.TCPConn
	case *net.TCPConn:
		return c
	}
	return nil
}

// spliceable reports whether the rest of b is long and of known length, and
// nothing of it was read ahead.
func (b *body) spliceable() bool {
	return b.framing == framingLength && b.left >= spliceMin && b.in.unread() == 0
}

// moved counts n bytes of the body that did not pass through the input.
func (b *body) moved(n int) {
	b.left -= int64(n)
	b.payload += int64(n)
	b.in.consumed += int64(n)
	b.done = b.left == 0
}

// spliced is how moving a body by the kernel ended. Without an error the body
// is done, or slow and to go on through a buffer.
type spliced struct {
	src, dst error // of the reading and of the writing side
}

// splice moves the rest of a body from src to dst. before sets deadlines in
// spliceSlow for a step; calm one for what a slow step left in the pipe, which
// is written from a buffer.
func (x *exchange) splice(b *body, dst, src *net.TCPConn, before func(now time.Time), calm func()) (end spliced) {
	p := x.server.pipes.take()
	if p == nil {
		return end
	}
	defer x.server.pipes.giveBack(p)
	from, err := src.SyscallConn()
	if err != nil {
		return spliced{src: err}
	}
	to, err := dst.SyscallConn()
	if err != nil {
		return spliced{dst: err}
	}
	total, start := int64(0), time.Now()
	for now := start; !b.done && now.Sub(start) < spliceSlow*time.Duration(1+total/spliceStep) && !x.overdue(now); now = time.Now() {
		before(now)
		n, err := p.fill(from, int(min(b.left, spliceStep)))
		switch {
		case n > 0:
		case err == nil:
			return spliced{src: io.ErrUnexpectedEOF}
		case timedOut(err), err == syscall.EINVAL: // EINVAL: not for such sockets
			return end
		default:
			return spliced{src: err}
		}
		b.moved(n)
		total += int64(n)
		if err := p.empty(to); err != nil && !timedOut(err) {
			return spliced{dst: err}
		}
		if p.holds > 0 {
			calm()
			return spliced{dst: x.server.pour(p, dst)}
		}
	}
	return end
}

// pour writes what a pipe holds through a buffer.
func (s *Server) pour(p *pipe, dst net.Conn) error {
	buf := s.buffer()
	defer s.giveBack(buf)
	for p.holds > 0 {
		n, err := p.read(*buf)
		if err != nil {
			return err
		}
		if _, err := dst.Write((*buf)[:n]); err != nil {
			return err
		}
	}
	return nil
}

// overdue reports whether timeouts.total is over.
func (x *exchange) overdue(now time.Time) bool {
	total := x.set.Timeouts.Total
	return total > 0 && now.Sub(x.now) >= total
}

// spliceAnswer moves the rest of the answer's body to the client, or as much
// of it as goes fast.
func (x *exchange) spliceAnswer() fault {
	dst, src := plain(x.conn.conn), plain(x.mc.Conn)
	if dst == nil || src == nil || x.pumped != nil || !x.respBody.spliceable() {
		return noFault
	}
	before := x.respBody.payload
	end := x.splice(&x.respBody, dst, src, func(now time.Time) {
		x.tick = now
		x.hasten()
		x.mc.readUntil(now.Add(spliceSlow))
		x.conn.writeWithin(spliceSlow, now)
	}, func() {
		x.tick = time.Now()
		x.conn.writeWithin(x.writeWait(), x.tick)
	})
	x.outcome.BytesOut += x.respBody.payload - before
	x.filled = true // the clock is to be read before the next wait
	if x.mc.wide && !x.respBody.done {
		x.mc.receiveAhead(memberBuffer) // it does not go fast any more
	}
	switch {
	case end.dst != nil:
		x.gone.Store(true)
		return clientGone
	case end.src != nil:
		return x.memberFault(end.src)
	}
	return noFault
}

// inlineMax is up to which length a request's body goes up before anybody
// looks at the answer.
const inlineMax = 1 << 20

// spliceRequest moves the rest of a short request's body to the member, or as
// much of it as goes fast, without a goroutine of its own. more tells that the
// member is to get the rest.
func (x *exchange) spliceRequest() (more bool, f fault) {
	if x.reqBody.left > inlineMax {
		return true, noFault
	}
	end := x.spliceUp()
	x.tick = time.Now()
	if end.src != nil {
		return false, x.clientFault(end.src)
	}
	x.pumpDone = x.reqBody.done && end.dst == nil
	return !x.reqBody.done && end.dst == nil, noFault
}

// spliceUp moves the rest of the request's body to the member, or as much of it
// as goes fast. The goroutine that calls it owns both directions.
func (x *exchange) spliceUp() (end spliced) {
	dst, src := plain(x.mc.Conn), plain(x.conn.conn)
	if dst == nil || src == nil || !x.reqBody.spliceable() {
		return end
	}
	stopped := func() { // whoever stops this one sets deadlines, too
		if x.stopping.Load() {
			x.conn.readUntil(time.Unix(1, 0))
			x.mc.SetWriteDeadline(time.Unix(1, 0))
		}
	}
	return x.splice(&x.reqBody, dst, src, func(now time.Time) {
		x.conn.readUntil(now.Add(spliceSlow))
		x.mc.writeWithin(spliceSlow, now)
		stopped()
	}, func() {
		now := time.Now()
		x.mc.writeWithin(x.left(x.set.Timeouts.ResponseIdle, now), now)
		stopped()
	})
}
