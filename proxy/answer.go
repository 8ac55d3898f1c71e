package proxy

import (
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// pumpPatience is how long the end of the request's body is waited for when
// the answer is there: the last write and the answer cross.
const pumpPatience = 5 * time.Millisecond

// appendAnswerHead writes the head of the member's answer into x.out: as sent,
// in order and case, without what is only between two hops.
func (x *exchange) appendAnswerHead() {
	x.openOut()
	r := &x.resp
	interim, rewrites := r.status < 200 && r.status != 101, x.rewrites()
	sticky := !interim && x.settleSession()
	b := append(x.out, "HTTP/1.1 "...)
	b = append(b, r.statusRaw...)
	if len(r.statusRaw) == 3 {
		b = append(b, ' ') // the SP is not optional (RFC 9112, 4)
	}
	b = append(b, "\r\n"...)
	for i := range r.fields {
		fl := &r.fields[i]
		switch fl.kind {
		case kindOther, kindAccept:
		case kindContentLength:
			if r.status < 200 || r.status == 204 {
				continue // must not be there (RFC 9110, 8.6)
			}
		default:
			continue
		}
		if fl.drop {
			continue
		}
		if sticky {
			if b, fl = x.seeAnswerField(b, fl); fl == nil {
				continue
			}
		}
		if rewrites {
			var done bool
			if b, done = x.appendRewritten(b, fl); done {
				continue
			}
		}
		b = append(b, fl.line...)
	}
	if sticky {
		b = x.appendOwnCookie(b)
	}
	if !interim {
		b = x.appendAnswerFraming(b)
	}
	x.out = append(b, "\r\n"...)
}

// appendAnswerFraming adds what the next hop must know: how the body ends and
// what becomes of the connection.
func (x *exchange) appendAnswerFraming(b []byte) []byte {
	r := &x.resp
	if r.http10 {
		b = append(b, "Via: 1.0 jetway\r\n"...)
	} else {
		b = append(b, "Via: 1.1 jetway\r\n"...)
	}
	switch {
	case r.status == 101:
		return append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case x.sendsChunks(), r.isChunked && !x.req.http10 && r.status != 204 && r.bodyless(x.req.method):
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case x.close:
		b = append(b, "Connection: close\r\n"...)
	case x.req.http10:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

// sendsChunks reports whether the answer's body goes to the client in chunks.
func (x *exchange) sendsChunks() bool {
	f := x.respBody.framing
	return (f == framingChunked || f == framingEOF) && !x.req.http10
}

// streamAnswer passes the final answer on, piece by piece as it comes.
func (x *exchange) streamAnswer() fault {
	x.awaitPump()
	f := x.resp.framing(x.req.method)
	x.respBody.start(x.mc.in, f, x.resp.length)
	x.mc.in.floor = 0 // the head is copied before anything is read over it
	limit := x.set.Limits.RequestsPerConnection
	x.close = x.conn.leaving() || limit > 0 && x.conn.served+1 >= limit || !x.req.keepAlive() || !x.uploaded() ||
		x.req.http10 && (f == framingChunked || f == framingEOF)
	x.status = x.resp.status
	x.began, x.outcome.Phase = true, PhaseAnswer
	x.appendAnswerHead()
	x.headAt = x.tick
	for {
		piece := x.respBody.take(x.passMax())
		switch {
		case piece != nil:
			if f := x.pass(piece); f != noFault {
				return f
			}
		case x.respBody.done:
			x.appendAnswerEnd()
			return x.flush()
		case x.respBody.bad:
			x.flush()
			return memberInvalid
		default:
			if f := x.flush(); f != noFault {
				return f
			}
			x.hasten()
			if f := x.spliceAnswer(); f != noFault || x.respBody.done {
				return f
			}
			var by time.Time
			err := x.fillMember(x.passMax(), x.set.Timeouts.ResponseIdle, &by)
			if err != nil && f == framingEOF && clean(err) && !x.gone.Load() {
				x.respBody.done = true
			} else if err != nil {
				return x.memberFault(err)
			}
		}
	}
}

// pass adds a piece to what goes to the client and writes when enough is
// collected. Large pieces are not copied.
func (x *exchange) pass(piece []byte) fault {
	if x.sendsChunks() {
		if len(x.out)+len(piece)+32 > bufferSize {
			if f := x.flush(); f != noFault {
				return f
			}
		}
		x.out = appendChunk(x.out, piece)
		return noFault
	}
	if len(x.out)+len(piece) <= bufferSize {
		x.out = append(x.out, piece...)
		return noFault
	}
	if f := x.flush(); f != noFault {
		return f
	}
	if x.send(piece) != nil {
		x.gone.Store(true)
		return clientGone
	}
	return noFault
}

// appendAnswerEnd ends a chunked body, with the trailers that may travel on.
func (x *exchange) appendAnswerEnd() {
	if !x.sendsChunks() {
		return
	}
	x.out = append(x.out, "0\r\n"...)
	x.out = append(x.out, x.respBody.trailers...)
	x.out = append(x.out, "\r\n"...)
}

// awaitPump gives the end of the request's body a moment to be noted, unless
// the answer came while the client still had to send.
func (x *exchange) awaitPump() {
	if !x.pumping() {
		return
	}
	if x.early = x.starved.Load(); x.early {
		return
	}
	timer := time.NewTimer(pumpPatience)
	defer timer.Stop()
	select {
	case <-x.pumped:
	case <-timer.C:
	}
}

// uploaded reports whether the whole request reached the member.
func (x *exchange) uploaded() bool { return x.whole || !x.early && !x.pumping() && x.pumpDone }

// finish ends an exchange whose answer went out whole.
func (x *exchange) finish() (keep bool) {
	if x.resp.status == 101 {
		return false
	}
	keep = !x.early && x.reqBody.done && !x.close
	// The client may have sent more: closed at once, its answer would be lost
	// with the reset (RFC 9112, 9.6).
	x.conn.linger = !keep
	return keep
}

// refuse answers for Jetway itself.
func (x *exchange) refuse(f fault) (keep bool) {
	x.fault, x.status, x.tick = f, f.status(), time.Now()
	x.server.stats.faults[f].Add(1)
	for !f.closes() && x.reqBody.take(bufferSize) != nil {
		// what is there of a body is not looked at
	}
	limit := x.set.Limits.RequestsPerConnection
	keep = !f.closes() && (limit == 0 || x.conn.served+1 < limit) && x.reqBody.done && x.pumped == nil && x.req.keepAlive() && !x.conn.leaving()
	if !keep {
		x.conn.linger = true
	}
	x.appendRefusal(f, keep)
	return x.flush() == noFault && keep
}

// appendRefusal writes an answer of Jetway's own: one line of text, or JSON
// where the client prefers it.
func (x *exchange) appendRefusal(f fault, keep bool) {
	var text []byte
	contentType := "text/plain; charset=utf-8"
	if wantsJSON(x.req.accept) {
		contentType = "application/json"
		text = append(text, `{"status":`...)
		text = strconv.AppendInt(text, int64(f.status()), 10)
		text = append(text, `,"reason":"`+f.code()+`","message":"`+f.text()+`","request_id":"`...)
		text = append(append(text, x.requestID()...), "\"}\n"...)
	} else {
		text = append(text, f.text()+" ("+f.code()+", request "...)
		text = append(append(text, x.requestID()...), ")\n"...)
	}
	x.openOut()
	b := append(x.out[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(f.status()), 10)
	b = append(b, " "+fasthttp.StatusMessage(f.status())+"\r\nDate: "...)
	b = fasthttp.AppendHTTPDate(b, x.now)
	b = append(b, "\r\nContent-Type: "+contentType+"\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, "\r\nCache-Control: no-store\r\nX-Request-Id: "...)
	b = append(append(b, x.requestID()...), "\r\n"...)
	if s := f.retryAfter(); s > 0 {
		b = append(strconv.AppendInt(append(b, "Retry-After: "...), int64(s), 10), "\r\n"...)
	} else if f == limited {
		b = x.appendAllowance(b)
	}
	if f == methodRefused {
		b = append(b, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"...)
	}
	if !keep {
		b = append(b, "Connection: close\r\n"...)
	} else if x.req.http10 {
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	b = append(b, "\r\n"...)
	if string(x.req.method) != "HEAD" {
		b = append(b, text...)
	}
	x.out = b
}

// wantsJSON reports whether Accept names JSON.
func wantsJSON(accept []byte) bool {
	if len(accept) == 0 {
		return false
	}
	for token, rest, ok := nextToken(accept); ok; token, rest, ok = nextToken(rest) {
		for i, c := range token {
			if c == ';' {
				token = trim(token[:i])
				break
			}
		}
		if same(token, "application/json") {
			return true
		}
	}
	return false
}

// lost ends an exchange that broke off: nothing more can be said to the
// client but that its connection is over.
func (x *exchange) lost(f fault) {
	x.fault = f
	x.server.stats.faults[f].Add(1)
	if f == clientGone && !x.began {
		x.status = clientGone.status()
	}
	reset := x.began && x.req.http10 // others see by the length or the chunks that it is not whole
	if reset || f == clientGone || f == crashed {
		x.conn.abort(reset)
		return
	}
	// What the client has sent meanwhile, such as its next request, must not
	// take from it what it was given of the answer (RFC 9112, 9.6).
	x.conn.linger = true
}

// clientFault names what a failed read of the request's body means.
func (x *exchange) clientFault(err error) fault {
	switch {
	case x.stopping.Load():
		return noFault
	case errors.Is(err, os.ErrDeadlineExceeded):
		return bodyTimeout
	}
	x.gone.Store(true)
	return clientGone
}
