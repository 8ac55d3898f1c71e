package autoscale

import (
	"fmt"
	"math"
	"time"
)

// ConcurrencyConfig is the policy "concurrency".
type ConcurrencyConfig struct {
	Target float64 // requests in flight per member
	Stable time.Duration
	Panic  time.Duration
	Calm   time.Duration // no shrinking before so long without need
}

const (
	// panicAt is how many times what the members there are should carry must
	// be asked of them for the last moment alone to be believed.
	panicAt = 2
	// growMost bounds growth within growWithin: a measurement gone wrong buys
	// no thousand machines.
	growMost   = 32
	growWithin = 10 * time.Second
	// spare is the share of the target that must be left after a step down, so
	// that what lies at the border does not go up and down with its noise.
	spare = 0.1
	// shrinkMost is the share of the members that may go in one step.
	shrinkMost = 0.25
)

// Concurrency sizes a cluster so that its members have the target of requests
// in flight each: by their mean over the stable window, or over the panic
// window for as long as a stable window after that asked for twice what there
// is (the idea of the stable and the panic window is that of Knative's KPA).
type Concurrency struct {
	cfg        ConcurrencyConfig
	demand     area
	needs      extreme // the largest of the calm time, with something to spare
	sizes      extreme // the smallest of growWithin
	panicUntil time.Time
	shrunk     time.Time // when a step down was last advised
}

// NewConcurrency returns the policy without any past.
func NewConcurrency(cfg ConcurrencyConfig) *Concurrency {
	return &Concurrency{cfg: cfg, demand: area{span: max(cfg.Stable, cfg.Panic)}, needs: extreme{span: cfg.Calm},
		sizes: extreme{span: growWithin, least: true}}
}

// Decide implements Policy.
func (p *Concurrency) Decide(in Input) Advice {
	if in.Since > 0 {
		p.demand.add(in.Now, in.Demand, in.Since)
	}
	stable, burst := p.demand.mean(p.cfg.Stable), p.demand.mean(p.cfg.Panic)
	if burst > 0 && burst >= panicAt*p.cfg.Target*float64(in.Ready) {
		p.panicUntil = in.Now.Add(p.cfg.Stable)
	}
	load, formula := stable, fmt.Sprintf("ceil(stable %.1f / target %g)", stable, p.cfg.Target)
	if in.Now.Before(p.panicUntil) {
		load, formula = max(stable, burst), fmt.Sprintf("ceil(surge: max(stable %.1f, burst %.1f) / target %g)", stable, burst, p.cfg.Target)
	}
	a := Advice{Need: ceil(load / p.cfg.Target)}
	a.Formula = fmt.Sprintf("%s = %d", formula, a.Need)
	current, need := in.current(), in.clamp(a.Need)
	lowest := in.clamp(ceil(load / (1 - spare) / p.cfg.Target))
	if in.Blind {
		lowest = max(lowest, current)
	}
	p.needs.add(in.Now, lowest)
	p.sizes.add(in.Now, current)
	switch {
	case need > current:
		a.Want = p.grow(&in, need, &a)
	case need < current:
		a.Want = p.shrink(&in, &a)
	default:
		a.Want = current
	}
	return a
}

func (p *Concurrency) grow(in *Input, need int, a *Advice) int {
	if most := growMost * max(p.sizes.value(), 1); need > most {
		a.Reason = fmt.Sprintf("at most %d times the %d of %s ago", growMost, p.sizes.value(), growWithin)
		return in.clamp(most)
	}
	if need != a.Need {
		a.Reason = fmt.Sprintf("limited to %d..%d", in.Min, in.Max)
	}
	return need
}

// shrink goes down by a step where the whole calm time asked for less, and
// looks at the effect of each step for a stable window.
func (p *Concurrency) shrink(in *Input, a *Advice) int {
	current := in.current()
	lowest := p.needs.value()
	switch {
	case current > in.Max:
		a.Reason = "above max_app_instances"
		return in.Max
	case in.Blind:
		a.Reason = "not while it cannot be seen what there is"
		return current
	case !p.needs.full(in.Now) || lowest >= current:
		a.Reason = fmt.Sprintf("not before %s of calm", p.cfg.Calm)
		return current
	case in.Stopping > 0 || in.Now.Sub(p.shrunk) < min(p.cfg.Stable, p.cfg.Calm):
		a.Reason = "the step before is not over"
		return current
	}
	step := max(int(float64(current)*shrinkMost), 1)
	p.shrunk = in.Now
	a.Reason = fmt.Sprintf("at most %d needed for %s, down by at most %d", lowest, p.cfg.Calm, step)
	return max(lowest, current-step)
}

// ceil rounds up, forgiving what floating point adds.
func ceil(f float64) int { return int(min(math.Ceil(f-1e-9), 1e9)) }
