package discovery

import (
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
