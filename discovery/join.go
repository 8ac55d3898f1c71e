package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	joinMost    = 5 * time.Second  // for one address
	rejoinEvery = 30 * time.Second // heals long partitions
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
		if !pause(ctx, wait) {
			return
		}
	}
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

// joinOnce tries every seed that is not alive in our view already.
func (p *pool) joinOnce(ctx context.Context, s *serf.Serf) error {
	alive := map[string]bool{}
	for _, n := range s.Members() {
		if n.Status == serf.StatusAlive { // ourselves too
			alive[gossipAddress(n).String()] = true
		}
	}
	var failed error
	for _, seed := range p.seeds() {
		if a, err := netip.ParseAddrPort(seed); err == nil && alive[netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()] {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := s.Join([]string{seed}, true); err != nil {
			failed = fmt.Errorf("cannot join gossip at %q: %w", seed, err)
		}
	}
	return failed
}

// seeds are the well-known addresses, in random order so that no one seed gets
// all the load, and some of the nodes that an earlier Serf knew.
func (p *pool) seeds() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seeds := slices.Clone(p.settings.seeds)
	for _, n := range p.carried[:min(len(p.carried), carriedSeeds)] {
		seeds = append(seeds, gossipAddress(n).String())
	}
	rand.Shuffle(len(seeds), func(i, j int) { seeds[i], seeds[j] = seeds[j], seeds[i] })
	return seeds
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
