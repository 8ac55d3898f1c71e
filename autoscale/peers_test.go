package autoscale

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// relay is two processes that tell each other everything, one of which acts.
type relay struct {
	mu     sync.Mutex // guards all below
	acts   string
	report map[string]Report
}

type relayPeer struct {
	*relay
	node string
}

func (p relayPeer) Acts() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acts == p.node
}

func (p relayPeer) Exchange(own Report) []Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	own.Node = p.node
	if own.Loads == nil {
		own.Loads = p.report[p.node].Loads
	}
	p.report[p.node] = own
	var others []Report
	for node, r := range p.report {
		if node != p.node {
			others = append(others, r)
		}
	}
	return others
}

// TestScalerTakeOver: the active vanishes in the middle of a scale-out; the
// other one knows what was ordered, and the loads of both.
func TestScalerTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot = 10 * time.Second
		r.asked.Store(20) // at each of the two
		both := &relay{acts: "a", report: map[string]Report{}}
		r.peers = relayPeer{both, "a"}
		r.run()
		a, cancelA, endedA := r.scaler, r.cancel, r.ended
		r.peers = relayPeer{both, "b"}
		r.run()
		defer func() { r.end() }()
		r.want(r.after(3500*time.Millisecond), "0 up, 0 draining")
		n := r.starts()
		sum := 0
		for _, st := range a.Status() {
			sum += st.Booting
		}
		if sum != 4 {
			t.Errorf("%d booting by %v, want 4: both have 20 in flight", sum, n)
		}
		both.mu.Lock()
		both.acts = "b"
		delete(both.report, "a")
		both.mu.Unlock()
		cancelA()
		<-endedA
		r.want(r.after(20*time.Second), "4 up, 0 draining")
		if got := slices.Compact(r.starts()); len(got) != len(slices.Compact(n)) {
			t.Errorf("starts %v, before the take-over %v", got, n)
		}
	})
}
