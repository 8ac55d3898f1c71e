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
	for interim := 0; ; interim++ {
		if f := x.readAnswerHead(); f != noFault {
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
func (x *exchange) readAnswerHead() fault {
	in := &x.mc.in
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
		if err := x.fillMember(answerHeadMax+bufferSize, x.set.Timeouts.ResponseHeader); err != nil {
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
	case errors.Is(err, os.ErrDeadlineExceeded):
		return responseTimeout
	}
	return memberBroke
}

// fillMember reads from the member, waiting for at most wait (0: for ever).
// When it takes long, the client is watched meanwhile, so that work for a
// client that went away ends. While a body still goes up, its own minimum
// rate is the limit instead.
func (x *exchange) fillMember(limit int, wait time.Duration) error {
	mc := x.mc
	if x.watched == nil && x.pumped == nil && (wait == 0 || wait > watchAfter) {
		mc.SetReadDeadline(time.Now().Add(watchAfter))
		err := mc.in.fill(limit)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		x.watch()
	}
	for x.pumping() {
		mc.SetReadDeadline(time.Now().Add(time.Second))
		if err := mc.in.fill(limit); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	mc.SetReadDeadline(x.deadline(wait))
	return mc.in.fill(limit)
}

// deadline is the end of a wait that starts now; 0 is for ever. The whole
// request has its own limit.
func (x *exchange) deadline(wait time.Duration) (by time.Time) {
	if wait > 0 {
		by = time.Now().Add(wait)
	}
	if total := x.set.Timeouts.Total; total > 0 {
		if end := x.now.Add(total); by.IsZero() || end.Before(by) {
			by = end
		}
	}
	return by
}

// flush writes what is collected for the client.
func (x *exchange) flush() fault {
	if len(x.out) == 0 {
		return noFault
	}
	err := x.conn.write(x.set, x.out)
	x.out = x.out[:0]
	if err != nil {
		x.gone.Store(true)
		return clientGone
	}
	return noFault
}
