package autoscale

import (
	"math"
	"time"
)

// hpa models the Kubernetes horizontal pod autoscaler (autoscaling/v2) with its
// defaults, on a metric of requests in flight: a sync every 15 s, a metric that
// is scraped as often and so one scrape old, a tolerance of 10 %, growth of at
// most the double or 4 members in 15 s, and the highest advice of 5 minutes on
// the way down. Members that boot count as idle on the way up.
type hpa struct {
	target  float64
	metric  area
	scraped [2]float64 // the newest, and the one before
	next    time.Time
	advice  extreme
}

func newHPA(target float64) *hpa {
	return &hpa{target: target, metric: area{span: 15 * time.Second}, advice: extreme{span: 5 * time.Minute}}
}

func (p *hpa) Decide(in Input) Advice {
	if in.Since > 0 {
		p.metric.add(in.Now, in.Demand, in.Since)
	}
	current := in.current()
	a := Advice{Want: current, Need: current}
	if in.Now.Before(p.next) {
		return a
	}
	p.next = in.Now.Add(15 * time.Second)
	p.scraped = [2]float64{p.metric.mean(15 * time.Second), p.scraped[0]}
	need := current
	if ratio := p.scraped[1] / (p.target * float64(max(current, 1))); math.Abs(ratio-1) > 0.1 {
		need = ceil(p.scraped[1] / p.target)
	}
	p.advice.add(in.Now, need)
	switch {
	case need > current:
		a.Want = min(need, max(2*current, current+4))
	case need < current && p.advice.full(in.Now):
		a.Want = min(p.advice.value(), current)
	}
	a.Want = in.clamp(a.Want)
	return a
}

// kpa models Knative's pod autoscaler with the defaults of its
// config-autoscaler: a tick of 2 s, a stable window of 60 s, a panic window of
// 6 s entered at twice what the ready members carry and left after 60 s, no
// shrinking while in panic, at most a thousandfold up and half down a tick.
type kpa struct {
	target     float64
	demand     area
	next       time.Time
	panicUntil time.Time
	panicMost  int
}

func newKPA(target float64) *kpa { return &kpa{target: target, demand: area{span: time.Minute}} }

func (p *kpa) Decide(in Input) Advice {
	if in.Since > 0 {
		p.demand.add(in.Now, in.Demand, in.Since)
	}
	current := in.current()
	a := Advice{Want: current, Need: current}
	if in.Now.Before(p.next) {
		return a
	}
	p.next = in.Now.Add(2 * time.Second)
	stable, burst := ceil(p.demand.mean(time.Minute)/p.target), ceil(p.demand.mean(6*time.Second)/p.target)
	most, least := 1000*max(in.Ready, 1), in.Ready/2
	stable, burst = max(min(stable, most), least), max(min(burst, most), least)
	switch over := burst >= 2*max(in.Ready, 1); {
	case over:
		p.panicUntil = in.Now.Add(time.Minute)
	case !in.Now.Before(p.panicUntil):
		p.panicMost = 0
	}
	a.Want = stable
	if in.Now.Before(p.panicUntil) {
		p.panicMost = max(p.panicMost, burst, stable)
		a.Want = p.panicMost
	}
	a.Want = in.clamp(a.Want)
	return a
}
