package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	joinMost      = 5 * time.Second  // for one address
	rejoinEvery   = 30 * time.Second // heals long partitions
	reachMost     = 3 * time.Second  // for all of them to take a connection
	reachTogether = 32
	seedAddresses = 16 // of one name
)

// join tries the well-known addresses until somebody else is in the pool, and
// again now and then, as long as ctx lasts.
func (p *pool) join(ctx context.Context, s *serf.Serf) {
	retry := backoff{first: 250 * time.Millisecond, most: 30 * time.Second}
	was := true
	for first := true; ; first = false {
		err := p.joinOnce(ctx, s)
		if ctx.Err() != nil || s.State() != serf.SerfAlive {
			return
		}
		now := others(s.Members(), p.name)
		p.noteJoin(now, was, first, err)
		was = now
		wait := jitter(rejoinEvery)
		if now {
			retry.reset()
		} else {
			wait = retry.next()
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-p.reseeded:
			retry.reset()
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// prepareSeeds checks well-known addresses; use replaces those that there are,
// and has the new ones tried at once. Nobody leaves the pool for it.
func (p *pool) prepareSeeds(join []string) (use func(), err error) {
	if err := checkSeeds(join); err != nil {
		return nil, err
	}
	join = slices.Clone(join)
	return func() {
		if slices.Equal(*p.seeds.Swap(&join), join) {
			return
		}
		select {
		case p.reseeded <- struct{}{}:
		default:
		}
	}, nil
}

// noteJoin logs transitions only: retries go on for ever.
func (p *pool) noteJoin(now, was, first bool, err error) {
	switch {
	case now && (first || !was):
		p.log.Info().Str("node", p.name).Msg("gossip pool joined")
	case !now && was && err != nil:
		p.log.Warn().Err(err).Msg("no well-known gossip address can be reached; retrying for ever")
	}
	if err != nil && !now {
		p.fail(err)
		return
	}
	if now {
		p.mu.Lock()
		p.lastErr, p.errAt = "", time.Time{}
		p.mu.Unlock()
	}
}

// joinOnce tries every well-known address that is not alive in our view
// already, and some of the nodes that were lost. The error is that of a
// well-known one.
func (p *pool) joinOnce(ctx context.Context, s *serf.Serf) error {
	alive := map[netip.AddrPort]bool{}
	for _, n := range s.Members() {
		if n.Status == serf.StatusAlive { // ourselves too
			alive[gossipAddress(n)] = true
		}
	}
	known, failed := p.wellKnown(ctx)
	lost := map[netip.AddrPort]bool{}
	for _, text := range p.peers.lost(peersTried) {
		if a, err := netip.ParseAddrPort(text); err == nil {
			lost[a] = true
			known = append(known, seed{text, a})
		}
	}
	known = slices.DeleteFunc(known, func(k seed) bool { return alive[k.addr] })
	for i, err := range p.reach(ctx, known) {
		k := known[i]
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			_, err = s.Join([]string{k.addr.String()}, true)
		}
		if err != nil && !lost[k.addr] {
			failed = fmt.Errorf("cannot join gossip at %q: %w", k.text, onlyError(err))
		}
	}
	return failed
}

// onlyError is what Serf says of the one address it was told, without the
// heading, bullets and line breaks of a list.
func onlyError(err error) error {
	var list interface{ WrappedErrors() []error }
	if errors.As(err, &list) && len(list.WrappedErrors()) == 1 {
		return list.WrappedErrors()[0]
	}
	return err
}

// seed is an address to join at, and what an operator called it.
type seed struct {
	text string
	addr netip.AddrPort
}

// wellKnown returns the well-known addresses, names resolved, in random order
// so that no one gets all the load.
func (p *pool) wellKnown(ctx context.Context) (known []seed, failed error) {
	for _, text := range *p.seeds.Load() {
		host, port, _ := net.SplitHostPort(text) // checked
		number, _ := parseNumber(port, 1, 65535)
		addrs := []netip.Addr{}
		if a, err := netip.ParseAddr(host); err == nil {
			addrs = append(addrs, a.Unmap())
		} else if addrs, err = p.settings.resolver.addresses(ctx, host); err != nil {
			failed = fmt.Errorf("cannot join gossip at %q: %w", text, err)
		}
		for _, a := range addrs[:min(len(addrs), seedAddresses)] {
			if k := (seed{text, netip.AddrPortFrom(a, uint16(number))}); !slices.ContainsFunc(known, func(o seed) bool { return o.addr == k.addr }) {
				known = append(known, k)
			}
		}
	}
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	return known, failed
}

// reach connects to all addresses at once, where there are several, so that
// dead ones do not keep us from those behind them: Serf joins one after the
// other, and waits long.
func (p *pool) reach(ctx context.Context, known []seed) []error {
	errs := make([]error, len(known))
	if len(known) < 2 || p.settings.transport != nil {
		return errs // the join will tell
	}
	ctx, cancel := context.WithTimeout(ctx, reachMost)
	defer cancel()
	free := make(chan struct{}, reachTogether)
	var wg sync.WaitGroup
	for i, k := range known {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", k.addr.String())
			if err == nil {
				conn.Close()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errs
}

// others reports whether anybody else is alive.
func others(nodes []serf.Member, self string) bool {
	return slices.ContainsFunc(nodes, func(n serf.Member) bool { return n.Name != self && n.Status == serf.StatusAlive })
}

// backoff doubles from first to most, with jitter.
type backoff struct {
	first, most time.Duration
	now         time.Duration
}

func (b *backoff) next() time.Duration {
	b.now = min(max(2*b.now, b.first), b.most)
	return jitter(b.now)
}

func (b *backoff) reset() { b.now = 0 }

// jitter returns 75..125 % of d, so that many nodes do not act as one.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2)
}

// pause waits; false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
