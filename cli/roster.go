package cli

import (
	"github.com/rs/zerolog"

	"jetway/balancer"
)

// loggedMost is how many members that change at once get a line each.
const loggedMost = 20

// roster hands each list of members to the router and logs who came, went or
// changed since the list before. Its caller serialises the calls.
type roster struct {
	router *balancer.Router
	log    zerolog.Logger
	known  map[memberID]balancer.Member
}

type memberID struct{ domain, id string }

// publish implements discovery.Publish.
func (r *roster) publish(members []balancer.Member) {
	r.router.SetMembers(members)
	orphans := map[memberID]bool{}
	for _, m := range r.router.Table().Orphans() {
		orphans[memberID{m.Domain, m.ID}] = true
	}
	next := make(map[memberID]balancer.Member, len(members))
	var lines []func()
	say := func(m balancer.Member, what string) {
		lines = append(lines, func() {
			e := r.log.Info()
			if what == memberLost || what == memberUnused {
				e = r.log.Warn()
			}
			e.Str("domain", m.Domain).Str("member", m.ID).Str("host", m.Host).Strs("sub_domains", m.SubDomains).
				Str("source", m.Source).Msg(what)
		})
	}
	for _, m := range members {
		id := memberID{m.Domain, m.ID}
		next[id] = m
		before, known := r.known[id]
		switch {
		case !known && orphans[id] && m.Source != balancer.SourceStatic: // of those, config has told
			say(m, memberUnused)
		case !known:
			say(m, "member joined")
		}
		if what := transition(&before, &m); what != "" {
			say(m, what)
		}
	}
	for id, m := range r.known {
		if _, stays := next[id]; !stays {
			say(m, "member left")
		}
	}
	r.known = next
	if len(lines) > loggedMost {
		r.log.Info().Int("changes", len(lines)).Int("members", len(members)).Msg("many members changed")
		return
	}
	for _, line := range lines {
		line()
	}
}

const (
	memberLost   = "member lost by gossip, used only where nobody better is left"
	memberUnused = "member joined, but no service has its domain and sub-domain"
)

// transition says what became of a member; before is zero for a new one.
func transition(before, now *balancer.Member) string {
	switch {
	case now.Suspect != before.Suspect && now.Suspect:
		return memberLost
	case now.Draining != before.Draining && now.Draining:
		return "member is draining"
	case now.Suspect != before.Suspect || now.Draining != before.Draining:
		return "member is back"
	}
	return ""
}
