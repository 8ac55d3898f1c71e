package balancer

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// ward is a router in virtual time with a checked cluster.
type ward struct {
	*Router
	now  int64
	told []Transition
}

const second = int64(time.Second)

func newWard(t testing.TB, h Health, members ...Member) *ward {
	t.Helper()
	w := &ward{now: 1000 * second}
	cfg := example(t)
	for i := range cfg.Clusters {
		cfg.Clusters[i].Health = h
	}
	r, err := NewRouter(cfg, Options{Now: func() int64 { return w.now }, Tell: func(tr Transition) { w.told = append(w.told, tr) }})
	if err != nil {
		t.Fatal(err)
	}
	w.Router = r
	r.SetMembers(members)
	return w
}

func (w *ward) state(i int) string { return w.Table().Upstreams()[i].Status(w.now).State }

func standard() Health {
	return Health{Interval: 2 * time.Second, Timeout: time.Second, Fall: 3, Rise: 2, Failures: 5, MaxEjected: 0.5, SlowStart: 30 * time.Second}
}

func (w *ward) want(t *testing.T, i int, state string) {
	t.Helper()
	if got := w.state(i); got != state {
		t.Fatalf("member %d is %s, want %s", i, got, state)
	}
}

func TestEjectionByConnect(t *testing.T) {
	w := newWard(t, standard(), workers(2)...)
	v := view(t, w.Router, "as.test")
	e := v.Endpoints()[0]
	for n := 1; n <= 12; n++ {
		v.Unreachable(e, w.now, w.now, "refused")
		w.want(t, 0, StateEjected)
		want := min(time.Duration(n)*ejectStep, ejectMax)
		if got := w.told[len(w.told)-1].For; got != want {
			t.Fatalf("ejection %d is for %v, want %v", n, got, want)
		}
		v.Unreachable(e, w.now, w.now, "refused") // what else was under way adds nothing
		w.now += int64(want)
		w.want(t, 0, StateUp)
		if share := e.Upstream.Status(w.now).Share; share > 0.11 {
			t.Fatalf("it is back with a share of %v", share)
		}
		w.now++
	}
	w.now += 12 * int64(forgiveAfter)
	v.Unreachable(e, w.now, w.now, "refused")
	if got := w.told[len(w.told)-1].For; got != ejectStep {
		t.Fatalf("after a long time in service it is ejected for %v", got)
	}
	if got := e.Upstream.Status(w.now).Ejections; got != (Ejections{Unreachable: 13}) {
		t.Fatalf("ejections are counted as %+v", got)
	}
}

func TestEjectionByFailures(t *testing.T) {
	w := newWard(t, standard(), workers(3)...)
	v := view(t, w.Router, "as.test")
	e := v.Endpoints()[0]
	for range 4 {
		v.Broke(e, w.now, w.now, "reset")
	}
	v.Completed(e, 200, w.now, w.now)
	for range 4 {
		v.Broke(e, w.now, w.now, "reset")
	}
	w.want(t, 0, StateUp)
	v.Broke(e, w.now, w.now, "reset")
	w.want(t, 0, StateEjected)
	begun := w.now - 1 // under way when it was ejected
	v.Completed(e, 200, begun, w.now)
	w.want(t, 0, StateEjected)
	w.now += second
	v.Completed(e, 200, w.now, w.now) // asked as a last resort
	w.want(t, 0, StateUp)
	for range 10 {
		v.Broke(e, begun, w.now, "reset") // as old
	}
	w.want(t, 0, StateUp)
	if got := e.Upstream.Status(w.now).Ejections; got != (Ejections{Failing: 1}) {
		t.Fatalf("ejections are counted as %+v", got)
	}
}

func TestServerErrors(t *testing.T) {
	f := func(on bool, status int, want string) {
		t.Helper()
		h := standard()
		h.ServerErrors = on
		w := newWard(t, h, workers(3)...)
		v := view(t, w.Router, "as.test")
		for range 5 {
			v.Completed(v.Endpoints()[1], status, w.now, w.now)
		}
		w.want(t, 1, want)
	}
	f(true, 503, StateEjected)
	f(true, 501, StateUp)
	f(true, 404, StateUp)
	f(false, 503, StateUp)
}

