package standby

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	handshakeMost  = 3 * time.Second
	handshakesMax  = 16 // of others at a time
	peersMax       = 64
	silenceMost    = 2 * time.Second // four heartbeats
	writeMost      = 5 * time.Second
	dialFirst      = 100 * time.Millisecond
	dialMost       = 2 * time.Second
	superviseEvery = 100 * time.Millisecond
	forgetAfter    = 10 * time.Minute // peers that are gone
	complainEvery  = 10 * time.Second // about refused connections
)

// Self is who this Jetway is to its peers.
type Self struct {
	Installation string
	Node         string // name and digits, kept over restarts
	Name         string
}

// Options are what a Mesh takes from the parts around it. Its functions are
// called often and must not block.
type Options struct {
	// Status tells how this Jetway is doing; warmth, lag and clock are filled in.
	Status func() Status
	// Candidates returns addresses of peers that gossip told; may be nil.
	Candidates func() []string
	Clock      *Clock
}

// Mesh keeps this Jetway connected with its peers. Safe for concurrent use.
type Mesh struct {
	cfg   Config
	own   hello
	kinds []Kind
	opts  Options
	trust *trust
	log   zerolog.Logger

	listener net.Listener
	wg       sync.WaitGroup // goroutines of connections
	refused  [refusals]atomic.Uint64
	complain atomic.Int64 // unix nanoseconds of the last complaint
	started  time.Time
	warm     atomic.Bool
	panics   atomic.Uint64

	mu      sync.Mutex // guards all below
	stopped bool
	peers   map[string]*peer // by node
	dials   map[string]*dial // by address
	why     string           // what keeps us cold
}

// peer is another Jetway of the installation.
type peer struct {
	node, name string
	generation uint64
	memory     *memory
	conn       *conn     // nil: not connected
	address    string    // where the last connection was made to or came from
	changed    time.Time // when it was connected or lost
	good       time.Time // since when we learn from it without lag, zero: we do not
	last       linkView  // of the link before
	lost       string    // why that ended
	counts     Counts    // of all links before
}

// dial is an address at which a peer may be.
type dial struct {
	node    string // who answered there
	ourself bool
	cancel  context.CancelFunc
}

// Kinds of refusals, for counters.
const (
	refusedStranger = iota // no TLS with our key
	refusedForeign
	refusedVersion
	refusedMany
	refusedFrame
	refusals
)

// New checks the configuration and reads keys. kinds are what is replicated.
func New(cfg Config, self Self, kinds []Kind, opts Options, log zerolog.Logger) (*Mesh, error) {
	t, err := newTrust(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.SnapshotRate <= 0 {
		cfg.SnapshotRate = 64 << 20
	}
	now := time.Now()
	m := &Mesh{cfg: cfg, kinds: kinds, opts: opts, trust: t, log: log, started: now, peers: map[string]*peer{}, dials: map[string]*dial{},
		own: hello{versionMin: versionMin, versionMax: versionMax, installation: self.Installation, node: self.Node, name: self.Name,
			generation: uint64(now.UnixNano())}, why: "looking for peers"}
	for _, k := range kinds {
		if n := k.Shards(); n < 1 || n > shardsMax {
			return nil, fmt.Errorf("BUG: kind %s has %d shards", k.Name, n)
		}
		m.own.kinds = append(m.own.kinds, kindShards{k.ID, uint16(k.Shards())})
	}
	return m, nil
}

// Listen binds the address for peers.
func (m *Mesh) Listen() error {
	l, err := net.Listen("tcp", m.cfg.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on standby.listen %q: %w", m.cfg.Listen, err)
	}
	m.listener = l
	return nil
}

// Address returns where peers are accepted; nil before Listen.
func (m *Mesh) Address() net.Addr {
	if m.listener == nil {
		return nil
	}
	return m.listener.Addr()
}

// Run keeps in touch with the peers until ctx ends. Listen comes first.
func (m *Mesh) Run(ctx context.Context) error {
	m.wg.Go(func() { m.acceptAll(ctx) })
	tick := time.NewTicker(superviseEvery)
	defer tick.Stop()
	for {
		m.supervise(ctx, time.Now())
		select {
		case <-ctx.Done():
			m.stop()
			return nil
		case <-tick.C:
		}
	}
}

// stop ends all connections, with a word to the peers.
func (m *Mesh) stop() {
	m.listener.Close()
	m.mu.Lock()
	m.stopped = true
	for _, d := range m.dials {
		d.cancel()
	}
	for _, p := range m.peers {
		if p.conn != nil {
			p.conn.end(bye{byeStopping, "stopping"})
		}
	}
	m.mu.Unlock()
	m.wg.Wait()
}

func (m *Mesh) acceptAll(ctx context.Context) {
	places := make(chan struct{}, handshakesMax)
	for {
		c, err := m.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			m.log.Warn().Err(err).Msg("cannot accept a peer, trying again")
			if !pause(ctx, dialFirst) {
				return
			}
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			m.refused[refusedMany].Add(1)
			c.Close()
			continue
		}
		m.wg.Go(func() {
			defer m.recovered("peer")
			var once sync.Once
			free := func() { once.Do(func() { <-places }) }
			defer free()
			m.meet(ctx, c, false, c.RemoteAddr().String(), free)
		})
	}
}

// recovered keeps a panic to the connection that caused it.
func (m *Mesh) recovered(where string) {
	if r := recover(); r != nil {
		m.panics.Add(1)
		m.log.Error().Str("where", where).Str("panic", fmt.Sprint(r)).Msg("panic recovered")
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// supervise does what time asks for: dials, expiry, warmth.
func (m *Mesh) supervise(ctx context.Context, now time.Time) {
	wanted := slices.Clone(m.cfg.Peers)
	if m.opts.Candidates != nil {
		wanted = append(wanted, m.opts.Candidates()...)
	}
	for _, k := range m.kinds {
		if c, ok := k.Source.(*Cells); ok {
			c.Expire(now)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for address, d := range m.dials {
		if !slices.Contains(wanted, address) {
			d.cancel()
			delete(m.dials, address)
		}
	}
	for _, address := range wanted {
		if m.dials[address] == nil && len(m.dials) < peersMax && address != "" {
			ctx, cancel := context.WithCancel(ctx)
			d := &dial{cancel: cancel}
			m.dials[address] = d
			m.wg.Go(func() {
				defer m.recovered("dial")
				m.keepDialling(ctx, address, d)
			})
		}
	}
	for node, p := range m.peers {
		if p.conn == nil && now.Sub(p.changed) > forgetAfter {
			delete(m.peers, node)
		}
	}
	m.warmthLocked(now)
}

// keepDialling connects to an address whenever nobody of there is connected.
func (m *Mesh) keepDialling(ctx context.Context, address string, d *dial) {
	wait := dialFirst
	for {
		if !m.reached(d) {
			dialer := net.Dialer{Timeout: handshakeMost, KeepAlive: 15 * time.Second}
			c, err := dialer.DialContext(ctx, "tcp", address)
			if err == nil && m.meet(ctx, c, true, address, nil) {
				wait = dialFirst
			}
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, dialMost)
	}
}

// reached reports whether the peer at an address is connected, or is us.
func (m *Mesh) reached(d *dial) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[d.node]
	return d.ourself || p != nil && p.conn != nil
}
