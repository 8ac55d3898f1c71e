package standby

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Cells is a small replicated map for everything but sessions: of two values
// of a key the one with the greater stamp wins, then the one of the greater
// origin. It has one shard and a limit on what it holds. Safe for concurrent
// use.
type Cells struct {
	cfg   CellsConfig
	clock *Clock

	mu       sync.Mutex // guards all below
	slots    []cell     // a free one has no key
	free     []int
	byKey    map[string]int
	sum      uint64 // digest
	sequence uint64
	ring     []int  // slots of local changes: number n stands at n-1 modulo cfg.ring
	refused  uint64 // over the limit, or by somebody who may not write it
	scratch  []byte
}

// CellsConfig says what Cells hold.
type CellsConfig struct {
	Node string // whose changes are local
	// Owned lets each peer write only keys that begin with its node id and "/",
	// so that no two ever write the same one.
	Owned bool
	Max   int           // keys, marks of deleted ones included. Default 10,000
	Keep  time.Duration // how long the mark of a deleted key is kept, and the longest lifetime. Default 1h
	// Changed is called after a change by a peer, without any lock; may be nil.
	Changed func(key string, value []byte, deleted bool)

	ring int // changes remembered, cellsRing unless a test says less
}

// cell is one value.
type cell struct {
	key     string
	value   []byte
	stamp   Stamp
	origin  string
	deleted bool
	expires time.Time // zero: never
	local   uint64    // sequence of the newest local change, 0: of a peer
}

const (
	cellsRing = 4096 // changes remembered
	keyMax    = 512  // bytes
	valueMax  = 48 << 10
)

// NewCells returns an empty map.
func NewCells(cfg CellsConfig, clock *Clock) *Cells {
	if cfg.Max <= 0 {
		cfg.Max = 10_000
	}
	if cfg.Keep <= 0 {
		cfg.Keep = time.Hour
	}
	if cfg.ring <= 0 {
		cfg.ring = cellsRing
	}
	return &Cells{cfg: cfg, clock: clock, byKey: map[string]int{}}
}

// Put sets a key for a time; 0 is for as long as the map keeps anything. Where
// nothing would change and half of the lifetime is left nothing is sent. False:
// it does not fit.
func (c *Cells) Put(key string, value []byte, lifetime time.Duration) bool {
	if len(key) > keyMax || len(value) > valueMax || key == "" {
		return false
	}
	now := c.clock.steady()
	if lifetime <= 0 || lifetime > c.cfg.Keep {
		lifetime = c.cfg.Keep
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.byKey[key]; ok {
		old := &c.slots[i]
		if !old.deleted && string(old.value) == string(value) && old.expires.Sub(now) > lifetime/2 {
			return true
		}
	}
	return c.changeLocked(cell{key: key, value: append([]byte(nil), value...), expires: now.Add(lifetime)})
}

// Delete removes a key everywhere.
func (c *Cells) Delete(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.byKey[key]; !ok || c.slots[i].deleted {
		return
	}
	c.changeLocked(cell{key: key, deleted: true, expires: c.clock.steady().Add(c.cfg.Keep)})
}

// changeLocked stores a local change.
func (c *Cells) changeLocked(n cell) bool {
	var before Stamp
	i, known := c.byKey[n.key]
	if known {
		before = c.slots[i].stamp
	}
	n.stamp, n.origin = c.clock.After(before), c.cfg.Node
	c.sequence++
	n.local = c.sequence
	i, ok := c.storeLocked(n)
	if !ok {
		c.sequence--
		return false
	}
	if len(c.ring) < c.cfg.ring {
		c.ring = append(c.ring, i)
	}
	c.ring[(c.sequence-1)%uint64(c.cfg.ring)] = i
	return true
}

// storeLocked puts a cell into its slot, or into a new one.
func (c *Cells) storeLocked(n cell) (int, bool) {
	i, known := c.byKey[n.key]
	switch {
	case known:
		c.sum ^= c.slots[i].digest()
	case len(c.byKey) >= c.cfg.Max:
		c.refused++
		return 0, false
	case len(c.free) > 0:
		i = c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		c.byKey[n.key] = i
	default:
		i = len(c.slots)
		c.slots = append(c.slots, cell{})
		c.byKey[n.key] = i
	}
	c.slots[i] = n
	c.sum ^= n.digest()
	return i, true
}

// digest does not depend on lifetimes, which differ by what is under way.
func (n *cell) digest() uint64 {
	h := mix(uint64(n.stamp)) ^ hashText(n.key) ^ mix(hashText(n.origin)+1)
	if n.deleted {
		h++
	}
	return mix(h ^ mix(hashText(n.value)+2))
}

// Get returns a value that is there; the caller must not change it.
func (c *Cells) Get(key string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.byKey[key]
	if !ok || c.slots[i].deleted || c.slots[i].expired(c.clock.steady()) {
		return nil, false
	}
	return c.slots[i].value, true
}

// Each calls f for every value, in no order, until f returns false. f must not
// use the map.
func (c *Cells) Each(f func(key string, value []byte, stamp Stamp, origin string) bool) {
	now := c.clock.steady()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.slots {
		s := &c.slots[i]
		if s.key != "" && !s.deleted && !s.expired(now) && !f(s.key, s.value, s.stamp, s.origin) {
			return
		}
	}
}

// Left returns how long a value that is there still lives; 0: there is none.
func (c *Cells) Left(key string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.byKey[key]
	if !ok || c.slots[i].deleted {
		return 0
	}
	return max(0, c.slots[i].expires.Sub(c.clock.steady()))
}

// Len returns the number of keys, marks of deleted ones included.
func (c *Cells) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey)
}

