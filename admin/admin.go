// Package admin is the listener for operators and their tools: health,
// metrics, events and a JSON API.
//
// It owns no state of the load balancer: it reads snapshots and changes things
// only through the few functions of Sources, the same that signals and file
// changes use. It starts nothing but the HTTP server inside Run, and that
// server is bounded in time, size, rate and number of connections, so that
// nothing asked here can take the processor from clients' requests.
//
// On loopback everybody on this machine may ask, unless tokens or client
// certificates are configured. Beyond loopback TLS and one of them are
// required: New refuses to do without. A page in an operator's browser can
// neither change anything (cross-site requests are refused) nor read anything
// on loopback by a name that it made point here (the Host must be this
// machine's).
package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"jetway/balancer"
)

// DefaultAddress is where the API is found when nothing else was said.
const DefaultAddress = "127.0.0.1:9280"

// SchemaVersion is carried by every JSON answer. Fields may be added to
// answers of one version; none changes its meaning.
const SchemaVersion = 1

// Config says where the admin listener is and who may use it.
type Config struct {
	Address  string // host:port; empty: DefaultAddress
	Required bool   // an address in use is an error and not only a warning
	// CertFile and KeyFile make it HTTPS.
	CertFile, KeyFile string
	// ClientCAFile names who signs certificates of operators; empty: none are asked for.
	ClientCAFile string
	// TokenFile holds the tokens of operators, see ParseTokens; empty: none.
	TokenFile string
	Pprof     bool // profiles of the process under /debug/pprof/
}

// Sources are what the API shows and the few things it may do. All functions
// must be safe for concurrent use.
type Sources struct {
	Router     *balancer.Router
	Name       string
	Started    time.Time
	Build      Build
	State      func() (State, string) // and the reason for anything but Ready
	Config     func() ConfigView      // secrets masked
	LastReload func() Reload
	Reload     func() error
	InFlight   func() int64
	Listeners  func() []net.Addr
	Gossip     func() *Gossip                                      // nil where there is no gossip; may be nil itself
	GossipKeys func(context.Context, KeyOrder) (GossipKeys, error) // may be nil
	Rejected   func() []Rejected
	Troubles   func() []string                                            // what is wrong beside the configuration, a line each; may be nil
	Tenants    func(top int) Tenants                                      // may be nil
	Tenant     func(ctx context.Context, name string) (TenantView, error) // may be nil
	Standby    Standby
	Explain    func(Question) (Explanation, error)
	Known      func(io.Writer) error // all tenants that are known, as a tenants file; may be nil
	Applying   Applying
	Elastic    Elastic
	Sessions   func() Sessions // may be nil
	// FindSession looks for one session and changes nothing; may be nil.
	FindSession func(Question) (SessionView, error)
	// SumSessions goes through all learned sessions; may be nil.
	SumSessions func([]SessionGroup) SessionCounts
	Events      *Events // never nil
	LogLevel    func() string
	// SetLogLevel returns an error for a level that there is none.
	SetLogLevel func(level string) error
	CheckReload func() error // what Reload would say; changes nothing
	Collectors  []prometheus.Collector
}

// State is what Jetway as a whole is doing.
type State string

const (
	Starting State = "starting" // who the members are is not known yet
	Ready    State = "ready"
	Draining State = "draining" // stopping: nothing new is accepted
)

// Server is the admin listener.
type Server struct {
	cfg      Config
	src      Sources
	log      zerolog.Logger
	http     *http.Server
	listener net.Listener // nil: not bound
	auth     atomic.Pointer[auth]
	routes   []route
	registry *prometheus.Registry

	allowedHost string // besides loopback, what Host may say
	stats       stats
	reads       *rate
	changes     *rate
	denials     *rate
	complaints  *rate // of the log
	working     chan struct{}
	counting    sync.Mutex    // held while sessions are counted
	following   atomic.Int64  // streams of events
	stopping    chan struct{} // closed once Run stops
}

// stats count what was asked of the API.
type stats struct {
	panics       atomic.Uint64
	turnedAway   atomic.Uint64 // connections over connectionsMax
	changes      atomic.Uint64 // actions that were let through
	refused      atomic.Uint64
	unauthorized atomic.Uint64
	limited      atomic.Uint64
}

