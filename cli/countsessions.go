package cli

import (
	"slices"
	"time"

	"jetway/admin"
	"jetway/balancer/session"
)

// countSessions goes through all learned sessions.
func (lb *loadBalancer) countSessions(groups []admin.SessionGroup) admin.SessionCounts {
	v := admin.SessionCounts{Groups: make([]int, len(groups))}
	of := lb.groupsOfMembers(groups)
	tenants := make([]map[uint32]bool, len(groups)) // nil: all
	for i, g := range groups {
		if len(g.Tenants) == 0 {
			continue
		}
		tenants[i] = make(map[uint32]bool, len(g.Tenants))
		for _, id := range g.Tenants {
			tenants[i][session.TenantOf(id)] = true
		}
	}
	records := make([]session.Record, 512)
	for shard := range session.Shards {
		for from, more := uint64(0), true; more; {
			var n int
			n, from, more = lb.sessions.store.Walk(shard, from, time.Now(), records)
			for i := range records[:n] {
				r := &records[i]
				in, there := of[r.Member]
				if !there || r.Deleted {
					continue
				}
				v.Sessions++
				any := false
				for _, g := range in {
					if tenants[g] == nil || tenants[g][r.Tenant] {
						v.Groups[g]++
						any = true
					}
				}
				if any {
					v.Any++
				}
			}
		}
	}
	return v
}

// groupsOfMembers returns which groups each member that is there belongs to,
// by what sessions call it.
func (lb *loadBalancer) groupsOfMembers(groups []admin.SessionGroup) map[uint64][]int {
	of := map[uint64][]int{}
	for _, c := range lb.router.Table().Clusters() {
		key := c.Config.Key
		for _, u := range c.Upstreams {
			in := of[u.SessionMember()]
			for i, g := range groups {
				if g.Domain == key.Domain && (g.SubDomain == "" || g.SubDomain == key.SubDomain) &&
					(len(g.Members) == 0 || slices.Contains(g.Members, u.Member().ID)) && !slices.Contains(in, i) {
					in = append(in, i)
				}
			}
			of[u.SessionMember()] = in
		}
	}
	return of
}
