package proxy

import (
	"errors"
	"os"
	"time"
)

// watch looks out for the client's end while a member takes long.
func (x *exchange) watch() {
	mc := x.mc
	x.lookOut(func() { mc.Conn.Close() }) // wakes the reader
}

// lookOut calls gone once the client has ended, until stopHelpers ends it. What
// the client sends meanwhile is its next request and stays in the input.
func (x *exchange) lookOut(gone func()) {
	x.watched = make(chan struct{})
	x.conn.readUntil(time.Time{}) // not in the goroutine: it would overwrite the deadline by which stopHelpers ends it
	go func() {
		defer close(x.watched)
		defer func() { x.server.recovered("client watch", recover()) }()
		in := &x.conn.in
		for !x.stopping.Load() && in.unread() < headBuffer {
			err := in.fill(len(in.buf) + headBuffer)
			if err == nil {
				continue
			}
			if !x.stopping.Load() && !errors.Is(err, os.ErrDeadlineExceeded) {
				x.gone.Store(true)
				gone()
			}
			return
		}
	}()
}

// stopHelpers ends pump and watch and waits for them. Afterwards this
// goroutine alone uses the connections again.
func (x *exchange) stopHelpers() {
	pumping := x.pumped != nil && !x.settled
	if !pumping && x.watched == nil {
		return
	}
	if x.watched == nil && !x.pumping() {
		x.settled = true // it ended by itself: there is nothing to wake
		return
	}
	x.stopping.Store(true)
	past := time.Unix(1, 0)
	x.conn.conn.SetReadDeadline(past)
	if pumping {
		x.settled = true
		x.mc.SetWriteDeadline(past)
		<-x.pumped
	}
	if x.watched != nil {
		<-x.watched
		x.watched = nil
	}
	x.stopping.Store(false)
	x.conn.readBy = time.Time{}
	x.conn.conn.SetReadDeadline(time.Time{})
	x.mc.writeBy = time.Time{}
	x.mc.SetWriteDeadline(time.Time{})
}

// websocket reports whether an answer switches to WebSocket.
func (h *responseHead) websocket() bool {
	for i := range h.fields {
		if h.fields[i].kind == kindUpgrade && same(h.fields[i].value, "websocket") {
			return true
		}
	}
	return false
}
