package admin

import (
	"sync"
	"time"
)

// The admin API is for people and their tools. What goes beyond these rates is
// answered 429, so that it cannot take the processor from clients' requests.
const (
	readsPerSecond   = 200
	changesPerSecond = 20
	denialsPerSecond = 5 // wrong or missing tokens, of all who try together
	burstSeconds     = 4
	workingMax       = 8 // answers being made at a time
	// New connections are taken at this pace, whoever they are from: each costs
	// a good part of 0.1 ms, and one with TLS up to 2 ms.
	connectionsPerSecond = 500
	handshakesPerSecond  = 100
	pacePause            = 5 * time.Millisecond
)

// rate is a token bucket. Safe for concurrent use.
type rate struct {
	perSecond float64

	mu   sync.Mutex // guards all below
	left float64
	at   time.Time
}

func newRate(perSecond float64) *rate {
	return &rate{perSecond: perSecond, left: perSecond * burstSeconds}
}

// take reports whether one more is allowed at now.
func (r *rate) take(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refillLocked(now)
	if r.left < 1 {
		return false
	}
	r.left--
	return true
}

func (r *rate) refillLocked(now time.Time) {
	if !r.at.IsZero() {
		r.left = min(r.left+now.Sub(r.at).Seconds()*r.perSecond, r.perSecond*burstSeconds)
	}
	r.at = now
}
