package proxy

import (
	"net"
	"slices"
	"syscall"
	"time"
)

// memberConn is one connection to a member. Whoever took it out of its pool
// owns it. With 1,000 members it lies in no cache when its turn comes, so what
// a plain request touches of it is here, in two cache lines, and not in objects
// that these point to; what can be the request's own is borrowed.
type memberConn struct {
	net.Conn
	raw     syscall.RawConn // where asker can use it, else nil
	pool    *pool
	next    *memberConn // in the pool
	in      *input      // of the exchange that has it; nil: none has
	fd      int32       // to look at while nobody else has it; -1: it cannot be
	reused  bool
	wide    bool          // it receives more ahead, see widen
	since   time.Duration // idle since, from Pools.epoch on
	idle    time.Duration
	writeBy time.Time // write deadline in force
	readBy  time.Time // read deadline in force
}

func newMemberConn(p *pool, c net.Conn) *memberConn {
	mc := &memberConn{Conn: fast(c), pool: p, fd: -1, idle: idleDefault}
	if s, ok := mc.Conn.(*sock); ok {
		mc.raw = s.raw
	}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { mc.fd = int32(fd) }) // an error leaves it at -1
		}
	}
	return mc
}

// lend gives the connection what an exchange reads into.
func (mc *memberConn) lend(in *input, x *exchange) {
	in.conn, in.pool = mc.Conn, &x.server.buffers
	mc.in = in
}

// quiet reports whether nothing came in on an idle connection: neither bytes
// that no one asked for, which would be read as the next answer, nor its end.
// Nobody else may use or close the connection: the descriptor is looked at as
// it is, past the lock by which package net guards it.
func (mc *memberConn) quiet() bool { return mc.fd < 0 || silentSocket(uintptr(mc.fd)) }

// keep gives a connection back whose last exchange ended without any doubt.
func (mc *memberConn) keep(now time.Time) {
	p := mc.pool
	mc.since = now.Sub(p.pools.epoch)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		mc.discard()
		return
	}
	if len(p.waiters) > 0 {
		p.waiters[0] <- mc
		p.waiters = slices.Delete(p.waiters, 0, 1)
	} else {
		mc.next, p.idle = p.idle, mc
	}
	p.mu.Unlock()
}

// discard closes a connection for good.
func (mc *memberConn) discard() {
	mc.Conn.Close()
	mc.pool.release()
}

// discardAll discards a connection and those that follow it; nil is none.
func (mc *memberConn) discardAll() {
	for mc != nil {
		next := mc.next
		mc.discard()
		mc = next
	}
}

// readUntil sets the read deadline, zero for none.
func (mc *memberConn) readUntil(by time.Time) {
	if !by.Equal(mc.readBy) {
		mc.readBy = by
		mc.SetReadDeadline(by)
	}
}

// writeWithin bounds the next writes to the member, as clientConn.write does.
func (mc *memberConn) writeWithin(d time.Duration, now time.Time) {
	if t, ok := within(mc.writeBy, d, now); ok {
		mc.writeBy = t
		mc.SetWriteDeadline(t)
	}
}

// noteKeepAlive ages the connection before the member, which keeps it for n
// seconds, would close it; 0: it did not say.
func (mc *memberConn) noteKeepAlive(n int) {
	if n > 0 {
		mc.idle = max(time.Duration(n)*time.Second-time.Second, 500*time.Millisecond)
	}
}
