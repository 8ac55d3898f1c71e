package balancer

import (
	"io"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Upstream is the live handle of a member: what changes per request. It
// outlives the Tables that point to it for as long as the member keeps its
// domain, id, address and ports. All methods are safe for concurrent use.
type Upstream struct {
	key       upstreamKey
	member    atomic.Pointer[Member]
	drained   atomic.Bool                 // by an operator
	endpoints atomic.Pointer[[]*Endpoint] // grows by copy, under Router.mu

	inFlight     atomic.Int64
	requests     atomic.Uint64
	failures     atomic.Uint64 // all, for metrics
	inARow       atomic.Uint32 // failed connects since the last success
	ejectedUntil atomic.Int64  // unix nanoseconds, 0: not ejected
	ejectedSince atomic.Int64  // unix nanoseconds of the last ejection
}

// upstreamKey is what makes two descriptions the same live member: if any of
// it differs, counters and connections must not be carried over.
type upstreamKey struct {
	domain, id, host, name string
	http, https            uint16
	ports                  string
}

func keyOf(m *Member) upstreamKey {
	var ports []byte
	for _, p := range m.Ports {
		ports = strconv.AppendUint(ports, uint64(p.From), 10)
		ports = append(ports, '=')
		ports = strconv.AppendUint(ports, uint64(p.To), 10)
		ports = append(ports, ' ')
	}
	return upstreamKey{m.Domain, m.ID, m.Host, m.HostName, m.HTTP, m.HTTPS, string(ports)}
}

// Endpoint is an Upstream at one port, spoken to in one way.
type Endpoint struct {
	Upstream  *Upstream
	Address   string // host:port
	TLS       bool
	MemberTLS MemberTLS
	Transport io.Closer // the connections to it, made by Options.Transport; closed when the member vanishes
	port      uint16
}

// Port returns the member's port in decimal.
func (e *Endpoint) Port() string { return strconv.Itoa(int(e.port)) }

// fitness orders upstreams by how willingly they are used.
type fitness uint8

const (
	fit      fitness = iota
	suspect          // gossip lost it
	ejected          // it refused connections a moment ago
	excluded         // draining, or tried already: never
)

// Member returns the newest description.
func (u *Upstream) Member() *Member { return u.member.Load() }

// InFlight returns the number of requests it is working on.
func (u *Upstream) InFlight() int64 { return u.inFlight.Load() }

// Draining reports whether it gets no new requests, by its own word or an operator's.
func (u *Upstream) Draining() bool { return u.drained.Load() || u.Member().Draining }

func (u *Upstream) fitness(now int64) fitness {
	m := u.Member()
	switch {
	case m.Draining || u.drained.Load():
		return excluded
	case u.ejectedUntil.Load() > now:
		return ejected
	case m.Suspect:
		return suspect
	}
	return fit
}

// Begin counts a request in; each must be followed by one End.
func (u *Upstream) Begin() {
	u.inFlight.Add(1)
	u.requests.Add(1)
}

// End counts a request out.
func (u *Upstream) End() {
	if u.inFlight.Add(-1) < 0 {
		panic("BUG: in-flight count below zero")
	}
}

// Succeeded notes that the member answered an attempt begun at (unix
// nanoseconds): evidence against it that is older is void. Answers that were
// under way when it was ejected say nothing about it now.
func (u *Upstream) Succeeded(begun int64) {
	if u.inARow.Load() != 0 && begun > u.ejectedSince.Load() {
		u.pardon()
	}
}

func (u *Upstream) pardon() {
	u.inARow.Store(0)
	u.ejectedUntil.Store(0)
}

// Refused notes that no connection to the member could be made and ejects it,
// for longer each time in a row. It returns for how long, or 0 where it was
// ejected already.
func (u *Upstream) Refused(now int64) time.Duration {
	u.failures.Add(1)
	until := u.ejectedUntil.Load()
	if until > now {
		return 0
	}
	d := min(ejectFirst<<min(u.inARow.Load(), 8), ejectMax)
	if !u.ejectedUntil.CompareAndSwap(until, now+int64(d)) {
		return 0 // another request was faster
	}
	u.ejectedSince.Store(now)
	u.inARow.Add(1)
	return d
}

// Failed notes an attempt that broke after the connection was made.
func (u *Upstream) Failed() { u.failures.Add(1) }

// Status is what operators see of a member.
type Status struct {
	Member       Member
	State        string // up, suspect, ejected, draining
	InFlight     int64
	Requests     uint64
	Failures     uint64
	EjectedUntil time.Time // zero: not ejected
	Drained      bool      // by an operator
}

// Status returns the member as it is at now (unix nanoseconds).
func (u *Upstream) Status(now int64) Status {
	s := Status{Member: *u.Member(), InFlight: u.InFlight(), Requests: u.requests.Load(),
		Failures: u.failures.Load(), Drained: u.drained.Load()}
	switch u.fitness(now) {
	case fit:
		s.State = "up"
	case suspect:
		s.State = "suspect"
	case ejected:
		s.State = "ejected"
		s.EjectedUntil = time.Unix(0, u.ejectedUntil.Load())
	case excluded:
		s.State = "draining"
	}
	return s
}

// endpointLocked returns the endpoint at port, making it on first use. The
// Router's mutex is held.
func (u *Upstream) endpointLocked(port uint16, tls bool, mt MemberTLS, open func(*Endpoint) io.Closer) *Endpoint {
	old := u.Endpoints()
	for _, e := range old {
		if e.port == port && e.TLS == tls && (!tls || e.MemberTLS == mt) {
			return e
		}
	}
	e := &Endpoint{Upstream: u, Address: u.Member().Address(port), TLS: tls, MemberTLS: mt, port: port}
	if open != nil {
		e.Transport = open(e)
	}
	grown := append(slices.Clip(old), e)
	u.endpoints.Store(&grown)
	return e
}

// Endpoints returns all ports at which it was ever used; the caller must not
// change the slice.
func (u *Upstream) Endpoints() []*Endpoint {
	if list := u.endpoints.Load(); list != nil {
		return *list
	}
	return nil
}

// closeLocked ends idle connections of a member that vanished.
func (u *Upstream) closeLocked() {
	for _, e := range u.Endpoints() {
		if e.Transport != nil {
			e.Transport.Close() // nothing to do about an error: the member is gone
		}
	}
}
