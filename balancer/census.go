package balancer

import (
	"sync/atomic"
	"time"
)

// censusEvery is how old the count of a cluster's members may be that picks
// go by. It is taken only by picks that meet a member with evidence against it,
// and by policy hash.
const censusEvery = int64(100 * time.Millisecond)

// census counts the members of a View.
type census struct {
	at     atomic.Int64 // when, unix nanoseconds
	spread atomic.Bool
	weight atomic.Int64 // of the fit members together
}

// spreads reports whether more members are out than max_ejected allows, so
// that those which merely answer badly are used like the others: when many
// seem to fail, it is more likely that something behind all of them does, and
// the few others would break under the load of all (Envoy calls this panic).
// Members to which no connection can be made stay out: they cannot serve.
func (c *census) spreads(v *View, now int64) bool {
	c.refresh(v, now)
	return c.spread.Load()
}

func (c *census) refresh(v *View, now int64) {
	at := c.at.Load()
	if age := now - at; at != 0 && age >= 0 && age < censusEvery || !c.at.CompareAndSwap(at, now) {
		return
	}
	all, out, weight := 0, 0, int64(0)
	for i := range v.slots {
		s := &v.slots[i]
		n := s.hot.note.Load() & s.mask
		switch {
		case n&(noteDrained|noteDraining|noteSetAside) != 0:
			continue
		case n&(noteEjected|notesDead|notesSick) != 0:
			out++
		default:
			weight += int64(s.endpoint.Upstream.Weight())
		}
		all++
	}
	c.spread.Store(out > v.health.limit(all))
	c.weight.Store(weight)
}
