package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
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
	grace   atomic.Int64 // how long a failed member stays, nanoseconds
	reports reports
	round   uint64
	known   map[string]*known // by node name
}

// known is what a node that announced a member was last seen to say.
type known struct {
	said   announcement
	addr   netip.AddrPort // of its gossip
	seen   uint64         // the round it was first seen in, at this address
	failed time.Time      // since when gossip misses it; zero: alive
	over   bool           // failed for too long, or another took its place: no member until it is back
}

func newRoster(self string, p policy, grace time.Duration, log zerolog.Logger) *roster {
	r := &roster{self: self, policy: p, reports: reports{log: log}, known: map[string]*known{}}
	r.grace.Store(int64(grace))
	return r
}

// claim is a valid announcement that may still collide with another.
type claim struct {
	member balancer.Member
	known  *known
}

// build returns the members, sorted. Whoever is left out is reported. steady
// tells that our own view of the pool is to be trusted: while it is not, no
// time counts against those that we miss.
func (r *roster) build(nodes []serf.Member, now time.Time, steady bool) []balancer.Member {
	r.round++
	var out []Rejection
	reject := func(k *known, err error) {
		out = append(out, Rejection{Node: clip(k.said.Name), Address: k.addr.String(), Reason: err.Error(), Since: now})
	}
	r.update(nodes, now, steady, reject)
	var claims []claim
	failed := 0
	for name, k := range r.known {
		k.said.Now = now
		m, err := parseTags(k.said, r.policy)
		if err != nil {
			if !errors.Is(err, errNotMember) {
				reject(k, err)
			}
			if !k.failed.IsZero() {
				delete(r.known, name) // it will say something else before it is a member
			}
			continue
		}
		if k.over {
			continue
		}
		m.Suspect = !k.failed.IsZero()
		if m.Suspect {
			failed++
		}
		claims = append(claims, claim{m, k})
	}
	// One that fails is dead. Most of them at once: then it is us who are cut
	// off, or everything is lost anyway, and evidence from connections is all
	// there is to go by.
	if 2*failed <= len(claims) {
		claims = slices.DeleteFunc(claims, func(c claim) bool {
			c.known.over = c.member.Suspect && now.Sub(c.known.failed) >= time.Duration(r.grace.Load())
			return c.known.over
		})
	}
	members, collisions := settle(claims, now)
	r.reports.replace(append(out, collisions...))
	return members
}

// update takes over what the nodes of the pool say now.
func (r *roster) update(nodes []serf.Member, now time.Time, steady bool, reject func(*known, error)) {
	listed := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		if n.Name == r.self {
			continue
		}
		listed[n.Name] = true
		alive := n.Status == serf.StatusAlive
		if !alive && n.Status != serf.StatusFailed {
			delete(r.known, n.Name) // it said good-bye
			continue
		}
		addr := gossipAddress(n)
		k := r.known[n.Name]
		if k == nil || alive && k.addr != addr {
			if k == nil && len(r.known) >= 2*nodesMax {
				continue // far beyond what settle takes
			}
			k = &known{addr: addr, seen: r.round}
		}
		k.said = announcement{Name: n.Name, Addr: addr.Addr(), Tags: n.Tags}
		if n.Tags[tagRole] == roleBalancer && n.Tags[tagInstallation] != r.policy.installation {
			reject(k, fmt.Errorf("load balancer of installation %q in the pool of %q", clip(n.Tags[tagInstallation]), r.policy.installation))
		}
		if !announces(n.Tags) {
			delete(r.known, n.Name)
			continue
		}
		r.known[n.Name] = k
		if alive {
			k.failed, k.over = time.Time{}, false
		} else if k.failed.IsZero() || !steady {
			k.failed = now
		}
	}
	for name, k := range r.known {
		switch {
		case listed[name]:
		case k.over:
			delete(r.known, name) // gossip forgot it, too
		case k.failed.IsZero() || !steady:
			k.failed = now
		}
	}
}

// settle decides between claims. Who gossip lost gives way to whoever announces
// the same id or the same address now. Of two that are alive and claim one id
// the first seen stays, of those seen together the one with the lower address.
func settle(claims []claim, now time.Time) (members []balancer.Member, out []Rejection) {
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(compareBool(a.member.Suspect, b.member.Suspect), cmp.Compare(a.known.seen, b.known.seen),
			a.known.addr.Compare(b.known.addr), strings.Compare(a.known.said.Name, b.known.said.Name))
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
			c.known.over = true
			continue
		case first != nil:
			out = append(out, Rejection{Node: clip(c.known.said.Name), Address: c.known.addr.String(), Since: now,
				Reason: fmt.Sprintf("id %q of domain %q is already taken by node %q at %s", c.member.ID, c.member.Domain, clip(first.known.said.Name), first.known.addr)})
			continue
		case len(members) == nodesMax:
			out = append(out, Rejection{Node: clip(c.known.said.Name), Address: c.known.addr.String(), Since: now, Reason: fmt.Sprintf("more than %d members", nodesMax)})
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
