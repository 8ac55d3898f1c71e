package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"jetway/admin"
	"jetway/balancer"
	"jetway/tenant"
)

// BrokenSessions is how many learned sessions of a running Jetway a change
// breaks. They are the most that can: where a tenant moves for some hosts only,
// nobody knows for which of them a session is used.
type BrokenSessions struct {
	Known   int              `json:"known"`
	Broken  int              `json:"broken"` // each counted once
	Changes []BrokenByChange `json:"changes"`
}

// BrokenByChange is how many of them one change breaks, by itself.
type BrokenByChange struct {
	What   string `json:"what"`
	Broken int    `json:"broken"`
}

// lostSessions are sessions that break, as the admin API counts them.
type lostSessions struct {
	group admin.SessionGroup
	what  string
}

// tenantIDs is a set of ids of tenants; 0 stands for all who have none.
type tenantIDs map[int64]bool

func merge(into, from map[string]tenantIDs) {
	for domain, ids := range from {
		if into[domain] == nil {
			into[domain] = tenantIDs{}
		}
		maps.Copy(into[domain], ids)
	}
}

// breaks notes sessions that break; a group without a domain cannot be counted.
func (d *Difference) breaks(g admin.SessionGroup, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	d.Sessions = append(d.Sessions, what)
	if g.Domain != "" {
		d.lost = append(d.lost, lostSessions{g, what})
	}
}

// noteSessions notes whose learned sessions are not found any more after the
// request that was just routed from before to after: they are kept by domain
// and tenant.
func (g *alike) noteSessions(before, after string) {
	if g.b.Cluster == nil {
		return
	}
	b, a := sessionTenant(&g.b.Tenant), sessionTenant(&g.a.Tenant)
	to := g.leaving
	switch {
	case before == after && b == a:
		return
	case before == after:
		to = g.renamed
	}
	if to[before] == nil {
		to[before] = tenantIDs{}
	}
	to[before][b] = true
}

// sessionTenant is the tenant that a session belongs to; 0: none.
func sessionTenant(f *tenant.Found) int64 {
	if f.Outcome != tenant.Known {
		return 0
	}
	return int64(f.ID)
}

// countTenants notes the sessions of tenants that go elsewhere, or are called
// otherwise, as far as before learned any.
func (d *Difference) countTenants(before *side) {
	add := func(all map[string]tenantIDs, format string) {
		for _, domain := range slices.Sorted(maps.Keys(all)) {
			learns := slices.ContainsFunc(before.cfg.Clusters, func(c balancer.ClusterConfig) bool {
				return c.Key.Domain == domain && c.Affinity.Mode == balancer.AffinityLearn
			})
			if learns {
				ids := slices.Sorted(maps.Keys(all[domain]))
				d.lost = append(d.lost, lostSessions{admin.SessionGroup{Domain: domain, Tenants: ids}, fmt.Sprintf(format, domain)})
			}
		}
	}
	add(d.leaving, "tenants leave %s")
	add(d.renamed, "tenants of %s get another id, or are named otherwise")
}

// count asks the running Jetway how many learned sessions break.
func (d *Difference) count(c *cobra.Command, cl *client) error {
	q := admin.SessionGroups{Groups: []admin.SessionGroup{}}
	if n := len(d.lost); n > admin.SessionGroupsMax {
		d.lost = d.lost[:admin.SessionGroupsMax]
		d.Remarks = append(d.Remarks, fmt.Sprintf("learned sessions are counted for %d of %d changes only", len(d.lost), n))
	}
	for _, l := range d.lost {
		q.Groups = append(q.Groups, l.group)
	}
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	status, body, err := cl.request(c.Context(), http.MethodPost, "/api/v1/sessions/count", bytes.NewReader(text))
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound:
		d.Remarks = append(d.Remarks, "learned sessions were not counted: the running Jetway is of an older version")
		return nil
	case status != http.StatusOK:
		return fmt.Errorf("cannot count the sessions of the running Jetway: %w", refusal(status, body))
	}
	var v admin.SessionCounts
	if err := json.Unmarshal(body, &v); err != nil || len(v.Groups) != len(d.lost) {
		return fmt.Errorf("cannot understand how many sessions the running Jetway has: %.100q", body)
	}
	d.Learned = &BrokenSessions{Known: v.Sessions, Broken: v.Any, Changes: []BrokenByChange{}}
	for i, l := range d.lost {
		if v.Groups[i] > 0 {
			d.Learned.Changes = append(d.Learned.Changes, BrokenByChange{strings.TrimSpace(l.what), v.Groups[i]})
		}
	}
	return nil
}

// sayLearned prints how many learned sessions break.
func (d *Difference) sayLearned(say func(format string, args ...any)) {
	if d.Learned == nil || d.Learned.Known == 0 {
		return
	}
	say("up to %d of %d learned sessions break", d.Learned.Broken, d.Learned.Known)
	for _, c := range d.Learned.Changes {
		say("  %d: %s", c.Broken, c.What)
	}
}
