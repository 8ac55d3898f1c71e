package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"jetway/balancer"
)

const (
	// replayMax is up to which size a buffered body is sent again.
	replayMax = 64 << 10
	// attemptsMax bounds retry.attempts.
	attemptsMax = 10
	// interimMax bounds the 1xx answers before the final one.
	interimMax = 16
	// answerHeadMax bounds the head of an answer, answerFieldsMax its fields.
	answerHeadMax   = 64 << 10
	answerFieldsMax = 256
	// watchAfter is how long a member may take before its client is watched.
	watchAfter = 100 * time.Millisecond
)

// exchange is one request from its checked head to its last byte. It is
// pooled: begin and end bound its use.
type exchange struct {
	conn   *clientConn
	server *Server
	set    *settings
	now    time.Time // when the head was complete: the one clock read of a plain request

	req      requestHead
	route    balancer.Request
	decision balancer.Decision
	id       [32]byte // request id in hexadecimal

	up      []byte // what goes to the member first: head and buffered body
	reqBody body
	whole   bool    // up holds the whole request: it can be sent again
	lent    *[]byte // the client connection's buffer while a body streams
	small   []byte  // its own, with the head

	mc       *memberConn
	mcBuffer *[]byte
	resp     responseHead
	respBody body
	out      []byte // bytes for the client, not yet written
	outbuf   *[]byte

	endpoint  *balancer.Endpoint // of the current attempt
	tried     [attemptsMax]*balancer.Upstream
	attempts  int
	status    int   // of the answer, 0: none
	fault     fault // why Jetway answered itself or broke off
	began     bool  // the final answer's head went out or is in out
	close     bool  // the client's connection ends with this exchange
	continued bool  // 100 (Continue) was sent

	pumped    chan struct{} // closed when pump ended; nil: no pump
	settled   bool          // pump was waited for
	starved   atomic.Bool   // pump waits for the client
	early     bool          // the answer came while it did
	pumpFault fault         // valid once pumped is closed
	pumpDone  bool          // the whole body reached the member; likewise
	stopping  atomic.Bool   // pump or watch are told to end
	watched   chan struct{} // closed when watch ended; nil: not watching
	gone      atomic.Bool   // the client went away
}

func (x *exchange) begin(c *clientConn, set *settings) {
	x.conn, x.server, x.set = c, c.server, set
	x.now = time.Now()
	x.outbuf = c.server.buffer()
	x.out = (*x.outbuf)[:0]
	x.up = x.up[:0]
	x.attempts, x.status, x.fault = 0, 0, noFault
	x.began, x.close, x.whole, x.continued, x.early = false, false, false, false, false
	x.pumped, x.pumpFault, x.pumpDone, x.settled, x.watched = nil, noFault, false, false, nil
	x.stopping.Store(false)
	x.gone.Store(false)
	x.reqBody.start(&c.in, framingNone, 0)
	x.req.method, x.req.accept, x.req.id, x.req.http10 = nil, nil, nil, false
}

func (x *exchange) end() {
	x.server.giveBack(x.outbuf)
	if in := &x.conn.in; x.small != nil {
		if in.unread() > len(x.small) {
			x.small = make([]byte, in.unread())
		}
		in.rebuffer(x.small)
		x.small = nil
	}
	x.server.giveBack(x.lent)
	x.lent = nil
	x.conn, x.set, x.outbuf, x.out, x.mc, x.endpoint = nil, nil, nil, nil, nil, nil
	clear(x.tried[:])
	x.decision.Host, x.decision.Cluster, x.decision.View = nil, nil, nil
	if cap(x.up) > replayMax {
		x.up = nil // do not let one large body stay for ever
	}
}

// serve is the life of a request, in order. f is what reading the head ended
// with. It reports whether the client's connection may carry another request.
func (x *exchange) serve(head []byte, f fault) (keep bool) {
	if f == noFault {
		x.req.secure = x.conn.tls
		f = x.req.parse(head, x.set.Limits.HeaderFields, x.conn.rules(x.set))
	}
	x.newID()
	if f != noFault {
		return x.refuse(f)
	}
	x.startBody()
	table := x.server.router.Table() // the one load of this request
	if table.Tenants().PathAmbiguous(x.req.path) != "" {
		return x.refuse(badPath)
	}
	if f := x.decide(table); f != noFault {
		return x.refuse(f)
	}
	cluster := x.decision.Cluster
	cluster.Begin()
	defer func() { cluster.End(x.status) }()
	x.buildRequest()
	x.bufferBody()
	switch limit := x.set.Limits.Upgrades; {
	case x.reqBody.bad:
		return x.refuse(badChunk)
	case x.overLimit():
		return x.refuse(bodyTooLarge)
	case x.req.upgrade && limit > 0 && x.server.stats.tunnels.Load() >= int64(limit):
		return x.refuse(tooManyUpgrades)
	}
	f = x.attemptAll(table)
	if x.pumpFault != noFault && !x.began {
		f = x.pumpFault
	}
	switch {
	case x.gone.Load():
		x.lost(clientGone)
		return false
	case f != noFault && !x.began:
		return x.refuse(f)
	case f != noFault:
		x.lost(f)
		return false
	}
	return x.finish()
}

