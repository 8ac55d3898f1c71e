package tenant

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// CacheConfig bounds what is asked of a source and what is remembered of it.
type CacheConfig struct {
	TTL         time.Duration // how long an answer is good; then it is refreshed while it goes on being used
	NegativeTTL time.Duration // how long it is believed that there is no such tenant
	Timeout     time.Duration // the longest that a request waits
	Entries     int           // tenants remembered
	Concurrency int           // questions at a time on behalf of requests
	Rate        int           // questions per second on behalf of requests; those of refreshes come on top
}

const (
	// cacheShards bounds how many writers are held up by one of them; readers
	// take no lock. Fewer ones have larger tables, which fit into huge pages.
	cacheShards = 16
	// negativeMax bounds the names that are remembered as not there: they cost
	// an attacker nothing, so they have a store of their own. negativeMin is its
	// size where few questions are allowed.
	negativeMax = 1 << 16
	negativeMin = 1 << 12
	// flightsMax bounds the names that are being asked for.
	flightsMax = 1024
	// refreshers and refreshQueue bound the background; refreshTimeout one
	// question of theirs.
	refreshers     = 4
	refreshQueue   = 4096
	refreshTimeout = 2 * time.Second
	// retryAfter is how long the last good answer is used until the next try,
	// failedFor how long a name that could not be asked for is left alone.
	retryAfter = 5 * time.Second
	failedFor  = time.Second
	// After downAfter failures in a row the source counts as down: it gets one
	// question per downFor until one succeeds.
	downAfter = 5
	downFor   = time.Second
	// canaries is how many other tenants are looked for before one that is
	// missing is forgotten; doubtFor how long the doubt lasts if they are
	// missing too.
	canaries    = 8
	canariesNow = 3 // while a request waits
	doubtFor    = 10 * time.Second
)

// Cache is a Directory over a Source that has to be asked. What it knows, it
// answers at once; for what it does not know, one question per name goes out,
// bounded in number, rate and time. What is known stays in use until the
// source gave a better answer: one that is down, slow, talks nonsense or was
// emptied takes nothing away. Safe for concurrent use.
type Cache struct {
	cfg     CacheConfig
	source  Source
	numbers *Plans
	seed    maphash.Seed
	shards  [cacheShards]cacheShard
	refresh chan string   // stale names in use
	slots   chan struct{} // questions under way for requests
	flights atomic.Int32
	rate    atomic.Int64 // when the newest question would be due at the full rate, unix nanoseconds
	ends    context.Context
	end     context.CancelFunc

	failures  atomic.Int32            // in a row
	downUntil atomic.Int64            // unix nanoseconds; 0: not down
	doubtTill atomic.Int64            // no tenant is forgotten before, and no name said not to exist
	foundAt   atomic.Int64            // when the newest question that found a tenant was put
	expired   atomic.Int64            // when all answers were made stale
	answers   atomic.Pointer[Answers] // who is told of answers; nil: nobody
	stats     cacheStats
}

type cacheShard struct {
	known   store // read without mu
	_       [64]byte
	mu      sync.Mutex // guards all, but for reads of known
	unknown store
	flights map[string]*flight
	_       [64]byte // requests for tenants of the next shard shall not feel it
}

// flight is one question that requests wait for. Its answer is valid once done
// is closed.
type flight struct {
	done    chan struct{}
	facts   Facts
	outcome Outcome
}

// NewCache returns a Cache; Run is its background. numbers tells plans apart.
func NewCache(cfg CacheConfig, s Source, numbers *Plans) *Cache {
	c := &Cache{cfg: cfg, source: s, numbers: numbers, seed: maphash.MakeSeed(),
		refresh: make(chan string, refreshQueue), slots: make(chan struct{}, max(cfg.Concurrency, 1))}
	for i := range c.shards {
		c.shards[i].known.init((cfg.Entries+cacheShards-1)/cacheShards, c.seed)
		c.shards[i].unknown.init(negatives(cfg)/cacheShards, c.seed)
		c.shards[i].flights = map[string]*flight{}
	}
	c.ends, c.end = context.WithCancel(context.Background())
	return c
}

// negatives returns how many names are remembered as not there: twice what can
// be asked for while such an answer is believed. More would be there only to
// have expired.
func negatives(cfg CacheConfig) int {
	if cfg.Rate <= 0 {
		return negativeMax
	}
	asked := 2 * float64(cfg.Rate) * cfg.NegativeTTL.Seconds()
	return int(min(max(asked, negativeMin), negativeMax))
}

