package proxy

import (
	"time"
)

// proceed tells a client that waits for it to send the body.
func (x *exchange) proceed() {
	if x.req.expects && !x.continued {
		x.continued = true
		if x.send([]byte("HTTP/1.1 100 Continue\r\n\r\n")) != nil {
			x.gone.Store(true)
		}
	}
}

// startPump lets the rest of the body go up beside the reading of the answer,
// so that an early answer is seen.
func (x *exchange) startPump() {
	x.pumped = make(chan struct{})
	x.starved.Store(false)
	x.ending.Store(false)
	go func() {
		defer x.endPump()
		defer func() {
			if x.server.recovered("request body", recover()) {
				x.pumpFault = crashed
				x.mc.Conn.Close()
			}
		}()
		x.pumpFault = x.pump()
		if x.pumpFault != noFault && !x.stopping.Load() {
			x.mc.Conn.Close() // wakes the reader: the request cannot be completed
		}
	}()
}

// endPump tells that the pump ended, and wakes the reader of the answer where
// it waits for that. The reader knows from ending that a deadline in the past
// may come, see waitPump.
func (x *exchange) endPump() {
	x.ending.Store(true)
	if x.waiting.Load() {
		x.mc.SetReadDeadline(time.Unix(1, 0))
	}
	close(x.pumped)
}

// waitPump reads from the member for as long as a body goes up. Only its own
// minimum rate is the limit, so there is no deadline, and no timer that would
// wake thousands of slow uploads again and again: the end of the pump does.
// over tells that the pump ended and nothing was read.
func (x *exchange) waitPump(limit int) (over bool, err error) {
	mc := x.mc
	x.waiting.Store(true)
	mc.readUntil(time.Time{})
	if !x.ending.Load() {
		err = mc.in.fill(limit)
	} else {
		over = true
	}
	x.waiting.Store(false)
	if x.ending.Load() { // it may set the deadline until pumped is closed
		<-x.pumped
		mc.readBy = time.Unix(1, 0)
		over = over || timedOut(err)
	}
	x.tick = time.Now()
	return over, err
}

// pumping reports whether a body still goes up.
func (x *exchange) pumping() bool {
	if x.pumped == nil {
		return false
	}
	select {
	case <-x.pumped:
		return false
	default:
		return true
	}
}

// pump moves the body from the client to the member until it is done or one
// of them fails. A member that takes no more may still answer: that is no
// fault here.
func (x *exchange) pump() fault {
	var frame *[]byte // for chunks, from the first one on
	defer func() {
		if frame != nil {
			x.server.larges.Put(frame)
		}
	}()
	in := &x.conn.in
	started, counted := time.Now(), in.consumed
	for fast := false; !x.stopping.Load(); {
		piece := x.reqBody.take(largeSize - 32)
		switch {
		case x.overLimit():
			return bodyTooLarge
		case piece != nil:
			if x.req.isChunked && frame == nil {
				frame = x.server.larges.Get().(*[]byte)
			}
			if x.req.isChunked {
				piece = appendChunk((*frame)[:0], piece)
			}
			now := time.Now()
			x.mc.writeWithin(x.left(x.set.Timeouts.ResponseIdle, now), now)
			if x.stopping.Load() { // its deadline may have been overwritten
				return noFault
			}
			if _, err := x.mc.Write(piece); err != nil {
				return noFault
			}
			started = started.Add(time.Since(now)) // the member's time is not the client's
		case x.reqBody.bad:
			return badChunk
		case x.reqBody.done:
			if end := x.appendBodyEnd(nil); len(end) > 0 {
				if _, err := x.mc.Write(end); err != nil {
					return noFault
				}
			}
			x.pumpDone = true
			return noFault
		default:
			if fast && x.lent == nil {
				begun := time.Now()
				if end := x.spliceUp(); end.dst != nil {
					return noFault
				} else if end.src != nil {
					return x.clientFault(end.src)
				}
				started = started.Add(time.Since(begun)) // it was fast, or tried once
				x.enlarge()
				continue
			}
			by := x.bodyDeadline(started, in.consumed-counted)
			x.conn.readWhile(by, x.set.Timeouts.Header)
			if x.stopping.Load() { // its deadline may have been overwritten
				return noFault
			}
			x.starved.Store(true)
			err := in.fill(largeSize)
			x.starved.Store(false)
			if timedOut(err) && !x.stopping.Load() && (by.IsZero() || time.Now().Before(by)) {
				x.conn.readBy = time.Unix(1, 0) // it was left in force although too early
				continue
			}
			if err != nil {
				return x.clientFault(err)
			}
			fast = in.w == len(in.buf) // there may be more than fits
		}
	}
	return noFault
}

// enlarge gives the client connection a large buffer for as long as this body
// streams. The head stays where it was.
func (x *exchange) enlarge() {
	in := &x.conn.in
	if x.lent != nil || in.unread() > largeSize {
		return
	}
	x.lent = x.server.larges.Get().(*[]byte)
	x.small = in.rebuffer(*x.lent)
}

// bodyDeadline is until when more of a body that began at started must come,
// so that after a grace of timeouts.header it keeps timeouts.body_min_rate
// over its whole life.
func (x *exchange) bodyDeadline(started time.Time, got int64) time.Time {
	by := x.deadline(started, 0)
	if rate := x.set.Timeouts.BodyMinRate; rate > 0 {
		earned := time.Duration(float64(got) / float64(rate) * float64(time.Second))
		if end := started.Add(x.set.Timeouts.Header + earned); by.IsZero() || end.Before(by) {
			by = end
		}
	}
	return by
}
