package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"
)

const (
	forgetAfter  = 10 * time.Minute // failed and left nodes
	resyncEvery  = 5 * time.Second  // the list is read back without an event, too
	leaveMost    = 5 * time.Second
	holdMost     = 10 * time.Second // a new Serf may know nobody yet: the old list stays so long
	eventsBuffer = 4096
	carriedSeeds = 16 // addresses of lost nodes that are tried beside the well-known ones
)

// Status is how gossip is doing, for operators.
type Status struct {
	Alive       int       `json:"alive"`        // nodes, ourselves included
	Failed      int       `json:"failed"`       // lost without a word
	Left        int       `json:"left"`         // said good-bye, not forgotten yet
	HealthScore int       `json:"health_score"` // 0 is best; above, our own view is not to be trusted
	Joined      bool      `json:"joined"`       // somebody else is alive in the pool
	Encrypted   bool      `json:"encrypted"`
	Address     string    `json:"address"`        // what others join
	Since       time.Time `json:"since,omitzero"` // when this Serf was created; zero while there is none
	Restarts    int       `json:"restarts"`       // how often Serf had to be created again
	LastError   string    `json:"last_error"`     // of start, join or leave; empty once joined
	ErrorAt     time.Time `json:"error_at,omitzero"`
}

// pool keeps one Serf alive: creates it, keeps joining, creates it again if it
// gave up, and leaves at the end.
type pool struct {
	settings settings
	name     string
	log      zerolog.Logger
	serfLog  *serfLog
	changed  chan struct{} // capacity 1: the list may differ
	started  chan struct{} // closed once address is known
	ended    chan struct{} // closed once run returned

	mu       sync.Mutex // guards what follows
	serf     *serf.Serf // nil while there is none
	tags     map[string]string
	addr     netip.AddrPort // what others join
	port     int            // bound; 0 before the first start
	since    time.Time
	restarts int
	lastErr  string
	errAt    time.Time
	carried  []serf.Member // what the Serf before this one knew
	carryEnd time.Time
	holdEnd  time.Time
}

func newPool(s settings, name string, tags map[string]string, log zerolog.Logger) *pool {
	return &pool{
		settings: s, name: name, tags: tags, log: log, port: int(s.bind.Port()),
		serfLog: &serfLog{log: log},
		changed: make(chan struct{}, 1),
		started: make(chan struct{}),
		ended:   make(chan struct{}),
	}
}

// run takes part in the pool until ctx ends, calls farewell while still in it,
// and leaves.
func (p *pool) run(ctx context.Context, farewell func()) error {
	defer close(p.ended)
	s, err := p.start()
	if err != nil {
		return err
	}
	close(p.started)
	retry := backoff{first: time.Second, most: time.Minute}
	for {
		born := time.Now()
		if !p.serve(ctx, s, farewell) {
			return nil
		}
		if time.Since(born) > retry.most {
			retry.reset()
		}
		if s = p.restart(ctx, s, &retry); s == nil {
			return nil
		}
	}
}

// serve attends to one Serf. It returns true if that shut itself down, false
// once ctx ended and the pool was left.
func (p *pool) serve(ctx context.Context, s *serf.Serf, farewell func()) bool {
	joining, stop := context.WithCancel(context.WithoutCancel(ctx)) // still while saying good-bye
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		defer recovered(p.log, "gossip join")
		p.join(joining, s)
	}()
	defer stop()
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	for {
		p.mark()
		select {
		case <-resync.C:
		case <-s.ShutdownCh():
			return true
		case <-ctx.Done():
			if farewell != nil {
				farewell()
			}
			stop()
			p.leave(s, joined)
			return false
		}
	}
}

// restart creates Serf again and again until it works; nil once ctx ended.
func (p *pool) restart(ctx context.Context, dead *serf.Serf, retry *backoff) *serf.Serf {
	p.fail(errors.New("gossip shut itself down, as it does when another node has the same name"))
	p.mu.Lock()
	p.serf = nil
	p.since = time.Time{}
	p.carryLocked(dead.Members())
	p.mu.Unlock()
	for {
		wait := retry.next()
		p.log.Error().Str("node", p.name).Dur("retry_in", wait).Str("reason", p.status().LastError).Msg("gossip is down; the last list of members stays")
		if !pause(ctx, wait) {
			return nil
		}
		s, err := p.start()
		if err == nil {
			p.log.Info().Msg("gossip is up again")
			return s
		}
		p.fail(err)
	}
}

