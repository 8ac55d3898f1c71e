package standby

import (
	"sync"
	"time"
)

const (
	heartbeat   = 500 * time.Millisecond // status and ping
	batchWait   = 10 * time.Millisecond  // changes are collected for so long
	digestEvery = time.Second

	framesMax  = 64      // data frames under way
	windowMax  = 16      // of them from walks
	chunkMin   = 4 << 10 // bytes of a walk's frame on a slow connection
	burstMax   = 2 << 20 // bytes of walks at once, whatever the rate
	fastAck    = 50 * time.Millisecond
	slowAck    = 150 * time.Millisecond
	repairRest = 2 * time.Second // between repairs of one shard, doubled each time
	repairMost = time.Minute
)

// link is the protocol on one connection, once both have said hello: what is
// sent next, and what is done with what came. It has no clock, no socket and no
// goroutine. receive and next may be called concurrently, each by one goroutine.
type link struct {
	kinds  []*kindLink
	status func() Status // ours, for the peer
	clock  *Clock
	rate   int64 // bytes of walks per second

	// mu guards all below, and the fields of kinds that say so. It is that of
	// the memory: for a moment two links of one peer may share what was learned.
	mu  *sync.Mutex
	out []byte // the frame that next returned

	statusAt, pingAt, digestAt, passAt time.Time // when they are due
	pong                               uint64    // to be answered, 0: none
	pinged                             time.Time // outstanding ping, zero: none
	roundTrip                          time.Duration

	sentFrames, ackedFrames uint32
	sentAt                  [framesMax]time.Time
	learnedFrames           uint32 // data frames of the peer that were applied
	ackDue                  bool

	window int // data frames that walks may have under way
	chunk  int // bytes of a frame of a walk
	tokens int64
	filled time.Time // when tokens were last added
	turn   int       // of kinds, for walks
	pass   int       // of kinds, for deltas; len(kinds): the pass is over
	sum    int       // of kinds, for digests; len(kinds): all were told
	walks  bool      // the last data frame was a delta: a walk is next

	theirs  Status
	heard   time.Time // the last frame
	stopped *bye      // the peer's reason to end
	count   Counts
}

// Counts are what was exchanged with a peer, over all of its connections.
type Counts struct {
	FramesIn, FramesOut, BytesIn, BytesOut uint64
	RecordsIn, RecordsOut, Changed         uint64
	Walks, Repairs, Gaps, Behind           uint64
	News                                   [kindsCounted]uint64 // Changed by KindID
}

// kindsCounted is one more than the greatest KindID.
const kindsCounted = int(KindBirths) + 1

func (c *Counts) add(o *Counts) {
	c.FramesIn, c.FramesOut = c.FramesIn+o.FramesIn, c.FramesOut+o.FramesOut
	c.BytesIn, c.BytesOut = c.BytesIn+o.BytesIn, c.BytesOut+o.BytesOut
	c.RecordsIn, c.RecordsOut, c.Changed = c.RecordsIn+o.RecordsIn, c.RecordsOut+o.RecordsOut, c.Changed+o.Changed
	for i := range c.News {
		c.News[i] += o.News[i]
	}
	c.Walks, c.Repairs, c.Gaps, c.Behind = c.Walks+o.Walks, c.Repairs+o.Repairs, c.Gaps+o.Gaps, c.Behind+o.Behind
}

// kindLink is one kind of state on a link. The fields are guarded by link.mu.
type kindLink struct {
	*Kind
	taught  []outShard
	learned []inShard // of memory: it outlives the link
	haveDue bool      // we have not said how far we are
	told    bool      // the peer has said how far it is
	genesis uint64    // generation of the peer, which haveDue tells back
	own     uint64    // our generation
	next    int       // shard of a delta pass
	walk    int       // shard to look at for walks
	walking int       // shards that want to be walked
	begins  []uint16  // shards whose cursor was set anew, to be told
	resyncs []uint16  // shards that the peer shall walk
	acks    []uint16  // shards with something to acknowledge
	differ  int       // shards whose digests differed at the last look
}

