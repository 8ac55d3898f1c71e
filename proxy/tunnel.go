package proxy

import (
	"io"
	"net"
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
	x.mc.readUntil(time.Time{}) // one for the answer is no concern of the tunnel
	x.appendAnswerHead()
	if x.flush() != noFault {
		return
	}
	x.returnOut()
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
	if !t.copy(x.conn.conn, x.mc.Conn, x.mc.in, &x.outcome.BytesOut) {
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
	var readBy, writeBy time.Time // deadlines in force, at most an eighth too early
	for now, late := time.Now(), false; ; {
		if in.unread() > 0 {
			if by, ok := within(writeBy, t.idle, now); ok {
				writeBy = by
				dst.SetWriteDeadline(by)
			}
			n, err := dst.Write(in.buf[in.r:in.w])
			if *moved += int64(n); err != nil {
				return false
			}
			in.r = in.w
		}
		if in.lent != nil {
			in.release() // a silent tunnel holds no buffer
		}
		if by, ok := within(readBy, t.idle, now); ok && !late {
			readBy = by
			src.SetReadDeadline(by)
		}
		err := in.fill(len(in.buf))
		now, late = time.Now(), timedOut(err)
		switch {
		case err == nil:
			t.moved.Store(now.UnixNano())
		case clean(err):
			half, ok := dst.(interface{ CloseWrite() error })
			return ok && half.CloseWrite() == nil
		case timedOut(err):
			left := t.idle - now.Sub(time.Unix(0, t.moved.Load()))
			if left <= 0 {
				return false
			}
			readBy = now.Add(left) // the other direction is alive, or this deadline was early
			src.SetReadDeadline(readBy)
		default:
			return false
		}
	}
}

// clean reports whether err is the orderly end of a stream.
func clean(err error) bool { return err == io.EOF }
