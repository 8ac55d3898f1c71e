package balancer

// turnsMax bounds how many turns one pick takes from members that are not fit.
const turnsMax = 64

// pickTurn gives the turn to the next member in order. One that is not fit
// loses its turn to the one after it, which does not lose its own: the shares
// of the others stay as even as they were. A turn that a bound request took in
// advance is passed over too, once, so that many of those at a time do not
// starve the member of new requests (as nginx does since 1.31).
func (v *View) pickTurn(now int64, tried []*Upstream) int {
	for range min(turnsMax, 2*len(v.order)) {
		i := int(v.order[v.state.turn.Add(1)%uint64(len(v.order))])
		s := &v.slots[i]
		if s.hot.prepaid.Load() != 0 && s.hot.prepaid.Swap(0) != 0 {
			continue
		}
		r := uint64(0)
		if s.hot.note.Load() != 0 {
			r = v.random()
		}
		if _, ok := v.fitCost(i, now, r, tried); ok {
			return i
		}
	}
	return -1
}

// orderMax bounds the round-robin sequence; finer weights are rounded.
const orderMax = 4096

// weightedOrder spreads members by weight as evenly as they go (smooth
// weighted round robin, as in nginx 1.3.1): each turn everyone gains its
// weight, the richest is next and pays the sum.
func weightedOrder(slots []slot) []int32 {
	weights := make([]int, len(slots))
	sum := 0
	for i := range slots {
		weights[i] = slots[i].endpoint.Upstream.Weight()
		sum += weights[i]
	}
	divisor := 0
	for _, w := range weights {
		divisor = gcd(divisor, w)
	}
	if limit := max(orderMax, len(slots)); divisor > 0 && sum/divisor > limit {
		divisor = (sum + limit - 1) / limit
	}
	sum = 0
	for i := range weights {
		weights[i] = max(1, weights[i]/max(1, divisor))
		sum += weights[i]
	}
	order := make([]int32, 0, sum)
	if sum == len(weights) { // all equal: the common case needs no search
		for i := range weights {
			order = append(order, int32(i))
		}
		return order
	}
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
