package standby

import (
	"encoding/binary"
	"time"
)

// next returns the next frame to send, nil where there is nothing to say now.
// It is valid until the next call. Nothing is queued: what is to be said is
// read from the stores at the moment in which the connection takes it.
func (l *link) next(now time.Time) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := writer{l.out[:0]}
	if !l.control(&w, now) && !l.ask(&w, now) {
		l.data(&w, now)
	}
	l.out = w.b
	if len(w.b) == 0 {
		return nil
	}
	l.count.FramesOut++
	l.count.BytesOut += uint64(len(w.b))
	return w.b
}

// control writes what keeps the connection going.
func (l *link) control(w *writer, now time.Time) bool {
	for _, k := range l.kinds {
		if k.haveDue {
			k.haveDue = false
			k.have(w)
			return true
		}
	}
	switch {
	case l.pong != 0:
		l.echo(w, framePong, l.pong)
		l.pong = 0
	case l.ackDue:
		l.ack(w)
	case !now.Before(l.statusAt):
		l.statusAt = now.Add(heartbeat)
		s := l.status()
		s.Clock, s.LagMillis = l.clock.Now(), uint32(min(l.lagLocked(now).Milliseconds(), 1<<31))
		s.append(w)
	case !now.Before(l.pingAt) && l.pinged.IsZero():
		l.pingAt, l.pinged = now.Add(heartbeat), now
		l.echo(w, framePing, uint64(now.UnixNano()))
	}
	return len(w.b) > 0
}

func (l *link) echo(w *writer, t frameType, n uint64) {
	at := w.begin(t)
	w.u64(n)
	w.end(at)
}

// have tells the peer how far we have learned from it.
func (k *kindLink) have(w *writer) {
	at := w.begin(frameHave)
	w.u8(uint8(k.ID))
	w.u64(k.genesis)
	w.u16(uint16(len(k.learned)))
	for i := range k.learned {
		if s := &k.learned[i]; s.whole {
			w.u64(s.applied)
		} else {
			w.u64(absent)
		}
	}
	w.end(at)
}

// ack tells the peer what was applied since the last time.
func (l *link) ack(w *writer) {
	l.ackDue = false
	at := w.begin(frameAck)
	w.u32(l.learnedFrames)
	for _, k := range l.kinds {
		if len(k.acks) == 0 {
			continue
		}
		w.u8(uint8(k.ID))
		w.u16(uint16(len(k.acks)))
		for _, shard := range k.acks {
			s := &k.learned[shard]
			s.dirty = false
			w.u16(shard)
			w.u64(s.applied)
		}
		k.acks = k.acks[:0]
	}
	w.end(at)
}

// ask writes what concerns shards as a whole: cursors, repairs and digests.
func (l *link) ask(w *writer, now time.Time) bool {
	for _, k := range l.kinds {
		switch {
		case len(k.begins) > 0:
			at := w.begin(frameBegin)
			w.u8(uint8(k.ID))
			w.u16(uint16(len(k.begins)))
			for _, shard := range k.begins {
				w.u16(shard)
				w.u64(k.taught[shard].sent)
			}
			w.end(at)
			k.begins = k.begins[:0]
		case len(k.resyncs) > 0:
			at := w.begin(frameResync)
			w.u8(uint8(k.ID))
			w.u16(k.resyncs[0])
			w.end(at)
			k.resyncs = k.resyncs[1:]
		default:
			continue
		}
		return true
	}
	if l.sum >= len(l.kinds) {
		if now.Before(l.digestAt) {
			return false
		}
		l.sum, l.digestAt = 0, now.Add(digestEvery)
	}
	if len(l.kinds) == 0 {
		return false
	}
	l.kinds[l.sum].digests(w)
	l.sum++
	return true
}

// digests tells what our shards add up to.
func (k *kindLink) digests(w *writer) {
	at := w.begin(frameDigest)
	w.u8(uint8(k.ID))
	w.u16(uint16(len(k.learned)))
	for i := range k.learned {
		sum, sequence := k.Digest(i)
		applied := absent
		if k.learned[i].whole {
			applied = k.learned[i].applied
		}
		w.u64(sum)
		w.u64(sequence)
		w.u64(applied)
	}
	w.end(at)
}

// data writes changes, or a piece of a walk, as far as the peer keeps up.
func (l *link) data(w *writer, now time.Time) {
	under := int(l.sentFrames - l.ackedFrames)
	if under >= framesMax {
		return
	}
	l.fill(now)
	mayWalk := under < l.window && l.tokens > 0
	if l.walks && mayWalk && l.piece(w) {
		l.walks = false
	} else if l.changes(w, now) {
		l.walks = true
	} else if !mayWalk || !l.piece(w) {
		return
	}
	l.sentAt[l.sentFrames%framesMax] = now
	l.sentFrames++
}

