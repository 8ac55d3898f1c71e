package standby

import (
	"fmt"
	"time"
)

// receive takes a frame of the peer. An error ends the connection; what came
// before it stays.
func (l *link) receive(now time.Time, t frameType, body []byte) error {
	l.mu.Lock()
	l.heard = now
	l.count.FramesIn++
	l.count.BytesIn += uint64(len(body)) + frameHead
	l.mu.Unlock()
	r := &reader{b: body}
	var err error
	switch t {
	case frameChunk:
		err = l.learnChunk(r)
	case frameDelta:
		err = l.learnDelta(r)
	case frameStatus:
		err = l.peerStatus(body)
	case frameBye:
		err = l.peerStops(body)
	default:
		err = l.manage(now, t, r)
	}
	if err != nil {
		return fmt.Errorf("frame of type %d: %w", t, err)
	}
	return nil
}

// manage takes a frame that only concerns the link itself.
func (l *link) manage(now time.Time, t frameType, r *reader) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	switch t {
	case framePing:
		l.pong = r.u64()
	case framePong:
		if n := r.u64(); !l.pinged.IsZero() && n == uint64(l.pinged.UnixNano()) {
			l.roundTrip, l.pinged = now.Sub(l.pinged), time.Time{}
		}
	case frameHave:
		err = l.peerHas(r)
	case frameBegin:
		err = l.peerBegins(r)
	case frameAck:
		err = l.acked(r, now)
	case frameResync:
		err = l.peerAsks(r)
	case frameDigest:
		err = l.compare(r, now)
	default:
		return nil // of a later version
	}
	if err == nil && !r.done() {
		err = errFrame
	}
	return err
}

func (l *link) peerStatus(body []byte) error {
	s, err := parseStatus(body)
	if err != nil {
		return err
	}
	l.clock.Observe(s.Clock)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.theirs = s
	return nil
}

func (l *link) peerStops(body []byte) error {
	b, err := parseBye(body)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = &b
	return nil
}

// at takes a shard of k off a frame; the first one if there is no such.
func (k *kindLink) at(r *reader) int {
	shard := int(r.u16())
	if shard >= len(k.taught) {
		r.bad = true
		return 0
	}
	return shard
}

// kind takes the kind off a frame; nil where both do not have it.
func (l *link) kind(r *reader) *kindLink {
	id := KindID(r.u8())
	for _, k := range l.kinds {
		if k.ID == id {
			return k
		}
	}
	return nil
}

// peerHas sets our cursors to where the peer is. What it learned from an
// earlier process of ours says nothing about this one.
func (l *link) peerHas(r *reader) error {
	k := l.kind(r)
	generation, n := r.u64(), int(r.u16())
	if k == nil || n != len(k.taught) || k.told {
		return errFrame
	}
	k.told = true
	for i := range k.taught {
		has := r.u64()
		if _, sequence := k.Digest(i); generation == k.own && has <= sequence {
			k.taught[i].sent, k.taught[i].acked = has, has
			continue
		}
		k.rewalk(i)
	}
	return nil
}

// peerBegins notes cursors that the peer set anew: those shards come whole.
func (l *link) peerBegins(r *reader) error {
	k := l.kind(r)
	if k == nil {
		return errFrame
	}
	for range min(int(r.u16()), shardsMax) {
		s := &k.learned[k.at(r)]
		s.applied, s.whole = r.u64(), false
		if r.bad {
			return errFrame
		}
	}
	return nil
}

// peerAsks has a shard walked for the peer.
func (l *link) peerAsks(r *reader) error {
	k := l.kind(r)
	if k == nil {
		return errFrame
	}
	if shard := k.at(r); k.told && !k.taught[shard].wanted {
		k.rewalk(shard)
	}
	return nil
}

// acked notes what the peer has applied, and how fast it does that.
func (l *link) acked(r *reader, now time.Time) error {
	frames := r.u32()
	if frames-l.ackedFrames > l.sentFrames-l.ackedFrames {
		return errFrame // more than was sent
	}
	if frames != l.ackedFrames {
		l.pace(now.Sub(l.sentAt[(frames-1)%framesMax]))
		l.ackedFrames = frames
	}
	for len(r.b) > 0 {
		k := l.kind(r)
		if k == nil {
			return errFrame
		}
		for range min(int(r.u16()), shardsMax) {
			s := &k.taught[k.at(r)]
			s.acked = max(s.acked, min(r.u64(), s.sent))
		}
	}
	return nil
}

