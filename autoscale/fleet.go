package autoscale

import (
	"errors"
	"time"

	"jetway/balancer"
)

// Fleet is what the Scaler sees of the load balancer and changes of it. Its
// methods are called by several goroutines and must not block.
type Fleet interface {
	// Observe returns every elastic cluster as it is at now; none while it is
	// not known yet who the members are.
	Observe(now time.Time) []Observation
	// Drain keeps new requests off a member, or ends that, also for one that
	// is gone.
	Drain(key balancer.Key, member string, drain bool) error
	// Doubt says why there may be more members or load than Observe shows;
	// empty where all is well.
	Doubt() string
}

// Observation is one cluster at one moment.
type Observation struct {
	Key     balancer.Key
	Totals  balancer.Totals
	Members []Member
}

// Member is one member of a cluster.
type Member struct {
	ID, Host string
	State    string // up, draining, or something that may pass: see balancer.Status
	Fixed    bool   // it stands in the configuration: nobody stops it
	InFlight int64
	Sessions int // bound to it; 1 where nobody can count them
}

// RouterFleet is the Fleet of a running load balancer.
type RouterFleet struct {
	Router *balancer.Router
	// Settled reports whether the members are known; nil: they are.
	Settled func() bool
	// Sessions counts those of a member; nil: nobody counts them.
	Sessions func(domain, id string) int
	// Doubts are asked by Doubt; each returns "" where all is well.
	Doubts []func() string
}

// Observe implements Fleet.
func (f *RouterFleet) Observe(now time.Time) []Observation {
	if f.Settled != nil && !f.Settled() {
		return nil
	}
	var all []Observation
	for _, c := range f.Router.Table().Clusters() {
		if !c.Config.Elastic {
			continue
		}
		o := Observation{Key: c.Config.Key, Totals: c.State.Totals(now), Members: make([]Member, 0, len(c.Upstreams))}
		for _, u := range c.Upstreams {
			s := u.Status(now.UnixNano())
			m := Member{ID: s.Member.ID, Host: s.Member.Host, State: s.State, Fixed: s.Member.Source == "static", InFlight: s.InFlight}
			switch c.Config.Affinity.Mode {
			case balancer.AffinityCookie, balancer.AffinityRoute:
				m.Sessions = 1 // clients keep them: there may be some until the drain is over
			default:
				if f.Sessions != nil {
					m.Sessions = f.Sessions(s.Member.Domain, s.Member.ID)
				}
			}
			o.Members = append(o.Members, m)
		}
		all = append(all, o)
	}
	return all
}

// Drain implements Fleet.
func (f *RouterFleet) Drain(key balancer.Key, member string, drain bool) error {
	_, err := f.Router.Drain(key.Domain+"/"+member, drain)
	if errors.Is(err, balancer.ErrUnknownMember) && !drain {
		f.Router.Forget(key.Domain, member)
		return nil
	}
	return err
}

// Doubt implements Fleet.
func (f *RouterFleet) Doubt() string {
	for _, doubt := range f.Doubts {
		if why := doubt(); why != "" {
			return why
		}
	}
	return ""
}
