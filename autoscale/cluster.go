package autoscale

import (
	"cmp"
	"slices"
	"time"

	"jetway/balancer"
)

// cluster is what the Scaler knows of one elastic cluster. Guarded by
// Scaler.mu.
type cluster struct {
	key      balancer.Key
	settings Settings
	policy   Policy
	driver   Driver // nil: watched only
	past     *ClusterHistory

	members []Member
	out     map[string]time.Time // members that serve nobody, since when
	lost    []string             // those of them that are not counted on any more, see see
	seen    map[string]*seenLoad // by node; "" is this one
	busy    float64              // requests x seconds, and
	ended   float64              // requests, both of about the last minute
	held    int64
	doubt   string // why it may be larger than it looks
	input   Input
	advice  Advice

	listed  bool      // the driver has been asked what is under way
	listAt  time.Time // when it is asked next
	listing bool
	exact   bool            // the driver names whom it starts, and lists all of them
	calls   int             // of the driver, under way
	foreign map[string]bool // members that the driver cannot stop
	said    string          // the newest lasting state that was logged
}

// seenLoad is what one load balancer reported of the cluster.
type seenLoad struct {
	last    Load
	at      time.Duration // by its own clock
	heard   time.Time
	mean    float64 // requests in flight between the last two reports
	refused float64 // requests per second
}

const (
	callsMax    = 4    // of the driver for one cluster at a time
	foreignMax  = 1e4  // bounds foreign
	lostMost    = 0.25 // share of the members that may be given up
	joinedKnown = 1e4  // bounds what a start remembers
	// decay makes of sums the sums of about a minute, at one step a second.
	decay = 59.0 / 60
	// serviceMost is the most that a refused request is thought to have taken
	// had it been served.
	serviceMost = time.Second
)

// acting reports whether orders may be given at all.
func (c *cluster) acting() bool { return c.driver != nil && !c.settings.DryRun }

// want is how many members there should be, by the policy or an operator.
func (c *cluster) want() int {
	if m := c.past.Manual; m != nil {
		return *m
	}
	return max(min(c.advice.Want, c.settings.Max), c.settings.Min)
}

// booting counts members that were ordered and have not joined.
func (c *cluster) booting() int {
	n := 0
	for _, s := range c.past.Starts {
		n += s.missing()
	}
	return n
}

// see takes in the members. doubt is why there may be more of them.
func (c *cluster) see(members []Member, now time.Time, doubt string) {
	c.members = members
	c.input.Ready, c.input.Stopping, c.doubt = 0, 0, doubt
	c.findLost(now)
	for i := range members {
		switch m := &members[i]; {
		case m.State == balancer.StateDraining:
			if c.stopOf(m.ID) != nil {
				c.input.Stopping++
			}
		case slices.Contains(c.lost, m.ID):
		default:
			c.input.Ready++
			if m.State != balancer.StateUp && c.doubt == "" {
				c.doubt = "member " + m.ID + " is " + m.State
			}
		}
	}
	c.input.Booting = c.booting()
}

// findLost finds the members that are not counted on any more: those that were
// down or ejected for as long as a start may take, without a break. One that
// comes and goes is none of them. Where it is more than a share of the cluster,
// the fault is hardly theirs, and others would fare no better: then no more
// than the share is given up, and while there is doubt about what can be seen
// nobody is.
func (c *cluster) findLost(now time.Time) {
	out := map[string]time.Time{}
	c.lost = c.lost[:0]
	for i := range c.members {
		m := &c.members[i]
		if m.State != balancer.StateDown && m.State != balancer.StateEjected {
			continue
		}
		since, before := c.out[m.ID]
		if !before || c.doubt != "" { // it is not known what became of it meanwhile
			since = now
		}
		out[m.ID] = since
		if now.Sub(since) >= c.settings.StartupDelay {
			c.lost = append(c.lost, m.ID)
		}
	}
	c.out = out
	slices.SortFunc(c.lost, func(a, b string) int { return cmp.Or(out[a].Compare(out[b]), cmp.Compare(a, b)) })
	c.lost = c.lost[:min(len(c.lost), max(int(float64(len(c.members))*lostMost), 1))]
}

// present is how many members there are, or will be, useful or not.
func (c *cluster) present() int { return c.input.Ready + c.booting() + len(c.lost) }

func (c *cluster) member(id string) *Member {
	for i := range c.members {
		if c.members[i].ID == id {
			return &c.members[i]
		}
	}
	return nil
}