// Refused returns how many changes did not fit or came from somebody who may
// not make them.
func (c *Cells) Refused() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

func (n *cell) expired(now time.Time) bool { return !n.expires.IsZero() && !now.Before(n.expires) }

// Expire forgets what ran out of time.
func (c *Cells) Expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.slots {
		if s := &c.slots[i]; s.key != "" && s.expired(now) {
			c.sum ^= s.digest()
			delete(c.byKey, s.key)
			*s = cell{}
			c.free = append(c.free, i)
		}
	}
}

// Shards implements Source.
func (c *Cells) Shards() int { return 1 }

// Digest implements Sink.
func (c *Cells) Digest(int) (sum, sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum, c.sequence
}

// Changes implements Source.
func (c *Cells) Changes(_ int, after uint64, b *Batch) (upTo uint64, ok bool) {
	now := c.clock.steady()
	c.mu.Lock()
	defer c.mu.Unlock()
	if after > c.sequence || c.sequence-after > uint64(c.cfg.ring) {
		return after, false
	}
	for n := after + 1; n <= c.sequence; n++ {
		s := &c.slots[c.ring[(n-1)%uint64(c.cfg.ring)]]
		if s.local != n || s.key == "" {
			continue // changed again later, or gone
		}
		if !b.Append(c.encodeLocked(s, now)) {
			return n - 1, true
		}
	}
	return c.sequence, true
}

// Walk implements Source.
func (c *Cells) Walk(_ int, from uint64, b *Batch) (next uint64, more bool) {
	now := c.clock.steady()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := from; i < uint64(len(c.slots)); i++ {
		s := &c.slots[i]
		if s.key == "" || s.expired(now) {
			continue
		}
		if !b.Append(c.encodeLocked(s, now)) {
			return i, true
		}
	}
	return uint64(len(c.slots)), false
}

const flagDeleted = 1

// encodeLocked writes a record into the scratch buffer.
func (c *Cells) encodeLocked(s *cell, now time.Time) []byte {
	w := writer{c.scratch[:0]}
	flags := uint8(0)
	if s.deleted {
		flags = flagDeleted
	}
	w.u8(flags)
	w.u64(uint64(s.stamp))
	w.text(s.origin)
	w.b = binary.AppendUvarint(w.b, uint64(max(1, s.expires.Sub(now).Milliseconds())))
	w.u16(uint16(len(s.key)))
	w.b = append(w.b, s.key...)
	w.u16(uint16(len(s.value)))
	w.bytes(s.value)
	c.scratch = w.b
	return w.b
}

// errRecord is what a peer sends that cannot be a record.
var errRecord = errors.New("malformed record")

func decodeCell(r *reader, now time.Time, keep time.Duration) (cell, error) {
	flags := r.u8()
	n := cell{deleted: flags&flagDeleted != 0, stamp: Stamp(r.u64()), origin: r.text()}
	left := r.uvarint()
	n.expires = now.Add(min(keep, time.Duration(min(left, uint64(keep.Milliseconds())+1))*time.Millisecond))
	n.key = string(r.take(int(r.u16())))
	n.value = append([]byte(nil), r.take(int(r.u16()))...)
	if r.bad || n.key == "" || len(n.key) > keyMax || len(n.value) > valueMax || flags > flagDeleted {
		return n, errRecord
	}
	return n, nil
}

// Apply implements Sink.
func (c *Cells) Apply(_ int, n int, records []byte) (changed int, err error) {
	r := &reader{b: records}
	now := c.clock.steady()
	var news []cell
	for range n {
		in, err := decodeCell(r, now, c.cfg.Keep)
		if err != nil {
			return changed, fmt.Errorf("cannot read a record: %w", err)
		}
		if c.apply(in) {
			changed++
			news = append(news, in)
		}
	}
	if c.cfg.Changed != nil {
		for i := range news {
			c.cfg.Changed(news[i].key, news[i].value, news[i].deleted)
		}
	}
	if !r.done() {
		return changed, fmt.Errorf("cannot read %d records: %w", n, errRecord)
	}
	return changed, nil
}

// apply stores a peer's record if it is newer than ours.
func (c *Cells) apply(in cell) bool {
	c.clock.Observe(in.stamp)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Owned && !owns(in.origin, in.key) {
		c.refused++
		return false
	}
	if i, ok := c.byKey[in.key]; ok {
		if !in.newer(&c.slots[i]) {
			return false
		}
	}
	_, ok := c.storeLocked(in)
	return ok
}

// newer reports whether n replaces old. A node that restarted may by chance
// stamp two values alike; then the values decide, the same way everywhere.
func (n *cell) newer(old *cell) bool {
	switch {
	case n.stamp != old.stamp:
		return n.stamp > old.stamp
	case n.origin != old.origin:
		return n.origin > old.origin
	case n.deleted != old.deleted:
		return n.deleted
	}
	return bytes.Compare(n.value, old.value) > 0
}

func owns(origin, key string) bool {
	return len(key) > len(origin) && key[:len(origin)] == origin && key[len(origin)] == '/'
}
