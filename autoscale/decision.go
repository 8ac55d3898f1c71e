package autoscale

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Decision is one thing that the Scaler did, or did not do although the load
// asks for it, and why.
type Decision struct {
	Time      time.Time `json:"time"`
	Domain    string    `json:"domain"`
	SubDomain string    `json:"sub_domain"`
	Policy    string    `json:"policy"`
	Demand    float64   `json:"demand"` // mean requests in flight since a second ago, held and refused ones included
	Held      int64     `json:"held"`   // requests that wait for a member
	Ready     int       `json:"ready"`
	Booting   int       `json:"booting"`
	Stopping  int       `json:"stopping"`
	Lost      int       `json:"lost"` // out for so long that they are not counted on
	Min       int       `json:"min"`
	Max       int       `json:"max"`
	Formula   string    `json:"formula"`
	Want      int       `json:"want"`
	Result    string    `json:"result"`
	Reason    string    `json:"reason,omitempty"`
	Order     string    `json:"order,omitempty"` // id of the order that followed
	Alarm     bool      `json:"alarm,omitempty"`
}

// decisionsMax is how many decisions are remembered.
const decisionsMax = 500

// decideLocked remembers and logs what was decided for c: one line.
func (s *Scaler) decideLocked(c *cluster, result, reason, order string, level zerolog.Level) {
	d := Decision{Time: s.now(), Domain: c.key.Domain, SubDomain: c.key.SubDomain, Policy: string(c.settings.Policy),
		Demand: c.input.Demand, Held: c.held, Ready: c.input.Ready, Booting: c.booting(), Stopping: c.input.Stopping, Lost: len(c.lost),
		Min: c.settings.Min, Max: c.settings.Max, Formula: c.advice.Formula, Want: c.want(), Result: result, Reason: reason,
		Order: order, Alarm: c.past.Alarm}
	if len(s.decisions) >= decisionsMax {
		s.decisions = s.decisions[:copy(s.decisions, s.decisions[1:])]
	}
	s.decisions = append(s.decisions, d)
	s.decided[Decided{Domain: d.Domain, SubDomain: d.SubDomain, Action: actionOf(result)}]++
	e := s.log.WithLevel(level).Str("domain", d.Domain).Str("sub_domain", d.SubDomain).Str("policy", d.Policy).
		Float64("demand", float64(int(d.Demand*10))/10).Int64("held", d.Held).Int("ready", d.Ready).Int("booting", d.Booting).
		Int("stopping", d.Stopping).Int("lost", d.Lost).Int("min", d.Min).Int("max", d.Max).Str("formula", d.Formula).Int("want", d.Want).Str("result", result)
	if reason != "" {
		e = e.Str("reason", reason)
	}
	if order != "" {
		e = e.Str("order", order)
	}
	e.Msg("scaling decision")
}

// Decided is what was decided for a cluster, to be counted.
type Decided struct {
	Domain, SubDomain string
	Action            string // such as "start", "drain", "keep" or "start_failed"
}

// actionOf returns what a result comes to, without numbers and names.
func actionOf(result string) string {
	first, rest, _ := strings.Cut(result, " ")
	switch {
	case first == "dry":
		return "dry_run"
	case strings.HasPrefix(rest, "failed"):
		return first + "_failed"
	case strings.HasPrefix(rest, "not "):
		return first + "_unconfirmed"
	}
	return first
}

// DecidedCount is how often something was decided since the start.
type DecidedCount struct {
	Decided
	Times uint64
}

// Decided counts all decisions since the start, by cluster and action.
func (s *Scaler) Decided() []DecidedCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]DecidedCount, 0, len(s.decided))
	for d, n := range s.decided {
		list = append(list, DecidedCount{d, n})
	}
	slices.SortFunc(list, func(a, b DecidedCount) int {
		return cmp.Or(strings.Compare(a.Domain, b.Domain), strings.Compare(a.SubDomain, b.SubDomain), strings.Compare(a.Action, b.Action))
	})
	return list
}

// sayLocked is decideLocked for a state that lasts: only its beginning is news.
func (s *Scaler) sayLocked(c *cluster, result, reason string) {
	if text := result + reason; c.said != text {
		c.said = text
		s.decideLocked(c, result, reason, "", zerolog.InfoLevel)
	}
}

// Decisions returns what was decided, the newest first.
func (s *Scaler) Decisions() []Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.decisions)
	slices.Reverse(list)
	return list
}

// Status is how one cluster stands.
type Status struct {
	Domain    string     `json:"domain"`
	SubDomain string     `json:"sub_domain"`
	Policy    string     `json:"policy"`
	DryRun    bool       `json:"dry_run"`
	Acts      bool       `json:"acts"` // this process gives the orders
	Min       int        `json:"min"`
	Max       int        `json:"max"`
	Ready     int        `json:"ready"`
	Booting   int        `json:"booting"`
	Stopping  int        `json:"stopping"`
	Lost      []string   `json:"lost"` // members that are out for so long that they are not counted on
	Demand    float64    `json:"demand"`
	Held      int64      `json:"held"`
	Want      int        `json:"want"`
	Formula   string     `json:"formula"`
	Reason    string     `json:"reason,omitempty"`
	Manual    *int       `json:"manual,omitempty"` // set by an operator
	Hold      string     `json:"hold,omitempty"`   // why nothing is ordered
	Alarm     bool       `json:"alarm"`
	Failures  int        `json:"failures"` // starts in a row
	RetryAt   *time.Time `json:"retry_at,omitempty"`
	Doubt     string     `json:"doubt,omitempty"` // why it does not shrink
	Orders    []string   `json:"orders"`          // under way
}

// Status returns all elastic clusters, by key.
func (s *Scaler) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.clusters))
	for _, c := range s.orderedLocked() {
		v := Status{Domain: c.key.Domain, SubDomain: c.key.SubDomain, Policy: string(c.settings.Policy), DryRun: !c.acting(), Acts: s.acting,
			Min: c.settings.Min, Max: c.settings.Max, Ready: c.input.Ready, Booting: c.booting(), Stopping: c.input.Stopping,
			Demand: c.input.Demand, Held: c.held, Want: c.want(), Formula: c.advice.Formula, Reason: c.advice.Reason, Manual: c.past.Manual,
			Hold: c.past.Held, Alarm: c.past.Alarm, Failures: c.past.Failures, Doubt: c.doubt, Orders: []string{},
			Lost: append([]string{}, c.lost...)}
		if at := c.past.RetryAt; at.After(s.now()) {
			v.RetryAt = &at
		}
		for _, st := range c.past.Starts {
			v.Orders = append(v.Orders, st.Order.ID)
		}
		for _, st := range c.past.Stops {
			if st.Order != nil {
				v.Orders = append(v.Orders, st.Order.ID)
			}
		}
		list = append(list, v)
	}
	return list
}
