//go:build unix

package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/tenant"
)

// TestManyMembers runs real memberlists with real Serfs in one process: all
// join at once, a tenth is replaced, and a Router sees each list. The long form
// has 500, as many as the target for a pool on one such machine.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	// 500 nodes each have a tenth of what a core does for all: at the library's
	// pace they would miss each other's probes, and spread nothing but suspicion.
	members, patience, slower := 12, time.Minute, time.Duration(1)
	if os.Getenv("JETWAY_LONG") == "1" {
		members, patience, slower = 500, 10*time.Minute, 10
	}
	n := &network{nodes: map[string]*wire{}, slower: slower}
	router := testRouter(t)
	var lists atomic.Int64
	lb, err := NewGossip(GossipConfig{Bind: "127.0.0.1:0"}, Identity{Node: "lb1"}, nil, func(m []balancer.Member) {
		lists.Add(1)
		router.SetMembers(m)
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	seed := n.attach(lb.pool)
	churn := members / 10
	agents := make([]*Agent, members+churn)
	for i := range agents {
		name := fmt.Sprintf("m%d", i)
		a, err := NewAgent(AgentConfig{Gossip: GossipConfig{Bind: "127.0.0.1:0", Join: []string{seed}}, Node: name,
			Announcement: Announcement{Member: balancer.Member{Domain: fmt.Sprintf("d%d", i%10), HTTP: uint16(1000 + i)}}}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		n.attach(a.pool)
		agents[i] = a
	}
	inBackground(t, "lb1", lb.Run)
	if _, err := lb.Addr(t.Context()); err != nil {
		t.Fatal(err)
	}
	// count returns how many of the members from..to-1 are known, how many
	// others are, and how many gossip takes for dead.
	count := func(from, to int) (alive, others, suspect int) {
		for _, u := range router.Table().Upstreams() {
			m := u.Member()
			switch i, err := strconv.Atoi(strings.TrimPrefix(m.ID, "m")); {
			case m.Suspect:
				suspect++
			case err == nil && i >= from && i < to:
				alive++
			default:
				others++
			}
		}
		return alive, others, suspect
	}
	cpu, start := cpuTime(), time.Now()
	stops := make([]func() time.Duration, len(agents))
	for i := range members {
		stops[i] = inBackground(t, agents[i].pool.name, agents[i].Run)
	}
	falsely := 0
	reach := func(what string, from, to int) {
		t.Helper()
		took := within(t, patience, func() error {
			alive, others, suspect := count(from, to)
			falsely = max(falsely, suspect)
			if alive != to-from || others > 0 {
				return fmt.Errorf("%d members, %d that should not be there and %d suspect, want %d; %+v", alive, others, suspect, to-from, lb.Status())
			}
			return nil
		})
		t.Logf("%s: all known after %v; %d tables, %v of CPU since the start, %d goroutines", what, took.Round(10*time.Millisecond), router.Table().Generation(), (cpuTime() - cpu).Round(10*time.Millisecond), runtime.NumGoroutine())
	}
	reach(fmt.Sprintf("%d members join at once", members), 0, members)
	for i := range churn {
		go stops[i]()
		stops[members+i] = inBackground(t, agents[members+i].pool.name, agents[members+i].Run)
	}
	reach("a tenth is replaced", churn, members+churn)
	at, before, used := time.Now(), router.Table().Generation(), cpuTime()
	rest := 2 * time.Second
	if os.Getenv("JETWAY_LONG") == "1" {
		rest = 20 * time.Second
	}
	for time.Since(at) < rest {
		_, _, suspect := count(churn, members+churn)
		falsely = max(falsely, suspect)
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("at rest for %v: %d tables, %.0f %% of a CPU for all %d nodes; %d at most taken for dead; %d lists in all, %d packets dropped, %v", rest,
		router.Table().Generation()-before, 100*float64(cpuTime()-used)/float64(time.Since(at)), members+1, falsely, lists.Load(), n.dropped.Load(), time.Since(start).Round(time.Second))
	var all sync.WaitGroup
	for _, stop := range stops {
		if stop != nil {
			all.Go(func() { stop() })
		}
	}
	all.Wait()
}

// TestManyEvents feeds the events of 2,000 members to the very parts that run:
// debounce, roster, Set, Router. However many come, few tables are built.
func TestManyEvents(t *testing.T) {
	const members = 2000
	length := 15 * time.Second // alone: what it costs is to be told
	if os.Getenv("JETWAY_LONG") != "1" {
		length = time.Second
		t.Parallel()
	}
	var mu sync.Mutex // guards nodes
	nodes := make([]serf.Member, members)
	for i := range nodes {
		nodes[i] = pooled(fmt.Sprintf("n%d 10.0.%d.%d alive domain=d%d sub_domain=worker http=9763 https=9443 port.mapping.8280=9763", i, i/250, 1+i%250, i%10))
	}
	router := testRouter(t)
	set := NewSet(router.SetMembers)
	publish := set.Source("gossip")
	r := newRoster("lb1", policy{installation: "default"}, time.Minute, zerolog.Nop())
	changed := make(chan struct{}, 1)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		debounce(ctx, changed, publishQuiet, publishMost, func() {
			mu.Lock()
			pool := append([]serf.Member(nil), nodes...)
			mu.Unlock()
			publish(r.build(pool, time.Now(), true))
		})
	}()
	mark := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	run := func(rate int) {
		before, used, events := router.Table().Generation(), cpuTime(), 0
		start := time.Now()
		for pace := time.NewTicker(10 * time.Millisecond); time.Since(start) < length; <-pace.C {
			for want := int(time.Since(start).Seconds() * float64(rate)); events < want; events++ {
				mu.Lock()
				n := &nodes[rand.IntN(members)]
				switch {
				case n.Status == serf.StatusLeft:
					n.Status = serf.StatusAlive
				default:
					n.Status = serf.StatusLeft
				}
				mu.Unlock()
				mark()
			}
		}
		took := time.Since(start)
		tables := router.Table().Generation() - before
		t.Logf("%d members, %d events/s for %v: %d tables (%.1f/s), %.1f %% of a CPU", members, rate, took.Round(time.Second), tables,
			float64(tables)/took.Seconds(), 100*float64(cpuTime()-used)/float64(took))
		if most := 2 + uint64(took/publishQuiet); tables > most {
			t.Errorf("%d tables for %d events, at most %d", tables, events, most)
		}
	}
	mark()
	within(t, time.Minute, func() error {
		if n := len(router.Table().Upstreams()); n != members {
			return fmt.Errorf("%d members", n)
		}
		return nil
	})
	for _, rate := range []int{1, 10, 100, 1000} {
		run(rate)
	}
	mu.Lock()
	alive := 0
	for _, n := range nodes {
		if n.Status == serf.StatusAlive {
			alive++
		}
	}
	mu.Unlock()
	mark()
	within(t, time.Minute, func() error {
		if n := len(router.Table().Upstreams()); n != alive {
			return fmt.Errorf("%d members, want %d", n, alive)
		}
		return nil
	})
	stop()
	<-done
}

// testRouter routes ten domains.
func testRouter(t *testing.T) *balancer.Router {
	t.Helper()
	list, err := tenant.NewList(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := tenant.NewResolver(tenant.Config{}, list)
	if err != nil {
		t.Fatal(err)
	}
	cfg := balancer.Config{Tenants: resolver, Listeners: []balancer.Listener{{Name: "http", PublicPort: 80}}}
	for i := range 10 {
		d := fmt.Sprintf("d%d", i)
		cfg.Clusters = append(cfg.Clusters, balancer.ClusterConfig{Service: d, Key: balancer.Key{Domain: d, SubDomain: balancer.Worker},
			Hosts: []string{d}, Balance: balancer.LeastRequests, MemberScheme: balancer.SchemeSame})
	}
	router, err := balancer.NewRouter(cfg, balancer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
