package autoscale

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jetway/test/harness"
)

// held asks with so many clients at once and tells what came of it.
type held struct {
	wg     sync.WaitGroup
	mu     sync.Mutex // guards failed
	failed []string
}

func (s *site) hold(clients int) *held {
	h := &held{}
	for range clients {
		h.wg.Go(func() {
			c := s.client()
			defer c.CloseIdleConnections()
			if _, err := s.ask(context.Background(), c, 50*time.Millisecond); err != nil {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.failed = append(h.failed, err.Error())
			}
		})
	}
	return h
}

// answered waits for all of them; none may have failed.
func (h *held) answered(t *testing.T) {
	t.Helper()
	h.wg.Wait()
	if len(h.failed) > 0 {
		t.Errorf("%d requests that waited failed: %s", len(h.failed), h.failed[0])
	}
}

// waiting is how many requests wait for a member, by Jetway's own account.
func (s *site) waiting() int {
	n, _ := strconv.Atoi(s.jetway.Metric(`jetway_queue_length{domain="el.domain",service="app",sub_domain="worker"}`))
	return n
}

// TestDriverHangs: the command does not end. Its order is given again with the
// same id until it does, requests wait, and one member comes of it.
func TestDriverHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := newScripts(t, s.worker("0s"))
	d.be("sleep 120")
	s.min, s.driver = 0, d.driver("2s") // long enough for a script that only notes its call, and for nothing else
	s.start()
	h := s.hold(1)
	s.eventually(20*time.Second, "a request waits", func() bool { return s.waiting() == 1 })
	s.eventually(40*time.Second, "the order is given again", func() bool { return len(d.calls("start")) >= 2 })
	d.be("")
	h.answered(t)
	if n := d.ordered(); len(n) != 1 || len(d.started()) != 1 {
		t.Errorf("ordered %v, started %v, want one member by one order", n, d.started())
	}
}

// TestDriverFails: the command says that it could not. The next start is
// another order, after a pause; the requests wait for it.
func TestDriverFails(t *testing.T) {
	harness.Thorough(t)
	t.Parallel()
	s := newSite(t)
	d := newScripts(t, s.worker("0s"))
	d.be("echo no quota >&2; exit 1")
	s.min, s.driver = 0, d.driver("20s")
	s.start()
	h := s.hold(1)
	s.eventually(20*time.Second, "the start has failed", func() bool { return s.scale().Failures == 1 })
	if !s.logs("no quota") {
		t.Errorf("what the command said is not in the log:\n%s", s.decisions())
	}
	d.be("")
	h.answered(t)
	c := d.calls("start")
	if len(c) != 2 || c[0].order == c[1].order || len(d.started()) != 1 {
		t.Fatalf("calls %v, started %v, want two orders and one member", c, d.started())
	}
	if pause := c[1].at.Sub(c[0].at); pause < 9*time.Second {
		t.Errorf("the second order came %s after the one that failed, want 10s", pause)
	}
	s.eventually(20*time.Second, "the start that joined ends the row of failures", func() bool { return s.scale().Failures == 0 })
}

// TestDriverFailsForGood: after five starts nothing is ordered any more and
// there is an alarm, until an operator releases it.
func TestDriverFailsForGood(t *testing.T) {
	if !harness.Long() {
		t.Skip("takes three minutes: JETWAY_LONG=1 runs it")
	}
	t.Parallel()
	s := newSite(t)
	d := newScripts(t, s.worker("0s"))
	d.be("exit 1")
	s.min, s.driver = 1, d.driver("20s")
	s.start()
	s.eventually(200*time.Second, "alarm", func() bool { return s.scale().Alarm })
	time.Sleep(15 * time.Second) // the pause of a first failure, and more
	if n := len(d.ordered()); n != 5 {
		t.Errorf("%d orders, want 5", n)
	}
	if v := s.jetway.Metric(`jetway_autoscale_alarm{domain="el.domain",sub_domain="worker"}`); v != "1" {
		t.Errorf("jetway_autoscale_alarm is %q", v)
	}
	d.be("")
	run(t, 0, "scale", "el.domain", "--release", "--admin", s.jetway.Admin)
	s.eventually(30*time.Second, "a member", func() bool { return s.members()["up"] == 1 })
	if s.scale().Alarm {
		t.Error("the alarm is still on")
	}
}

