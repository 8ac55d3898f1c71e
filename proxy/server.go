// Package proxy speaks HTTP/1.1: it accepts clients, checks what they send,
// asks balancer where it goes, forwards it and streams the answer back.
//
// Bytes from both sides are hostile. A request's head is parsed once, strictly
// (request.go, head.go); what was checked is what is routed and what is
// forwarded. Bodies are framed by body.go in both directions, connections to
// members are pooled per endpoint by pool.go, and exchange.go is the life of
// one request from its first byte to its last.
//
// Server owns the listeners and client connections, one goroutine each; an
// exchange adds one goroutine while a body streams to a member or while a
// client that waits long is watched. Everything ends with Run.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jetway/balancer"
	"jetway/journal"

	"github.com/rs/zerolog"
)

// Server is the data path. Safe for concurrent use.
type Server struct {
	router    *balancer.Router
	log       zerolog.Logger
	settings  atomic.Pointer[settings]
	stats     stats
	buffers   sync.Pool // of *[]byte, bufferSize each
	exchanges sync.Pool // of *exchange
	larges    sync.Pool // of *[]byte, largeSize each
	heads     sync.Pool // of *[]byte, headBuffer each
	pipes     pipes
	yields    bool            // see yieldCores
	journal   *journal.Writer // of the access log; writes nowhere without one
	lot       *lot            // of idle connections, made by Listen; nil: they keep their goroutine
	clients   sync.WaitGroup  // goroutines of client connections
	awake     atomic.Int64    // client connections that have a goroutine
	draining  atomic.Bool
	yield     atomic.Int32 // yieldNot, yieldAsk or yieldIdle
	conns     connSet
	room      waitingRoom

	mu        sync.Mutex // serialises Listen, Prepare and Run's start; guards all below
	listeners []*listener
	accept    func(*listener) // starts the accept loop; nil before Run
}

// settings is one configuration as requests read it; replaced whole.
type settings struct {
	Config
	tenant      [2]string  // lower-case names of the tenant headers
	naming      []string   // and of those that trusted proxies name tenants in
	connections int        // limit on client connections, derived where none is set
	access      *accessLog // nil: none
}

// ErrDrainTimeout is returned by Run when requests in flight had to be cut off.
var ErrDrainTimeout = errors.New("requests were still in flight at the end of timeouts.drain")

// yieldCores is up to how many cores a connection whose answer went out lets
// others go first before it looks for the next request, which then has often
// come: a look in vain, and a turn of the poller, are saved. All cores share
// the queue that it waits in, so that many would stand in each other's way.
const yieldCores = 4

// New validates the configuration, reads certificates and starts nothing.
func New(cfg Config, router *balancer.Router, log zerolog.Logger) (*Server, error) {
	s := &Server{router: router, log: log, journal: journal.New(), pipes: pipes{limit: pipeLimit(descriptorLimit())}}
	s.room.server = s
	s.yields = runtime.GOMAXPROCS(0) <= yieldCores
	s.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	s.larges.New = func() any { b := make([]byte, largeSize); return &b }
	s.heads.New = func() any { b := make([]byte, headBuffer); return &b }
	s.exchanges.New = func() any { return new(exchange) }
	for _, lc := range cfg.Listeners {
		l, err := newListener(lc, log)
		if err != nil {
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	s.settings.Store(newSettings(cfg, s.journal))
	return s, nil
}

func newSettings(cfg Config, out *journal.Writer) *settings {
	if cfg.Limits.HeaderBytes <= 0 {
		cfg.Limits.HeaderBytes = 32 << 10
	}
	if cfg.Limits.HeaderFields <= 0 {
		cfg.Limits.HeaderFields = 100
	}
	st := &settings{Config: cfg, connections: cfg.Limits.Connections, access: newAccessLog(cfg.AccessLog, out), tenant: [2]string{
		strings.ToLower(cfg.TenantHeaders.ID), strings.ToLower(cfg.TenantHeaders.Name)}}
	for _, name := range cfg.TenantHeaders.Naming {
		st.naming = append(st.naming, strings.ToLower(name))
	}
	if derived, _ := shareDescriptors(descriptorLimit()); st.connections <= 0 || st.connections > derived {
		st.connections = derived
	}
	return st
}

// Listen binds all listeners, so that an address in use is known before
// anything is announced. On an error none stays bound.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range s.listeners {
		if err := l.bind(); err != nil {
			for _, bound := range s.listeners[:i] {
				bound.close()
			}
			return err
		}
	}
	useLog, _, err := s.journal.Prepare(s.settings.Load().AccessLog.Path)
	if err != nil {
		for _, l := range s.listeners {
			l.close()
		}
		return err
	}
	useLog()
	s.lot = newLot(func(c *clientConn) { s.clients.Go(c.serve) })
	return nil
}

// Addresses returns where it listens, in the order of the configuration.
func (s *Server) Addresses() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addrs []net.Addr
	for _, l := range s.listeners {
		if l.socket != nil {
			addrs = append(addrs, l.socket.Addr())
		}
	}
	return addrs
}

// InFlight returns the number of requests being worked on.
func (s *Server) InFlight() int64 { return s.stats.inFlight.Load() }

