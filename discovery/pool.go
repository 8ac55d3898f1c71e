package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"
)

const (
	forgetAfter  = 10 * time.Minute // failed and left nodes
	resyncEvery  = 5 * time.Second  // the list is read back without an event, too
	leaveMost    = 5 * time.Second
	holdMost     = 10 * time.Second // a new Serf may know nobody yet: the old list stays so long
	keepEvery    = time.Second      // keys that were changed in the pool are written down
	repeatFirst  = 3 * time.Second  // after the start; then after twice as long each
	repeatMost   = 24 * time.Second
	eventsBuffer = 4096
	eventsMany   = eventsBuffer / 2 // waiting events that are worth a word
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
	// Convergence is how long the last news took to nearly all others; 0: not
	// measured, or there are none.
	Convergence time.Duration `json:"convergence"`
	Restarts    int           `json:"restarts"`   // how often Serf had to be created again
	LastError   string        `json:"last_error"` // of start, join or leave; empty once joined
	ErrorAt     time.Time     `json:"error_at,omitzero"`

	Stalls    uint64    `json:"stalls"`    // how often this process stood still
	Overloads uint64    `json:"overloads"` // how often messages or events came faster than they were taken
	Conflicts uint64    `json:"conflicts"` // how often two nodes of one name were met
	Forged    uint64    `json:"forged"`    // messages dropped that no honest node sends
	Trouble   string    `json:"trouble"`   // the last of all these, kept for the record
	TroubleAt time.Time `json:"trouble_at,omitzero"`
}

// pool keeps one Serf alive: creates it, keeps joining, creates it again if it
// gave up, and leaves at the end.
type pool struct {
	settings settings
	name     string
	log      zerolog.Logger
	serfLog  *serfLog
	keys     *keyring // nil: no encryption
	peers    *peers
	steady   steadiness
	changed  chan struct{} // capacity 1: the list may differ
	seeds    atomic.Pointer[[]string]
	reseeded chan struct{} // capacity 1: seeds are others
	started  chan struct{} // closed once address is known
	ended    chan struct{} // closed once run returned

	overloads, conflicts, forged atomic.Uint64
	convergence                  atomic.Int64 // of the last measurement, in nanoseconds

	tagging sync.Mutex // one change of tags at a time, so that no older ones come last

	mu       sync.Mutex // guards what follows; Serf must not be asked while it is held
	serf     *serf.Serf // nil while there is none
	tags     map[string]string
	addr     netip.AddrPort // what others join
	port     int            // bound; 0 before the first start
	since    time.Time
	restarts int
	lastErr  string
	errAt    time.Time
	holdEnd  time.Time

	record record
}

func newPool(s settings, name string, tags map[string]string, log zerolog.Logger) *pool {
	p := &pool{
		settings: s, name: name, tags: tags, log: log, port: int(s.bind.Port()), keys: s.keys,
		peers:   newPeers(s.stateDir, log),
		changed: make(chan struct{}, 1), reseeded: make(chan struct{}, 1),
		started: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	p.seeds.Store(&s.seeds)
	p.serfLog = &serfLog{log: log, heard: p.heard}
	return p
}

// run takes part in the pool until ctx ends, calls farewell while still in it,
// and leaves.
func (p *pool) run(ctx context.Context, farewell func()) error {
	defer close(p.ended)
	p.peers.load(time.Now())
	s, err := p.start()
	if err != nil {
		return err
	}
	close(p.started)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer recovered(p.log, "gossip watch")
		p.steady.watch(watching, p.log, p.note)
	}()
	if p.keys != nil {
		go func() {
			defer recovered(p.log, "gossip keys")
			for pause(watching, keepEvery) { // a node may change them at any time, and this one end at any time
				p.keepKeys()
			}
		}()
	}
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
	again := time.NewTimer(repeatFirst)
	defer again.Stop()
	for wait := repeatFirst; ; {
		p.mark()
		p.keep(s, false)
		select {
		case <-resync.C:
		case <-again.C:
			p.repeat()
			if wait *= 2; wait <= repeatMost {
				again.Reset(wait)
			}
		case <-s.ShutdownCh():
			return true
		case <-ctx.Done():
			if farewell != nil {
				farewell()
			}
			stop()
			p.keep(s, true)
			p.leave(s, joined)
			return false
		}
	}
}

