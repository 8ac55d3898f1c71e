package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jetway/balancer"
)

const (
	// poolMax bounds the connections to one endpoint.
	poolMax = 8192
	// waitersMax bounds how many requests wait for one of them, each for at
	// most the connect time-out.
	waitersMax = 1024
	// memberBuffer bounds what the system receives from a member ahead of a
	// client that does not read. By itself it would grow to tcp_rmem's maximum,
	// which can be 32 MiB a connection. Members are near: at 1 ms this is
	// still 2 Gbit/s a connection.
	memberBuffer = 256 << 10
	// idleDefault is how long a connection is kept that the member says
	// nothing about: below what servers commonly close after.
	idleDefault = 15 * time.Second
	// sweepEvery is how often idle connections are looked at.
	sweepEvery = time.Second
)

var (
	errOverloaded = errors.New("too many connections to the member")
	errHandshake  = errors.New("TLS handshake with the member")
)

// Pools makes the pools of all endpoints and bounds their connections
// together, so that clients, the admin address and gossip keep descriptors.
type Pools struct {
	limit int64
	open  atomic.Int64
	wide  atomic.Int32 // connections that receive more ahead, see widen
	epoch time.Time    // what memberConn.since counts from

	mu  sync.Mutex // guards all
	all map[*pool]struct{}
}

// NewPools divides the descriptors that the process may have.
func NewPools() *Pools {
	_, members := shareDescriptors(descriptorLimit())
	return &Pools{limit: int64(members), epoch: time.Now(), all: map[*pool]struct{}{}}
}

// admit counts a connection in. Where there are too many, idle ones are ended
// to make room, and it waits for others to end, at most until ctx does.
func (ps *Pools) admit(ctx context.Context) bool {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		if ps.take() {
			return true
		}
		for _, p := range ps.list() {
			p.trim()
		}
		if ps.take() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

func (ps *Pools) take() bool {
	for {
		n := ps.open.Load()
		if n >= ps.limit {
			return false
		}
		if ps.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (ps *Pools) list() []*pool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Collect(maps.Keys(ps.all))
}

// pool holds the connections to one endpoint. The newest idle one is used
// first, so that those not needed age and end. Safe for concurrent use. What
// each request touches comes first: of many pools none is in a cache when its
// turn comes, and each line costs.
type pool struct {
	mu      sync.Mutex  // guards all up to closed
	idle    *memberConn // the newest; the others follow by memberConn.next
	waiters []chan *memberConn
	open    int32 // connections that exist or are being made
	closed  bool

	pools   *Pools
	address string
	tls     *tls.Config
	fail    error     // why no connection can ever be made
	routes  logRoutes // with them 128 bytes in all, which the allocator aligns
}

// Open makes the connection pool of an endpoint. It connects to nothing yet;
// an unusable TLS configuration shows as a failed connection.
func (ps *Pools) Open(e *balancer.Endpoint) io.Closer {
	p := &pool{pools: ps, address: e.Address}
	ps.mu.Lock()
	ps.all[p] = struct{}{}
	ps.mu.Unlock()
	if e.TLS {
		p.tls, p.fail = MemberTLS(e)
	}
	return p
}

// MemberTLS returns how the member at an endpoint with TLS is spoken to.
func MemberTLS(e *balancer.Endpoint) (*tls.Config, error) {
	return memberTLS(e.Upstream.Member().Name(), e.MemberTLS)
}

// memberTLS builds the client side of TLS to a member.
func memberTLS(host string, cfg balancer.MemberTLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName, InsecureSkipVerify: cfg.Insecure,
		ClientSessionCache: tls.NewLRUClientSessionCache(8), NextProtos: []string{"http/1.1"}}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read member_tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot use member_tls.ca_file %q: it holds no certificate", cfg.CAFile)
		}
	} else if !cfg.Insecure {
		// crypto/x509 reads the system's authorities once, when first asked
		// for. That is better not within the time of the first handshake.
		if _, err := x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("cannot read the system's certificate authorities: %w", err)
		}
	}
	return c, nil
}

