package proxy

import (
	"crypto/tls"
	"time"
)

const (
	// wideBuffer replaces memberBuffer while a long answer goes fast: fewer and
	// larger steps cost much less. The system's limit (net.core.rmem_max) holds.
	wideBuffer = 4 << 20
	// wideMax bounds how many connections have it, and thus what the kernel holds
	// for clients that were fast and then stopped reading.
	wideMax = 32
	// wideAfter is after how much of an answer it is judged whether it goes
	// fast, wideLeft how much more of it must be to come where that is known.
	wideAfter = 256 << 10
	wideLeft  = 1 << 20
	// wideRate is what is fast, in bytes a second.
	wideRate = 16 << 20
)

// hasten gives an answer that is long and goes fast more room: what the system
// receives ahead, and the buffer that it passes through. It costs a comparison
// where that is not so.
func (x *exchange) hasten() {
	b, mc := &x.respBody, x.mc
	if mc.wide || b.payload < wideAfter || b.framing == framingLength && b.left < wideLeft ||
		x.tick.Sub(x.headAt) > time.Duration(float64(b.payload)/wideRate*float64(time.Second)) {
		return
	}
	mc.widen()
	if in := mc.in; mc.wide && in.unread() == 0 && !x.sendsChunks() {
		in.release()
		in.pool = &x.server.larges
	}
}

// passMax is how much of the answer's body is passed on at once.
func (x *exchange) passMax() int {
	if x.mc.in.pool == &x.server.larges {
		return largeSize
	}
	return bufferSize
}

// widen lets the system receive more ahead on this connection, if not too many
// have that already.
func (mc *memberConn) widen() {
	if n := &mc.pool.pools.wide; n.Add(1) > wideMax {
		n.Add(-1)
		return
	}
	mc.wide = true
	mc.receiveAhead(wideBuffer)
}

// narrow ends widen. What was received meanwhile stays.
func (mc *memberConn) narrow() {
	if mc.wide {
		mc.wide = false
		mc.receiveAhead(memberBuffer)
		mc.pool.pools.wide.Add(-1)
	}
}

// receiveAhead bounds what the system receives ahead of us: a wish, without it
// the system's own limit holds.
func (mc *memberConn) receiveAhead(bytes int) {
	c := mc.Conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if t := plain(c); t != nil {
		t.SetReadBuffer(bytes)
	}
}
