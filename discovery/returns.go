package discovery

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	// proofMost is after how long a node that came back counts although it did
	// not answer us: gossip as a whole would have missed it by then.
	proofMost = 2 * time.Minute
	// proofPause is how long after an attempt without answer it is asked again.
	proofPause = 200 * time.Millisecond
	// askedMax bounds how many nodes are asked at a time.
	askedMax = 64
)

// returns makes nodes that come back prove that they are there. Packets of
// gossip can be recorded and sent again, by whom has no key, too: once the
// library has forgotten what it knew of a node that left (half a minute), its
// old announcements are as good as new ones. An answer to a question of now is
// not among them. It belongs to the publishing goroutine.
type returns struct {
	ask   func(n serf.Member) bool // waits for an answer; called by several goroutines
	mark  func()                   // asks for another list
	heard chan hearing
	gone  map[string]*absence
	asked int
}

// absence is what is known of a node that was not there.
type absence struct {
	status serf.MemberStatus // in which it was
	since  time.Time         // when it was seen alive again; zero: it was not
	asked  bool              // and is being asked
}

// hearing is what came of asking a node.
type hearing struct {
	name     string
	answered bool
}

func newReturns(ask func(serf.Member) bool, mark func()) *returns {
	return &returns{ask: ask, mark: mark, heard: make(chan hearing, askedMax), gone: map[string]*absence{}}
}

// filter returns the nodes with those that have not yet proven their return in
// the state in which they were before. It changes nodes.
func (r *returns) filter(ctx context.Context, nodes []serf.Member, now time.Time) []serf.Member {
	for more := true; more; {
		select {
		case h := <-r.heard:
			r.asked--
			if a := r.gone[h.name]; a != nil {
				a.asked = false
				if h.answered && !a.since.IsZero() {
					delete(r.gone, h.name)
				}
			}
		default:
			more = false
		}
	}
	for i := range nodes {
		n := &nodes[i]
		a := r.gone[n.Name]
		switch {
		case n.Status != serf.StatusAlive && a == nil:
			if len(r.gone) >= 2*nodesMax {
				r.forget()
			}
			r.gone[n.Name] = &absence{status: n.Status}
		case n.Status != serf.StatusAlive:
			if a.since = (time.Time{}); n.Status == serf.StatusLeft {
				a.status = n.Status
			}
			n.Status = a.status // one that left does not fail: it was not there
		case a == nil:
		case !a.since.IsZero() && now.Sub(a.since) >= proofMost:
			delete(r.gone, n.Name)
		default:
			if a.since.IsZero() {
				a.since = now
			}
			r.question(ctx, *n, a)
			n.Status = a.status
		}
	}
	return nodes
}

// forget drops one that nobody was heard of since.
func (r *returns) forget() {
	for name, a := range r.gone {
		if a.since.IsZero() {
			delete(r.gone, name)
			return
		}
	}
}

// question asks a node, unless it is being asked or too many are.
func (r *returns) question(ctx context.Context, n serf.Member, a *absence) {
	if a.asked || r.asked >= askedMax {
		return
	}
	a.asked = true
	r.asked++
	go func() {
		answered := r.ask(n)
		if !answered {
			pause(ctx, proofPause)
		}
		r.heard <- hearing{n.Name, answered}
		r.mark()
	}()
}

// answers reports whether a node answers a question of now.
func (p *pool) answers(n serf.Member) (yes bool) {
	defer recovered(p.log, "gossip ping") // memberlist may have been shut down meanwhile
	s, err := p.current()
	if err != nil {
		return false
	}
	_, err = s.Memberlist().Ping(n.Name, &net.UDPAddr{IP: n.Addr, Port: int(n.Port)})
	return err == nil
}
