//go:build linux

package main

import (
	"errors"
	"math"
	"slices"
)

// errNoEquivalent: a proxy has nothing that does this work.
var errNoEquivalent = errors.New("has no equivalent")

// errSpared: left out to save time.
var errSpared = errors.New("left out")

// busyMax is how busy the core of client and members may be, in percent, for
// requests per second and latencies to say something about the proxy.
const busyMax = 95

// cpuMin is the least CPU time of a run in seconds that /proc tells exactly
// enough, in ticks of 10 ms.
const cpuMin = 0.1

// cost is the proxy's CPU time per unit in microseconds.
func (o *outcome) cost(units float64) float64 {
	return o.Usage.cpu() * 1e6 / (float64(max(o.Requests, 1)) * units)
}

// rate is in requests per second.
func (o *outcome) rate() float64 { return float64(o.Requests) / max(o.Usage.Seconds, 1e-9) }

// spread is a sample's middle and ends.
type spread struct{ Median, Min, Max float64 }

func spreadOf[T any](list []T, value func(*T) float64) spread {
	all := make([]float64, len(list))
	for i := range list {
		all[i] = value(&list[i])
	}
	if len(all) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	slices.Sort(all)
	return spread{(all[(len(all)-1)/2] + all[len(all)/2]) / 2, all[0], all[len(all)-1]}
}

func (m *measured) cost(units float64) spread {
	return spreadOf(m.Closed, func(o *outcome) float64 { return o.cost(units) })
}

// paired compares what the same round measured twice, one right after the
// other, and returns the median of the rounds: a machine that is slower in one
// round than in the next is so for both. NaN where they have no round in common.
func paired(a, b *measured, compare func(a, b *outcome) float64) float64 {
	var all []float64
	if a != nil && b != nil {
		for i := range a.Closed {
			for j := range b.Closed {
				if a.Closed[i].Round == b.Closed[j].Round {
					all = append(all, compare(&a.Closed[i], &b.Closed[j]))
				}
			}
		}
	}
	return spreadOf(all, func(v *float64) float64 { return *v }).Median
}

// ratio is what a costs to what b costs; each may be nil.
func ratio(a, b *measured, aUnits, bUnits float64) float64 {
	return paired(a, b, func(a, b *outcome) float64 { return a.cost(aUnits) / b.cost(bUnits) })
}

func (m *measured) rate() spread {
	return spreadOf(m.Closed, (*outcome).rate)
}

// half is half of what the slowest proxy can do, in requests per second.
func half(r *result) float64 {
	slowest := math.Inf(1)
	for i := range r.Proxies {
		if rate := r.Proxies[i].rate().Median; rate < slowest { // false for none
			slowest = rate
		}
	}
	if math.IsInf(slowest, 0) {
		return 0
	}
	return slowest / 2
}

// quantiles sorts what it is given.
func quantiles(waits []float64) *latency {
	if len(waits) == 0 {
		return nil
	}
	slices.Sort(waits)
	at := func(q float64) float64 { return waits[min(int(q*float64(len(waits))), len(waits)-1)] }
	return &latency{at(0.5), at(0.99), at(0.999)}
}

// of returns what was measured for a proxy, nil for none.
func (r *result) of(name string) *measured {
	for i := range r.Proxies {
		if r.Proxies[i].Name == name {
			return &r.Proxies[i]
		}
	}
	return nil
}
