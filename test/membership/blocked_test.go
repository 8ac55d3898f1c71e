package membership

import (
	"fmt"
	"net"
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
	harness.Thorough(t)
	t.Parallel()
	const inside = "JETWAY_TEST_MEMBERSHIP_SERF" // path of serf: we are in the namespace
	serf := os.Getenv(inside)
	if serf == "" {
		harness.InNamespace(t, inside+"="+moduleSerf(t))
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

// TestRogueHosts: with gossip on a network, a node that has the pool's key says
// that the application is on loopback, outside allowed_cidrs, at Jetway's own
// listener, or takes another's id. Each is left out with the reason and gets no
// request. In a network namespace of its own, which needs root.
func TestRogueHosts(t *testing.T) {
	t.Parallel()
	const inside, own = "JETWAY_TEST_MEMBERSHIP_ROGUES", "10.77.0.1"
	serf := os.Getenv(inside)
	if serf == "" {
		harness.InNamespace(t, inside+"="+moduleSerf(t))
		return
	}
	for _, address := range []string{own + "/16", "192.0.2.7/32"} {
		if out, err := exec.Command("ip", "address", "add", address, "dev", "lo").CombinedOutput(); err != nil {
			t.Fatalf("ip: %v: %s", err, out)
		}
	}
	key := mustRun(t, "", "keygen", "gossip")
	s := newSite(t)
	gossip := s.gossip
	s.gossip = 0
	s.membership = fmt.Sprintf("  gossip: {bind: \"%s:%d\", key_file: gossip.key, allowed_cidrs: [10.77.0.0/16]}\n", own, gossip)
	conf := strings.Replace(s.conf(), "listeners: [", fmt.Sprintf("listeners: [{name: net, address: \"%s:8280\"}, ", own), 1)
	j := harness.Start(t, conf, harness.WithFile("gossip.key", key))
	good, rogue := memberAt(t, own, "good"), memberAt(t, "0.0.0.0", "rogue")
	start := func(name string, tags ...string) {
		args := []string{"agent", "-node=" + name, "-profile=local", "-encrypt=" + key, fmt.Sprintf("-bind=%s:%d", own, harness.FreePort(t)),
			"-rpc-addr=" + harness.Loopback(harness.FreePort(t)), fmt.Sprintf("-retry-join=%s:%d", own, gossip), "-retry-interval=1s", "-tag=domain=as.domain"}
		for _, tag := range tags {
			args = append(args, "-tag="+tag)
		}
		harness.StartTool(t, serf, args...)
	}
	port := fmt.Sprintf("http=%d", rogue.Port)
	start("good", fmt.Sprintf("http=%d", good.Port))
	awaitState(t, j, "good", "up")
	start("inward", port, "host=127.0.0.1")
	start("mapped", port, "host=::ffff:127.0.0.1")
	start("foreign", port, "host=192.0.2.7")
	start("nowhere", port, "host=0.0.0.0")
	start("mirror", "http=8280", "host="+own)
	start("thief", port, "id=good")
	eventually(t, patience, "six are left out", func() bool { _, out := members(t, j); return len(out) == 6 })
	for range 200 {
		if got := get(t, s.http, "as.example.com"); got != "200 good GET /" {
			t.Fatalf("got %q", got)
		}
	}
	byID, out := members(t, j)
	if len(byID) != 1 || len(rogue.Requests()) > 0 {
		t.Errorf("members %v, %d requests to rogues", byID, len(rogue.Requests()))
	}
	for name, why := range map[string]string{"inward": "loopback", "mapped": "loopback", "foreign": "allowed_cidrs", "thief": "already taken"} {
		if !strings.Contains(out[name], why) {
			t.Errorf("%s is left out because %q, want %q in it", name, out[name], why)
		}
	}
	t.Logf("left out: %v", out)
}

// memberAt starts a member at an address that is not 127.0.0.1.
func memberAt(t *testing.T, host, name string) *harness.Member {
	t.Helper()
	port := harness.FreePort(t)
	ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		t.Fatal(err)
	}
	return harness.ServeMember(t, name, port, ln, nil)
}

func nft(t *testing.T, commands string) {
	t.Helper()
	if out, err := exec.Command("nft", commands).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}
