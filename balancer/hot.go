package balancer

import "sync/atomic"

// hot is what picks of a member read and requests write. All but its words is
// allocated by itself and as long as two cache lines, so that members do not
// slow each other down.
type hot struct {
	words
	price   atomic.Uint64 // what a request in flight costs: priceOne / weight
	ghosts  atomic.Uint64 // failures that still count as requests in flight, see addGhost
	latency atomic.Uint64 // decaying peak of the response time, see observe
	wraps   atomic.Uint64 // how often the count of requests begun, in load, began anew
	prepaid atomic.Uint32 // 1: a request bypassed round robin and took the next turn in advance
	_       [68]byte
}

// words are what every pick and every request looks at.
type words struct {
	// load is requests begun << begunShift | noted | requests in flight: one
	// addition counts both, and one look tells whether there is a note.
	load *atomic.Uint32
	note *atomic.Uint64 // why the member is not plainly fit, see note*; 0: it is
	// record is the number of failures since the last success, and asleep.
	record *atomic.Uint32
}

// asleep, in words.record: it has answered nothing since a check looked last.
const asleep = 1 << 31

// failures returns the number of failures since the last success.
func (w words) failures() int { return int(w.record.Load() &^ asleep) }

// begin counts a request in. wrapped tells that the count of requests begun
// began anew.
func (w words) begin() (wrapped bool) { return w.load.Add(1<<begunShift|1)>>begunShift == 0 }

// end counts a request out.
func (w words) end() {
	if w.load.Add(^uint32(0))&inFlightMask == inFlightMask {
		panic("BUG: in-flight count below zero")
	}
}

// deck holds the words of members of one small domain side by side. A pick that
// looks at all of up to 16 members finds what was written since on one cache line,
// which it then writes itself; it would wait for up to 16, one after the
// other, if each member had its own. What is seldom written lies apart. Those of
// a huge domain lie in decks, too: spread over its many lines they are seldom in
// each other's way, and stay in the cache that a line or two for each member
// would not fit into. Words are given out once: requests that began with an
// older Table may still count at a member that is gone.
type deck struct {
	_       [128]byte
	loads   [deckSize]atomic.Uint32
	notes   [deckSize]atomic.Uint64
	records [deckSize]atomic.Uint32
	used    int       // guarded by Router.mu
	_       [120]byte // 512 in all, which the allocator aligns
}

const (
	deckSize = scanMax
	// hugeFrom is from how many members on a domain is huge.
	hugeFrom = 16 * deckSize
)

// lone holds the words of a member of a large domain, where picks look at two
// of many: others that share its line would only be in the way.
type lone struct {
	load, record atomic.Uint32
	note         atomic.Uint64
	_            [112]byte
}

func (l *lone) words() words { return words{&l.load, &l.note, &l.record} }

// deal gives out the next words; false: all are.
func (d *deck) deal() (words, bool) {
	if d.used == deckSize {
		return words{}, false
	}
	i := d.used
	d.used++
	return words{&d.loads[i], &d.notes[i], &d.records[i]}, true
}

const (
	begunShift   = 20
	begunBits    = 32 - begunShift       // of requests begun, the rest is in wraps
	noted        = 1 << (begunShift - 1) // in load: note is not 0
	inFlightMask = noted - 1
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

func newHot(w words) *hot {
	h := &hot{words: w}
	h.price.Store(priceOne)
	return h
}

func (w words) inFlight() uint64 { return uint64(w.load.Load() & inFlightMask) }

// mark sets and clears notes. Whoever decides by several of them holds
// Upstream.mu. While two do so at once the load may not say for a moment that
// there is a note, as if the picks of that moment had come a little earlier.
func (h *hot) mark(set, clear uint64) {
	if clear != 0 {
		h.note.And(^clear)
	}
	if set != 0 {
		h.note.Or(set)
	}
	// Whoever writes either word looks at both again, so that the last one to
	// write leaves them in agreement.
	for {
		said, is := h.load.Load()&noted != 0, h.note.Load() != 0
		switch {
		case said == is:
			return
		case is:
			h.load.Or(noted)
		default:
			h.load.And(^uint32(noted))
		}
	}
}