// TestMaxEjected: members that answer badly are used like the others once
// more than half are out; those that cannot be reached are not.
func TestMaxEjected(t *testing.T) {
	w := newWard(t, standard(), workers(6)...)
	v := view(t, w.Router, "as.test")
	fail := func(i int) {
		for range 5 {
			v.Broke(v.Endpoints()[i], w.now, w.now, "reset")
		}
		w.now += second
	}
	picked := func() (ids []int) {
		w.now += 12 * second // failures no longer count as load
		for range 600 {
			ids = append(ids, slices.Index(v.Endpoints(), v.Pick(w.now, 0, nil)))
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	fail(0)
	fail(1)
	v.Unreachable(v.Endpoints()[2], w.now, w.now, "refused")
	if got := picked(); !slices.Equal(got, []int{3, 4, 5}) {
		t.Fatalf("half is out, picked %v", got)
	}
	w.now = 1003 * second
	fail(3)
	if got := picked(); !slices.Equal(got, []int{0, 1, 3, 4, 5}) {
		t.Fatalf("more than half is out, picked %v", got)
	}
}

func TestOperatorsAndPeers(t *testing.T) {
	w := newWard(t, standard(), workers(3)...)
	v := view(t, w.Router, "as.test")
	e := v.Endpoints()[0]
	if !w.Advise("shared", "w000", time.Unix(0, w.now).Add(time.Hour)) {
		t.Fatal("advice was not taken")
	}
	w.want(t, 0, StateEjected)
	if got := v.Fitness(e, w.now); got != Out {
		t.Fatalf("fitness %d", got)
	}
	w.now += int64(adviceMax)
	w.want(t, 0, StateUp)
	w.Advise("shared", "w000", time.Unix(0, w.now).Add(time.Hour))
	w.now++
	v.Completed(e, 200, w.now, w.now)
	w.want(t, 0, StateUp)

	if _, err := w.Eject("w000", time.Hour); err != nil {
		t.Fatal(err)
	}
	w.now++
	v.Completed(e, 200, w.now, w.now)
	v.Unreachable(e, w.now, w.now, "refused")
	w.now += int64(50 * time.Minute)
	w.want(t, 0, StateEjected) // only the operator or the time ends it
	w.Restore("w000")
	w.want(t, 0, StateUp)

	w.Drain("w000", true)
	w.want(t, 0, StateDraining)
	if got := v.Fitness(e, w.now); got != Draining {
		t.Fatalf("fitness %d", got)
	}
	w.now++
	v.Unreachable(e, w.now, w.now, "refused")
	if got := v.Fitness(e, w.now); got != Out {
		t.Fatalf("fitness of a drained member that is ejected: %d", got)
	}
	w.Drain("w000", false)
	w.Restore("w000")

	if _, err := w.SetWeight("w001", 7); err != nil {
		t.Fatal(err)
	}
	if got := w.Table().Upstreams()[1].Weight(); got != 7 {
		t.Fatalf("weight %d", got)
	}
	w.SetMembers(workers(3))
	if got := w.Table().Upstreams()[1].Weight(); got != 7 {
		t.Fatalf("weight %d after new members", got)
	}
	w.Forget("shared", "w001")
	w.SetMembers(workers(3))
	if got := w.Table().Upstreams()[1].Weight(); got != 1 {
		t.Fatalf("weight %d after it was forgotten", got)
	}
}

func TestFacts(t *testing.T) {
	w := newWard(t, standard(), workers(4)...)
	v := view(t, w.Router, "as.test")
	w.Drain("w000", true)
	w.SetWeight("w001", 9)
	v.Unreachable(v.Endpoints()[2], w.now, w.now, "refused")
	w.now += second
	facts := w.Facts(w.now)
	if len(facts) != 3 || !facts[0].Drained || facts[1].Weight != 9 || facts[2].Ejected != 29*time.Second || facts[2].Reason != "refused" {
		t.Fatalf("%+v", facts)
	}
}

// TestChecks goes through the life of a member with active checks.
func TestChecks(t *testing.T) {
	h := standard()
	h.Type = CheckTCP
	list := workers(3)
	for i := range list {
		list[i].Source = SourceGossip
	}
	w := newWard(t, h, list...)
	v := view(t, w.Router, "as.test")
	checks := w.Table().Checks()
	if len(checks) != 3 {
		t.Fatalf("%d checks", len(checks))
	}
	c, e := checks[0], v.Endpoints()[0]
	bad := CheckResult{Err: errors.New("timed out"), Silent: true}
	w.want(t, 0, StateChecking)
	c.Report(w.now, CheckResult{})
	w.want(t, 0, StateUp)
	if picked := v.Pick(w.now, 0, nil); picked != e {
		t.Fatalf("picked %s though it is not checked yet", picked.Upstream.Member().ID)
	}
	checks[1].Report(w.now, bad)
	w.want(t, 1, StateDown) // new: one bad check will do
	checks[1].Report(w.now, CheckResult{})
	w.want(t, 1, StateDown)
	checks[1].Report(w.now, CheckResult{})
	w.want(t, 1, StateUp)

	next := c.Report(w.now, bad)
	if next > 500*time.Millisecond {
		t.Fatalf("the check after a bad one is in %v", next)
	}
	c.Report(w.now, bad)
	w.want(t, 0, StateUp)
	c.Report(w.now, bad)
	w.want(t, 0, StateDown)
	if !c.Ask() {
		t.Fatal("a connection alone would bring it back")
	}
	c.Report(w.now, CheckResult{Asked: true})
	c.Report(w.now, CheckResult{Asked: true})
	w.want(t, 0, StateUp)

	w.now++
	v.Unreachable(e, w.now, w.now, "refused")
	w.now += second
	c.Report(w.now, CheckResult{}) // a connection that began before
	c.Report(w.now, CheckResult{})
	w.want(t, 0, StateEjected)
	c.Report(w.now, CheckResult{Asked: true})
	w.want(t, 0, StateUp)
	if s := e.Upstream.Status(w.now); s.Share > 0.11 || len(s.Checks) != 1 || !s.Checks[0].OK {
		t.Fatalf("%+v", s)
	}
	c.Report(w.now, CheckResult{Err: errors.New("refused"), Refused: true})
	w.want(t, 0, StateEjected)

	// Vouched for, it is used after a second without any check.
	w.want(t, 2, StateChecking)
	w.now += second
	w.want(t, 2, StateChecking) // gossip without signature waits
	fixed := workers(4)[3]
	fixed.Source = SourceStatic
	w.SetMembers(append(list, fixed))
	w.want(t, 3, StateChecking)
	w.now += second
	w.want(t, 3, StateUp)

	// Switched off, what checks found is void.
	cfg := example(t)
	if err := w.Configure(cfg); err != nil {
		t.Fatal(err)
	}
	if n := len(w.Table().Checks()); n != 0 {
		t.Fatalf("%d checks are left", n)
	}
	w.want(t, 2, StateUp)
}

// TestChecksByPart: what the check of one sub-domain finds does not concern
// the others.
func TestChecksByPart(t *testing.T) {
	h := standard()
	h.Type = CheckHTTP
	w := newWard(t, h, member("shared", "both", 8000, "worker", "mgt"))
	var mgt, worker *Check
	for _, c := range w.Table().Checks() {
		if c.sub == "mgt" {
			mgt = c
		} else {
			worker = c
		}
	}
	v := view(t, w.Router, "as.test")
	worker.Report(w.now, CheckResult{})
	mgt.Report(w.now, CheckResult{Err: errors.New("status 500")})
	if got := v.Fitness(v.Endpoints()[0], w.now); got != Fit {
		t.Fatalf("fitness of the worker is %d", got)
	}
	w.want(t, 0, StateUp)
	for range 3 {
		worker.Report(w.now, CheckResult{Err: errors.New("status 500")})
	}
	w.want(t, 0, StateDown)
}

func TestSlowStart(t *testing.T) {
	w := newWard(t, standard(), workers(4)...)
	v := view(t, w.Router, "as.test")
	if s := v.Endpoints()[0].Upstream.Status(w.now); s.Share != 1 {
		t.Fatal("slow start while all are new")
	}
	w.now += 10 * second
	w.SetMembers(workers(5))
	v = view(t, w.Router, "as.test")
	f := func(age int64, load int, lo, hi float64) {
		t.Helper()
		now := w.now + age*second
		count, all := 0, 20000
		var under []*Endpoint
		for range all { // each request stays until as many others have come as are to be in flight
			e := v.Pick(now, 0, nil)
			e.Begin()
			if under = append(under, e); len(under) > load {
				under[0].End()
				under = under[1:]
			}
			if e == v.Endpoints()[4] {
				count++
			}
		}
		for _, e := range under {
			e.End()
		}
		if share := float64(count) / float64(all); share < lo || share > hi {
			t.Fatalf("after %d s with %d in flight it gets %.3f of the requests, want %v..%v", age, load, share, lo, hi)
		}
	}
	f(0, 1, 0.005, 0.04)
	f(0, 50, 0.01, 0.06)
	f(15, 1, 0.05, 0.2)
	f(15, 50, 0.08, 0.2)
	f(30, 1, 0.15, 0.25)
	f(30, 50, 0.15, 0.25)
}

// TestFastFailureIsNotAttractive: a member that fails at once has nothing in
// flight, and gets no more than its share all the same.
func TestFastFailureIsNotAttractive(t *testing.T) {
	for _, n := range []int{5, 40} {
		w := newWard(t, standard(), workers(n)...)
		v := view(t, w.Router, "as.test")
		bad := v.Endpoints()[0]
		var under []*Endpoint
		count, all := 0, 20000
		for range all {
			w.now += second / 1000
			e := v.Pick(w.now, 0, nil)
			e.Begin()
			if e == bad {
				v.Answered(e, 503, 1000, w.now)
				e.End()
				count++
				continue
			}
			if under = append(under, e); len(under) > 5*n {
				under[0].End()
				under = under[1:]
			}
		}
		if share := float64(count) / float64(all); share > 1/float64(n) {
			t.Fatalf("of %d members, one that fails fast gets %.3f of the requests", n, share)
		}
	}
}
