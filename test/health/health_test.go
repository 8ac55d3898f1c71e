package health

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

const (
	// rate at 70 % of what five members can do, in the long form. In the short
	// one the machine may be slow.
	capacity = float64(slots) / 0.02
	quick    = "{interval: 500ms, timeout: 300ms, fall: 2}"
)

func rate(members int) float64 {
	if harness.Long() {
		return 0.7 * capacity * float64(members)
	}
	return 0.2 * capacity * float64(members)
}

// within checks a time that is claimed; the short form allows for a slow
// machine.
func within(t *testing.T, what string, got, claimed, short time.Duration) {
	t.Helper()
	t.Logf("%s: %v (claimed: %v)", what, got.Round(time.Millisecond), claimed)
	if harness.Long() && got > claimed || got > short {
		t.Errorf("%s after %v, want within %v", what, got, claimed)
	}
}

// TestKill: SIGKILL of one of five members under load fails only requests that
// were in flight there and may not be repeated.
func TestKill(t *testing.T) {
	s := newSite(t, 5, "least_requests", "{}")
	l := startLoad(t, s.http, rate(5))
	time.Sleep(2 * time.Second)
	w := s.watch(t, "m0")
	time.Sleep(500 * time.Millisecond)
	killed := time.Now()
	s.members[0].kill()
	time.Sleep(3 * time.Second)
	last := w.end()
	l.stop()
	within(t, "the last request was sent to the killed member", max(0, last.Sub(killed)), 100*time.Millisecond, 2*time.Second)
	if gets := l.failures(http.MethodGet, time.Time{}, time.Time{}); len(gets) > 0 {
		t.Errorf("%d GETs failed of %d requests", len(gets), l.done())
		tell(t, gets, killed)
	}
	posts := l.failures(http.MethodPost, time.Time{}, time.Time{})
	for _, f := range posts {
		if f.begun.After(killed.Add(100*time.Millisecond)) || f.begun.Before(killed.Add(-2*time.Second)) {
			t.Errorf("a POST failed that was not in flight at the killed member:")
			tell(t, []failure{f}, killed)
		}
	}
	t.Logf("%d requests, %d POSTs in flight at the killed member failed", l.done(), len(posts))
}

// TestStandstill: a member whose process stands still gets nothing more after
// the checks have found out, and is used again when it goes on.
func TestStandstill(t *testing.T) {
	f := func(name, health string, claimed, short time.Duration) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 5, "round_robin", health) // which does not shun who has much in flight
			l := startLoad(t, s.http, rate(5)/2)      // the others have to carry it
			time.Sleep(2 * time.Second)
			w := s.watch(t, "m0")
			stopped := time.Now()
			s.members[0].signal(syscall.SIGSTOP)
			s.awaitState(t, "m0", "down", short)
			time.Sleep(2 * time.Second)
			within(t, "the last request was sent to the member that stands still", w.end().Sub(stopped), claimed, short)
			s.members[0].signal(syscall.SIGCONT)
			s.awaitState(t, "m0", "up", short)
			l.stop()
			if n := len(l.failures(http.MethodGet, time.Time{}, time.Time{})); n > 0 {
				t.Errorf("%d GETs failed though the member went on in time", n)
			}
		})
	}
	f("quick", quick, 2*time.Second, 15*time.Second)
	if harness.Long() {
		f("default", "{}", 8*time.Second, 30*time.Second)
	}
}

// TestDataPathDropped: packets to and from one member are dropped; in a
// network namespace of its own, which needs root.
func TestDataPathDropped(t *testing.T) {
	const inside = "JETWAY_TEST_HEALTH_INSIDE"
	if os.Getenv(inside) == "" {
		harness.InNamespace(t, inside+"=1")
		return
	}
	f := func(name, health string, claimed, short time.Duration) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 5, "round_robin", health) // which does not shun who has much in flight
			l := startLoad(t, s.http, rate(5)/2)
			time.Sleep(2 * time.Second)
			w := s.watch(t, "m0")
			nft(t, fmt.Sprintf("add table inet t; add chain inet t c { type filter hook input priority 0; }; "+
				"add rule inet t c tcp dport %d drop; add rule inet t c tcp sport %d drop", s.members[0].port, s.members[0].port))
			dropped := time.Now()
			time.Sleep(short)
			if state := s.views(t)["m0"].State; state != "down" && state != "ejected" {
				t.Errorf("the member is %s", state)
			}
			within(t, "the last request was sent to the member behind the gap", w.end().Sub(dropped), claimed, short)
			nft(t, "delete table inet t")
			s.awaitState(t, "m0", "up", 30*time.Second)
			l.stop()
		})
	}
	f("quick", quick, 2*time.Second, 6*time.Second)
	if harness.Long() {
		f("default", "{}", 8*time.Second, 12*time.Second)
	}
}

