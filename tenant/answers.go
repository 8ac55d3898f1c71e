package tenant

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

// Answer is what a directory said of a tenant, as load balancers tell it to
// each other.
type Answer struct {
	Entry
	Left    time.Duration // for which it is fresh; 0: it is the last good one, or stale
	Removed bool          // the directory has it no more; of Entry only Name holds
}

// answersRing is how many names are remembered in the order they were asked for.
const answersRing = 1 << 13

// Answers remembers which tenants a directory was asked for lately, so that
// peers can be told. It outlives the Caches of one process. Safe for
// concurrent use.
type Answers struct {
	mu       sync.Mutex // guards all below
	cache    *Cache     // in use; nil: the directory is not one that is asked
	sequence uint64
	ring     []string // name number n stands at n-1 modulo answersRing
}

// Serve makes c the Cache whose answers are told and that learns those of
// peers; nil for none. c tells its answers from then on.
func (a *Answers) Serve(c *Cache) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cache != nil {
		a.cache.answers.Store(nil)
	}
	a.cache = c
	if c != nil {
		c.answers.Store(a)
	}
}

func (a *Answers) note(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sequence++
	if len(a.ring) < answersRing {
		a.ring = append(a.ring, name)
		return
	}
	a.ring[(a.sequence-1)%answersRing] = name
}

// Sequence returns the number of the newest answer.
func (a *Answers) Sequence() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sequence
}

// Changes appends what is known now of the tenants that were asked for after a
// number, at most most of them, and returns the number it came to. False: that
// far back nothing is remembered.
func (a *Answers) Changes(after uint64, most int, list []Answer) (_ []Answer, upTo uint64, ok bool) {
	a.mu.Lock()
	if after > a.sequence || a.sequence-after > answersRing {
		a.mu.Unlock()
		return list, after, false
	}
	cache, names := a.cache, make([]string, 0, min(uint64(max(most, 0)), a.sequence-after))
	for n := after; n < a.sequence && len(names) < most; n++ {
		names = append(names, a.ring[n%answersRing])
	}
	a.mu.Unlock()
	upTo = after + uint64(len(names))
	if cache == nil {
		return list, upTo, true
	}
	now := time.Now().UnixNano()
	plans := cache.numbers.names()
	for _, name := range names {
		list = append(list, cache.answer(name, plans, now))
	}
	return list, upTo, true
}

// Walk appends up to most tenants that are known, from a position on; 0 is the
// start. more is false at the end.
func (a *Answers) Walk(from uint64, most int, list []Answer) (_ []Answer, next uint64, more bool) {
	a.mu.Lock()
	cache := a.cache
	a.mu.Unlock()
	if cache == nil {
		return list, from, false
	}
	return cache.walk(from, most, list)
}

// Apply takes answers that a peer's directory gave. They are used where our own
// was not asked, or has no fresh answer; ours replaces them as soon as it has
// one. It returns how many were news.
func (a *Answers) Apply(list []Answer) (changed int) {
	a.mu.Lock()
	cache := a.cache
	a.mu.Unlock()
	if cache == nil {
		return 0
	}
	now := time.Now().UnixNano()
	for i := range list {
		if cache.learn(&list[i], now) {
			changed++
		}
	}
	return changed
}

// answer is what is known of a name now.
func (c *Cache) answer(name string, plans map[uint8]string, now int64) Answer {
	var k key
	sh := c.shard(&k, []byte(name))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.known.get(&k); l != nil {
		return l.answer(name, plans, now)
	}
	return Answer{Entry: Entry{Name: name}, Removed: true}
}

func (l *line) answer(name string, plans map[uint8]string, now int64) Answer {
	f := l.facts()
	a := Answer{Entry: Entry{Name: name, ID: f.ID, Inactive: f.Inactive, Plan: plans[f.Plan]}}
	if l.state()&kept == 0 {
		a.Left = max(0, time.Duration(l.until.Load()-now))
	}
	return a
}

