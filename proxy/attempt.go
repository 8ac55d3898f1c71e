package proxy

import (
	"context"
	"errors"
	"time"

	"jetway/balancer"
)

const (
	// replayMax is up to which size a buffered body is sent again.
	replayMax = 64 << 10
	// attemptsMax bounds retry.attempts.
	attemptsMax = 10
)

// attemptAll tries members until one answers or the rules of retrying end it:
// another member only if nothing was sent, or if the request may be repeated
// and no byte of an answer reached the client.
func (x *exchange) attemptAll(table *balancer.Table) fault {
	retry := &x.decision.Cluster.Config.Retry
	limit := min(max(retry.Attempts, 1), attemptsMax)
	if !table.FailOver() {
		limit = 1
	}
	last, sent := noMember, false
	for tries := 0; tries < limit && x.attempts < attemptsMax; tries++ {
		// A connection that could not be made cost the member nothing, and
		// ejects it: only what was sent twice counts against the budget.
		state, repeated := x.decision.Cluster.State, sent
		if repeated && !state.MayRetry() {
			state.Repeats[balancer.RetryNoBudget].Add(1)
			return last
		}
		e := x.chooseMember()
		if e == nil {
			return last
		}
		x.tried[x.attempts] = e.Upstream
		x.attempts++
		last, sent = x.attempt(e)
		switch {
		case !repeated:
		case last == noFault:
			state.Repeats[balancer.RetryServed].Add(1)
		default:
			state.Repeats[balancer.RetryFailed].Add(1)
		}
		switch {
		case last == noFault || x.began || x.gone.Load() || x.pumped != nil:
			return last
		case last == memberInvalid || last == responseTimeout:
			return last
		case sent && !(x.whole && x.req.idempotent()):
			return last
		case last == connectFailed && !sent && limit > 1:
			tries-- // refused at once: when many members die together, that must not use up all tries
		}
	}
	return last
}

// attempt sends the request to one member and passes its answer on. A kept
// connection that turns out to be stale is replaced once by a new one. sent
// tells whether the member may have seen any of the request.
func (x *exchange) attempt(e *balancer.Endpoint) (f fault, sent bool) {
	x.endpoint = e
	x.outcome.Phase = PhaseConnect
	e.Begin()
	defer e.End()
	x.arrived()
	if x.attempted = x.now.UnixNano(); x.attempts > 1 {
		x.tick = time.Now()
		x.attempted = x.tick.UnixNano()
	}
	for fresh := false; ; fresh = true {
		if f := x.connect(e, fresh); f != noFault {
			return f, sent
		}
		stale := x.mc.reused
		f, sent = x.converse(e)
		again := f == memberBroke && stale && !fresh && !x.resent && !x.began && !x.gone.Load() && x.pumped == nil &&
			(!sent || x.whole && x.req.idempotent())
		if again {
			x.resent = true
			continue
		}
		x.broke(e, f, stale)
		return f, sent
	}
}

// connect takes a connection to the member out of its pool.
func (x *exchange) connect(e *balancer.Endpoint, fresh bool) fault {
	mc, err := e.Transport.(*pool).get(context.Background(), x.set.Timeouts.Connect, fresh)
	if err == nil {
		x.mc = mc
		x.outcome.Reused = mc.reused
		if !mc.reused {
			x.connected()
		}
		mc.lend(&x.ahead, x)
		return noFault
	}
	x.connected()
	if errors.Is(err, errOverloaded) || outOfResources(err) {
		return overloaded
	}
	return x.unreachable(e, err)
}

// converse is one request and answer on x.mc, which it gives back or ends.
func (x *exchange) converse(e *balancer.Endpoint) (f fault, sent bool) {
	reuse := false
	x.heard = false
	defer func() {
		x.stopHelpers() // nobody may use the connection or its buffer any more
		mc := x.mc
		x.mc = nil
		mc.in.release()
		mc.in.conn, mc.in = nil, nil
		mc.narrow()
		if reuse && !x.gone.Load() { // else watch may have closed it
			mc.keep(x.tick)
		} else {
			mc.discard()
		}
	}()
	from := x.tick
	x.mc.writeWithin(x.writeWait(), from)
	n, err, readErr := x.sendRequest(from)
	sent = n > 0 || err == nil || x.mc.pool.tls != nil // TLS counts nothing it could not send whole
	if err != nil && n == 0 && !x.reqBody.done {
		return memberBroke, sent
	}
	x.outcome.Phase = PhaseWait
	if readErr != nil && !timedOut(readErr) {
		return x.memberFault(readErr), sent
	}
	wrote := err == nil
	if wrote && !x.whole {
		x.proceed()
		more, f := x.spliceRequest()
		if x.pumpFault = f; f != noFault {
			return f, sent
		}
		if more {
			x.startPump()
		}
	}
	if f := x.readAnswer(); f != noFault {
		x.heard = x.mc.in.w > 0
		return f, sent
	}
	x.heard = true
	x.outcome.ResponseTime = time.Since(from)
	x.answered(e, from)
	keepAlive := x.resp.keepAliveSeconds()
	if x.resp.status == 101 {
		x.completed(e)
		x.tunnel()
		return noFault, true
	}
	if f = x.streamAnswer(); f == noFault {
		x.completed(e)
	}
	x.stopHelpers()
	reuse = f == noFault && wrote && (x.whole || x.pumpDone) && x.resp.reusable() && x.respBody.framing != framingEOF &&
		x.mc.in.unread() == 0 && !x.resp.suspicious()
	if reuse {
		x.mc.noteKeepAlive(keepAlive)
	}
	return f, true
}

// sendRequest writes what is ready of the request. Where that is all of it, the
// first read of the answer belongs to the same operation; n bytes were sent,
// and readErr is how that read ended.
func (x *exchange) sendRequest(now time.Time) (n int, err, readErr error) {
	x.answerBy, x.patient = time.Time{}, false
	mc := x.mc
	if mc.raw == nil || !x.whole {
		n, err = mc.Write(x.up)
		return n, err, nil
	}
	x.answerBy = x.deadline(now, x.set.Timeouts.ResponseHeader)
	if !x.answerBy.IsZero() && x.answerBy.Before(now.Add(watchAfter)) {
		mc.readUntil(x.answerBy)
		n, err, readErr = x.asker.ask(mc, x.up)
	} else {
		mc.readUntil(time.Time{})
		x.alarm.set(mc, now)
		n, err, readErr = x.asker.ask(mc, x.up)
		x.alarm.clear(mc)
	}
	x.filled = true
	x.patient = timedOut(readErr)
	return n, err, readErr
}
