package proxy

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// tunnel joins client and member after 101 until both directions ended, one
// of them broke, or nothing moved for timeouts.upgrade_idle. An end of stream
// travels on as such, the other direction stays open.
func (x *exchange) tunnel() {
	x.stopHelpers()
	x.began, x.close, x.status, x.outcome.Phase = true, true, 101, PhaseTunnel
	x.mc.in.floor = 0
	x.appendAnswerHead()
	if x.flush() != noFault {
		return
	}
	x.server.stats.tunnels.Add(1)
	defer x.server.stats.tunnels.Add(-1)
	x.conn.in.floor = x.conn.in.r
	var moved atomic.Int64
	moved.Store(time.Now().UnixNano())
	t := tunnel{idle: x.set.Timeouts.UpgradeIdle, moved: &moved}
	up, sent := make(chan struct{}), int64(0)
	go func() {
		defer close(up)
		defer func() {
			if x.server.recovered("tunnel", recover()) {
				x.conn.socket.Close()
				x.mc.Conn.Close()
			}
		}()
		if !t.copy(x.mc.Conn, x.conn.conn, &x.conn.in, &sent) {
			x.conn.socket.Close()
			x.mc.Conn.Close()
		}
	}()
	if !t.copy(x.conn.conn, x.mc.Conn, &x.mc.in, &x.outcome.BytesOut) {
		x.conn.socket.Close()
		x.mc.Conn.Close()
	}
	<-up
	x.outcome.BytesIn += sent
}

// tunnel is what its two directions share.
type tunnel struct {
	idle  time.Duration // 0: for ever
	moved *atomic.Int64 // unix nanoseconds of the last byte in either direction
}

// copy moves bytes until src ends, then closes dst for writing, and adds them
// to moved. false: it broke or stood still, and both connections must end.
func (t *tunnel) copy(dst, src net.Conn, in *input, moved *int64) bool {
	for {
		if in.unread() > 0 {
			if t.idle > 0 {
				dst.SetWriteDeadline(time.Now().Add(t.idle))
			}
			n, err := dst.Write(in.buf[in.r:in.w])
			if *moved += int64(n); err != nil {
				return false
			}
			in.r = in.w
		}
		if t.idle > 0 {
			src.SetReadDeadline(time.Now().Add(t.idle))
		}
		err := in.fill(len(in.buf))
		switch {
		case err == nil:
			t.moved.Store(time.Now().UnixNano())
		case clean(err):
			half, ok := dst.(interface{ CloseWrite() error })
			return ok && half.CloseWrite() == nil
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, t.moved.Load())) < t.idle:
			// the other direction is alive
		default:
			return false
		}
	}
}
