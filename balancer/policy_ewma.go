package balancer

import (
	"math"
	"time"
)

// Peak EWMA (Finagle's, as Linkerd uses it): the cost of a member is its
// response time, weighted towards the peaks, times what it has in flight. A
// slower answer counts at once, faster ones as time passes: what is remembered
// falls to 1/e in latencyLife even without answers, so that a member that once
// was slow is tried again.
const (
	latencyLife = 10 * time.Second
	// penalty is the response time that a failure stands for.
	penalty = int64(time.Second)
	// unknownCost is that of a member with requests in flight that has never
	// answered one: one request finds out.
	unknownCost = float32(1e15)
)

// observe notes a response time in nanoseconds. The word holds nanoseconds as
// float32 above and the time in ms below, so that both change together.
func (u *Upstream) observe(now, took int64) {
	stamp := uint32(now / 1e6)
	for range 4 { // an observation that is lost to others does not matter
		old := u.latency.Load()
		was, age := math.Float32frombits(uint32(old>>32)), stamp-uint32(old)
		if age > math.MaxInt32 {
			age, stamp = 0, uint32(old)
		}
		value := float32(took)
		if value < was {
			w := decay(age)
			value = was*w + value*(1-w)
		}
		if u.latency.CompareAndSwap(old, uint64(math.Float32bits(value))<<32|uint64(stamp)) {
			return
		}
	}
}

// latencyAt is what is remembered of response times, in nanoseconds; 0: nothing.
func (h *hot) latencyAt(now int64) float32 {
	word := h.latency.Load()
	if word == 0 {
		return 0
	}
	age := uint32(now/1e6) - uint32(word)
	if age > math.MaxInt32 {
		age = 0
	}
	return math.Float32frombits(uint32(word>>32)) * decay(age)
}

// decay is e^(-age/latencyLife), age in ms.
func decay(age uint32) float32 {
	return float32(math.Exp(-float64(age) / float64(latencyLife/time.Millisecond)))
}

// pickEWMA takes the cheaper of two members drawn by weight. Weights count for
// no more than that where the first has nothing to do: light members would get
// next to nothing while there is little to do.
func (v *View) pickEWMA(now int64, tried []*Upstream) int {
	for range drawsMax {
		r := v.random()
		i, j := v.drawTwo(r)
		a, aok := v.fitCost(i, now, r, tried)
		b, bok := v.fitCost(j, now, r>>10, tried)
		if aok && v.idle(i, a) {
			a, b = a/v.slots[i].hot.price.Load(), b/v.slots[j].hot.price.Load()
		}
		switch {
		case aok && (!bok || v.ewmaCost(i, now, a) <= v.ewmaCost(j, now, b)):
			return i
		case bok:
			return j
		}
	}
	return -1
}

// ewmaCost is the cost of one more request at the member with index i, where
// it is cost by what is in flight.
func (v *View) ewmaCost(i int, now int64, cost uint64) float32 {
	h := v.slots[i].hot
	latency := h.latencyAt(now)
	if latency == 0 && h.inFlight() > 0 {
		latency = unknownCost
	}
	return latency * float32(cost)
}
