package standby

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"jetway/balancer/session"
)

// Sessions returns the kind of learned sessions, over the table of this process.
func Sessions(table *session.Store) Kind {
	s := &sessions{table: table, lists: sync.Pool{New: func() any { return new([batchRecords]session.Record) }}}
	return Kind{ID: KindSessions, Name: "sessions", Source: s, Sink: s}
}

// sessions translates between the table and the wire.
type sessions struct {
	table *session.Store
	lists sync.Pool // of *[batchRecords]session.Record
}

// sessionMax bounds an encoded session: 16 bytes of key, 8 of member, 4 of
// tenant, 8 of stamp, 4 of origin, 1 of rank and flags, two lengths of time.
const sessionMax = 16 + 8 + 4 + 8 + 4 + 1 + 2*binary.MaxVarintLen64

// room returns how many sessions surely fit into a batch.
func (b *Batch) room(size int) int {
	n := (b.bytes - (len(b.buf) - b.start)) / size
	if b.count == 0 {
		n = max(n, 1)
	}
	return max(0, min(n, batchRecords-b.count))
}

// Shards implements Source.
func (s *sessions) Shards() int { return session.Shards }

// Digest implements Sink.
func (s *sessions) Digest(shard int) (sum, sequence uint64) {
	sequence = s.table.Sequence(shard)
	return s.table.Digest(shard), sequence
}

// Changes implements Source.
func (s *sessions) Changes(shard int, after uint64, b *Batch) (upTo uint64, ok bool) {
	list := s.lists.Get().(*[batchRecords]session.Record)
	defer s.lists.Put(list)
	n, upTo, ok := s.table.Changes(shard, after, time.Now(), list[:b.room(sessionMax)])
	b.sessions(list[:n])
	return upTo, ok
}

// Walk implements Source.
func (s *sessions) Walk(shard int, from uint64, b *Batch) (next uint64, more bool) {
	list := s.lists.Get().(*[batchRecords]session.Record)
	defer s.lists.Put(list)
	next, more = from, true
	for more {
		room := b.room(sessionMax)
		if room == 0 {
			return next, true
		}
		var n int
		n, next, more = s.table.Walk(shard, next, time.Now(), list[:room])
		b.sessions(list[:n])
	}
	return next, false
}

// sessions appends records that room said would fit.
func (b *Batch) sessions(list []session.Record) {
	for i := range list {
		b.buf = appendSession(b.buf, &list[i])
	}
	b.count += len(list)
}

func appendSession(p []byte, r *session.Record) []byte {
	p = append(p, r.Key[:]...)
	p = binary.LittleEndian.AppendUint64(p, r.Member)
	p = binary.LittleEndian.AppendUint32(p, r.Tenant)
	p = binary.LittleEndian.AppendUint64(p, r.Stamp)
	p = binary.LittleEndian.AppendUint32(p, r.Origin)
	flags := r.Rank << 1
	if r.Deleted {
		flags |= flagDeleted
	}
	p = append(p, flags)
	p = binary.AppendUvarint(p, uint64(max(0, r.Left.Milliseconds())))
	return binary.AppendUvarint(p, uint64(max(0, r.Timeout/time.Second)))
}

// lifetimeMax is the longest that the configuration allows.
const lifetimeMax = 366 * 24 * time.Hour

func readSession(r *reader, s *session.Record) {
	copy(s.Key[:], r.take(len(s.Key)))
	s.Member, s.Tenant, s.Stamp, s.Origin = r.u64(), r.u32(), r.u64(), r.u32()
	flags := r.u8()
	s.Rank, s.Deleted = flags>>1, flags&flagDeleted != 0
	s.Left = time.Duration(min(r.uvarint(), uint64(lifetimeMax.Milliseconds()))) * time.Millisecond
	s.Timeout = time.Duration(min(r.uvarint(), uint64(lifetimeMax/time.Second))) * time.Second
}

// Apply implements Sink.
func (s *sessions) Apply(_ int, n int, records []byte) (changed int, err error) {
	if n > batchRecords {
		return 0, fmt.Errorf("cannot take %d sessions at once: %w", n, errRecord)
	}
	list := s.lists.Get().(*[batchRecords]session.Record)
	defer s.lists.Put(list)
	r := &reader{b: records}
	for i := range n {
		readSession(r, &list[i])
	}
	if !r.done() {
		return 0, fmt.Errorf("cannot read %d sessions: %w", n, errRecord)
	}
	return s.table.Apply(list[:n], time.Now()), nil
}
