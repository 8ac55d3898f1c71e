package membership

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestGossipPortBlocked: a firewall drops whatever goes to the gossip port of
// anybody, UDP and TCP, as a wrong rule in a network does; the data path is
// open. Nothing fails for as long as it lasts, also long after failed_grace,
// and all is as it was when the rule goes. In a network namespace of its own,
// which needs root.
func TestGossipPortBlocked(t *testing.T) {
	t.Parallel()
	const inside = "JETWAY_TEST_MEMBERSHIP_SERF" // path of serf: we are in the namespace
	serf := os.Getenv(inside)
	if serf == "" {
		inNamespace(t, inside+"="+moduleSerf(t))
		return
	}
	s := newSite(t)
	s.gossipMore = ", failed_grace: 2s"
	j := s.start(t)
	ports := []string{fmt.Sprint(s.gossip)}
	var apps []*harness.Member
	for i := range 3 {
		app := harness.StartMember(t, fmt.Sprint("m", i), nil)
		a := startAgent(t, serf, app.Name, s.gossip, fmt.Sprintf("domain=as.domain http=%d", app.Port))
		apps, ports = append(apps, app), append(ports, fmt.Sprint(a.bind))
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	l := startLoad(t, harness.Loopback(s.http))
	l.more(t, 100)
	set := "{ " + strings.Join(ports, ", ") + " }"
	nft(t, "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c udp dport "+set+" drop; add rule inet t c tcp dport "+set+" drop")
	for _, app := range apps {
		awaitState(t, j, app.Name, "suspect")
	}
	hold := 6 * time.Second
	if harness.Long() {
		hold = 2 * time.Minute
	}
	for end := time.Now().Add(hold); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if byID, _ := members(t, j); len(byID) != len(apps) {
			t.Fatalf("members %v while gossip is blocked", byID)
		}
	}
	for _, app := range apps {
		app.Take()
	}
	l.more(t, 300)
	for _, app := range apps {
		if len(app.Requests()) == 0 {
			t.Errorf("%s serves nothing although it answers", app.Name)
		}
	}
	nft(t, "delete table inet t")
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	l.more(t, 100)
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed: %v", n, l.good.Load(), l.first.Load())
	}
	t.Logf("0 of %d requests failed while gossip was blocked for %v", l.good.Load(), hold)
}

// inNamespace runs the test again in a network namespace of its own.
func inNamespace(t *testing.T, env ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	unshare, ip := harness.RequireTool(t, "unshare"), harness.RequireTool(t, "ip")
	harness.RequireTool(t, "nft")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(unshare, "--net", "sh", "-c", ip+` link set lo up && exec "$0" -test.run '^`+t.Name()+`$' -test.v`, exe)
	cmd.Env = append(append(os.Environ(), "JETWAY_BINARY="+harness.Binary(t)), env...)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func nft(t *testing.T, commands string) {
	t.Helper()
	if out, err := exec.Command("nft", commands).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}
