package balancer

import (
	"math"
	"slices"
)

const (
	// rendezvousMax is below how many members policy hash asks each of them
	// for its score; from there on it looks into a table.
	rendezvousMax = 64
	// boundNumber / boundDivisor is c of bounded loads (Mirrokni, Thorup and
	// Zadimoghaddam 2016, "Consistent hashing with bounded loads"): no member
	// gets a request while it has more than c times the average in flight.
	boundNumber, boundDivisor = 5, 4
	// stepsMax bounds how many places of the table a key tries.
	stepsMax = 64
)

// pickHash gives equal keys to the same member as long as it is fit and not
// over its bound. What one member cannot take is spread over all others, each
// key in an order of its own.
func (v *View) pickHash(now int64, hash uint64, tried []*Upstream) int {
	v.census.refresh(v, now)
	if v.maglev != nil {
		return v.pickMaglev(now, hash, tried)
	}
	at, best := -1, math.Inf(-1)
	var most uint64
	weight := v.fitWeight(now, tried)
	for i := range v.slots {
		s := &v.slots[i]
		score := mix(hash ^ s.endpoint.Upstream.hash)
		if v.drawing == nil && at >= 0 && score <= most { // all weights are equal
			continue
		}
		if !v.within(i, now, score, weight, tried) {
			continue
		}
		if v.drawing == nil {
			at, most = i, score
			continue
		}
		if w := weighed(score, s.endpoint.Upstream.Weight()); w > best {
			at, best = i, w
		}
	}
	return at
}

// weighed is -w / ln(score), of which the largest wins in proportion to the
// weights (Schindelhauer and Schomaker 2005).
func weighed(score uint64, weight int) float64 {
	uniform := (float64(score>>11) + 0.5) / (1 << 53)
	return -float64(weight) / math.Log(uniform)
}

// within reports whether the member with index i is fit and below its bound. A
// member in slow start takes part for a share of the keys, always the same.
func (v *View) within(i int, now int64, score uint64, weight int64, tried []*Upstream) bool {
	if _, ok := v.fitCost(i, now, score>>20, tried); !ok {
		return false
	}
	u := v.slots[i].endpoint.Upstream
	return int64(u.inFlight()) < bound(v.state.InFlight.Load(), int64(u.Weight()), weight)
}

// bound is how many requests a member may have in flight when there are total,
// the one to be placed included: c times its share, rounded up.
func bound(total, own, all int64) int64 {
	d := boundDivisor * max(all, own)
	return max((boundNumber*total*own+d-1)/d, 1)
}

// fitWeight is the weight of the fit members together. Below rendezvousMax
// they are counted each time, because a count that is a little old would let
// one of few members go over its bound.
func (v *View) fitWeight(now int64, tried []*Upstream) (sum int64) {
	for i := range v.slots {
		s := &v.slots[i]
		if v.gradeOf(s, now) == gradeFit && !slices.Contains(tried, s.endpoint.Upstream) {
			sum += int64(s.endpoint.Upstream.Weight())
		}
	}
	return sum
}

// pickMaglev looks the key up and, where that member cannot take it, goes on to
// other places of the table in an order that the key decides.
func (v *View) pickMaglev(now int64, hash uint64, tried []*Upstream) int {
	weight := v.census.weight.Load()
	place := hash
	for range stepsMax {
		i := int(v.maglev[place%maglevSize])
		if v.within(i, now, mix(hash^v.slots[i].endpoint.Upstream.hash), weight, tried) {
			return i
		}
		place = mix(place + 0x9e3779b97f4a7c15)
	}
	return -1
}

// maglevSize is the number of places in a table: a prime, large against the
// number of members, so that their shares differ little.
const maglevSize = 65537

// newMaglev fills a table: each member has a permutation of the places of its
// own, and all in turn, by weight, take the next in theirs that is free
// (Eisenbud et al. 2016, "Maglev", 3.4). So all get the same number, and a
// change of members moves few places of the others.
func newMaglev(slots []slot) []uint16 {
	n := min(len(slots), math.MaxUint16)
	next, step := make([]uint32, n), make([]uint32, n)
	credit, heaviest := make([]int, n), 0
	for i := range n {
		u := slots[i].endpoint.Upstream
		next[i] = uint32(mix(u.hash) % maglevSize)
		step[i] = uint32(mix(u.hash+0x9e3779b97f4a7c15)%(maglevSize-1)) + 1
		heaviest = max(heaviest, u.Weight())
	}
	const free = math.MaxUint16
	table := make([]uint16, maglevSize)
	for i := range table {
		table[i] = free
	}
	for filled := 0; ; {
		for i := range n {
			if credit[i] += slots[i].endpoint.Upstream.Weight(); credit[i] < heaviest {
				continue
			}
			credit[i] -= heaviest
			at := next[i]
			for table[at] != free {
				if at += step[i]; at >= maglevSize {
					at -= maglevSize
				}
			}
			table[at] = uint16(i)
			if next[i] = at + step[i]; next[i] >= maglevSize {
				next[i] -= maglevSize
			}
			if filled++; filled == maglevSize {
				return table
			}
		}
	}
}
