package proxy

import (
	"errors"
	"os"
	"time"
)

const (
	// interimMax bounds the 1xx answers before the final one.
	interimMax = 16
	// answerHeadMax bounds the head of an answer, answerFieldsMax its fields.
	answerHeadMax   = 64 << 10
	answerFieldsMax = 256
	// watchAfter is how long a member may take before its client is watched.
	watchAfter = 100 * time.Millisecond
)

// readAnswer reads heads up to the final one, forwards interim ones, and
// leaves the final one in x.resp.
func (x *exchange) readAnswer() fault {
	by := x.answerBy // for all heads together
	for interim := 0; ; interim++ {
		if f := x.readAnswerHead(&by); f != noFault {
			return f
		}
		switch {
		case x.resp.status >= 200:
			return noFault
		case interim == interimMax:
			return memberInvalid
		case x.resp.status == 101:
			if x.req.upgrade && x.resp.connUpgrade && x.resp.websocket() {
				return noFault
			}
			return memberInvalid
		case x.resp.status == 100 || x.req.http10:
			continue // 100: Jetway said it itself where it was asked
		}
		x.appendAnswerHead()
		if f := x.flush(); f != noFault {
			return f
		}
	}
}

// readAnswerHead reads and parses one head of an answer.
func (x *exchange) readAnswerHead(by *time.Time) fault {
	in := x.mc.in
	in.floor = in.r
	for scanned := 0; ; {
		b := in.buf[in.r:in.w]
		n, next, f := scanHead(b, scanned)
		switch {
		case f != noFault || n > answerHeadMax || n == 0 && len(b) >= answerHeadMax:
			return memberInvalid
		case n > 0:
			in.r += n
			in.floor = in.r
			if !x.resp.parse(b[:n], answerFieldsMax) {
				return memberInvalid
			}
			return noFault
		}
		scanned = next
		if m := min(len(b), 7); string(b[:m]) != "HTTP/1."[:m] {
			return memberInvalid
		}
		if err := x.fillMember(answerHeadMax+bufferSize, x.set.Timeouts.ResponseHeader, by); err != nil {
			return x.memberFault(err)
		}
	}
}

// memberFault names what a failed read from the member means.
func (x *exchange) memberFault(err error) fault {
	switch {
	case x.gone.Load():
		return clientGone
	case errors.Is(err, errFull):
		return memberInvalid
	case timedOut(err):
		return responseTimeout
	}
	return memberBroke
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// fillMember reads from the member, at most until by, which is set to wait
// from now where it is zero (wait 0: for ever). When it takes long, the client
// is watched meanwhile, so that work for a client that went away ends. While a
// body still goes up, its own minimum rate is the limit, and by begins after.
func (x *exchange) fillMember(limit int, wait time.Duration, by *time.Time) error {
	mc, now := x.mc, x.tick
	if x.filled {
		now = time.Now()
	}
	x.tick, x.filled = now, true
	if x.pumping() {
		if err := x.fillSoon(limit, now); !timedOut(err) { // most are over by then
			return err
		}
		x.tick = time.Now()
		if over, err := x.waitPump(limit); !over {
			return err
		}
		now = x.tick
	}
	if by.IsZero() {
		*by = x.deadline(now, wait)
	}
	if soon := now.Add(watchAfter); x.watched == nil && (by.IsZero() || by.After(soon)) {
		if !x.patient {
			if err := x.fillSoon(limit, now); !timedOut(err) {
				return err
			}
			now = time.Now()
			x.tick = now
		}
		x.patient = false
		x.watch()
	}
	mc.readUntil(*by)
	return mc.in.fill(limit)
}

// fillSoon reads from the member for about watchAfter.
func (x *exchange) fillSoon(limit int, now time.Time) error {
	mc := x.mc
	mc.readUntil(time.Time{})
	x.alarm.set(mc, now)
	err := mc.in.fill(limit)
	x.alarm.clear(mc)
	return err
}

// deadline is the end of a wait that starts now; 0 is for ever. The whole
// request has its own limit.
func (x *exchange) deadline(now time.Time, wait time.Duration) (by time.Time) {
	if wait > 0 {
		by = now.Add(wait)
	}
	if total := x.set.Timeouts.Total; total > 0 {
		if end := x.now.Add(total); by.IsZero() || end.Before(by) {
			by = end
		}
	}
	return by
}

// left bounds a wait that begins now by what is left for the whole request;
// Jetway's own answer has its own time.
func (x *exchange) left(wait time.Duration, now time.Time) time.Duration {
	if total := x.set.Timeouts.Total; total > 0 && x.fault == noFault {
		if left := max(x.now.Add(total).Sub(now), time.Millisecond); wait == 0 || left < wait {
			return left
		}
	}
	return wait
}

// writeWait is how long the client may take to accept what is written.
func (x *exchange) writeWait() time.Duration { return x.left(x.set.Timeouts.ResponseIdle, x.tick) }

// send writes b to the client.
func (x *exchange) send(b []byte) error {
	x.conn.writeWithin(x.writeWait(), x.tick)
	n, err := x.conn.conn.Write(b)
	x.outcome.BytesOut += int64(n)
	return err
}

// flush writes what is collected for the client.
func (x *exchange) flush() fault {
	if len(x.out) == 0 {
		return noFault
	}
	err := x.send(x.out)
	x.out = x.out[:0]
	if err != nil {
		x.gone.Store(true)
		return clientGone
	}
	return noFault
}
