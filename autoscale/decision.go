package autoscale

import (
	"cmp"
	"fmt"
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
	Action    Kind      `json:"action"`
	Result    string    `json:"result"` // the action, with numbers and names
	Reason    string    `json:"reason,omitempty"`
	Order     string    `json:"order,omitempty"` // id of the order that followed
	Alarm     bool      `json:"alarm,omitempty"`
}

// Kind is what a decision comes to, without numbers and names: few, so that they
// can be counted.
type Kind string

const (
	start            Kind = "start"
	startFailed      Kind = "start_failed"
	startUnconfirmed Kind = "start_unconfirmed" // it is not known whether the order arrived
	joined           Kind = "joined"            // what was ordered is there
	adopt            Kind = "adopt"             // an order that only the driver knows of
	drain            Kind = "drain"
	stop             Kind = "stop"
	stopFailed       Kind = "stop_failed"
	stopped          Kind = "stopped"
	cleared          Kind = "cleared" // what a failed start had left
	keep             Kind = "keep"
	wait             Kind = "wait"
	limited          Kind = "limited" // by a maximum
	set              Kind = "set"     // by an operator
	released         Kind = "released"
	hold             Kind = "hold" // nothing is ordered from now on
	held             Kind = "held" // so nothing was ordered
	dryRun           Kind = "dry_run"
)

// ruling is what was decided, and the words for it.
type ruling struct {
	kind   Kind
	result string
}

func act(k Kind, format string, args ...any) ruling {
	return ruling{k, fmt.Sprintf(format, args...)}
}

// decisionsMax is how many decisions are remembered.
const decisionsMax = 500

// decideLocked remembers and logs what was decided for c: one line.
func (s *Scaler) decideLocked(c *cluster, o ruling, reason, order string, level zerolog.Level) {
	d := Decision{Time: s.now(), Domain: c.key.Domain, SubDomain: c.key.SubDomain, Policy: string(c.settings.Policy),
		Demand: c.input.Demand, Held: c.held, Ready: c.input.Ready, Booting: c.booting(), Stopping: c.input.Stopping, Lost: len(c.lost),
		Min: c.settings.Min, Max: c.settings.Max, Formula: c.advice.Formula, Want: c.want(), Action: o.kind, Result: o.result, Reason: reason,
		Order: order, Alarm: c.past.Alarm}
	if len(s.decisions) >= decisionsMax {
		s.decisions = s.decisions[:copy(s.decisions, s.decisions[1:])]
	}
	s.decisions = append(s.decisions, d)
	s.decided[Decided{Domain: d.Domain, SubDomain: d.SubDomain, Action: o.kind}]++
	e := s.log.WithLevel(level).Str("domain", d.Domain).Str("sub_domain", d.SubDomain).Str("policy", d.Policy).
		Float64("demand", float64(int(d.Demand*10))/10).Int64("held", d.Held).Int("ready", d.Ready).Int("booting", d.Booting).
		Int("stopping", d.Stopping).Int("lost", d.Lost).Int("min", d.Min).Int("max", d.Max).Str("formula", d.Formula).Int("want", d.Want).Str("action", string(o.kind)).Str("result", o.result)
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
	Action            Kind
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
		return cmp.Or(strings.Compare(a.Domain, b.Domain), strings.Compare(a.SubDomain, b.SubDomain), cmp.Compare(a.Action, b.Action))
	})
	return list
}

// sayLocked is decideLocked for a state that lasts: only its beginning is news.
func (s *Scaler) sayLocked(c *cluster, o ruling, reason string) {
	if text := o.result + reason; c.said != text {
		c.said = text
		s.decideLocked(c, o, reason, "", zerolog.InfoLevel)
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
