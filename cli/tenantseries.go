package cli

import (
	"sync"

	"jetway/admin"
)

// tenantSeries turns what tenants used since the start into counters that never
// run backwards, though the busiest of today are others than yesterday's: a
// tenant counts by itself from when it is first told of, and what it used
// before stays with all others.
type tenantSeries struct {
	mu   sync.Mutex // guards all below
	own  map[int64]tenantCount
	told bool   // something was told already
	left uint64 // told of tenants that have no series any more
}

type tenantCount struct {
	base uint64 // that others were told to have
	told uint64 // above it
}

// next returns the counters of the busiest tenants, in their order, and that of
// all others.
func (s *tenantSeries) next(top []admin.TenantUse, others uint64) (own []uint64, other uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := make(map[int64]tenantCount, len(top))
	own = make([]uint64, len(top))
	other = others
	for i, t := range top {
		c, known := s.own[t.ID]
		switch {
		case known && t.Requests < c.base+c.told: // forgotten meanwhile, and back
			s.left += c.told
			c = tenantCount{}
		case !known && s.told:
			c.base = t.Requests
		}
		c.told = t.Requests - c.base
		now[t.ID] = c
		own[i] = c.told
		other += c.base
	}
	for id, c := range s.own {
		if _, stays := now[id]; !stays {
			s.left += c.told
		}
	}
	s.own, s.told = now, true
	return own, other - s.left
}