// pace makes walks send more at a time to a peer that keeps up, and less to
// one that does not, so that changes do not wait behind a walk.
func (l *link) pace(took time.Duration) {
	switch {
	case took < fastAck && l.chunk < batchBytes:
		l.chunk = min(batchBytes, 2*l.chunk)
	case took < fastAck:
		l.window = min(windowMax, l.window+1)
	case took > slowAck && l.window > 1:
		l.window /= 2
	case took > slowAck:
		l.chunk = max(chunkMin, l.chunk/2)
	}
}

// learnChunk applies a piece of a walk.
func (l *link) learnChunk(r *reader) error {
	k := l.kind(r)
	if k == nil {
		return errFrame
	}
	shard, flags, n := k.at(r), r.u8(), int(r.u16())
	if r.bad || n > batchRecords {
		return errFrame
	}
	changed, err := k.Apply(shard, n, r.b) // without the lock: nobody waits for a store
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learnedLocked(k, n, changed)
	if flags&lastChunk != 0 {
		k.learned[shard].whole, k.learned[shard].once = true, true
		k.ackLocked(shard)
	}
	return nil
}

func (l *link) learnedLocked(k *kindLink, records, changed int) {
	l.learnedFrames++
	l.ackDue = true
	l.count.RecordsIn += uint64(records)
	l.count.Changed += uint64(changed)
	if int(k.ID) < kindsCounted {
		l.count.News[k.ID] += uint64(changed)
	}
}

func (k *kindLink) ackLocked(shard int) {
	if s := &k.learned[shard]; !s.dirty {
		s.dirty = true
		k.acks = append(k.acks, uint16(shard))
	}
}

// learnDelta applies changes of one or several shards.
func (l *link) learnDelta(r *reader) error {
	k := l.kind(r)
	if k == nil {
		return errFrame
	}
	records, changed := 0, 0
	for len(r.b) > 0 {
		shard := k.at(r)
		from, upTo := r.u64(), r.u64()
		n, size := int(r.u16()), r.u32()
		if r.bad || uint64(size) > uint64(len(r.b)) || records+n > batchRecords || upTo < from {
			return errFrame
		}
		c, err := k.Apply(shard, n, r.take(int(size)))
		if err != nil {
			return err
		}
		records, changed = records+n, changed+c
		l.advance(k, shard, from, upTo)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learnedLocked(k, records, changed)
	return nil
}

// advance moves the mark of a shard on. Where something is missing before it,
// the shard is asked for whole.
func (l *link) advance(k *kindLink, shard int, from, upTo uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &k.learned[shard]
	if s.applied != from {
		l.count.Gaps++
		s.whole = false
		k.resync(shard)
	}
	s.applied = upTo
	k.ackLocked(shard)
}

// resync asks for a shard once.
func (k *kindLink) resync(shard int) {
	for _, asked := range k.resyncs {
		if int(asked) == shard {
			return
		}
	}
	k.resyncs = append(k.resyncs, uint16(shard))
}

// compare holds the peer's digests against ours. A shard counts as different
// only if it is so by the same amount twice, each time with all changes of both
// applied on both sides: what is merely under way to one of us differs each time.
func (l *link) compare(r *reader, now time.Time) error {
	k := l.kind(r)
	if k == nil || int(r.u16()) != len(k.learned) {
		return errFrame
	}
	k.differ = 0
	for i := range k.learned {
		theirs, sequence, applied := r.u64(), r.u64(), r.u64()
		s := &k.learned[i]
		ours, own := k.Digest(i)
		if applied != own || !s.whole || s.applied != sequence || k.taught[i].wanted {
			continue // something is under way
		}
		before := s.diff
		s.diff = ours ^ theirs
		if s.diff == 0 {
			continue
		}
		k.differ++
		if s.diff != before || now.Before(s.repair) {
			continue
		}
		if now.Sub(s.repair) > 2*repairMost {
			s.rest = 0 // the one before was long ago
		}
		s.rest = min(repairMost, max(repairRest, 2*s.rest))
		s.repair = now.Add(s.rest)
		s.diff = 0 // the look after a repair is a first one
		l.count.Repairs++
		k.resync(i)
	}
	return nil
}
