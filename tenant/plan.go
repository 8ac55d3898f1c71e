package tenant

import "sync"

// Limits are what one tenant may take of one service. 0 is no limit.
type Limits struct {
	InFlight int     // requests at the same time
	Rate     float64 // requests per second
	Burst    int     // requests at once after a pause; 0: those of one second
	Body     int64   // bytes of a request body
}

// Inherit marks a value of a plan that stays what the service says.
const Inherit = -1

// Plan replaces limits of a service for the tenants that have it. Values that
// are Inherit stay.
type Plan struct {
	Name    string
	Tenants []string // that have it whatever the directory says
	Limits
}

// plansMax bounds the plans that are told apart.
const plansMax = 255

// Plans numbers the names of plans, so that facts of millions of tenants stay
// small. It only grows, up to 255 names; later ones are no plan at all.
type Plans struct {
	mu      sync.Mutex // guards numbers
	numbers map[string]uint8
}

// Number returns the number of a plan by name, 0 for "".
func (p *Plans) Number(name string) uint8 {
	if name == "" || p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := p.numbers[name]; ok {
		return n
	}
	if len(p.numbers) == plansMax || len(name) > MaxName {
		return 0
	}
	if p.numbers == nil {
		p.numbers = map[string]uint8{}
	}
	n := uint8(len(p.numbers) + 1)
	p.numbers[name] = n
	return n
}

// planLimits are the plans of one configuration.
type planLimits struct {
	byNumber map[uint8]*Limits
	byName   map[string]*Limits // of tenants
}

// SetPlans gives the resolver the plans of its configuration; numbers are
// those that its directory uses. It must be called before the resolver is used.
func (r *Resolver) SetPlans(plans []Plan, numbers *Plans) {
	r.plans = planLimits{map[uint8]*Limits{}, map[string]*Limits{}}
	for i := range plans {
		p := &plans[i]
		if n := numbers.Number(p.Name); n > 0 {
			r.plans.byNumber[n] = &p.Limits
		}
		for _, name := range p.Tenants {
			r.plans.byName[name] = &p.Limits
		}
	}
}

// Limits returns what the tenant in f may take, where its service says base.
func (r *Resolver) Limits(f *Found, base Limits) Limits {
	var p *Limits
	if len(r.plans.byName) > 0 {
		p = r.plans.byName[string(f.Name())]
	}
	if p == nil && f.Plan > 0 {
		p = r.plans.byNumber[f.Plan]
	}
	if p == nil {
		return base
	}
	if p.InFlight != Inherit {
		base.InFlight = p.InFlight
	}
	if p.Rate != Inherit {
		base.Rate = p.Rate
		base.Burst = 0 // that of the service belongs to its rate
	}
	if p.Burst != Inherit {
		base.Burst = p.Burst
	}
	if p.Body != Inherit {
		base.Body = p.Body
	}
	return base
}

// HasPlans reports whether any plan may change limits.
func (r *Resolver) HasPlans() bool { return len(r.plans.byNumber)+len(r.plans.byName) > 0 }