// outShard is how far the peer was taught.
type outShard struct {
	sent, acked uint64
	wanted      bool   // it is to be walked
	at          uint64 // where the walk is
	begun       bool
}

// inShard is how far we have learned from a peer.
type inShard struct {
	applied uint64 // sequence number of the peer
	whole   bool   // all before applied is known
	once    bool   // that was so at some time
	dirty   bool   // in acks
	diff    uint64 // difference of digests at the last clean look
	rest    time.Duration
	repair  time.Time // not before
}

// newLink returns the link for what two peers have in common. memory is what
// we have learned from that process of the peer.
func newLink(kinds []Kind, peer *hello, own uint64, m *memory, status func() Status, clock *Clock, rate int64, now time.Time) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &link{mu: &m.mu, status: status, clock: clock, rate: rate, window: 1, chunk: batchBytes, heard: now, filled: now, tokens: burstMax}
	for i := range kinds {
		k := &kinds[i]
		if peer.shardsOf(k.ID) != k.Shards() {
			continue // unknown there, or cut otherwise by another version
		}
		l.kinds = append(l.kinds, &kindLink{Kind: k, taught: make([]outShard, k.Shards()), learned: m.shardsLocked(k), haveDue: true,
			genesis: peer.generation, own: own})
	}
	l.pass, l.sum = len(l.kinds), len(l.kinds)
	return l
}

// lagLocked returns how late the peer learns, at least.
func (l *link) lagLocked(now time.Time) time.Duration {
	d := l.roundTrip
	if !l.pinged.IsZero() {
		d = max(d, now.Sub(l.pinged))
	}
	if l.sentFrames != l.ackedFrames {
		d = max(d, now.Sub(l.sentAt[l.ackedFrames%framesMax]))
	}
	return d
}

// learnedAll reports whether everything that the peer had was copied once.
func (l *link) learnedAll() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missingLocked() == 0
}

// missingLocked returns the number of shards that were never copied whole.
func (l *link) missingLocked() (n int) {
	for _, k := range l.kinds {
		for i := range k.learned {
			if !k.learned[i].once {
				n++
			}
		}
	}
	return n
}

// taughtAll reports whether the peer has everything that was changed so far.
func (l *link) taughtAll() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.kinds {
		if !k.told || k.walking > 0 || len(k.begins) > 0 {
			return false
		}
		for i := range k.taught {
			if _, sequence := k.Digest(i); k.taught[i].acked < sequence {
				return false
			}
		}
	}
	return l.sentFrames == l.ackedFrames
}

// linkView is a link as operators see it.
type linkView struct {
	Status    Status
	Lag       time.Duration
	Heard     time.Time
	Missing   int // shards not copied yet
	Walking   int // shards that the peer is being taught whole
	Divergent int // shards that differed at the last look
	Counts    Counts
}

func (l *link) view(now time.Time) linkView {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := linkView{Status: l.theirs, Lag: l.lagLocked(now), Heard: l.heard, Missing: l.missingLocked(), Counts: l.count}
	for _, k := range l.kinds {
		v.Walking += k.walking
		v.Divergent += k.differ
	}
	return v
}

// memory is what was learned from one process of a peer; it survives its links.
type memory struct {
	generation uint64

	mu    sync.Mutex // guards kinds, and the links that use them
	kinds map[KindID][]inShard
}

func newMemory(generation uint64) *memory {
	return &memory{generation: generation, kinds: map[KindID][]inShard{}}
}

func (m *memory) shardsLocked(k *Kind) []inShard {
	s := m.kinds[k.ID]
	if s == nil {
		s = make([]inShard, k.Shards())
		m.kinds[k.ID] = s
	}
	for i := range s { // what the link before had in hand is void
		s[i].dirty, s[i].diff = false, 0
	}
	return s
}

// announce has our status sent at once.
func (l *link) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statusAt = time.Time{}
}

// farewell returns the peer's reason to end.
func (l *link) farewell() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped == nil {
		return ""
	}
	return l.stopped.text
}
