package proxy

import (
	"net/netip"
	"time"

	"jetway/balancer"
	"jetway/tenant"
)

// Phase is how far a request came.
type Phase uint8

const (
	PhaseHead    Phase = iota // its head is read and checked
	PhaseDecide               // host, tenant, domain, limits, session
	PhaseConnect              // a member is chosen and connected to
	PhaseWait                 // the member has it and its answer is waited for
	PhaseAnswer               // the answer goes to the client
	PhaseTunnel               // upgraded: bytes go both ways
	PhaseDone                 // the whole answer went out
)

// String returns the phase in one lower-case word.
func (p Phase) String() string {
	return [...]string{"head", "decide", "connect", "wait", "answer", "tunnel", "done"}[p]
}

// Outcome is what became of one request. Each step of its life fills in its
// part; the access log and metrics read it when it is over. It is part of the
// exchange, so that it costs no allocation, and fixed in size: what points
// elsewhere (slices, the tenant) is valid until the exchange ends.
type Outcome struct {
	// Of the connection and the head.
	Time     time.Time  // when the head was complete
	Client   netip.Addr // as trusted proxies say, else the peer
	Listener string
	TLS      bool
	SNI      string // name that the TLS session is for, lower case
	Method   []byte // empty where the head was no request
	Target   []byte // as sent; may hold secrets in its query
	Host     []byte // lower case, without port
	HTTP10   bool
	ID       []byte // request id

	// Of the decision.
	Generation uint64 // of the table that decided
	Decision   *balancer.Decision
	Session    balancer.SessionVerdict

	// Of the forwarding.
	Endpoint *balancer.Endpoint // of the last attempt; nil: none was made
	Attempts int
	Reused   bool // the last attempt used a kept connection

	// Times of the phases. What did not happen took 0.
	ClientTime   time.Duration // from the head's first bytes to its last, 0 where it came at once
	QueueTime    time.Duration // until the first member was tried: questions to a directory, waiting for members
	ConnectTime  time.Duration // making connections, failed ones included
	ResponseTime time.Duration // from sending the head to the head of the answer; last attempt
	TotalTime    time.Duration // all of it, up to the last byte for the client

	BytesIn  int64 // of head and body, without the framing of chunks
	BytesOut int64 // written to the client
	Status   int   // that the client got; 499: it was gone; 0: nothing could be said
	Phase    Phase
	Reason   string // code of docs/operations.md; empty: served
}

// Service returns the service, "" where no host pattern matched.
func (o *Outcome) Service() string {
	if o.Decision == nil || o.Decision.Host == nil {
		return ""
	}
	return o.Decision.Host.Service
}

// Cluster returns domain and sub-domain; zero where none was decided on.
func (o *Outcome) Cluster() balancer.Key {
	if o.Decision == nil || o.Decision.Cluster == nil {
		return balancer.Key{}
	}
	return o.Decision.Cluster.Config.Key
}

// Tenant returns whose request it was; nil where it was not looked at.
func (o *Outcome) Tenant() *tenant.Found {
	if o.Decision == nil || o.Decision.Host == nil || o.Decision.Tenant.Outcome == tenant.None {
		return nil
	}
	return &o.Decision.Tenant
}

// EndedBy tells who ended the request before its time: "client", "member" or
// "jetway"; "" where it was served.
func (o *Outcome) EndedBy() string {
	switch o.Reason {
	case "":
		return ""
	case clientGone.code(), headTimeout.code(), bodyTimeout.code():
		return "client"
	case connectFailed.code(), connectTimeout.code(), memberBroke.code(), memberInvalid.code(), responseTimeout.code():
		return "member"
	}
	return "jetway"
}

// reset begins the outcome of another request.
func (o *Outcome) reset(now time.Time) {
	*o = Outcome{Time: now}
}

// conclude ends the outcome of a request whose last byte is written, and tells
// who wants to know.
func (x *exchange) conclude() {
	o := &x.outcome
	o.TotalTime = o.ClientTime + time.Since(x.now)
	o.Status, o.Attempts, o.Endpoint = x.status, x.attempts, x.endpoint
	o.BytesIn += x.reqBody.payload
	if x.fault != noFault {
		o.Reason = x.fault.code()
	} else {
		o.Phase = PhaseDone
	}
	o.Decision = &x.decision
	if c := x.decision.Cluster; c != nil && o.Phase != PhaseTunnel { // how long a tunnel lasts is no latency
		c.State.Latency.Observe(x.conn.number, o.TotalTime)
	}
	if log := x.set.access; log != nil && log.wants(o) {
		x.describe()
		log.write(x.conn.number, o)
	}
}

// crash ends a request that panicked, while the panic is under way: its client
// is answered if nothing was said yet, and it has a line in the access log as
// any other. The exchange is not used again.
func (x *exchange) crash() {
	defer func() { x.server.recovered("end of a request", recover()) }() // what panicked once may do so again
	if x.began {
		x.lost(crashed)
	} else {
		x.refuse(crashed)
	}
	x.conclude()
}

// describe adds what only the access log needs to know of the request.
func (x *exchange) describe() {
	o, c := &x.outcome, x.conn
	o.Listener, o.TLS, o.SNI = c.listener.state.Load().Name, c.tls, c.sni
	o.Client = c.addr
	if o.Phase > PhaseHead { // its fields are parsed
		o.Client = x.client()
	}
	o.Method, o.Target, o.Host, o.HTTP10, o.ID = x.req.method, x.req.target, x.req.host, x.req.http10, x.requestID()
}

// connected notes that an attempt to connect is over, and reads the clock again.
func (x *exchange) connected() {
	began := x.tick
	x.tick = time.Now()
	x.outcome.ConnectTime += x.tick.Sub(began)
}

// waited notes that the request had to wait before a member could be tried,
// and reads the clock again.
func (x *exchange) waited() {
	x.tick = time.Now()
	x.outcome.QueueTime = x.tick.Sub(x.now)
}
