package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

const (
	// spliceMin is from how many bytes on a body is moved by the kernel
	// (splice(2) on Linux) instead of through a buffer.
	spliceMin = 64 << 10
	// spliceStep is after how many bytes the deadlines are looked at.
	spliceStep = 256 << 10
)

// plain returns the TCP connection of c where its bytes are those of HTTP,
// nil where they are encrypted.
func plain(c net.Conn) *net.TCPConn {
	t, _ := c.(*net.TCPConn)
	return t
}

// spliceable reports whether the rest of b is long and of known length, and
// nothing of it was read ahead.
func (b *body) spliceable() bool {
	return b.framing == framingLength && b.left >= spliceMin && b.in.unread() == 0
}

// moved counts n bytes of the body that did not pass through the input.
func (b *body) moved(n int64) {
	b.left -= n
	b.payload += n
	b.in.consumed += n
	b.done = b.left == 0
}

// splice moves the rest of a body from src to dst. before sets the deadlines
// of each step. A step that got somewhere until its deadline is progress.
func (b *body) splice(dst, src *net.TCPConn, before func()) error {
	for !b.done {
		before()
		step := io.LimitedReader{R: src, N: min(b.left, spliceStep)}
		want := step.N
		n, err := dst.ReadFrom(&step)
		b.moved(n)
		switch {
		case err == nil && n < want:
			return io.ErrUnexpectedEOF
		case err != nil && !(n > 0 && errors.Is(err, os.ErrDeadlineExceeded)):
			return err
		}
	}
	return nil
}

// spliceAnswer moves the rest of the answer's body to the client. false: it
// cannot be done that way.
func (x *exchange) spliceAnswer() (done bool, f fault) {
	dst, src := plain(x.conn.conn), plain(x.mc.Conn)
	if dst == nil || src == nil || !x.respBody.spliceable() {
		return false, noFault
	}
	if x.watched == nil && x.pumped == nil {
		x.watch() // an end of the client shows while the member is waited for
	}
	before := x.respBody.payload
	err := x.respBody.splice(dst, src, func() {
		x.tick = time.Now()
		x.mc.readUntil(x.deadline(x.tick, x.set.Timeouts.ResponseIdle), x.tick)
		x.conn.writeWithin(x.writeWait(), x.tick)
	})
	x.outcome.BytesOut += x.respBody.payload - before
	if err == nil {
		return true, noFault
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) && x.conn.ended() {
		x.gone.Store(true)
	}
	return true, x.memberFault(err)
}

// ended reports whether the client's end of the connection is closed. An error
// of a splice does not tell which side it was.
func (c *clientConn) ended() (yes bool) {
	if t := plain(c.socket); t != nil {
		if raw, err := t.SyscallConn(); err == nil {
			return raw.Control(func(fd uintptr) { yes = endedSocket(fd) }) != nil || yes
		}
	}
	return false
}
