package proxy

import (
	"sync/atomic"
	"time"

	"jetway/balancer"
	"jetway/tenant"
)

// exchange is one request from its checked head to its last byte. It is
// pooled: begin and end bound its use.
type exchange struct {
	conn   *clientConn
	server *Server
	set    *settings
	now    time.Time // when the head was complete: the one clock read of a plain request
	headAt time.Time // when the answer's head was there
	tick   time.Time // a reading of the clock that is at most about watchAfter old
	filled bool      // the member was read from since tick

	req      requestHead
	route    balancer.Request
	decision balancer.Decision
	affinity affinity
	id       [32]byte // request id in hexadecimal

	up      []byte // what goes to the member first: head and buffered body
	reqBody body
	whole   bool    // up holds the whole request: it can be sent again
	lent    *[]byte // the client connection's buffer while a body streams
	small   []byte  // its own, with the head

	mc       *memberConn
	ahead    input // what was read from the member
	asker    asker
	alarm    alarm
	resp     responseHead
	respBody body
	out      []byte    // bytes for the client, not yet written
	outbuf   *[]byte   // what out began in, from when there is something to say
	answerBy time.Time // when the answer's head must be there; zero: not known yet
	patient  bool      // the answer was waited for already

	endpoint  *balancer.Endpoint // of the current attempt
	tried     [attemptsMax]*balancer.Upstream
	attempts  int
	attempted int64 // when the current attempt began, unix nanoseconds
	status    int   // of the answer, 0: none
	fault     fault // why Jetway answered itself or broke off
	began     bool  // the final answer's head went out or is in out
	close     bool  // the client's connection ends with this exchange
	continued bool  // 100 (Continue) was sent
	resent    bool  // a stale connection was replaced, once per request
	heard     bool  // the member sent something on this connection
	outcome   Outcome
	explained bool // it is no request: sessions are looked at and not touched

	pumped    chan struct{} // closed when pump ended; nil: no pump
	settled   bool          // pump was waited for
	starved   atomic.Bool   // pump waits for the client
	waiting   atomic.Bool   // the reader waits for the answer or the end of pump
	ending    atomic.Bool   // pump is over but for closing pumped
	early     bool          // the answer came while it did
	pumpFault fault         // valid once pumped is closed
	pumpDone  bool          // the whole body reached the member; likewise
	stopping  atomic.Bool   // pump or watch are told to end
	watched   chan struct{} // closed when watch ended; nil: not watching
	gone      atomic.Bool   // the client went away
	held      *waiter       // it waited for a member that has not counted it yet; nil: no
}

func (x *exchange) begin(c *clientConn, set *settings) {
	x.conn, x.server, x.set = c, c.server, set
	x.now = time.Now()
	x.tick, x.filled = x.now, false
	x.outcome.reset(x.now)
	x.decision.Tenant.Outcome = tenant.None
	x.up = x.up[:0]
	x.attempts, x.status, x.fault = 0, 0, noFault
	x.began, x.close, x.whole, x.continued, x.early, x.resent = false, false, false, false, false, false
	x.pumped, x.pumpFault, x.pumpDone, x.settled, x.watched = nil, noFault, false, false, nil
	x.stopping.Store(false)
	x.gone.Store(false)
	x.reqBody.start(&c.in, framingNone, 0)
	x.req.method, x.req.accept, x.req.id, x.req.http10 = nil, nil, nil, false
	x.req.target, x.req.host = nil, nil
}

func (x *exchange) end() {
	x.conn.tick = x.tick
	if in := &x.conn.in; x.small != nil {
		if in.unread() > len(x.small) {
			x.small = make([]byte, in.unread())
		}
		in.rebuffer(x.small)
		x.small = nil
	}
	if x.lent != nil {
		x.server.larges.Put(x.lent)
		x.lent = nil
	}
	x.returnOut()
	x.conn, x.set, x.mc, x.endpoint = nil, nil, nil, nil
	x.affinity.on, x.affinity.bound = nil, nil
	clear(x.tried[:])
	x.decision.Host, x.decision.Cluster, x.decision.View = nil, nil, nil
	if cap(x.up) > replayMax {
		x.up = nil // do not let one large body stay for ever
	}
}

// openOut makes sure that there is a buffer for what goes to the client.
func (x *exchange) openOut() {
	if x.outbuf == nil {
		x.outbuf = x.server.buffer()
		x.out = (*x.outbuf)[:0]
	}
}

// returnOut gives that buffer back; what is in it is lost.
func (x *exchange) returnOut() {
	x.server.giveBack(x.outbuf)
	x.outbuf, x.out = nil, nil
}

// serve is the life of a request, in order. f is what reading the head ended
// with. It reports whether the client's connection may carry another request.
func (x *exchange) serve(head []byte, f fault) (keep bool) {
	table, f := x.resolve(head, f)
	if f == clientGone {
		x.lost(f)
		return false
	}
	nobody := x.mayWait(f)
	if f != noFault && !nobody {
		return x.refuse(f)
	}
	if table.Admit(&x.decision, x.route.Now) != tenant.Admitted {
		return x.refuse(limited)
	}
	cluster := x.decision.Cluster
	cluster.Begin(x.now)
	defer func() {
		x.arrived()
		cluster.End(x.status)
		table.Release(&x.decision)
	}()
	if nobody || x.queues() {
		if table, f = x.awaitMember(cluster); f != noFault {
			return x.turnAway(f)
		}
	}
	if f := x.prepare(table); f != noFault {
		return x.refuse(f)
	}
	x.bufferBody()
	if x.req.upgrade {
		defer x.server.stats.upgrades.Add(-1)
		x.server.stats.upgrades.Add(1)
	}
	switch limit := x.set.Limits.Upgrades; {
	case x.reqBody.bad:
		return x.refuse(badChunk)
	case x.overLimit():
		return x.refuse(bodyTooLarge)
	case x.req.upgrade && limit > 0 && x.server.stats.upgrades.Load() > int64(limit):
		return x.refuse(tooManyUpgrades)
	}
	f = x.carry(table)
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

// resolve parses the head and decides where the request goes, by the one table
// that it keeps to its end.
func (x *exchange) resolve(head []byte, f fault) (*balancer.Table, fault) {
	if f == noFault {
		x.req.secure = x.conn.tls
		f = x.req.parse(head, x.set.Limits.HeaderFields, x.conn.rules(x.set))
	}
	x.newID()
	x.outcome.BytesIn = int64(len(head))
	if f != noFault {
		return nil, f
	}
	x.outcome.Phase = PhaseDecide
	x.startBody()
	table := x.server.router.Table() // the one load of this request
	x.outcome.Generation = table.Generation()
	if tenant.PathAmbiguous(x.req.path) != "" {
		return table, badPath
	}
	return table, x.decide(table)
}

// prepare finds the session of a request that is decided, and writes the head
// for its member.
func (x *exchange) prepare(table *balancer.Table) fault {
	x.affinity.on = nil
	if on := &x.decision.Cluster.Config.Affinity; on.On() {
		if f := x.findSession(on, table.FailOver()); f != noFault {
			return f
		}
	}
	x.buildRequest()
	return noFault
}