// get returns an idle connection that is still silent, or makes one. fresh
// asks for a new one.
func (p *pool) get(ctx context.Context, timeout time.Duration, fresh bool) (*memberConn, error) {
	p.mu.Lock()
	for !fresh && p.idle != nil {
		mc := p.idle
		p.idle, mc.next = mc.next, nil
		p.mu.Unlock()
		if mc.quiet() {
			mc.reused = true
			return mc, nil
		}
		mc.discard()
		p.mu.Lock()
	}
	if p.fail != nil {
		p.mu.Unlock()
		return nil, p.fail
	}
	if p.open < poolMax {
		p.open++
		p.mu.Unlock()
		return p.dial(ctx, timeout)
	}
	if len(p.waiters) >= waitersMax {
		p.mu.Unlock()
		return nil, errOverloaded
	}
	turn := make(chan *memberConn, 1)
	p.waiters = append(p.waiters, turn)
	p.mu.Unlock()
	return p.wait(ctx, turn, timeout)
}

// wait queues for a connection that another request gives back, or for the
// right to make one (nil).
func (p *pool) wait(ctx context.Context, turn chan *memberConn, timeout time.Duration) (*memberConn, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case mc := <-turn:
		return p.granted(ctx, mc, timeout)
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, turn)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // granted in the same moment
		return p.granted(ctx, <-turn, timeout)
	}
	return nil, errOverloaded
}

func (p *pool) granted(ctx context.Context, mc *memberConn, timeout time.Duration) (*memberConn, error) {
	if mc == nil {
		return p.dial(ctx, timeout)
	}
	if !mc.quiet() {
		mc.discard()
		return p.get(ctx, timeout, true)
	}
	mc.reused = true
	return mc, nil
}

// dial makes a connection; p.open counts it already.
func (p *pool) dial(ctx context.Context, timeout time.Duration) (*memberConn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !p.pools.admit(ctx) {
		p.releasePlace()
		return nil, errOverloaded
	}
	d := net.Dialer{KeepAlive: 15 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		p.release()
		return nil, err
	}
	if t := plain(conn); t != nil {
		t.SetReadBuffer(memberBuffer) // likewise a wish
	}
	mc := newMemberConn(p, conn)
	if p.tls != nil {
		tc := tls.Client(conn, p.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			conn.Close()
			p.release()
			return nil, fmt.Errorf("%w: %w", errHandshake, err)
		}
		mc.Conn, mc.raw = tc, nil
	}
	return mc, nil
}

// release counts out a connection that ended, or never came about.
func (p *pool) release() {
	p.pools.open.Add(-1)
	p.releasePlace()
}

// releasePlace gives up a place among the connections to this endpoint.
func (p *pool) releasePlace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) > 0 {
		p.waiters[0] <- nil // the place goes on to the next
		p.waiters = slices.Delete(p.waiters, 0, 1)
		return
	}
	p.open--
}

// sweep closes idle connections that grew old or are no longer silent. Those
// used a moment ago are not looked at: at their next use they are.
func (p *pool) sweep(now time.Time) {
	var ended *memberConn
	p.mu.Lock()
	for at := &p.idle; *at != nil; {
		mc := *at
		age := now.Sub(p.pools.epoch) - mc.since
		if age < mc.idle && (age < sweepEvery || mc.quiet()) {
			at = &mc.next
			continue
		}
		*at = mc.next
		mc.next, ended = ended, mc
	}
	p.mu.Unlock()
	ended.discardAll()
}

// Close ends the idle connections. Requests that chose the member before it
// vanished still get one, which ends with their exchange.
func (p *pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.trim()
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	delete(p.pools.all, p)
	return nil
}

// trim ends the idle connections.
func (p *pool) trim() {
	p.mu.Lock()
	ended := p.idle
	p.idle = nil
	p.mu.Unlock()
	ended.discardAll()
}
