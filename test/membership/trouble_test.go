package membership

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// gossip is what the admin API says of the pool.
type gossip struct {
	Node      string `json:"node"`
	Joined    bool   `json:"joined"`
	Restarts  int    `json:"restarts"`
	Stalls    uint64 `json:"stalls"`
	Overloads uint64 `json:"overloads"`
	Conflicts uint64 `json:"name_conflicts"`
	Trouble   string `json:"trouble"`
}

func gossipOf(t testing.TB, j *harness.Jetway) gossip {
	t.Helper()
	var v struct {
		Gossip gossip `json:"gossip"`
	}
	_, body := j.Get("/api/v1/overview")
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("overview: %v: %s", err, body)
	}
	return v.Gossip
}

// startPool starts a Jetway with three members by stock agents, under load.
func startPool(t *testing.T) (s site, j *harness.Jetway, apps []*harness.Member, l *load) {
	t.Helper()
	serf := moduleSerf(t)
	s = newSite(t)
	s.gossipMore = ", failed_grace: 2s"
	j = s.start(t)
	for i := range 3 {
		app := harness.StartMember(t, fmt.Sprint("m", i), nil)
		startAgent(t, serf, app.Name, s.gossip, fmt.Sprintf("domain=as.domain http=%d", app.Port))
		apps = append(apps, app)
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	l = startLoad(t, harness.Loopback(s.http))
	l.more(t, 50)
	return s, j, apps, l
}

// TestOwnStall: Jetway itself stands still for longer than gossip needs to
// declare somebody dead, and longer than failed_grace. What it slept through is
// not held against the members: the list stays, and nothing fails.
func TestOwnStall(t *testing.T) {
	harness.Thorough(t)
	t.Parallel()
	_, j, apps, l := startPool(t)
	pause := 8 * time.Second
	if harness.Long() {
		pause = 45 * time.Second
	}
	l.end() // who asks a process that stands still only waits
	j.Signal(syscall.SIGSTOP)
	time.Sleep(pause)
	j.Signal(syscall.SIGCONT)
	l = startLoad(t, l.address)
	eventually(t, patience, "the stall is reported", func() bool {
		g := gossipOf(t, j)
		return g.Stalls >= 1 && j.Metric("jetway_gossip_stalls_total") != "0" && strings.Contains(j.Log(), "this process stood still")
	})
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if byID, _ := members(t, j); len(byID) != len(apps) {
			t.Fatalf("after the stall the members are %v", byID)
		}
	}
	l.more(t, 200)
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed after the stall: %v", n, l.good.Load(), l.first.Load())
	}
	t.Logf("stood still for %v; 0 of %d requests failed afterwards", pause, l.good.Load())
}

// TestEventOverload: messages come faster than they are taken, far more than
// Serf's queues hold. It is reported, the list stays, nothing fails, and what
// changes afterwards is heard.
func TestEventOverload(t *testing.T) {
	harness.Thorough(t)
	t.Parallel()
	s, j, apps, l := startPool(t)
	conn, err := net.Dial("udp", harness.Loopback(s.gossip))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent, clock := 0, uint64(1000)
	noticed := false
	for end := time.Now().Add(patience); !noticed && time.Now().Before(end); {
		for range 50 {
			packet, n := userEvents(clock)
			conn.Write(packet)
			clock += uint64(n)
			sent += n
		}
		noticed = gossipOf(t, j).Overloads > 0
	}
	if !noticed {
		t.Errorf("%d events in a flood are no overload: %+v", sent, gossipOf(t, j))
	}
	if byID, _ := members(t, j); len(byID) != len(apps) {
		t.Errorf("after the flood the members are %v", byID)
	}
	late := harness.StartMember(t, "late", nil)
	startAgent(t, moduleSerf(t), "late", s.gossip, fmt.Sprintf("domain=as.domain http=%d", late.Port))
	t.Logf("%d events; one that joined then is known after %v", sent, awaitState(t, j, "late", "up"))
	l.more(t, 200)
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed: %v", n, l.good.Load(), l.first.Load())
	}
	if v := j.Metric("jetway_gossip_overloads_total"); v == "" || v == "0" {
		t.Errorf("jetway_gossip_overloads_total is %q", v)
	}
	if n := strings.Count(j.Log(), "\n"); n > 500 {
		t.Errorf("%d lines logged", n)
	}
}

// userEvents is a packet of memberlist that holds as many of Serf's user events
// as one can, from the given time of Serf's clock on.
func userEvents(clock uint64) (packet []byte, n int) {
	const compound, user, userEvent = 7, 8, 3 // types of memberlist, memberlist and Serf
	const most = 255
	lengths, bodies := []byte{}, []byte{}
	for i := range uint64(most) {
		body := []byte{user, userEvent, 0x84} // msgpack: a map of four
		body = append(body, "\xa2CC\xc2\xa5LTime\xcf"...)
		body = binary.BigEndian.AppendUint64(body, clock+i)
		body = append(body, "\xa4Name\xa1x\xa7Payload\xa1y"...)
		lengths = binary.BigEndian.AppendUint16(lengths, uint16(len(body)))
		bodies = append(bodies, body...)
	}
	return append(append([]byte{compound, most}, lengths...), bodies...), most
}

// TestNameConflict: a node with Jetway's own name comes into the pool. Whoever
// of the two gives way, the list stays, nothing fails, and Jetway is back.
func TestNameConflict(t *testing.T) {
	harness.Thorough(t)
	t.Parallel()
	s, j, apps, l := startPool(t)
	name := gossipOf(t, j).Node
	double := startAgent(t, moduleSerf(t), name, s.gossip, "domain=as.domain http=1")
	eventually(t, patience, "the conflict is reported", func() bool {
		g := gossipOf(t, j)
		return g.Conflicts > 0 && g.Trouble != "" && j.Metric("jetway_gossip_name_conflicts_total") != "0"
	})
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if byID, _ := members(t, j); len(byID) != len(apps) {
			t.Fatalf("during the conflict the members are %v", byID)
		}
	}
	double.Kill()
	eventually(t, 2*patience, "gossip is up and joined", func() bool { return gossipOf(t, j).Joined })
	l.more(t, 200)
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed: %v", n, l.good.Load(), l.first.Load())
	}
	g := gossipOf(t, j)
	t.Logf("%d conflicts met, gossip created again %d times, 0 of %d requests failed", g.Conflicts, g.Restarts, l.good.Load())
}