const (
	connectionsMax = 128
	bodyMax        = 64 << 10
	headerMax      = 16 << 10
	stopWait       = 2 * time.Second // for answers under way when stopping
	workingWait    = 5 * time.Second // for a place among workingMax
)

// New returns a server that is not bound yet. It reads tokens and certificates.
func New(cfg Config, src Sources, log zerolog.Logger) (*Server, error) {
	if cfg.Address == "" {
		cfg.Address = DefaultAddress
	}
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot use admin address %q: %w", cfg.Address, err)
	}
	s := &Server{cfg: cfg, src: src, log: log, allowedHost: host, reads: newRate(readsPerSecond), changes: newRate(changesPerSecond),
		denials: newRate(denialsPerSecond), complaints: newRate(1), working: make(chan struct{}, workingMax), stopping: make(chan struct{})}
	commit, err := s.Prepare(cfg)
	if err != nil {
		return nil, err
	}
	commit()
	handler, err := s.handler()
	if err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second, // a reload may have to wait for the one before it
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    headerMax,
		ErrorLog:          quiet(log),
	}
	return s, nil
}

// Prepare reads the tokens and certificates of cfg, whose address must be that
// of New. They count from commit on; connections that exist keep theirs.
func (s *Server) Prepare(cfg Config) (commit func(), err error) {
	a, err := newAuth(cfg)
	if err != nil {
		return nil, err
	}
	if !LoopbackAddress(s.cfg.Address) && (a.tls == nil || !a.required()) {
		return nil, fmt.Errorf("cannot use admin address %q, which is reachable from other machines, without admin.tls and one of admin.token_file and admin.tls.client_ca_file", s.cfg.Address)
	}
	if before := s.auth.Load(); before != nil && (before.tls == nil) != (a.tls == nil) {
		return nil, errors.New("admin.tls cannot come or go while Jetway runs")
	}
	return func() { s.auth.Store(a) }, nil
}

// LoopbackAddress reports whether a listen address is reachable from this
// machine only.
func LoopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// Listen binds the address. Where it is in use and only a default, the API is
// left out with a warning.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.cfg.Address)
	if err != nil {
		if !s.cfg.Required && errors.Is(err, syscall.EADDRINUSE) {
			s.log.Warn().Str("address", s.cfg.Address).Msg("admin address is in use, running without the admin API; set admin.address")
			return nil
		}
		return fmt.Errorf("cannot listen on admin address %q: %w", s.cfg.Address, err)
	}
	perSecond := connectionsPerSecond
	if s.auth.Load().tls != nil {
		perSecond = handshakesPerSecond
	}
	s.listener = &cappedListener{Listener: l, refused: &s.stats.turnedAway, pace: newRate(float64(perSecond))}
	if s.auth.Load().tls != nil {
		s.listener = tls.NewListener(s.listener, &tls.Config{MinVersion: tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.auth.Load().tls, nil }})
	}
	return nil
}

// Address returns where the API is, nil where it is not bound.
func (s *Server) Address() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx ends. It returns early only with an error.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }() // net/http recovers what its handlers do
	select {
	case err := <-failed:
		return fmt.Errorf("cannot serve the admin API on %q: %w", s.cfg.Address, err)
	case <-ctx.Done():
	}
	close(s.stopping)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if s.http.Shutdown(grace) != nil {
		s.http.Close() // answers still under way after the grace are cut
	}
	<-failed
	return nil
}

// cappedListener closes connections over connectionsMax at once: waiting for
// a free place would let a few slow clients keep the operator out unseen.
type cappedListener struct {
	net.Listener
	open    atomic.Int64
	refused *atomic.Uint64
	pace    *rate // of new connections
}

func (l *cappedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		for !l.pace.take(time.Now()) {
			time.Sleep(pacePause) // the others wait in the kernel, where they cost little
		}
		if l.open.Add(1) <= connectionsMax {
			return &cappedConn{Conn: c, open: &l.open}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		c.Close()
	}
}

type cappedConn struct {
	net.Conn
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *cappedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}
