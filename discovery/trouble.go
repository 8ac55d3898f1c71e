package discovery

import (
	"strings"
	"sync"
	"time"
)

// record keeps the last trouble. Its lock is the innermost of all: Serf logs,
// and so comes here, while it holds its own, and whoever holds the pool's may
// be waiting for those.
type record struct {
	mu   sync.Mutex // guards what follows; nothing else is locked meanwhile
	what string
	at   time.Time
}

func (r *record) last() (what string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.what, r.at
}

// heard counts what lines of Serf and memberlist tell of.
func (p *pool) heard(line string) {
	switch {
	case strings.Contains(line, "onflicts with another node"), strings.Contains(line, "Name conflict"):
		p.conflicts.Add(1)
	case strings.Contains(line, "queue full"), strings.Contains(line, "Too many pending"), strings.Contains(line, "queue depth"):
		p.overloads.Add(1)
	default:
		return
	}
	p.note(clip(line))
}

// note keeps a trouble for the record.
func (p *pool) note(what string) {
	r := &p.record
	r.mu.Lock()
	defer r.mu.Unlock()
	r.what, r.at = what, time.Now()
}
