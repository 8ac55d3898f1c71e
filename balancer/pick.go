package balancer

import (
	"math/bits"
	"math/rand/v2"
	"slices"
)

const (
	// scanMax is up to how many members least_requests looks at all of them;
	// above it compares two drawn at random (Mitzenmacher 2001, "The power of
	// two choices in randomized load balancing"), which is nearly as even and
	// does not grow with the cluster.
	scanMax = 16
	// drawsMax bounds how often members are drawn that turn out unfit, before
	// all are looked at.
	drawsMax = 8
)

// slot is a member of a View, with what a pick reads first in one place.
type slot struct {
	hot      *hot
	mask     uint64 // the notes that concern this view
	endpoint *Endpoint
}

// Pick chooses an endpoint for a request at time now (unix nanoseconds) whose
// upstream is not among tried; nil where none is left. hash is that of
// Decision.Hash, used by the policy of that name. Members without evidence
// against them come first, then those that gossip lost, that are not checked
// yet, that fail, that cannot be reached: when everybody looks dead, somebody
// is asked all the same. It takes no lock that other picks need, and allocates
// nothing.
func (v *View) Pick(now int64, hash uint64, tried []*Upstream) *Endpoint {
	i := -1
	switch v.policy {
	case RoundRobin:
		i = v.pickTurn(now, tried)
	case Random:
		i = v.pickRandom(now, tried)
	case PeakEWMA:
		i = v.pickEWMA(now, tried)
	case Hash:
		if hash != 0 {
			i = v.pickHash(now, hash, tried)
			break
		}
		fallthrough // nothing to go by
	default:
		switch {
		case len(v.slots) > scanMax:
			i = v.pickTwo(now, tried)
		case v.drawing != nil:
			i = v.pickIdle(now, tried)
		case len(tried) == 0:
			i = v.glance()
		}
	}
	if i < 0 {
		i = v.scan(now, tried)
	}
	if i < 0 {
		return nil
	}
	return v.endpoints[i] // denser than slots
}

// random is a random number; simulations bring their own.
func (v *View) random() uint64 {
	if v.source != nil {
		return v.source()
	}
	return rand.Uint64()
}

// below maps 32 random bits to 0..n-1.
func below(r uint32, n int) int { return int(uint64(r) * uint64(n) >> 32) }

// fitCost is the cost of one more request at the member with index i; false
// where it is not fit, was tried or sits this one out.
func (v *View) fitCost(i int, now int64, r uint64, tried []*Upstream) (uint64, bool) {
	s := &v.slots[i]
	if len(tried) > 0 && slices.Contains(tried, s.endpoint.Upstream) {
		return 0, false
	}
	load := s.hot.load.Load()
	if load&noted != 0 {
		if n := s.hot.note.Load() & s.mask; n != 0 {
			g, cost := v.assess(s, n, now, r)
			return cost, g == gradeFit && cost < reluctant
		}
	}
	return uint64(load&inFlightMask+1) * loadUnit * s.hot.price.Load(), true
}

// glance is scan for a few members of equal weight of which none has a note:
// the usual case, in a loop without branches that looks at one word of each and
// at nothing else, so that others have little time to write in between. -1
// where some has a note.
func (v *View) glance() int {
	start := below(uint32(v.random()), len(v.loads))
	best, all, k := ^uint32(0), uint32(0), uint32(0)
	for _, l := range v.loads[start:] {
		w := l.Load()
		all |= w
		best = min(best, w&inFlightMask<<8|k)
		k++
	}
	for _, l := range v.loads[:start] {
		w := l.Load()
		all |= w
		best = min(best, w&inFlightMask<<8|k)
		k++
	}
	if all&noted != 0 {
		return -1
	}
	i := start + int(best&0xff)
	if i >= len(v.loads) {
		i -= len(v.loads)
	}
	return i
}

// pickIdle draws a member by weight and takes it if it has nothing to do; -1
// where it has. By cost alone one request costs less at the heaviest member,
// idle or not, and while there is little to do the others would get nothing.
func (v *View) pickIdle(now int64, tried []*Upstream) int {
	r := v.random()
	i := v.draw(uint32(r>>32), v.coin())
	if cost, ok := v.fitCost(i, now, r, tried); ok && v.idle(i, cost) {
		return i
	}
	return -1
}

// idle reports whether a cost is that of the member with index i while it has
// nothing to do.
func (v *View) idle(i int, cost uint64) bool { return cost == loadUnit*v.slots[i].hot.price.Load() }

// pickTwo takes the less loaded of two members drawn by weight, the first at
// once if it has nothing to do: its weight was counted by drawing it.
func (v *View) pickTwo(now int64, tried []*Upstream) int {
	for range drawsMax {
		r := v.random()
		i, j := v.drawTwo(r)
		if v.drawing == nil && len(tried) == 0 {
			if x, y := v.loads[i].Load(), v.loads[j].Load(); (x|y)&noted == 0 {
				if x&inFlightMask <= y&inFlightMask {
					return i
				}
				return j
			}
		}
		a, aok := v.fitCost(i, now, r, tried)
		b, bok := v.fitCost(j, now, r>>10, tried)
		switch {
		case aok && (!bok || a <= b || v.idle(i, a)):
			return i
		case bok:
			return j
		}
	}
	return -1
}

func (v *View) pickRandom(now int64, tried []*Upstream) int {
	for range drawsMax {
		r := v.random()
		i := v.draw(uint32(r>>32), v.coin())
		if _, ok := v.fitCost(i, now, r, tried); ok {
			return i
		}
	}
	return -1
}

// scan looks at every member and takes the least loaded of the fittest, any of
// those that are equal; -1 where there is none. To take the first of them from
// a random place on would give the share of whoever is out to the one behind it.
func (v *View) scan(now int64, tried []*Upstream) int {
	r := v.random()
	at, bestGrade, best, equal := -1, gradeExcluded, ^uint64(0), 0
	for i := range v.slots {
		s := &v.slots[i]
		g, cost := gradeFit, (s.hot.inFlight()+1)*loadUnit*s.hot.price.Load()
		if note := s.hot.note.Load() & s.mask; note != 0 {
			g, cost = v.assess(s, note, now, bits.RotateLeft64(r, 7*i))
		}
		if g > bestGrade || g == bestGrade && cost > best {
			continue
		}
		if g == gradeExcluded || len(tried) > 0 && slices.Contains(tried, s.endpoint.Upstream) {
			continue
		}
		if g < bestGrade || cost < best {
			at, bestGrade, best, equal = i, g, cost, 1
			continue
		}
		if equal++; below(uint32(mix(r+uint64(i))), equal) == 0 {
			at = i
		}
	}
	return at
}
