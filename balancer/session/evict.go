package session

import (
	"context"
	"time"
)

const (
	// evictWindow is among how many entries the one to displace is chosen, and
	// evictReach how far it is looked for one that may be displaced at all.
	evictWindow = 32
	evictReach  = 2048
	// sweepStep is how many slots are looked at under one lock, and sweepFrees
	// how many of them a sweep frees: some tens of microseconds.
	sweepStep  = 512
	sweepFrees = 64
	// sweepWithin is how long a sweep of everything takes; a session that
	// expired is not found any more, whenever its slot is freed.
	sweepWithin = 20 * time.Second
	sweepEvery  = 100 * time.Millisecond
)

// evictLocked makes room in a full store for a session of a tenant: of what
// expired or was deleted, else of the tenant furthest above its share of the
// cap among those looked at, the session idle for longest. A tenant within its
// share is displaced only for one that has less.
func (s *Store) evictLocked(sh *shard, tenant uint32, now time.Time) bool {
	ownRow, own := s.tenants.find(tenant)
	share := int(s.cap.Load()) / max(s.tenants.len(), 1)
	tick := s.tick(now)
	best, bestCount := uint32(none), 0
	for seen, looked := 0, 0; looked < evictReach && uint32(looked) < sh.top; looked++ {
		slot := sh.hand
		if sh.hand++; sh.hand >= sh.top {
			sh.hand = 0
		}
		e := sh.at(slot)
		if e.facts&used == 0 {
			continue
		}
		if e.deleted() || sh.expired(slot, e, tick) {
			best = slot
			break
		}
		// A tenant may always displace its own.
		count := s.tenants.count(e.tenant)
		if (count > share && count > own || e.tenant == ownRow) &&
			(best == none || count > bestCount || count == bestCount && e.expiry < sh.at(best).expiry) {
			best, bestCount = slot, count
		}
		if seen++; seen >= evictWindow && best != none && (bestCount > share || own > share) {
			break
		}
	}
	if best == none {
		return false
	}
	if e := sh.at(best); int64(e.expiry) > tick && !e.deleted() {
		s.stats.evicted.Add(1)
	}
	s.freeLocked(sh, best)
	return true
}

// Sweep frees what expired among the next slots of a shard, from slot on. It
// returns where to go on, 0 at the end. The shard is held for sweepStep slots
// at most, and fewer where many expired.
func (s *Store) Sweep(shard int, slot uint32, now time.Time) (next uint32) {
	sh := &s.shards[shard]
	tick := s.tick(now)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	end := min(slot+sweepStep, sh.top)
	for freed := 0; slot < end && freed < sweepFrees; slot++ {
		e := sh.at(slot)
		if e.facts&used != 0 && sh.expired(slot, e, tick) {
			if !e.deleted() {
				s.stats.expired.Add(1)
			}
			s.freeLocked(sh, slot)
			freed++
		}
	}
	if slot >= sh.top {
		return 0
	}
	return slot
}

// Run sweeps until ctx ends, all of it every sweepWithin, in small steps.
func (s *Store) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	shard, slot := 0, uint32(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			for n := s.slots() / int(sweepWithin/sweepEvery); n >= 0; {
				next := s.Sweep(shard, slot, now)
				if next > slot {
					n -= int(next - slot)
				} else { // the end of a shard
					n -= sweepStep
					shard = (shard + 1) % Shards
				}
				slot = next
			}
		}
	}
}

// slots returns how many slots a whole sweep looks at, at least one step a shard.
func (s *Store) slots() int {
	n := Shards * sweepStep
	for i := range s.shards {
		s.shards[i].mu.Lock()
		n += int(s.shards[i].top)
		s.shards[i].mu.Unlock()
	}
	return n
}