// The position of a walk is a shard in the upper bits and, below, how far in
// the order of hashes it is in that shard: tables keep their lines in about
// this order also when they grow.
const (
	walkBits = 60
	walkMask = 1<<walkBits - 1
)

func (c *Cache) walk(from uint64, most int, list []Answer) (_ []Answer, next uint64, more bool) {
	now := time.Now().UnixNano()
	plans := c.numbers.names()
	for most > 0 {
		shard := from >> walkBits
		sh := &c.shards[shard]
		before := len(list)
		sh.mu.Lock()
		var at uint64
		list, at = sh.known.table.Load().walk(from&walkMask, most, plans, now, list)
		sh.mu.Unlock()
		most -= len(list) - before
		if at <= walkMask {
			from = shard<<walkBits | at
			continue
		}
		if shard == cacheShards-1 {
			return list, from, false
		}
		from = (shard + 1) << walkBits
	}
	return list, from, true
}

// walkLines is how many lines one call looks at: they are looked at under a
// lock that requests may want.
const walkLines = 4096

// walk appends tenants from a position on, and returns the next position, which
// is beyond walkMask at the end.
func (t *table) walk(from uint64, most int, plans map[uint8]string, now int64, list []Answer) (_ []Answer, next uint64) {
	size := uint64(len(t.lines))
	hi, _ := bits.Mul64(from<<(64-walkBits), size)
	var buf [MaxName]byte
	i, end := int(hi), min(int(hi)+walkLines, len(t.lines))
	for ; i < end && most > 0; i++ {
		if name := t.nameAt(i, buf[:0]); len(name) > 0 {
			list = append(list, t.lines[i].answer(string(name), plans, now))
			most--
		}
	}
	if i == len(t.lines) {
		return list, math.MaxUint64
	}
	// The smallest position from which the next walk begins at line i.
	quo, rem := bits.Div64(uint64(i), 0, size)
	if rem > 0 {
		quo++
	}
	return list, (quo + 1<<(64-walkBits) - 1) >> (64 - walkBits)
}

// learn takes a peer's answer and reports whether it is news.
func (c *Cache) learn(a *Answer, now int64) bool {
	if !ValidName(a.Name) || !a.Removed && a.check() != nil {
		return false // it was for the peer's directory to see to that
	}
	var k key
	sh := c.shard(&k, []byte(a.Name))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := sh.known.get(&k)
	fresh := l != nil && now < l.until.Load() && l.state()&kept == 0
	if a.Removed {
		if l == nil || fresh && l.state()&told == 0 {
			return false
		}
		l.until.Store(0) // to be asked for again: a peer's word makes us forget nobody
		return true
	}
	facts := Facts{ID: a.ID, Plan: c.numbers.Number(a.Plan), Inactive: a.Inactive}
	until := now + min(int64(a.Left), c.life(&k))
	if a.Left <= 0 || !c.current(a.Left, now) {
		until = 0
	}
	switch {
	case l == nil && (sh.known.full() || sh.deniedLocked(&k, now)):
		return false
	case fresh && (l.state()&told == 0 || l.until.Load() >= until): // ours, or a newer one
		return false
	case l != nil && until == 0: // neither knows better
		return false
	}
	news := l == nil || l.facts() != facts
	sh.known.put(&k, facts, until, told)
	sh.unknown.remove(&k)
	if news {
		c.stats.told.Add(1)
	}
	return news
}

// deniedLocked reports whether our own directory said of a name, and still does,
// that there is no such tenant.
func (sh *cacheShard) deniedLocked(k *key, now int64) bool {
	l := sh.unknown.get(k)
	return l != nil && now < l.until.Load() && l.state()&failing == 0
}

// current reports whether an answer that is fresh for so much longer is surely
// from after our directory last said that something in it changed.
func (c *Cache) current(left time.Duration, now int64) bool {
	return int64(left) >= int64(c.cfg.TTL)-(now-c.expired.Load())
}
