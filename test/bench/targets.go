//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// target is a bar that Jetway is measured by.
type target struct {
	what  string
	got   float64
	limit float64
	unit  string
}

// targets compares what was measured with the bars of the project; what was
// not measured in this run, or is void, is left out.
func (r *report) targets() (all []target) {
	add := func(what string, got, limit float64, unit string) {
		if !math.IsNaN(got) && !math.IsInf(got, 0) {
			all = append(all, target{what, got, limit, unit})
		}
	}
	own := r.jetway()
	for _, o := range r.Results {
		j := o.of(own)
		if j == nil {
			continue
		}
		to := func(rival string) float64 { return ratio(j, o.of(rival), o.Units, o.Units) }
		name := fmt.Sprintf("(%s) %s: ", o.Scenario, o.Name)
		switch {
		case o.Scenario == "a":
			add(name+"CPU per request to HAProxy's", to("haproxy"), 0.95, "x")
			add(name+"CPU per request to nginx's", to("nginx"), 1, "x")
			add(name+"p99 at half of the capacity to the better rival's", j.p99()/least(o.p99Of("haproxy"), o.p99Of("nginx")), 1.2, "x")
		case o.Scenario == "b":
			add(name+"CPU per request to HAProxy's", to("haproxy"), 1, "x")
			add(name+"CPU per request to nginx's", to("nginx"), 1.05, "x")
		case o.Scenario == "d" && o.Unit == "MB":
			add(name+"CPU per byte to the better rival's", most(to("haproxy"), to("nginx")), 1.1, "x")
		case o.Scenario == "f":
			add(name+"CPU to nginx's", to("nginx"), 1.3, "x")
		case o.Scenario == "i" && o.Name != withoutLog:
			add(name+"CPU per request more than without one", r.moreThanWithoutLog(o, own), 1.5, "µs")
		}
	}
	if r.Memory != nil {
		if m := r.Memory.of(own); m != nil {
			add("(g) memory per idle connection", m.perIdle().Median, 4, "KB")
		}
	}
	for _, noun := range strings.Fields(growing) {
		add("(l) the dearest number of "+noun+" to the cheapest", flat(own, r.group(noun)), 1.1, "x")
	}
	return all
}

// moreThanWithoutLog is by how much a request of (i) costs more than in the
// runs without a log.
func (r *report) moreThanWithoutLog(with *result, own string) float64 {
	for _, o := range r.Results {
		if o.Scenario == "i" && o.Name == withoutLog {
			return paired(with.of(own), o.of(own), func(a, b *outcome) float64 { return a.cost(with.Units) - b.cost(o.Units) })
		}
	}
	return math.NaN()
}

// growing names what (h) and (l) have more and more of.
const growing = "members tenants sessions hosts"

// verdicts writes the bars and whether they are met.
func (r *report) verdicts(w io.Writer) {
	all := r.targets()
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## Against the targets\n\n| | measured | at most | |\n|---|---:|---:|---|\n")
	for _, t := range all {
		holds := "holds"
		if t.got > t.limit {
			holds = "**falls short**"
		}
		fmt.Fprintf(w, "| %s | %.2f %s | %.2f %s | %s |\n", t.what, t.got, t.unit, t.limit, t.unit, holds)
	}
}

// jetway is the name of the first build of Jetway.
func (r *report) jetway() string {
	for _, o := range r.Results {
		if len(o.Proxies) > 0 {
			return o.Proxies[0].Name
		}
	}
	if r.Memory != nil && len(r.Memory.Proxies) > 0 {
		return r.Memory.Proxies[0].Name
	}
	return ""
}

func (m *measured) p99() float64 {
	return spreadOf(m.Fixed, func(o *outcome) float64 { return o.Latency.P99 }).Median
}

func (r *result) p99Of(name string) float64 {
	if m := r.of(name); m != nil {
		return m.p99()
	}
	return math.NaN()
}

// least is the lesser of two figures of which one may be missing.
func least(a, b float64) float64 {
	if math.IsNaN(a) || b < a {
		return b
	}
	return a
}

// most is the greater of two figures of which one may be missing: the ratio to
// the better rival is the greater one.
func most(a, b float64) float64 {
	if math.IsNaN(a) || b > a {
		return b
	}
	return a
}

// group returns the points that differ in the number of one thing.
func (r *report) group(noun string) (group []*result) {
	for _, o := range r.Results {
		if _, of, _ := strings.Cut(o.Name, " "); of == noun {
			group = append(group, o)
		}
	}
	return group
}

// flat is how much the dearest of some points costs more than the cheapest.
func flat(name string, results []*result) float64 {
	least, most := math.Inf(1), 0.0
	for _, r := range results {
		if cost := ratio(r.of(name), results[0].of(name), r.Units, results[0].Units); !math.IsNaN(cost) {
			least, most = min(least, cost), max(most, cost)
		}
	}
	if len(results) < 2 || most == 0 {
		return math.NaN()
	}
	return most / least
}

func (r *memoryResult) of(name string) *memoryOf {
	for i := range r.Proxies {
		if r.Proxies[i].Name == name {
			return &r.Proxies[i]
		}
	}
	return nil
}

// perIdle is in KB.
func (m *memoryOf) perIdle() spread {
	var good []footprint
	for _, f := range m.Rounds {
		if f.Failed == "" {
			good = append(good, f)
		}
	}
	return spreadOf(good, func(f *footprint) float64 { return f.PerIdle / 1024 })
}
