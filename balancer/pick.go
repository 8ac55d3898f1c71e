package balancer

import (
	"math/rand/v2"
	"slices"
)

// scanMax is up to how many members least_requests looks at all of them;
// above it compares two drawn at random (Mitzenmacher 2001, "The power of two
// choices in randomized load balancing"), which is nearly as even and does
// not grow with the cluster.
const scanMax = 16

// Pick chooses an endpoint for a request at time now (unix nanoseconds) whose
// upstream is not among tried; nil where none is left. Members without
// evidence against them come first, then those that gossip lost, then the
// ejected: when everybody looks dead, somebody is asked all the same.
func (v *View) Pick(now int64, tried []*Upstream) *Endpoint {
	if e := v.prefer(now, tried); e != nil {
		return e
	}
	return v.scan(now, tried)
}

// prefer makes the policy's first choice, nil where that one is not fit.
func (v *View) prefer(now int64, tried []*Upstream) *Endpoint {
	n := len(v.endpoints)
	if v.balance == RoundRobin {
		e := v.endpoints[v.order[v.state.turn.Add(1)%uint64(len(v.order))]]
		return usable(e, now, tried)
	}
	if n <= scanMax {
		return nil
	}
	i := rand.IntN(n)
	j := rand.IntN(n - 1)
	if j >= i {
		j++
	}
	a, b := usable(v.endpoints[i], now, tried), usable(v.endpoints[j], now, tried)
	switch {
	case a == nil:
		return b
	case b == nil || !lighter(b.Upstream, a.Upstream):
		return a
	}
	return b
}

func usable(e *Endpoint, now int64, tried []*Upstream) *Endpoint {
	if e.Upstream.fitness(now) != fit || slices.Contains(tried, e.Upstream) {
		return nil
	}
	return e
}

// scan looks at every endpoint, from a random one on so that ties spread, and
// takes the least loaded of the fittest.
func (v *View) scan(now int64, tried []*Upstream) *Endpoint {
	var best *Endpoint
	bestFitness := excluded
	n := len(v.endpoints)
	for k, i := 0, rand.IntN(n); k < n; k++ {
		e := v.endpoints[i]
		if i++; i == n {
			i = 0
		}
		f := e.Upstream.fitness(now)
		if f > bestFitness || f == excluded || slices.Contains(tried, e.Upstream) {
			continue
		}
		if f < bestFitness || lighter(e.Upstream, best.Upstream) {
			best, bestFitness = e, f
		}
	}
	return best
}

// lighter compares requests in flight, the one to come included, by weight.
func lighter(a, b *Upstream) bool {
	wa, wb := int64(a.Member().Weight), int64(b.Member().Weight)
	return (a.InFlight()+1)*wb < (b.InFlight()+1)*wa
}

// orderMax bounds the round-robin sequence; finer weights are rounded.
const orderMax = 4096

// weightedOrder spreads endpoints by weight as evenly as they go (smooth
// weighted round robin, as in nginx 1.3.1): each turn everyone gains its
// weight, the richest is next and pays the sum.
func weightedOrder(endpoints []*Endpoint) []int32 {
	weights := make([]int, len(endpoints))
	sum := 0
	for i, e := range endpoints {
		weights[i] = e.Upstream.Member().Weight
		sum += weights[i]
	}
	divisor := 0
	for _, w := range weights {
		divisor = gcd(divisor, w)
	}
	if limit := max(orderMax, len(endpoints)); divisor > 0 && sum/divisor > limit {
		divisor = (sum + limit - 1) / limit
	}
	sum = 0
	for i := range weights {
		weights[i] = max(1, weights[i]/max(1, divisor))
		sum += weights[i]
	}
	if sum == len(weights) { // all equal: the common case needs no search
		order := make([]int32, len(weights))
		for i := range order {
			order[i] = int32(i)
		}
		return order
	}
	order := make([]int32, 0, sum)
	gained := make([]int, len(weights))
	for range sum {
		richest := 0
		for i, w := range weights {
			gained[i] += w
			if gained[i] > gained[richest] {
				richest = i
			}
		}
		gained[richest] -= sum
		order = append(order, int32(richest))
	}
	return order
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
