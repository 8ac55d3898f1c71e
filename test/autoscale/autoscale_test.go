package autoscale

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// processDriver is the driver's part of the configuration.
func (s *site) processDriver(boot string) string {
	command, err := json.Marshal(append(s.worker(boot), "--id", "{id}"))
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("{process: {command: %s, stop_wait: 5s}}", command)
}

// TestProcess: load grows fivefold and members come; it ends, and they drain
// and go. No request fails, and no session breaks before the drain is over.
func TestProcess(t *testing.T) {
	harness.Thorough(t)
	s := newSite(t)
	s.affinity, s.drain, s.driver = "cookie", "6s", s.processDriver("200ms")
	defer s.endProcesses()
	s.start()
	s.eventually(20*time.Second, "the first member", func() bool { return s.members()["up"] == 1 })
	low := s.load(2)
	s.eventually(10*time.Second, "requests", func() bool { return low.done.Load() > 20 })
	high := s.load(14) // five members would do for ten: on a slow machine not all of them are in flight all the time
	s.eventually(30*time.Second, "members for five times the load", func() bool { return s.members()["up"] >= 5 })

	// A client with a session at each member that it meets.
	type bound struct {
		ask  func() (answer, error)
		name string
	}
	var sessions []bound
	met := map[string]bool{}
	s.eventually(20*time.Second, "a session at three members", func() bool {
		c := s.client()
		ask := func() (answer, error) { return s.ask(context.Background(), c, 0) }
		a, err := ask()
		if err == nil && !met[a.Name] {
			met[a.Name] = true
			sessions = append(sessions, bound{ask, a.Name})
		}
		return len(sessions) >= 3
	})
	if why := high.end(); why != "" {
		t.Error(why)
	}
	most := len(s.processes())
	s.eventually(40*time.Second, "a member drains", func() bool { return s.logs(`"result":"drain `) })
	kept := 0
	for _, b := range sessions {
		if a, err := b.ask(); err == nil && a.Name == b.name {
			kept++
		} else if !s.logs(`"result":"stop `) { // no drain is over yet
			t.Errorf("the session at %s is served by %q: %v", b.name, a.Name, err)
		}
	}
	if kept == 0 {
		t.Error("no session was kept")
	}
	s.eventually(40*time.Second, "members stop", func() bool { return len(s.processes()) <= most-2 })
	if why := low.end(); why != "" {
		t.Error(why)
	}
	for _, want := range []string{`"formula"`, `"want"`, `"result"`} {
		if !strings.Contains(s.decisions(), want[1:len(want)-1]) {
			t.Errorf("no decision says %s:\n%s", want, s.decisions())
		}
	}
}

// TestExecFromZero: nobody is there; the first request starts a member and is
// answered, by a script of the operator's. Without requests it goes again.
func TestExecFromZero(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := newScripts(t, s.worker("0s"))
	s.min, s.drain, s.driver = 0, "1s", d.driver("20s")
	s.start()
	if n := len(d.running()); n != 0 {
		t.Fatalf("%d members before the first request", n)
	}
	begun := time.Now()
	a, err := s.ask(context.Background(), s.client(), 0)
	if err != nil {
		t.Fatalf("the first request: %v\n%s", err, s.decisions())
	}
	t.Logf("the first request was answered by %s after %s", a.Name, time.Since(begun))
	if n := len(d.running()); n != 1 {
		t.Errorf("%d members for one request, want 1", n)
	}
	s.eventually(60*time.Second, "nobody is left without requests", func() bool { return len(d.running()) == 0 && s.members()["up"] == 0 })
	if b, err := os.ReadFile(d.dir + "/order.json"); err != nil || !strings.Contains(string(b), `"action":"start"`) {
		t.Errorf("standard input %q, %v", b, err)
	}
}

// TestKilledInScaleOut: Jetway is killed while members boot. The next one
// adopts them and orders none twice.
func TestKilledInScaleOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.driver, s.max = s.processDriver("2s"), 5
	defer s.endProcesses()
	s.start()
	s.eventually(30*time.Second, "the first member", func() bool { return s.members()["up"] == 1 })
	l := s.load(16)
	s.eventually(40*time.Second, "members are ordered", func() bool { return len(s.processes()) == 5 })
	before := s.processes()
	s.jetway.Kill()
	l.end() // what it had in flight is lost, of course
	s.start()
	l = s.load(16)
	s.eventually(60*time.Second, "all of them have joined", func() bool { return s.members()["up"] == 5 })
	for name, pid := range s.processes() {
		if before[name] != pid {
			t.Errorf("%s with pid %d was started by the second Jetway; the first one had started %v", name, pid, before)
		}
	}
	if why := l.end(); why != "" {
		t.Error(why)
	}
}
