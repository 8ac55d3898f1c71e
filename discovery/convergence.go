package discovery

import (
	"context"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	convergenceFirst = 10 * time.Second // after the start
	convergenceEvery = time.Minute
	convergenceMost  = 10 * time.Second // who has not answered by then counts as reached then
	// convergenceShare is of how many percent of the others an answer is waited
	// for: answers are single packets, and in a large pool one gets lost.
	convergenceShare = 99
	// pingQuery is what every Serf answers by itself, without its handlers.
	pingQuery = serf.InternalQueryPrefix + "ping"
)

// converge measures again and again how long news takes through the pool.
func (p *pool) converge(ctx context.Context) {
	for wait := convergenceFirst; pause(ctx, wait); wait = convergenceEvery {
		if took, ok := p.spread(ctx); ok {
			p.convergence.Store(int64(took))
		}
	}
}

// spread tells the pool something by gossip and returns how long it took until
// nearly all nodes that are alive had said that they heard; 0 without others.
// ok is false if that could not be found out.
func (p *pool) spread(ctx context.Context) (took time.Duration, ok bool) {
	defer recovered(p.log, "gossip convergence") // Serf may have been shut down meanwhile
	s, err := p.current()
	if err != nil {
		return 0, false
	}
	silent := map[string]struct{}{}
	for _, n := range s.Members() {
		if n.Status == serf.StatusAlive && n.Name != p.name {
			silent[n.Name] = struct{}{}
		}
	}
	began := time.Now()
	need := (len(silent)*convergenceShare + 99) / 100
	if need == 0 {
		return 0, true
	}
	answers, err := s.Query(pingQuery, nil, &serf.QueryParam{RequestAck: true, Timeout: convergenceMost})
	if err != nil {
		return 0, false
	}
	defer answers.Close()
	for need > 0 {
		select {
		case name, open := <-answers.AckCh():
			if !open {
				return convergenceMost, true
			}
			if _, ok := silent[name]; ok { // anybody may send an answer, and again
				delete(silent, name)
				need--
			}
		case <-ctx.Done():
			return 0, false
		}
	}
	return time.Since(began), true
}