// carryLocked keeps the nodes of a Serf that ended, as lost ones: their
// members stay, and their addresses are a way back into the pool.
func (p *pool) carryLocked(nodes []serf.Member) {
	kept := p.carried[:0:0]
	for _, n := range p.allLocked(nodes) {
		if n.Name != p.name && (n.Status == serf.StatusAlive || n.Status == serf.StatusFailed) {
			n.Status = serf.StatusFailed
			kept = append(kept, n)
		}
	}
	p.carried = kept
	p.carryEnd = time.Now().Add(forgetAfter)
	p.holdEnd = time.Now().Add(holdMost)
	p.restarts++
}

// members returns all nodes that gossip knows, itself included. False: there is
// nothing to go by, whoever has a list keeps it.
func (p *pool) members() ([]serf.Member, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serf == nil || p.serf.State() == serf.SerfShutdown {
		return nil, false
	}
	nodes := p.serf.Members()
	if time.Now().Before(p.holdEnd) && !others(nodes, p.name) {
		return nil, false
	}
	return p.allLocked(nodes), true
}

// allLocked adds the nodes that only the Serf before this one knew.
func (p *pool) allLocked(nodes []serf.Member) []serf.Member {
	if len(p.carried) == 0 || time.Now().After(p.carryEnd) {
		p.carried = nil
		return nodes
	}
	known := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		known[n.Name] = true
	}
	for _, n := range p.carried {
		if !known[n.Name] {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// leave says good-bye, for a bounded time, and ends Serf.
func (p *pool) leave(s *serf.Serf, joined <-chan struct{}) {
	late := time.NewTimer(leaveMost)
	defer late.Stop()
	left := make(chan struct{})
	go func() {
		defer close(left)
		defer recovered(p.log, "gossip leave") // memberlist panics if it was shut down meanwhile
		if !others(s.Members(), p.name) {
			return // nobody to tell
		}
		if err := s.Leave(); err != nil {
			p.fail(fmt.Errorf("cannot leave gossip: %w", err))
		}
	}()
	select {
	case <-left:
	case <-late.C:
		p.log.Warn().Msg("gossip could not be left in time")
	}
	if err := s.Shutdown(); err != nil {
		p.log.Warn().Err(err).Msg("gossip did not shut down cleanly")
	}
	select {
	case <-joined:
	case <-late.C: // a dial that nobody answers; it ends by itself
	}
	p.mu.Lock()
	p.serf, p.since = nil, time.Time{}
	p.mu.Unlock()
}

// mark says that the list may differ. It never blocks.
func (p *pool) mark() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// fail keeps an error for status.
func (p *pool) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr, p.errAt = err.Error(), time.Now()
}

func (p *pool) setTags(tags map[string]string) {
	p.mu.Lock()
	p.tags = tags
	s := p.serf
	p.mu.Unlock()
	if s == nil {
		return // the next one starts with them
	}
	if err := s.SetTags(tags); err != nil {
		p.fail(fmt.Errorf("cannot change gossip tags: %w", err))
		p.log.Warn().Err(err).Msg("gossip tags could not be announced in time")
	}
}

func (p *pool) address(ctx context.Context) (netip.AddrPort, error) {
	select {
	case <-p.started:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.addr, nil
	case <-p.ended:
		return netip.AddrPort{}, errors.New("gossip did not start")
	case <-ctx.Done():
		return netip.AddrPort{}, ctx.Err()
	}
}

func (p *pool) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Since: p.since, Restarts: p.restarts, LastError: p.lastErr, ErrorAt: p.errAt, Encrypted: p.settings.key != nil}
	if p.addr.IsValid() {
		st.Address = p.addr.String()
	}
	if p.serf == nil {
		return st
	}
	st.HealthScore = p.serf.Memberlist().GetHealthScore()
	for _, n := range p.serf.Members() {
		switch n.Status {
		case serf.StatusAlive:
			st.Alive++
		case serf.StatusFailed:
			st.Failed++
		default:
			st.Left++
		}
	}
	st.Joined = st.Alive > 1
	return st
}
