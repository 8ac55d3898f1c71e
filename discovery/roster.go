package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"

	"jetway/balancer"
)

const nodesMax = 10_000 // members of one pool

// roster turns the nodes of a pool into the list of members. It belongs to the
// publishing goroutine; only its reports are read by others.
type roster struct {
	self    string
	policy  policy
	reports reports
	round   uint64
	seen    map[origin]uint64 // the round it was first seen in
}

// origin is a node where it gossips.
type origin struct {
	node string
	addr netip.AddrPort
}

func newRoster(self string, p policy, log zerolog.Logger) *roster {
	return &roster{self: self, policy: p, reports: reports{log: log}, seen: map[origin]uint64{}}
}

// claim is a valid announcement that may still collide with another.
type claim struct {
	member balancer.Member
	node   string
	addr   netip.AddrPort // of its gossip
	seen   uint64
}

// build returns the members, sorted. Whoever is left out is reported.
func (r *roster) build(nodes []serf.Member, now time.Time) []balancer.Member {
	r.round++
	seen := make(map[origin]uint64, len(nodes))
	var claims []claim
	var out []Rejection
	for _, n := range nodes {
		if n.Name == r.self || (n.Status != serf.StatusAlive && n.Status != serf.StatusFailed) {
			continue
		}
		addr := gossipAddress(n)
		reject := func(err error) {
			out = append(out, Rejection{Node: clip(n.Name), Address: addr.String(), Reason: err.Error(), Since: now})
		}
		if n.Tags[tagRole] == roleBalancer && n.Tags[tagInstallation] != r.policy.installation {
			reject(fmt.Errorf("load balancer of installation %q in the pool of %q", clip(n.Tags[tagInstallation]), r.policy.installation))
			continue
		}
		m, err := parseTags(announcement{Name: n.Name, Addr: addr.Addr(), Tags: n.Tags}, r.policy)
		if errors.Is(err, errNotMember) {
			continue
		}
		if err != nil {
			reject(err)
			continue
		}
		m.Suspect = n.Status == serf.StatusFailed
		key := origin{n.Name, addr}
		if seen[key] = r.seen[key]; seen[key] == 0 {
			seen[key] = r.round
		}
		claims = append(claims, claim{member: m, node: n.Name, addr: addr, seen: seen[key]})
	}
	r.seen = seen
	members, collisions := settle(claims, now)
	r.reports.replace(append(out, collisions...))
	return members
}

// settle decides between claims. Who gossip lost gives way to whoever announces
// the same id or the same address now. Of two that are alive and claim one id
// the first seen stays, of those seen together the one with the lower address.
func settle(claims []claim, now time.Time) (members []balancer.Member, out []Rejection) {
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(compareBool(a.member.Suspect, b.member.Suspect), cmp.Compare(a.seen, b.seen),
			a.addr.Compare(b.addr), strings.Compare(a.node, b.node))
	})
	ids := make(map[[2]string]*claim, len(claims))
	alive := make(map[place]bool, 2*len(claims)) // of whichever domain
	taken := func(m *balancer.Member) bool {
		return slices.ContainsFunc(ports(m), func(p uint16) bool { return alive[place{host: m.Host, port: p}] })
	}
	for i := range claims {
		c := &claims[i]
		id := [2]string{c.member.Domain, c.member.ID}
		first := ids[id]
		switch {
		case c.member.Suspect && (first != nil || taken(&c.member)):
			continue
		case first != nil:
			out = append(out, Rejection{Node: clip(c.node), Address: c.addr.String(), Since: now,
				Reason: fmt.Sprintf("id %q of domain %q is already taken by node %q at %s", c.member.ID, c.member.Domain, clip(first.node), first.addr)})
			continue
		case len(members) == nodesMax:
			out = append(out, Rejection{Node: clip(c.node), Address: c.addr.String(), Since: now, Reason: fmt.Sprintf("more than %d members", nodesMax)})
			continue
		}
		ids[id] = c
		if !c.member.Suspect {
			for _, p := range ports(&c.member) {
				alive[place{host: c.member.Host, port: p}] = true
			}
		}
		members = append(members, c.member)
	}
	slices.SortFunc(members, compareMembers)
	return members, out
}

// compareMembers orders by domain and id, which together are unique.
func compareMembers(a, b balancer.Member) int {
	return cmp.Or(strings.Compare(a.Domain, b.Domain), strings.Compare(a.ID, b.ID))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func gossipAddress(n serf.Member) netip.AddrPort {
	a, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(a.Unmap(), n.Port)
}