func (c *cluster) stopOf(id string) *Stop {
	for _, s := range c.past.Stops {
		if s.Member == id {
			return s
		}
	}
	return nil
}

// measure takes in the loads of all load balancers, each a total that only
// grows, and leaves the demand in c.input.
func (c *cluster) measure(now time.Time, loads map[string]seenAt) {
	in := &c.input
	in.Since, in.Now = now.Sub(in.Now), now
	if in.Since < 0 || in.Since > time.Hour { // the first time
		in.Since = 0
	}
	for node, l := range loads {
		s := c.seen[node]
		if s == nil {
			c.seen[node] = &seenLoad{last: l.load, at: l.at, heard: now.Add(-l.age)}
			continue
		}
		if d := l.at - s.at; d > 0 {
			area := balancer.AreaBetween(s.last.Area, l.load.Area)
			s.mean = area.Seconds() / d.Seconds()
			s.refused = float64(l.load.Refused-min(s.last.Refused, l.load.Refused)) / d.Seconds()
			c.busy += area.Seconds()
			c.ended += float64(l.load.Ended - min(s.last.Ended, l.load.Ended))
			s.heard = now.Add(-l.age)
		} else if d < 0 {
			s.heard = now // it started again
		}
		s.last, s.at = l.load, l.at
	}
	in.Demand, in.InFlight, c.held = 0, 0, 0
	refused := 0.0
	for node, s := range c.seen {
		age := now.Sub(s.heard)
		if age > c.settings.PeerExpiry && node != "" {
			delete(c.seen, node)
			continue
		}
		if age > 3*time.Second && c.doubt == "" {
			c.doubt = "load balancer " + node + " is silent"
		}
		in.Demand += s.mean
		in.InFlight += s.last.InFlight
		c.held += s.last.Held
		refused += s.refused
	}
	in.Demand += refused * c.service().Seconds()
	c.busy *= decay
	c.ended *= decay
}

// service is how long a request took lately (Little: requests in flight =
// rate x time).
func (c *cluster) service() time.Duration {
	if c.ended < 1 {
		return serviceMost / 10
	}
	return min(time.Duration(c.busy/c.ended*float64(time.Second)), serviceMost)
}

// seenAt is the load in a report.
type seenAt struct {
	load    Load
	at, age time.Duration
}

// join credits members that have appeared to the starts that ordered them. It
// returns the starts that are complete, which are no longer under way.
func (c *cluster) join() (complete []*Start, changed bool) {
	named := map[string]*Start{}
	credited := map[string]bool{}
	for _, s := range c.past.Starts {
		for _, id := range s.Order.Members {
			named[id] = s
		}
		for _, id := range s.Joined {
			credited[id] = true
		}
	}
	credit := func(s *Start, id string) {
		credited[id], changed = true, true
		s.Joined = append(s.Joined, id)
		for _, other := range c.past.Starts {
			if other != s && len(other.Known) < joinedKnown {
				other.Known = append(other.Known, id)
			}
		}
	}
	for i := range c.members {
		if id := c.members[i].ID; named[id] != nil && !credited[id] {
			credit(named[id], id)
		}
	}
	for _, s := range c.past.Starts { // the oldest first: who was not named could be anybody's
		if c.exact && len(s.Order.Members) > 0 {
			continue
		}
		for i := range c.members {
			id := c.members[i].ID
			if s.missing() > 0 && !credited[id] && !slices.Contains(s.Known, id) {
				credit(s, id)
			}
		}
	}
	c.past.Starts = slices.DeleteFunc(c.past.Starts, func(s *Start) bool {
		if s.missing() > 0 || s.calling {
			return false
		}
		complete, changed = append(complete, s), true
		return true
	})
	c.input.Booting = c.booting()
	return complete, changed
}

// victims chooses n members that may be stopped: those with the fewest
// sessions and then requests.
func (c *cluster) victims(n int) []Member {
	var list []Member
	for _, m := range c.members {
		if c.stoppable(&m) && !slices.Contains(c.lost, m.ID) {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Sessions, b.Sessions), cmp.Compare(a.InFlight, b.InFlight), cmp.Compare(b.ID, a.ID))
	})
	return list[:min(n, len(list))]
}

// stoppable reports whether a member may be drained and stopped.
func (c *cluster) stoppable(m *Member) bool {
	return m.State != balancer.StateDraining && !m.Fixed && !c.foreign[m.ID] && c.stopOf(m.ID) == nil
}

func ids(members []Member) []string {
	list := make([]string, len(members))
	for i, m := range members {
		list[i] = m.ID
	}
	return list
}