func nft(t *testing.T, commands string) {
	t.Helper()
	if out, err := exec.Command("nft", commands).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}

// TestFlapping: a member that dies and returns again and again costs no more
// than what is in flight there, rebuilds no table, and does not flood the log.
func TestFlapping(t *testing.T) {
	s := newSite(t, 5, "least_requests", "{}")
	l := startLoad(t, s.http, rate(5)/2)
	time.Sleep(time.Second)
	_, before := s.Get("/api/v1/overview")
	lines := strings.Count(s.Log(), "\n")
	flaps, run := 0, 6*time.Second
	if harness.Long() {
		run = 60 * time.Second
	}
	for end := time.Now().Add(run); time.Now().Before(end); flaps++ {
		s.members[0].kill()
		time.Sleep(300 * time.Millisecond)
		s.members[0].start()
		time.Sleep(700 * time.Millisecond)
	}
	_, after := s.Get("/api/v1/overview")
	l.stop()
	gets, posts := l.failures(http.MethodGet, time.Time{}, time.Time{}), l.failures(http.MethodPost, time.Time{}, time.Time{})
	t.Logf("%d flaps, %d requests: %d GETs and %d POSTs failed; %d log lines", flaps, l.done(), len(gets), len(posts), strings.Count(s.Log(), "\n")-lines)
	if len(gets) > 0 {
		t.Errorf("%d GETs failed", len(gets))
		tell(t, gets, time.Now())
	}
	if most := slots * 2 * flaps; len(posts) > most {
		t.Errorf("%d POSTs failed in %d flaps, want at most %d", len(posts), flaps, most)
		tell(t, posts, time.Now())
	}
	if n := strings.Count(s.Log(), "\n") - lines; n > 6*flaps+10 {
		t.Errorf("%d log lines for %d flaps", n, flaps)
	}
	if a, b := generation(before), generation(after); a != b {
		t.Errorf("the table was rebuilt: generation %s became %s", a, b)
	}
}

func generation(overview string) string {
	_, rest, _ := strings.Cut(overview, `"generation": `)
	n, _, _ := strings.Cut(rest, ",")
	return n
}

// TestMostKilled: three of five members die at once; the two others serve.
func TestMostKilled(t *testing.T) {
	s := newSite(t, 5, "least_requests", "{}")
	l := startLoad(t, s.http, rate(5)/3)
	time.Sleep(1500 * time.Millisecond)
	killed := time.Now()
	for _, m := range s.members[:3] {
		m.signal(syscall.SIGKILL)
	}
	time.Sleep(4 * time.Second)
	l.stop()
	gets, posts := l.failures(http.MethodGet, time.Time{}, time.Time{}), l.failures(http.MethodPost, time.Time{}, time.Time{})
	t.Logf("%d requests: %d GETs and %d POSTs failed", l.done(), len(gets), len(posts))
	// One that was under way may meet two of the dying, which is all that
	// retry.attempts allows; one that came later has no excuse.
	if late := l.failures(http.MethodGet, killed.Add(20*time.Millisecond), time.Time{}); len(late) > 0 || len(gets) > 2 {
		t.Errorf("%d GETs failed, %d of them came after the members had died", len(gets), len(late))
		tell(t, gets, killed)
	}
	if late := l.failures(http.MethodPost, killed.Add(500*time.Millisecond), time.Time{}); len(late) > 0 {
		t.Errorf("%d POSTs failed that came after the members had died", len(late))
		tell(t, late, killed)
	}
}
