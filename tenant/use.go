package tenant

import (
	"cmp"
	"slices"
	"sync"
)

const (
	useShards = 16
	// useMost is how many tenants a shard counts by themselves; the rest is
	// counted together. Far more than are ever shown, so that those at the top
	// are rarely the ones that make room.
	useMost = 64
	// useSample is how many are looked at for the one that makes room.
	useSample = 8
)

// Use counts requests by tenant: those of the busiest by themselves and the
// others together, in constant memory. Safe for concurrent use.
type Use struct {
	shards [useShards]useShard
}

type useShard struct {
	mu     sync.Mutex // guards all below
	counts []*useCount
	at     map[ID]*useCount
	other  UseCount
	hand   int
}

// useCount holds the name in place, so that making room allocates nothing.
type useCount struct {
	id                ID
	requests, refused uint64
	n                 uint8
	name              [MaxName]byte
}

// UseCount is what one tenant used.
type UseCount struct {
	Name     string
	ID       ID
	Requests uint64
	Refused  uint64 // over a limit, dry runs included
}

func (u *Use) init() {
	for i := range u.shards {
		u.shards[i].at = map[ID]*useCount{}
	}
}

// Count notes one request of a tenant. name is copied if it is kept.
func (u *Use) Count(id ID, name []byte, refused bool) {
	sh := &u.shards[uint64(id)*0x9e3779b97f4a7c15>>60]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.at[id]
	if c == nil {
		c = sh.room()
		c.id, c.requests, c.refused = id, 0, 0
		c.n = uint8(copy(c.name[:], name))
		sh.at[id] = c
	}
	c.requests++
	if refused {
		c.refused++
	}
}

// room returns a count for a tenant that has none: that of the least busy of a
// few, whose requests go to the others.
func (sh *useShard) room() *useCount {
	if len(sh.counts) < useMost {
		c := &useCount{}
		sh.counts = append(sh.counts, c)
		return c
	}
	least := sh.counts[sh.hand]
	for i := range useSample {
		if c := sh.counts[(sh.hand+i)%useMost]; c.requests < least.requests {
			least = c
		}
	}
	sh.hand = (sh.hand + useSample) % useMost
	delete(sh.at, least.id)
	sh.other.Requests += least.requests
	sh.other.Refused += least.refused
	return least
}

// Top returns the n busiest tenants, busiest first, and all others together.
func (u *Use) Top(n int) (top []UseCount, other UseCount) {
	for i := range u.shards {
		sh := &u.shards[i]
		sh.mu.Lock()
		for _, c := range sh.counts {
			top = append(top, UseCount{string(c.name[:c.n]), c.id, c.requests, c.refused})
		}
		other.Requests += sh.other.Requests
		other.Refused += sh.other.Refused
		sh.mu.Unlock()
	}
	slices.SortFunc(top, func(a, b UseCount) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.ID, b.ID))
	})
	for _, c := range top[min(n, len(top)):] {
		other.Requests += c.Requests
		other.Refused += c.Refused
	}
	return top[:min(n, len(top))], other
}
