package discovery

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

const (
	hostsMax     = 10_000          // names that are looked up
	resolveFirst = 2 * time.Second // a list waits so long for names that are new in it
	resolveTick  = 100 * time.Millisecond
	resolveRetry = time.Second // after a failure, doubled up to the interval
)

// Names stands between sources whose members may have DNS names for hosts and
// the Set, which takes addresses only: no request ever waits for DNS. A name
// becomes one member per address; where it has IPv4 addresses, those, as the
// others are most often the same machines again. One address keeps the id of
// the member, of several each gets id@address.
//
// Names are asked for again and again. An answer replaces the one before it;
// a failure, and an answer without an address, changes nothing.
type Names struct {
	log zerolog.Logger

	mu       sync.Mutex // guards what follows; never held while DNS is asked
	resolver *resolver
	sources  map[string]*namedList // by name
	hosts    map[string]*hostAnswer
}

// namedList is one source.
type namedList struct {
	mu      sync.Mutex // keeps calls of publish in order; taken before Names.mu
	publish Publish
	members []balancer.Member // guarded by Names.mu
}

// hostAnswer is what is known of a name.
type hostAnswer struct {
	addrs   []netip.Addr
	err     string // of the newest question; empty: answered
	since   time.Time
	next    time.Time // when to ask again
	retry   backoff
	asking  bool
	dropped bool // nobody wants it any more
}

// NameTrouble is a name that could not be resolved when last asked for.
type NameTrouble struct {
	Host  string    `json:"host"`
	Error string    `json:"error"`
	Since time.Time `json:"since"`
	Kept  int       `json:"kept"` // addresses of the last good answer that stay in use
}

// NewNames returns Names that know nothing yet; Run is for the caller to start.
func NewNames(cfg DNSConfig, log zerolog.Logger) *Names {
	return &Names{log: log, resolver: newResolver(cfg), sources: map[string]*namedList{}, hosts: map[string]*hostAnswer{}}
}

// Configure changes who is asked and how often.
func (n *Names) Configure(cfg DNSConfig) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resolver = newResolver(cfg)
}

// Source returns where a source publishes. A list with names that are new
// waits for their addresses, at most 2 s: after it they come when they come.
// Another call with the same name replaces the source.
func (n *Names) Source(name string, publish Publish) Publish {
	l := &namedList{publish: publish}
	n.mu.Lock()
	n.sources[name] = l
	n.mu.Unlock()
	return func(members []balancer.Member) {
		n.mu.Lock()
		l.members = slices.Clone(members)
		fresh := n.wantLocked()
		n.mu.Unlock()
		if len(fresh) > 0 {
			ctx, cancel := context.WithTimeout(context.Background(), resolveFirst)
			defer cancel()
			n.ask(ctx, fresh)
		}
		n.republish(l)
	}
}

// Run keeps the answers fresh until ctx ends.
func (n *Names) Run(ctx context.Context) error {
	tick := time.NewTicker(resolveTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if due := n.due(now); len(due) > 0 && n.ask(ctx, due) {
				for _, l := range n.all() {
					n.republish(l)
				}
			}
		}
	}
}

// Troubles lists the names that cannot be resolved now, sorted.
func (n *Names) Troubles() []NameTrouble {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []NameTrouble
	for host, a := range n.hosts {
		if a.err != "" {
			out = append(out, NameTrouble{host, a.err, a.since, len(a.addrs)})
		}
	}
	slices.SortFunc(out, func(a, b NameTrouble) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// wantLocked drops names that no list has and returns those that are new.
func (n *Names) wantLocked() (fresh []string) {
	for _, a := range n.hosts {
		a.dropped = true
	}
	for _, l := range n.sources {
		for i := range l.members {
			host := l.members[i].Host
			if _, err := netip.ParseAddr(host); err == nil {
				continue
			}
			if a := n.hosts[host]; a != nil {
				a.dropped = false
				continue
			}
			if len(n.hosts) < hostsMax {
				n.hosts[host] = &hostAnswer{asking: true, retry: backoff{first: resolveRetry}}
				fresh = append(fresh, host)
			}
		}
	}
	for host, a := range n.hosts {
		if a.dropped {
			delete(n.hosts, host)
		}
	}
	return fresh
}

// due returns the names to ask for at now.
func (n *Names) due(now time.Time) (hosts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for host, a := range n.hosts {
		if !a.asking && !now.Before(a.next) {
			a.asking = true
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (n *Names) all() []*namedList {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.sources))
}

// ask looks names up, a few at a time, and reports whether any answer differs
// from the one before.
func (n *Names) ask(ctx context.Context, hosts []string) (changed bool) {
	n.mu.Lock()
	r := n.resolver
	n.mu.Unlock()
	free := make(chan struct{}, lookupsTogether)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards changed
	for _, host := range hosts {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			defer recovered(n.log, "member names")
			addrs, err := r.addresses(ctx, host)
			if n.note(host, addrs, err, r.cfg.Interval) {
				mu.Lock()
				changed = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return changed
}

// note remembers what came of a question.
func (n *Names) note(host string, addrs []netip.Addr, err error, interval time.Duration) (changed bool) {
	if v4 := slices.DeleteFunc(slices.Clone(addrs), netip.Addr.Is6); len(v4) > 0 {
		addrs = v4
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.hosts[host]
	if a == nil {
		return false
	}
	a.asking = false
	if err != nil {
		if a.err == "" {
			a.since = now
			n.log.Warn().Err(err).Int("kept", len(a.addrs)).Msg("member name cannot be resolved, the last addresses stay")
		}
		a.err = err.Error()
		a.retry.most = max(interval, resolveRetry)
		a.next = now.Add(a.retry.next())
		return false
	}
	if a.err != "" {
		n.log.Info().Str("host", host).Msg("member name can be resolved again")
	}
	a.err, a.since = "", time.Time{}
	a.retry.reset()
	a.next = now.Add(jitter(interval))
	changed = !slices.Equal(a.addrs, addrs)
	a.addrs = addrs
	return changed
}

// republish hands a list on with addresses for names.
func (n *Names) republish(l *namedList) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.mu.Lock()
	members := n.expandLocked(l.members)
	n.mu.Unlock()
	l.publish(members)
}

func (n *Names) expandLocked(named []balancer.Member) []balancer.Member {
	members := make([]balancer.Member, 0, len(named))
	for _, m := range named {
		if _, err := netip.ParseAddr(m.Host); err == nil {
			members = append(members, m)
			continue
		}
		a := n.hosts[m.Host]
		if a == nil {
			continue // over hostsMax
		}
		m.HostName = m.Host
		id := m.ID
		for _, addr := range a.addrs {
			m.Host = addr.String()
			if len(a.addrs) > 1 {
				m.ID = id + "@" + m.Host
			}
			members = append(members, m)
		}
	}
	return members
}
