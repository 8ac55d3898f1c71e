package discovery

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	reportsMax = 1000 // rejections kept; a rogue node could otherwise fill the memory
	nameMax    = 128  // bytes of a node name or id
)

// Rejection says why somebody who claims to be a member is left out.
type Rejection struct {
	Node    string    `json:"node"`
	Address string    `json:"address"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
}

// reports remembers the rejections that stand, and logs each once.
type reports struct {
	log     zerolog.Logger
	limiter limiter

	mu      sync.Mutex // guards current
	current []Rejection
}

// replace takes the rejections of a whole new list.
func (r *reports) replace(found []Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	type key struct{ node, reason string }
	known := make(map[key]time.Time, len(r.current))
	for _, old := range r.current {
		known[key{old.Node, old.Reason}] = old.Since
	}
	slices.SortFunc(found, func(a, b Rejection) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Address, b.Address), strings.Compare(a.Reason, b.Reason))
	})
	found = found[:min(len(found), reportsMax)]
	for i := range found {
		f := &found[i]
		if since, ok := known[key{f.Node, f.Reason}]; ok {
			f.Since = since
			continue
		}
		if ok, dropped := r.limiter.allow(f.Since); ok {
			r.log.Warn().Str("node", f.Node).Str("address", f.Address).Str("reason", f.Reason).Int("dropped", dropped).Msg("member left out")
		}
	}
	r.current = found
}

// list returns a copy.
func (r *reports) list() []Rejection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.current)
}

// clip makes a hostile text fit for messages.
func clip(s string) string {
	if len(s) > nameMax {
		s = s[:nameMax] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
