package discovery

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"jetway/balancer"
)

// Set merges the lists of several sources into one and publishes it whole.
// Configuration wins over gossip: the operator wrote it.
type Set struct {
	publish Publish

	mu        sync.Mutex // guards what follows and keeps calls of publish in order
	sources   []string   // in the order of their first list
	lists     map[string][]balancer.Member
	last      []balancer.Member
	published bool
	rejected  []Rejection
}

// NewSet returns an empty set. publish is called by whichever source brought
// the change, one call at a time, and must not call the set back.
func NewSet(publish Publish) *Set {
	return &Set{publish: publish, lists: map[string][]balancer.Member{}}
}

// Source returns where a source publishes its list. Each call of that replaces
// the list of the same name before it; nil takes all of its members away.
func (s *Set) Source(name string) Publish {
	return func(members []balancer.Member) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Contains(s.sources, name) {
			s.sources = append(s.sources, name)
		}
		s.lists[name] = slices.Clone(members)
		merged := s.mergeLocked(time.Now())
		if s.published && reflect.DeepEqual(merged, s.last) {
			return
		}
		s.published, s.last = true, merged
		s.publish(slices.Clone(merged))
	}
}

// Rejected lists the members that another source's member displaces.
func (s *Set) Rejected() []Rejection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rejected)
}

// merge is the work of one mergeLocked.
type merge struct {
	members []balancer.Member
	source  []string // of the member at the same place
	ids     map[[2]string]int
	places  map[place]int
}

// place is where a domain's member is dialled.
type place struct {
	domain, host string
	port         uint16
}

func (s *Set) mergeLocked(now time.Time) []balancer.Member {
	m := merge{ids: map[[2]string]int{}, places: map[place]int{}}
	known := s.rejected
	s.rejected = nil
	for _, gossip := range []bool{false, true} {
		for _, source := range s.sources {
			for _, member := range s.lists[source] {
				if (member.Source == balancer.SourceGossip) != gossip {
					continue
				}
				if r, ok := m.add(source, member); !ok {
					r.Since = now
					if i := slices.IndexFunc(known, func(k Rejection) bool { return k.Node == r.Node && k.Reason == r.Reason }); i >= 0 {
						r.Since = known[i].Since
					}
					s.rejected = append(s.rejected, r)
				}
			}
		}
	}
	slices.SortFunc(m.members, compareMembers)
	return m.members
}

// add takes a member unless it is known already; false means that it claims an
// id which somebody at another address has.
func (m *merge) add(source string, member balancer.Member) (Rejection, bool) {
	for _, p := range ports(&member) {
		i, ok := m.places[placeOf(&member, p)]
		if ok && m.source[i] != source {
			m.members[i].Draining = m.members[i].Draining || member.Draining
			return Rejection{}, true
		}
	}
	id := [2]string{member.Domain, member.ID}
	if i, ok := m.ids[id]; ok {
		return Rejection{Node: member.ID, Address: member.Host,
			Reason: fmt.Sprintf("id %q of domain %q is already taken by %s at %s", member.ID, member.Domain, m.source[i], m.members[i].Host)}, false
	}
	i := len(m.members)
	m.members = append(m.members, member)
	m.source = append(m.source, source)
	m.ids[id] = i
	for _, p := range ports(&member) {
		m.places[placeOf(&member, p)] = i
	}
	return Rejection{}, true
}

func placeOf(m *balancer.Member, port uint16) place {
	host := m.Host
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String() // one spelling
	}
	return place{m.Domain, host, port}
}
