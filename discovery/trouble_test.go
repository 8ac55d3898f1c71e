package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// TestHeardNeverWaits: Serf writes lines while it holds its locks, and whoever
// asks Serf may hold the pool's. A line that waited for those would stop gossip
// for ever.
func TestHeardNeverWaits(t *testing.T) {
	p := newPool(settings{}, "lb", nil, zerolog.Nop())
	p.mu.Lock()
	defer p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.serfLog.Write([]byte("[WARN] memberlist: handler queue full, dropping message (3) from=10.0.0.1:7946"))
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("a line of Serf waits for the lock of the pool")
	}
	if what, _ := p.record.last(); what == "" || p.overloads.Load() != 1 {
		t.Errorf("%d overloads, last trouble %q", p.overloads.Load(), what)
	}
}

// TestGossipJoinChanges: well-known addresses that come by a reload are tried
// at once; those that nobody could use change nothing.
func TestGossipJoinChanges(t *testing.T) {
	t.Parallel()
	lb := startGossip(t, "lb1", GossipConfig{})
	other := startGossip(t, "lb2", GossipConfig{})
	if _, err := lb.Prepare(GossipConfig{Join: []string{"no port"}}); err == nil {
		t.Error("an address without a port was taken")
	}
	use, err := lb.Prepare(GossipConfig{Join: []string{other.addr}, FailedGrace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if lb.Status().Joined {
		t.Fatal("joined before it was told to")
	}
	use()
	within(t, 20*time.Second, func() error {
		if st := lb.Status(); !st.Joined {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	if grace := time.Duration(lb.roster.grace.Load()); grace != time.Hour {
		t.Errorf("the grace is %v", grace)
	}
}