// decide asks the routing table.
func (x *exchange) decide(table *balancer.Table) fault {
	st := x.conn.listener.state.Load()
	x.route = balancer.Request{Host: x.req.host, Path: x.req.path, Query: x.req.query,
		Listener: st.Name, PublicPort: st.PublicPort, TLS: x.conn.tls, Client: x.client()}
	if x.conn.misdirected(st, x.req.host) {
		return misdirected
	}
	switch table.Route(&x.route, &x.decision) {
	case balancer.OK:
		return noFault
	case balancer.NoHost:
		return noHost
	case balancer.UnknownTenant:
		return unknownTenant
	case balancer.NoDomain:
		return noDomain
	case balancer.NoPort:
		return noPort
	}
	return noMember
}

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
	for x.attempts < limit {
		// A connection that could not be made cost the member nothing, and
		// ejects it: only what was sent twice counts against the budget.
		if sent && !x.decision.Cluster.State.MayRetry() {
			return last
		}
		e := x.decision.View.Pick(x.now.UnixNano(), x.tried[:x.attempts])
		if e == nil {
			return last
		}
		x.tried[x.attempts] = e.Upstream
		x.attempts++
		last, sent = x.attempt(e)
		switch {
		case last == noFault || x.began || x.gone.Load() || x.pumped != nil:
			return last
		case last == memberInvalid || last == responseTimeout:
			return last
		case sent && !(x.whole && x.req.idempotent()):
			return last
		}
	}
	return last
}

// attempt sends the request to one member and passes its answer on. A kept
// connection that turns out to be stale is replaced once by a new one. sent
// tells whether the member may have seen any of the request.
func (x *exchange) attempt(e *balancer.Endpoint) (f fault, sent bool) {
	u := e.Upstream
	x.endpoint = e
	u.Begin()
	defer u.End()
	for fresh := false; ; fresh = true {
		if f := x.connect(e, fresh); f != noFault {
			return f, sent
		}
		stale := x.mc.reused
		f, sent = x.converse(u)
		again := f == memberBroke && stale && !fresh && !x.began && !x.gone.Load() && x.pumped == nil &&
			(!sent || x.whole && x.req.idempotent())
		if again {
			continue
		}
		if x.pumpFault == noFault && (f == memberBroke || f == memberInvalid || f == responseTimeout) {
			u.Failed()
		}
		return f, sent
	}
}

// connect takes a connection to the member out of its pool.
func (x *exchange) connect(e *balancer.Endpoint, fresh bool) fault {
	mc, err := e.Transport.(*pool).get(context.Background(), x.set.Timeouts.Connect, fresh)
	if err == nil {
		x.mc = mc
		x.mcBuffer = x.server.buffer()
		mc.in.buf, mc.in.r, mc.in.w, mc.in.floor = *x.mcBuffer, 0, 0, 0
		return noFault
	}
	if errors.Is(err, errOverloaded) || outOfResources(err) {
		return overloaded
	}
	if d := e.Upstream.Refused(time.Now().UnixNano()); d > 0 {
		m := e.Upstream.Member()
		x.server.log.Warn().Str("domain", m.Domain).Str("member", m.ID).Str("address", e.Address).
			Err(err).Dur("for", d).Msg("member ejected")
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return connectTimeout
	}
	return connectFailed
}

// converse is one request and answer on x.mc, which it gives back or ends.
func (x *exchange) converse(u *balancer.Upstream) (f fault, sent bool) {
	reuse := false
	defer func() {
		x.stopHelpers() // nobody may use the connection or its buffer any more
		mc := x.mc
		x.mc = nil
		mc.in.buf = nil
		x.server.giveBack(x.mcBuffer)
		if reuse {
			mc.keep(time.Now())
		} else {
			mc.discard()
		}
	}()
	x.mc.writeWithin(x.set.Timeouts.ResponseIdle)
	n, err := x.mc.Write(x.up)
	sent = n > 0 || err == nil || x.mc.pool.tls != nil // TLS counts nothing it could not send whole
	if err != nil && n == 0 && !x.reqBody.done {
		return memberBroke, sent
	}
	wrote := err == nil
	if wrote && !x.whole {
		x.startPump()
	}
	if f := x.readAnswer(); f != noFault {
		return f, sent
	}
	u.Succeeded()
	keepAlive := x.resp.keepAliveSeconds()
	if x.resp.status == 101 {
		x.tunnel()
		return noFault, true
	}
	f = x.streamAnswer()
	x.stopHelpers()
	reuse = f == noFault && wrote && (x.whole || x.pumpDone) && x.resp.reusable() && x.respBody.framing != framingEOF &&
		x.mc.in.unread() == 0 && !x.resp.suspicious()
	if reuse {
		x.mc.noteKeepAlive(keepAlive)
	}
	return f, true
}

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
