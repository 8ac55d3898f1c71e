//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// options say what is measured and how long.
type options struct {
	rounds    int
	warm      time.Duration
	measure   time.Duration
	loadCore  int
	proxyCore int
	profile   string // directory for records of perf, "" is none
	own       string // directory for profiles that Jetway makes of itself, "" is none
	sparing   bool   // leave out what adds little: Caddy where points only vary (a)
}

// bench runs measurements one after the other.
type bench struct {
	options
	kinds []*kind
	dir   string // for everything that is written
	port  int
}

// result is what came of a point.
type result struct {
	Scenario string
	Name     string
	Unit     string
	Units    float64
	Rate     float64 // of the runs for latency, 0: none
	Proxies  []measured
}

// measured is what came of a point for one proxy.
type measured struct {
	Name   string
	Closed []outcome // one request after the other: cost and capacity
	Fixed  []outcome // at a fixed rate: latency
	Void   []string  // why runs do not count
	Absent string    // why there are none
}

// runner is a proxy in the rounds of a point.
type runner struct {
	point   *point
	proxy   *proxy
	into    *measured
	members []int
}

// run measures a point: all proxies up, and then round by round each of them.
func (b *bench) run(ctx context.Context, pt *point) (*result, error) {
	all, err := b.runBeside(ctx, []*point{pt})
	if len(all) == 0 {
		return nil, err
	}
	return all[0], err
}

// runBeside measures points that are compared with each other: in each round
// each proxy is measured at all of them, one right after the other, so that a
// machine whose speed changes has the same for all.
func (b *bench) runBeside(ctx context.Context, points []*point) (all []*result, err error) {
	var up []runner
	defer func() {
		for _, u := range up {
			u.proxy.proc.stop()
		}
	}()
	for _, pt := range points {
		r := &result{Scenario: pt.Scenario, Name: pt.Name, Unit: pt.Unit, Units: pt.Units, Proxies: make([]measured, len(b.kinds))}
		all = append(all, r)
		members, ports, err := startMembers(ctx, b.loadCore, pt.Members)
		if err != nil {
			return nil, err
		}
		defer members.stop()
		for i, k := range b.kinds {
			into := &r.Proxies[i]
			into.Name = k.Name
			p, err := b.begin(ctx, pt, k, ports)
			if err != nil {
				into.Absent = err.Error()
				b.say("%s: %s: %v", pt.Name, k.Name, err)
				continue
			}
			up = append(up, runner{pt, p, into, ports})
		}
	}
	slices.SortStableFunc(up, func(x, y runner) int {
		at := func(r runner) int { return slices.Index(b.kinds, r.proxy.kind) }
		return at(x) - at(y)
	})
	if err := b.repeat(ctx, up, 0); err != nil {
		return all, err
	}
	for i, r := range all {
		if !points[i].Latency {
			continue
		}
		if r.Rate = half(r); r.Rate > 0 {
			own := slices.DeleteFunc(slices.Clone(up), func(u runner) bool { return u.point != points[i] })
			if err := b.repeat(ctx, own, r.Rate); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// begin starts one proxy and checks that it does the work.
func (b *bench) begin(ctx context.Context, pt *point, k *kind, members []int) (*proxy, error) {
	if (pt.Tenants > 0 || pt.Load.Learned) && !k.tenants {
		return nil, errNoEquivalent
	}
	if b.sparing && k.Name == "caddy" && strings.Contains("chjkl", pt.Scenario) {
		return nil, errSpared
	}
	s, err := b.newSetup(pt, k.Name, members)
	if err != nil {
		return nil, err
	}
	p, err := k.start(ctx, b.proxyCore, s)
	if err != nil {
		return nil, err
	}
	if err := p.verify(pt.Load); err != nil {
		p.proc.stop()
		return nil, err
	}
	return p, nil
}

// repeat runs every proxy once per round, at a fixed rate or as fast as it is.
func (b *bench) repeat(ctx context.Context, up []runner, rate float64) error {
	for round := range b.rounds {
		for i := range up {
			u := &up[i]
			pt := u.point
			if round > 0 && pt.Anew {
				if err := b.renew(ctx, u); err != nil {
					return err
				}
			}
			l := pt.Load
			l.Target, l.Proxy, l.Rate = u.proxy.addr(), u.proxy.proc.pid(), rate
			l.LoadCore, l.ProxyCore = b.loadCore, b.proxyCore
			l.Warm, l.Measure = b.warm, b.measure
			o, err := b.once(ctx, pt, *u, l)
			if o != nil {
				o.Round = round
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			switch {
			case err != nil:
				u.into.Void = append(u.into.Void, err.Error())
			case o.Errors > 0:
				u.into.Void = append(u.into.Void, fmt.Sprintf("%d errors, the first: %s", o.Errors, o.FirstError))
			case o.Requests == 0:
				u.into.Void = append(u.into.Void, "nothing was answered")
			case rate > 0:
				u.into.Fixed = append(u.into.Fixed, *o)
			case o.Usage.cpu() < cpuMin:
				u.into.Void = append(u.into.Void, fmt.Sprintf("the proxy used only %.2f s of CPU time, which /proc tells in 10 ms", o.Usage.cpu()))
			default:
				u.into.Closed = append(u.into.Closed, *o)
			}
			b.say("%s %s, round %d, %s: %s", pt.Scenario, pt.Name, round+1, u.proxy.Name, glance(pt, o, err))
		}
	}
	return nil
}

// renew starts a proxy anew: the next process has other luck with the places of
// its memory.
func (b *bench) renew(ctx context.Context, u *runner) error {
	u.proxy.proc.stop()
	p, err := b.begin(ctx, u.point, u.proxy.kind, u.members)
	if err != nil {
		return fmt.Errorf("cannot start %s anew: %w", u.proxy.Name, err)
	}
	u.proxy = p
	return nil
}

// once is one run against one proxy.
func (b *bench) once(ctx context.Context, pt *point, u runner, l load) (*outcome, error) {
	if pt.Reload > 0 {
		stop := make(chan struct{})
		failed := make(chan error, 1)
		go func() { failed <- reloadOften(u.proxy, pt.Reload, stop) }()
		defer func() {
			close(stop)
			if err := <-failed; err != nil {
				b.say("%v", err)
				u.into.Void = append(u.into.Void, err.Error())
			}
		}()
	}
	if b.own != "" && l.Rate == 0 && u.proxy.config == jetwayConfig {
		defer b.ownProfile(u.proxy, pt, l)()
	}
	if b.profile != "" && l.Rate == 0 {
		end, err := b.record(u.proxy, l)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	return put(ctx, l)
}

// reloadOften reloads a proxy until it is stopped.
func reloadOften(p *proxy, every time.Duration, stop chan struct{}) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-tick.C:
			if err := p.renew(); err != nil {
				return fmt.Errorf("cannot reload %s: %w", p.Name, err)
			}
		}
	}
}

// say tells whoever waits how it goes.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func glance(pt *point, o *outcome, err error) string {
	if err != nil {
		return err.Error()
	}
	if o.Errors > 0 {
		return fmt.Sprintf("void, %d errors, the first: %s", o.Errors, o.FirstError)
	}
	u := o.Usage
	text := fmt.Sprintf("%.2f µs/%s, %.0f requests/s, load core %.0f %% busy, others %.1f %%",
		o.cost(pt.Units), pt.Unit, o.rate(), u.LoadBusy, u.Others)
	if o.Latency != nil {
		text += fmt.Sprintf(", p50 %.0f p99 %.0f p99.9 %.0f µs", o.Latency.P50, o.Latency.P99, o.Latency.P999)
	}
	return text
}