// repeat announces again what was announced. Who came back at another address
// while the others still took the old one for alive was not heard by them, and
// they would learn of it only by the next full exchange, half a minute later.
func (p *pool) repeat() {
	p.tagging.Lock()
	defer p.tagging.Unlock()
	p.mu.Lock()
	tags, s := p.tags, p.serf
	p.mu.Unlock()
	if s != nil && others(s.Members(), p.name) {
		p.say(s, tags)
	}
}

// restart creates Serf again and again until it works; nil once ctx ended.
func (p *pool) restart(ctx context.Context, dead *serf.Serf, retry *backoff) *serf.Serf {
	why := "gossip shut itself down, as it does when another node has the same name"
	p.note(why)
	p.fail(errors.New(why))
	p.keep(dead, true)
	p.mu.Lock()
	p.serf = nil
	p.since = time.Time{}
	p.holdEnd = time.Now().Add(holdMost)
	p.restarts++
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

// keep writes down what a restart will need.
func (p *pool) keep(s *serf.Serf, last bool) {
	now := time.Now()
	p.peers.update(s.Members(), p.name, now)
	if err := p.peers.save(now, last); err != nil {
		p.note(err.Error())
	}
	if last && p.keys != nil {
		p.keepKeys()
	}
}

func (p *pool) keepKeys() {
	if err := p.keys.keep(); err != nil {
		p.note(err.Error())
		p.fail(err)
	}
}

// members returns all nodes that gossip knows, itself included, and whether
// what it says of others is to be believed. False: there is nothing to go by,
// whoever has a list keeps it.
func (p *pool) members() (nodes []serf.Member, steady, ok bool) {
	p.mu.Lock()
	s, holdEnd := p.serf, p.holdEnd
	p.mu.Unlock()
	if s == nil || s.State() == serf.SerfShutdown {
		return nil, false, false
	}
	nodes = s.Members()
	if time.Now().Before(holdEnd) && !others(nodes, p.name) {
		return nil, false, false
	}
	steady = !p.steady.doubtful(time.Now()) && s.Memberlist().GetHealthScore() == 0
	return nodes, steady, true
}

// current returns the Serf in use.
func (p *pool) current() (*serf.Serf, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serf == nil {
		return nil, errors.New("gossip is down")
	}
	return p.serf, nil
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
	p.tagging.Lock()
	defer p.tagging.Unlock()
	p.mu.Lock()
	p.tags = tags
	s := p.serf
	p.mu.Unlock()
	if s == nil {
		return // the next one starts with them
	}
	p.say(s, tags)
}

func (p *pool) say(s *serf.Serf, tags map[string]string) {
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

// host returns the address that gossip has now; empty before the start.
func (p *pool) host() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.addr.IsValid() {
		return ""
	}
	return p.addr.Addr().String()
}

func (p *pool) status() Status {
	p.mu.Lock()
	s := p.serf
	st := Status{Since: p.since, Restarts: p.restarts, LastError: p.lastErr, ErrorAt: p.errAt, Encrypted: p.keys != nil,
		Convergence: time.Duration(p.convergence.Load()),
		Stalls:      p.steady.stalls.Load(), Overloads: p.overloads.Load(), Conflicts: p.conflicts.Load(), Forged: p.forged.Load()}
	if p.addr.IsValid() {
		st.Address = p.addr.String()
	}
	p.mu.Unlock()
	st.Trouble, st.TroubleAt = p.record.last()
	if s == nil {
		return st
	}
	st.HealthScore = s.Memberlist().GetHealthScore()
	for _, n := range s.Members() {
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
