package standby

// KindID names a kind of state on the wire. It is never used for another
// meaning again.
type KindID uint8

// The kinds that Jetway replicates. A peer that does not know one ignores it.
const (
	KindSessions KindID = 1 // learned sessions
	KindOrders   KindID = 2 // what an operator set on members: drain, weight
	KindAdvice   KindID = 3 // what each peer saw of members: ejections
	KindLoad     KindID = 4 // requests in flight per cluster and tenant, by peer
	KindTenants  KindID = 5 // what the directory said of tenants
	KindScaling  KindID = 6 // what was ordered of the drivers of clusters
	KindBirths   KindID = 7 // slow starts of members, by peer
)

const (
	// batchRecords and batchBytes bound the records of one frame, and so the
	// work of one turn on either side.
	batchRecords = 512
	batchBytes   = 64 << 10
	shardsMax    = 1024
)

// String names a kind for operators.
func (id KindID) String() string {
	names := [...]string{KindSessions: "sessions", KindOrders: "orders", KindAdvice: "advice", KindLoad: "load",
		KindTenants: "tenants", KindScaling: "scaling", KindBirths: "births"}
	if int(id) < len(names) {
		return names[id]
	}
	return ""
}

// Source is the teaching side of one kind of state. Its methods are safe for
// concurrent use, return within about a millisecond and never wait for a peer.
type Source interface {
	// Shards returns the number of shards, the same on all peers.
	Shards() int
	// Changes appends what changed in a shard by local action after a sequence
	// number, each record once and as it is now, as far as the batch has room,
	// and returns the number it came to. False: that far back nothing is
	// remembered, and the shard has to be walked.
	Changes(shard int, after uint64, b *Batch) (upTo uint64, ok bool)
	// Walk appends all records of a shard, those of other peers and the marks of
	// deleted ones included, from a position on; 0 is the start. more is false
	// at the end.
	Walk(shard int, from uint64, b *Batch) (next uint64, more bool)
}

// Sink is the learning side of one kind of state.
type Sink interface {
	// Apply takes n records as a Source of another peer wrote them; the newest
	// of each key wins. It returns how many changed something.
	Apply(shard int, n int, records []byte) (changed int, err error)
	// Digest returns a sum over the records of a shard that does not depend on
	// their order, and the sequence number of the newest local change.
	Digest(shard int) (sum, sequence uint64)
}

// Kind is one kind of state.
type Kind struct {
	ID   KindID
	Name string // for operators
	Source
	Sink
}

// Batch collects encoded records for one frame.
type Batch struct {
	buf   []byte
	start int // of the records in buf
	count int
	bytes int // most of all records together
}

// reset begins a batch behind what buf holds already.
func (b *Batch) reset(buf []byte, bytes int) {
	b.buf, b.start, b.count, b.bytes = buf, len(buf), 0, bytes
}

// Append adds a record. False: there is no room for it; a record is always
// taken by an empty batch, whatever was said of its size.
func (b *Batch) Append(record []byte) bool {
	if b.count >= batchRecords || b.count > 0 && len(b.buf)-b.start+len(record) > b.bytes {
		return false
	}
	b.buf = append(b.buf, record...)
	b.count++
	return true
}

// Count returns the number of records in it.
func (b *Batch) Count() int { return b.count }

// NewBatch returns a batch for tools and tests; links make their own.
func NewBatch() *Batch { return &Batch{bytes: batchBytes} }

// Records returns what was appended; valid until the next use of the batch.
func (b *Batch) Records() []byte { return b.buf[b.start:] }

// mix spreads the bits of a number (the finaliser of SplitMix64), so that sums
// by exclusive or do not cancel out.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// hashText is FNV-1a of 64 bits, mixed.
func hashText[T string | []byte](s T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}
