package autoscale

import (
	"fmt"
	"time"
)

// WSO2Config is the policy "wso2", in the words of the WSO2 ELB.
type WSO2Config struct {
	MaxRequestsPerSecond float64 // capacity of one member, by calibration
	AlarmingUpperRate    float64 // 0..1
	AlarmingLowerRate    float64 // 0..1
	ScaleDownFactor      float64 // 0..1
	RoundsToAverage      int
	Interval             time.Duration // autoscaler_task_interval
}

// WSO2 is the algorithm of the WSO2 ELB 2.0.3 to 2.1 (its class
// AutoscaleDeciderCallable): "scale up early, scale down slowly". Each interval
// it notes the requests in flight and compares the mean of the last rounds
// with what a member is held to take in one interval. Different from the
// original, members that are booting are subtracted from what is ordered, so
// that a long boot is not ordered again each round; and requests are counted
// out however they end, where the original waited for their tokens to expire.
type WSO2 struct {
	cfg    WSO2Config
	window []int64
	next   time.Time // when a round is due
}

// NewWSO2 returns the policy without any past.
func NewWSO2(cfg WSO2Config) *WSO2 { return &WSO2{cfg: cfg} }

// Decide implements Policy.
func (p *WSO2) Decide(in Input) Advice {
	if p.next.IsZero() {
		p.next = in.Now.Add(p.cfg.Interval)
	}
	current := in.current()
	a := Advice{Want: in.clamp(current), Need: current, Reason: "no round is due"}
	if in.Now.Before(p.next) {
		return a
	}
	if p.next = p.next.Add(p.cfg.Interval); !p.next.After(in.Now) {
		p.next = in.Now.Add(p.cfg.Interval) // rounds that were slept through are left out
	}
	p.window = append(p.window, in.InFlight)
	if over := len(p.window) - p.cfg.RoundsToAverage; over > 0 {
		p.window = p.window[over:]
	} else if over < 0 {
		a.Reason = fmt.Sprintf("round %d of %d", len(p.window), p.cfg.RoundsToAverage)
		return a
	}
	return p.judge(&in)
}

// judge is the decision of one round; the names are the original's.
func (p *WSO2) judge(in *Input) Advice {
	var sum int64
	for _, n := range p.window {
		sum += n
	}
	avg := sum / int64(len(p.window)) // rounded down, as in the original
	perRound := p.cfg.MaxRequestsPerSecond * p.cfg.Interval.Seconds()
	up := perRound * p.cfg.AlarmingUpperRate
	down := perRound * p.cfg.AlarmingLowerRate * p.cfg.ScaleDownFactor
	running, current := in.Ready, in.current()
	a := Advice{Want: in.clamp(current), Need: current}
	switch {
	case up > 0 && float64(avg) > float64(running)*up:
		a.Need = ceil(float64(avg) / up)
		a.Formula = fmt.Sprintf("average %d > running %d x up %g: ceil(%d / %g) = %d", avg, running, up, avg, up, a.Need)
		a.Want = in.clamp(max(a.Need, current))
		if a.Need <= current {
			a.Reason = fmt.Sprintf("%d are booting", in.Booting)
		} else if a.Want < a.Need {
			a.Reason = fmt.Sprintf("limited to %d..%d", in.Min, in.Max)
		}
	case float64(avg) < float64(running-1)*down:
		a.Need = current - 1
		a.Formula = fmt.Sprintf("average %d < (running %d - 1) x down %g: one less", avg, running, down)
		switch {
		case in.Blind:
			a.Reason = "not while it cannot be seen what there is"
		case in.Stopping > 0:
			a.Reason = "one is stopping"
		case in.Booting > 0:
			a.Reason = fmt.Sprintf("%d are booting", in.Booting)
		default:
			a.Want = in.clamp(current - 1)
		}
	default:
		a.Formula = fmt.Sprintf("average %d within (running %d - 1) x down %g and running x up %g", avg, running, down, up)
	}
	return a
}
