package autoscale

import (
	"context"
	"encoding/json"
	"flag"
	"os/exec"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestMain lets more tests run at once than there are cores: most of them wait
// for members that start and stop.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic("BUG: " + err.Error())
	}
	harness.Main(m)
}

// run runs a command of Jetway's and returns what it printed.
func run(t *testing.T, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Dir = t.TempDir()
	out, _ := cmd.CombinedOutput() // the exit code says more than the error
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("jetway %s exited with %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// TestScaleCommand: an operator sets the size of a cluster and lets the load
// decide again.
func TestScaleCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.max, s.drain, s.driver = 4, "1s", s.processDriver("0s")
	defer s.endProcesses()
	s.start()
	admin := []string{"--admin", s.jetway.Admin}
	scale := func(code int, args ...string) string {
		t.Helper()
		return run(t, code, append(append([]string{"scale"}, args...), admin...)...)
	}
	s.eventually(30*time.Second, "the first member", func() bool { return s.members()["up"] == 1 })
	scale(0, "el.domain", "3")
	s.eventually(60*time.Second, "three members", func() bool { return s.members()["up"] == 3 })
	if out := scale(0); !strings.Contains(out, "el.domain") || !strings.Contains(out, "set to 3") {
		t.Errorf("jetway scale:\n%s", out)
	}
	var list struct {
		Schema  int `json:"schema_version"`
		Domains []struct{ Manual, Want int }
	}
	if out := scale(0, "-o", "json"); json.Unmarshal([]byte(out), &list) != nil || list.Schema != 1 || len(list.Domains) != 1 || list.Domains[0].Manual != 3 {
		t.Errorf("jetway scale -o json: %s", out)
	}
	if out := scale(1, "el.domain", "5"); !strings.Contains(out, "expected 0 to 4 (max_app_instances)") {
		t.Errorf("above the maximum: %s", out)
	}
	if out := scale(1, "other.domain", "1"); !strings.Contains(out, "no such elastic cluster") {
		t.Errorf("a domain that is not there: %s", out)
	}
	scale(0, "el.domain/worker", "--release")
	s.eventually(90*time.Second, "the minimum without load", func() bool { return s.members()["up"] == 1 && len(s.processes()) == 1 })
	scale(0, "el.domain", "0")
	s.eventually(60*time.Second, "nobody, below the minimum", func() bool { return len(s.processes()) == 0 && s.members()["up"] == 0 })
	out := run(t, 0, append([]string{"explain", "GET", "http://el.test/"}, admin...)...)
	if !strings.Contains(out, "held") || strings.Contains(out, "no_member") {
		t.Errorf("explain for a domain without members:\n%s", out)
	}
	h := s.hold(1)
	s.eventually(20*time.Second, "a request waits", func() bool { return s.waiting() == 1 })
	scale(0, "el.domain", "--release")
	h.answered(t)
}

// TestDryRun: everything is decided and logged, nothing is ordered, and nobody
// waits for members that will not come.
func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := newScripts(t, s.worker("0s"))
	s.min, s.driver = 2, d.driver("20s")+"\n      dry_run: true"
	s.start()
	s.eventually(20*time.Second, "the decision", func() bool { return strings.Contains(s.jetway.Log(), `"result":"dry run: would start 2"`) })
	if _, err := s.ask(context.Background(), s.client(), 0); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a request without members: %v", err)
	}
	if out := run(t, 0, "explain", "GET", "http://el.test/", "--admin", s.jetway.Admin); !strings.Contains(out, "503 no_member") {
		t.Errorf("explain:\n%s", out)
	}
	if c := s.scale(); !c.DryRun || c.Want != 2 || len(d.calls("")) != 0 {
		t.Errorf("%+v, calls %v", c, d.calls(""))
	}
}