// fill adds to what walks may send by the time that passed.
func (l *link) fill(now time.Time) {
	if d := now.Sub(l.filled); d > 0 {
		l.filled = now
		l.tokens = min(burstMax, l.tokens+int64(float64(l.rate)*d.Seconds()))
	}
}

const sectionHead = 2 + 8 + 8 + 2 + 4 // shard, from, to, records, bytes

// changes fills a frame with what changed, of one kind and as many shards as
// have something. A pass over all shards begins every batchWait.
func (l *link) changes(w *writer, now time.Time) bool {
	if l.pass >= len(l.kinds) {
		if now.Before(l.passAt) {
			return false
		}
		l.pass, l.passAt = 0, now.Add(batchWait)
	}
	for ; l.pass < len(l.kinds); l.pass++ {
		k := l.kinds[l.pass]
		if !k.told {
			continue
		}
		at := w.begin(frameDelta)
		w.u8(uint8(k.ID))
		var b Batch
		b.reset(w.b, batchBytes)
		head := len(b.buf)
		full := false
		for ; k.next < len(k.taught) && !full; k.next++ {
			full = l.section(k, k.next, &b)
			if full {
				break // it has more: the next frame begins here
			}
		}
		if !full {
			k.next = 0
		}
		w.b = b.buf
		if len(w.b) > head {
			w.end(at)
			l.count.RecordsOut += uint64(b.count)
			if !full {
				l.pass++
			}
			return true
		}
		w.b = w.b[:at]
	}
	return false
}

// section adds what changed in one shard. It reports whether the frame is full.
func (l *link) section(k *kindLink, shard int, b *Batch) (full bool) {
	s := &k.taught[shard]
	at, before := len(b.buf), b.count
	b.buf = append(b.buf, make([]byte, sectionHead)...)
	upTo, ok := k.Changes(shard, s.sent, b)
	if !ok {
		b.buf, b.count = b.buf[:at], before
		l.count.Behind++
		k.rewalk(shard)
		return false
	}
	n := b.count - before
	if n == 0 && upTo <= s.sent {
		b.buf = b.buf[:at]
		return b.count >= batchRecords
	}
	head := b.buf[at:]
	binary.LittleEndian.PutUint16(head, uint16(shard))
	binary.LittleEndian.PutUint64(head[2:], s.sent)
	binary.LittleEndian.PutUint64(head[10:], upTo)
	binary.LittleEndian.PutUint16(head[18:], uint16(n))
	binary.LittleEndian.PutUint32(head[20:], uint32(len(head)-sectionHead))
	s.sent = upTo
	return b.count >= batchRecords || len(b.buf)-b.start >= batchBytes
}

// rewalk sets the cursor of a shard to now and has all of it walked.
func (k *kindLink) rewalk(shard int) {
	s := &k.taught[shard]
	_, s.sent = k.Digest(shard)
	s.acked = min(s.acked, s.sent)
	s.at, s.begun = 0, false
	if !s.wanted {
		s.wanted = true
		k.walking++
	}
	k.begins = append(k.begins, uint16(shard))
}

const lastChunk = 1

// piece writes the next piece of a walk.
func (l *link) piece(w *writer) bool {
	for range l.kinds {
		l.turn %= len(l.kinds)
		k := l.kinds[l.turn]
		if k.walking == 0 || len(k.begins) > 0 {
			l.turn++
			continue
		}
		for !k.taught[k.walk%len(k.taught)].wanted {
			k.walk++
		}
		k.walk %= len(k.taught)
		s := &k.taught[k.walk]
		if !s.begun {
			s.begun = true
			l.count.Walks++
		}
		at := w.begin(frameChunk)
		w.u8(uint8(k.ID))
		w.u16(uint16(k.walk))
		flags := len(w.b)
		w.u8(0)
		w.u16(0)
		var b Batch
		b.reset(w.b, l.chunk)
		next, more := k.Walk(k.walk, s.at, &b)
		w.b, s.at = b.buf, next
		if !more {
			w.b[flags] = lastChunk
			s.wanted, s.at, s.begun = false, 0, false
			k.walking--
		}
		binary.LittleEndian.PutUint16(w.b[flags+1:], uint16(b.count))
		w.end(at)
		l.tokens -= int64(len(w.b) - at)
		l.count.RecordsOut += uint64(b.count)
		return true
	}
	return false
}
