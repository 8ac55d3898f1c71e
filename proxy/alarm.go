package proxy

import (
	"sync"
	"time"
)

// alarm ends the beginning of a wait for a member, watchAfter, by a deadline in
// the past. It has one timer, of the exchange, where a deadline of each
// connection would be a timer in each: with 1,000 members they would be set for
// every other request, and none would be in a cache.
type alarm struct {
	mu    sync.Mutex  // guards all below
	mc    *memberConn // waited for; nil: none, or it rang
	by    time.Time   // when the timer ends
	timer *time.Timer // nil until first used
}

// set lets the alarm ring for mc about watchAfter from now. A timer that ends at
// up to half of that too early is left as it is: setting it costs more than most
// of what happens per request.
func (a *alarm) set(mc *memberConn, now time.Time) {
	a.mu.Lock()
	a.mc = mc
	if left := a.by.Sub(now); left < watchAfter/2 || left > watchAfter {
		a.by = now.Add(watchAfter)
		if a.timer == nil {
			a.timer = time.AfterFunc(watchAfter, a.ring)
		} else {
			a.timer.Reset(watchAfter)
		}
	}
	a.mu.Unlock()
}

// clear ends set. Where it rang meanwhile, mc has a deadline in the past.
func (a *alarm) clear(mc *memberConn) {
	a.mu.Lock()
	if a.mc == nil {
		mc.readBy = time.Unix(1, 0)
	}
	a.mc = nil
	a.mu.Unlock()
}

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mc == nil || time.Until(a.by) > 0 { // it was set again while this began
		return
	}
	a.mc.SetReadDeadline(time.Unix(1, 0))
	a.mc = nil
}
