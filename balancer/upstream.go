package balancer

import (
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Upstream is the live handle of a member: what changes per request, and what
// is known of its health. It outlives the Tables that point to it for as long
// as the member keeps its domain, id, address and ports. All methods are safe
// for concurrent use.
type Upstream struct {
	words // those of hot, one step nearer
	*hot
	key       upstreamKey
	hash      uint64 // of domain and id, the same in every process
	session   uint64 // what sessions call it
	route     string // likewise, in the application's cookies
	member    atomic.Pointer[Member]
	endpoints atomic.Pointer[[]*Endpoint] // grows by copy, under Router.mu
	tell      func(Transition)            // may be nil

	failed  atomic.Uint64 // attempts that failed, for metrics
	counted atomic.Uint64 // requests begun, as was told last
	// Ejections by own evidence, for metrics.
	unreachable, failing atomic.Uint64

	weight    atomic.Int32 // in force
	outUntil  atomic.Int64 // end of the ejection, unix nanoseconds, as all below
	waitUntil atomic.Int64 // then it is used without a first good check
	changed   atomic.Int64 // the newest verdict: evidence that began before is void
	drainFrom atomic.Int64 // it began to drain; 0: it does not
	slowFrom  atomic.Int64 // slow start began
	slowFor   atomic.Int64 // and lasts, nanoseconds

	mu      sync.Mutex // guards all below, and changes of hot.note
	parts   []string   // sub-domains it ever served: their index is that of the notes
	checks  []*Check   // by part, nil where there is none
	verdict verdict
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

func newUpstream(key upstreamKey, w words, tell func(Transition)) *Upstream {
	u := &Upstream{words: w, hot: newHot(w), key: key, tell: tell}
	u.hash = hashString(hashString(0, key.domain), key.id)
	return u
}

// Endpoint is an Upstream at one port, spoken to in one way. It has what a
// request that goes well needs to know of the member, on one cache line.
type Endpoint struct {
	words
	Upstream  *Upstream
	Transport io.Closer // the connections to it, made by Options.Transport; closed when the member vanishes
	Address   string    // host:port
	MemberTLS MemberTLS
	TLS       bool
	port      uint16
}

// Port returns the member's port in decimal.
func (e *Endpoint) Port() string { return strconv.Itoa(int(e.port)) }

// Member returns the newest description.
func (u *Upstream) Member() *Member { return u.member.Load() }

// InFlight returns the number of requests it is working on.
func (u *Upstream) InFlight() int64 { return int64(u.inFlight()) }

// Requests returns the number of requests begun so far. It never goes back.
func (u *Upstream) Requests() uint64 {
	n := u.wraps.Load()<<begunBits | uint64(u.load.Load()>>begunShift)
	for { // whoever wraps the count notes it a moment later
		last := u.counted.Load()
		if n <= last {
			return last
		}
		if u.counted.CompareAndSwap(last, n) {
			return n
		}
	}
}

// Weight returns the weight in force: an operator's, else the announced one.
func (u *Upstream) Weight() int { return int(u.weight.Load()) }

// Draining reports whether it gets no new requests, by its own word or an operator's.
func (u *Upstream) Draining() bool { return u.note.Load()&(noteDrained|noteDraining) != 0 }

// Begin counts a request in at its member; each must be followed by one End.
func (e *Endpoint) Begin() {
	if e.begin() {
		e.Upstream.wraps.Add(1)
	}
}

// End counts a request out.
func (e *Endpoint) End() { e.end() }

// setWeight puts a weight in force.
func (u *Upstream) setWeight(w int) {
	w = min(max(w, 1), MaxWeight)
	u.weight.Store(int32(w))
	u.price.Store(priceOne / uint64(w))
}

// part returns the index of a sub-domain among the notes. Those beyond
// partsMax share the last one.
func (u *Upstream) part(sub string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(u.parts, sub)
	if i < 0 && len(u.parts) < partsMax {
		u.parts = append(u.parts, sub)
		u.checks = append(u.checks, nil)
		i = len(u.parts) - 1
	}
	if i < 0 {
		return partsMax - 1
	}
	return i
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
	e := &Endpoint{words: u.words, Upstream: u, Address: u.Member().Address(port), TLS: tls, MemberTLS: mt, port: port}
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
