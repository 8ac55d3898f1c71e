package balancer

import "sync/atomic"

// hot is what every pick of a member reads and every request writes. It is
// allocated by itself and as long as two cache lines, so that members do not
// slow each other down.
type hot struct {
	load    atomic.Uint64 // requests begun << inFlightBits | requests in flight: one addition counts both
	note    atomic.Uint64 // why the member is not plainly fit, see note*; 0: it is
	price   atomic.Uint64 // what a request in flight costs: priceOne / weight
	ghosts  atomic.Uint64 // failures that still count as requests in flight, see addGhost
	latency atomic.Uint64 // decaying peak of the response time, see observe
	inARow  atomic.Uint32 // failures since the last success
	asleep  atomic.Uint32 // 1: it has answered nothing since a check looked last
	prepaid atomic.Uint32 // 1: a request bypassed round robin and took the next turn in advance
	_       [76]byte
}

const (
	inFlightBits = 20
	inFlightMask = 1<<inFlightBits - 1
	// priceOne is the price at weight 1. Costs are in 1/256 requests, so that
	// the largest, 2^28 requests at a tenth of the weight, fit 62 bits.
	priceOne = 1 << 30
	loadUnit = 256
	// reluctant marks the cost of a member that sits this pick out. It is
	// taken all the same where no other is as fit.
	reluctant = 1 << 63
)

// The notes of a member. The upper three quarters hold one bit for each of
// its parts, which are the sub-domains that it serves.
const (
	noteDrained     uint64 = 1 << iota // by an operator
	noteDraining                       // it announced so
	noteSuspect                        // gossip lost it
	noteAdvised                        // ejected: a peer says so
	noteFailing                        // ejected: too many failures in a row
	noteUnreachable                    // ejected: no connection could be made
	noteSetAside                       // ejected by an operator: the four from the weakest to the strongest reason
	noteSlow                           // in slow start
	noteGhosts                         // failed a moment ago

	partsMax                    = 16
	noteDead                    = 1 << partsMax       // checks cannot reach the part, or get no answer
	noteSick                    = 1 << (2 * partsMax) // checks get a wrong answer
	noteChecking                = 1 << (3 * partsMax) // nothing is known of the part yet
	noteParts                   = ^uint64(noteDead - 1)
	noteEjected                 = noteUnreachable | noteFailing | noteAdvised | noteSetAside
	notesDead, notesSick uint64 = (noteDead<<partsMax - noteDead), (noteSick<<partsMax - noteSick)
	notesChecking        uint64 = ^(uint64(noteChecking) - 1)
)

// maskOf returns the notes that concern one part.
func maskOf(part int) uint64 {
	return ^noteParts | (noteDead|noteSick|noteChecking)<<part
}

func newHot() *hot {
	h := &hot{}
	h.price.Store(priceOne)
	return h
}

func (h *hot) inFlight() uint64 { return h.load.Load() & inFlightMask }

// note sets and clears notes. Callers hold Upstream.mu, so that what is
// decided from several of them stays true.
func (h *hot) mark(set, clear uint64) {
	if clear != 0 {
		h.note.And(^clear)
	}
	if set != 0 {
		h.note.Or(set)
	}
}