// Run serves until ctx ends, then accepts no more, lets requests in flight
// finish for at most timeouts.drain and returns; ErrDrainTimeout where that
// was not enough. Listen comes first.
func (s *Server) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	defer s.startLog()() // ends after the last request
	s.mu.Lock()
	s.accept = func(l *listener) {
		loops.Go(func() { l.run(s) })
	}
	for _, l := range s.listeners {
		s.accept(l)
	}
	s.mu.Unlock()
	loops.Go(func() { s.lot.run(ctx) })
	s.sweep(ctx)

	s.draining.Store(true)
	s.mu.Lock()
	s.accept = nil
	for _, l := range s.listeners {
		l.close()
	}
	s.mu.Unlock()
	loops.Wait()
	s.conns.endIdle(everyone)
	ended := make(chan struct{})
	go func() {
		s.clients.Wait()
		close(ended)
	}()
	timer := time.NewTimer(s.settings.Load().Timeouts.Drain)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
	}
	cut := s.InFlight()
	s.conns.closeIf(everyone)
	<-ended
	if cut > 0 {
		return fmt.Errorf("cannot finish %d requests: %w", cut, ErrDrainTimeout)
	}
	return nil
}

// sweep ages idle connections to members, and pipes, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.pipes.trim()
			for _, u := range s.router.Table().Upstreams() {
				for _, e := range u.Endpoints() {
					if p, ok := e.Transport.(*pool); ok {
						p.sweep(now)
					}
				}
			}
		}
	}
}

// Prepare does everything of a reload that can fail: it reads certificates
// and binds new listeners. Exactly one of commit and abort must be called.
// Connections on a listener that is no longer configured finish their request.
func (s *Server) Prepare(cfg Config) (commit, abort func(), err error) {
	s.mu.Lock()
	var next, added []*listener
	undo := func() {
		for _, l := range added {
			l.close()
		}
		s.mu.Unlock()
	}
	useLog, keepLog, err := s.journal.Prepare(cfg.AccessLog.Path)
	if err != nil {
		undo()
		return nil, nil, err
	}
	undo = func() {
		for _, l := range added {
			l.close()
		}
		keepLog()
		s.mu.Unlock()
	}
	configs := make([]*listenerState, len(cfg.Listeners))
	for i, lc := range cfg.Listeners {
		l := s.listenerOn(lc.Address)
		var before *listenerState
		if l != nil {
			before = l.state.Load()
		}
		if configs[i], err = newListenerState(lc, before, s.log); err != nil {
			undo()
			return nil, nil, err
		}
		if l == nil {
			l = &listener{}
			l.state.Store(configs[i])
			if err = l.bind(); err != nil {
				undo()
				return nil, nil, err
			}
			added = append(added, l)
		}
		next = append(next, l)
	}
	commit = func() {
		defer s.mu.Unlock()
		useLog()
		s.settings.Store(newSettings(cfg, s.journal))
		for i, l := range next {
			l.state.Store(configs[i])
		}
		for _, old := range s.listeners {
			if !contains(next, old) {
				s.retire(old, cfg.Timeouts.Drain)
			}
		}
		s.listeners = next
		for _, l := range added {
			if s.accept != nil {
				s.accept(l)
			}
		}
	}
	return commit, undo, nil
}

// retire ends a listener: idle connections at once, the others after their
// request, what is left after the drain time.
func (s *Server) retire(l *listener, drain time.Duration) {
	l.gone.Store(true)
	l.close()
	of := func(c *clientConn) bool { return c.listener == l }
	s.lot.wakeIf(of)
	s.conns.endIdle(of)
	time.AfterFunc(drain, func() { s.conns.closeIf(of) })
}

func everyone(*clientConn) bool { return true }

func (s *Server) listenerOn(address string) *listener {
	for _, l := range s.listeners {
		if l.state.Load().Address == address {
			return l
		}
	}
	return nil
}

// Troubles says what is wrong with the listeners at now, a line each.
func (s *Server) Troubles(now time.Time) (lines []string) {
	s.eachCertificate(func(listener string, p *certPair) {
		if what := p.trouble(now); what != "" {
			lines = append(lines, fmt.Sprintf("listener %q: %s", listener, what))
		}
	})
	return lines
}

// eachCertificate reports the certificates in use.
func (s *Server) eachCertificate(report func(listener string, p *certPair)) {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	for _, l := range listeners {
		st := l.state.Load()
		if st.certs == nil {
			continue
		}
		for i := range st.certs.pairs {
			report(st.Name, &st.certs.pairs[i])
		}
	}
}

func contains(list []*listener, l *listener) bool {
	for _, e := range list {
		if e == l {
			return true
		}
	}
	return false
}

// buffer lends a buffer; giveBack takes it back once nobody points into it.
func (s *Server) buffer() *[]byte { return s.buffers.Get().(*[]byte) }

func (s *Server) giveBack(b *[]byte) {
	if b != nil {
		s.buffers.Put(b)
	}
}

// recovered counts a panic that a deferred function of every goroutine
// recovers. The goroutine's connection ends, nothing else does.
func (s *Server) recovered(where string, p any) bool {
	if p == nil {
		return false
	}
	s.stats.panics.Add(1)
	s.log.Error().Str("where", where).Str("panic", fmt.Sprint(p)).Bytes("stack", stack()).Msg("panic recovered")
	return true
}