// shard hashes a name into k and returns where it belongs.
func (c *Cache) shard(k *key, name []byte) *cacheShard {
	k.set(c.seed, name)
	return &c.shards[k.hash%cacheShards]
}

// Lookup implements Directory. For a tenant that is known it takes no lock.
func (c *Cache) Lookup(name []byte, now int64) (Facts, Outcome) {
	var k key
	sh := c.shard(&k, name)
	if f, until, there, ok := sh.known.read(&k); ok && there && now < until {
		return f, outcomeOf(f)
	}
	return c.lookupLocking(sh, &k, now)
}

// lookupLocking is Lookup where a refresh may be due, nothing may be known, or
// a writer was at it.
func (c *Cache) lookupLocking(sh *cacheShard, k *key, now int64) (Facts, Outcome) {
	sh.mu.Lock()
	if l := sh.known.get(k); l != nil {
		l.mark(used)
		facts, stale := l.facts(), now >= l.until.Load() && l.state()&asking == 0
		if stale {
			l.mark(asking)
		}
		sh.mu.Unlock()
		if stale {
			c.wantRefresh(string(k.name), now)
		}
		return facts, outcomeOf(facts)
	}
	outcome := Asking
	if l := sh.unknown.get(k); l != nil && now < l.until.Load() {
		l.mark(used)
		outcome = Unknown
		if l.state()&failing != 0 {
			outcome = Failed
		}
	}
	sh.mu.Unlock()
	return Facts{}, outcome
}

// wantRefresh queues a name for the background; where that is behind, the
// answer goes on being used for a while.
func (c *Cache) wantRefresh(name string, now int64) {
	select {
	case c.refresh <- name:
	default:
		c.stats.refreshesDropped.Add(1)
		c.postpone(name, now)
	}
}

// postpone keeps the answer that is known for a while longer.
func (c *Cache) postpone(name string, now int64) {
	var k key
	sh := c.shard(&k, []byte(name))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.known.get(&k); l != nil {
		l.keep(now)
	}
}

// keep uses an answer for a while longer, because there is no newer one.
func (l *line) keep(now int64) {
	l.until.Store(now + spread(retryAfter))
	l.clear(asking)
	l.mark(kept)
}

// life is how long an answer for a name is fresh: the TTL less up to a tenth of
// it, always the same for one name, so that its age can be told from its end.
func (c *Cache) life(k *key) int64 {
	ttl := int64(c.cfg.TTL)
	return ttl - ttl/10*int64(k.hash>>56)/256
}

// spread varies a time by a tenth, so that what came together does not come
// back together.
func spread(d time.Duration) int64 { return int64(d) - rand.Int64N(int64(d)/10+1) }

// errDoubted: the source says that it does not have a tenant, but it does not
// have those either that are known.
var errDoubted = errors.New("tenants are missing from the directory")

// enter remembers an answer and returns what to do by it. gone: a tenant that
// was known may be forgotten.
func (c *Cache) enter(name string, e Entry, err error, gone bool) (Facts, Outcome) {
	facts, outcome, said := c.remember(name, e, err, gone)
	if a := c.answers.Load(); a != nil && said {
		a.note(name)
	}
	return facts, outcome
}

// remember is enter without telling anybody. said: the source gave an answer
// that concerns peers.
func (c *Cache) remember(name string, e Entry, err error, gone bool) (_ Facts, _ Outcome, said bool) {
	now := time.Now().UnixNano()
	var k key
	sh := c.shard(&k, []byte(name))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	known := sh.known.get(&k)
	switch {
	case err == nil:
		facts := Facts{ID: e.ID, Plan: c.numbers.Number(e.Plan), Inactive: e.Inactive}
		if sh.known.put(&k, facts, now+c.life(&k), used) {
			c.stats.evicted.Add(1)
		}
		sh.unknown.remove(&k)
		return facts, outcomeOf(facts), true
	case known != nil && !(errors.Is(err, ErrNotFound) && gone) && !errors.Is(err, ErrRemoved):
		known.keep(now)
		facts := known.facts()
		return facts, outcomeOf(facts), false
	case errors.Is(err, ErrNotFound):
		sh.known.remove(&k)
		sh.unknown.put(&k, Facts{}, now+spread(c.cfg.NegativeTTL), 0)
		return Facts{}, Unknown, known != nil
	}
	sh.unknown.put(&k, Facts{}, now+int64(failedFor), failing)
	return Facts{}, Failed, false
}

func outcomeOf(f Facts) Outcome {
	if f.Inactive {
		return Inactive
	}
	return Known
}

// Len implements Directory.
func (c *Cache) Len() int {
	n := 0
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		n += sh.known.len()
		sh.mu.Unlock()
	}
	return n
}