// TestDriverLies: the command says that it started a member, and nobody joins.
// What is left of it is stopped and counted, and another one is ordered.
func TestDriverLies(t *testing.T) {
	harness.Thorough(t)
	t.Parallel()
	s := newSite(t)
	d := newScripts(t, s.worker("0s"))
	d.be("exit 0")
	s.min, s.driver, s.startup = 0, d.driver("20s"), "2s"
	s.start()
	h := s.hold(1)
	s.eventually(30*time.Second, "what did not join is stopped", func() bool { return len(d.calls("stop")) == 1 })
	first, stop := d.calls("start")[0], d.calls("stop")[0]
	if stop.start != first.order || stop.member != "" || stop.count != 1 {
		t.Errorf("stopped %+v, want what is left of %s", stop, first.order)
	}
	if v := s.jetway.Metric("jetway_autoscale_failures_total"); v != "1" {
		t.Errorf("jetway_autoscale_failures_total is %q, want 1", v)
	}
	s.startup = "60s" // the honest one may take its time
	s.jetway.Reload(t, s.config())
	d.be("")
	h.answered(t)
	if len(d.started()) != 1 {
		t.Errorf("started %v, want one", d.started())
	}
}

// TestDriverStartsTwice: two members come of an order of one. The one too many
// goes when the load allows it, and no request suffers.
func TestDriverStartsTwice(t *testing.T) {
	harness.Thorough(t)
	t.Parallel()
	s := newSite(t)
	d := newScripts(t, s.worker("0s"))
	d.be("count=2")
	s.min, s.max, s.drain, s.driver = 1, 6, "1s", d.driver("20s")
	s.start()
	s.eventually(30*time.Second, "two members", func() bool { return s.members()["up"] == 2 })
	l := s.load(1)
	s.eventually(60*time.Second, "one member is left", func() bool { return len(d.running()) == 1 })
	if why := l.end(); why != "" {
		t.Error(why)
	}
	if n := d.ordered(); len(n) != 1 {
		t.Errorf("orders %v, want one start", n)
	}
}

// TestActiveKilled: two load balancers, of which one gives the orders. It is
// killed while its command runs, with requests waiting at the other one, which
// goes on: nothing is started twice, and all requests are answered.
func TestActiveKilled(t *testing.T) {
	t.Parallel()
	a, b := newPair(t)
	d := newScripts(t, b.worker("1s", a.gossip))
	d.be("pause=2")
	for _, s := range []*site{a, b} {
		s.min, s.max, s.calm, s.driver = 0, 4, "60s", d.driver("30s")
	}
	a.start()
	b.start()
	b.eventually(60*time.Second, "the first one acts, and the other one is warm", func() bool {
		return a.scale().Acts && !b.scale().Acts && b.warm()
	})
	h := b.hold(12)
	b.eventually(20*time.Second, "all requests wait", func() bool { return b.waiting() == 12 })
	b.eventually(20*time.Second, "all members are ordered", func() bool { return sum(d.ordered()) == 4 })
	if n := len(d.running()); n != 0 {
		t.Logf("%d members run already: the kill is later than meant", n)
	}
	a.jetway.Kill()
	before := d.ordered()
	b.eventually(60*time.Second, "the other one acts", func() bool { return b.scale().Acts })
	h.answered(t)
	l := b.load(8)
	b.eventually(60*time.Second, "all of them have joined", func() bool { return b.members()["up"] == 4 })
	b.eventually(30*time.Second, "nothing is under way", func() bool { s := b.scale(); return s.Booting == 0 && len(s.Orders) == 0 })
	if why := l.end(); why != "" {
		t.Error(why)
	}
	if after := d.ordered(); !maps.Equal(after, before) || len(d.started()) != 4 {
		t.Errorf("ordered %v, %v when the first one was killed; started %v, want four", after, before, d.started())
	}
	t.Logf("calls: %v", d.calls("start"))
}

func sum(n map[string]int) (total int) {
	for v := range maps.Values(n) {
		total += v
	}
	return total
}

// newPair returns two load balancers that know each other; the first one is
// the one that acts.
func newPair(t *testing.T) (a, b *site) {
	a, b = newSite(t), newSite(t)
	pa, pb := harness.FreePort(t), harness.FreePort(t)
	join := func(s, other *site, name string, own, peer int) {
		s.name, s.join = name, fmt.Sprintf("%q", harness.Loopback(other.gossip))
		s.standby = fmt.Sprintf("standby: {listen: %q, peers: [%q], key_file: peer.key}\n", harness.Loopback(own), harness.Loopback(peer))
		s.options = append(s.options, harness.WithFile("peer.key", base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))+"\n"))
	}
	join(a, b, "lb1", pa, pb)
	join(b, a, "lb2", pb, pa)
	return a, b
}

// warm reports whether it knows what its peer does.
func (s *site) warm() bool {
	h := struct {
		Warm  bool
		Peers int
	}{}
	return s.get("/api/v1/health", &h) && h.Warm && h.Peers == 1
}

// logs reports whether the log says something.
func (s *site) logs(what string) bool {
	return strings.Contains(s.jetway.Log(), what)
}
