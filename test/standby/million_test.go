package standby

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer/session"
	"jetway/standby"
	"jetway/test/harness"
)

// fill is a peer of the test's own that teaches sessions, because a client
// would take minutes to begin a million of them.
func fill(t *testing.T, to int, key string, n int) (stop func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "peer.key")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := session.New(session.Options{Max: 2 * n, Node: session.NodeID("filler"), Replicated: true})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range n {
		var k session.Key
		x := uint64(i)*0x9e3779b97f4a7c15 + 1
		y := (x ^ x>>29) * 0xbf58476d1ce4e5b9
		for b := range 8 {
			k[b], k[8+b] = byte(x>>(8*b)), byte(y>>(8*b))
		}
		table.Learn(session.Session{Key: k, Member: session.MemberID("as.domain", "w1"), Timeout: 30 * time.Minute}, now)
	}
	mesh, err := standby.New(standby.Config{Listen: "127.0.0.1:0", KeyFile: file, Priority: 1, SnapshotRate: 1 << 30, Peers: []string{harness.Loopback(to)}},
		standby.Self{Installation: "default", Node: "filler-1", Name: "filler"}, []standby.Kind{standby.Sessions(table)},
		standby.Options{Status: func() standby.Status { return standby.Status{} }, Clock: standby.NewClock()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := mesh.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		mesh.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// pace asks a load balancer at a steady rate until over, and returns how long
// each answer took, sorted.
func pace(t *testing.T, port int, over func() bool) []time.Duration {
	t.Helper()
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer c.CloseIdleConnections()
	var took []time.Duration
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ; !over() && len(took) < 1<<20; <-tick.C {
		start := time.Now()
		req, err := http.NewRequest("GET", "http://"+harness.Loopback(port)+"/", nil)
		if err != nil {
			t.Error(err)
			break
		}
		req.Host = "as.example.com"
		res, err := c.Do(req)
		if err != nil {
			t.Error(err)
			break
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took
}

func p99(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)*99/100].Round(10 * time.Microsecond)
}

// TestMillion measures the copy of a million sessions between two processes,
// what requests at the active one feel of it, and what both have in memory.
func TestMillion(t *testing.T) {
	n := 20_000
	if harness.Long() {
		n = 1_000_000
	}
	ports := [6]int{}
	for i := range ports {
		ports[i] = harness.FreePort(t)
	}
	members := []string{harness.Loopback(harness.StartMember(t, "w", nil).Port)}
	key := peerKey()
	conf := func(i int, peers []int) string {
		text := pairConf(string(rune('a'+i)), ports[3*i], ports[3*i+1], ports[3*i+2], peers, members, "        affinity: {mode: learn, timeout: 30m}\n")
		return strings.Replace(text, "  timeouts:", "  limits: {sessions: 2000000}\n  timeouts:", 1)
	}
	limits := harness.WithFile("peer.key", key)
	a := harness.Start(t, conf(0, nil), limits)
	empty := a.RSS()
	stop := fill(t, ports[2], key, n)
	sessions := func(j *harness.Jetway) func() error {
		return func() error {
			var v struct{ Sessions int }
			_, body := j.Get("/api/v1/sessions")
			if err := json.Unmarshal([]byte(body), &v); err != nil || v.Sessions != n {
				return fmt.Errorf("%d sessions, %v", v.Sessions, err)
			}
			return nil
		}
	}
	eventually(t, "a has all sessions", 60*time.Second, sessions(a))
	stop()
	calmTill := time.Now().Add(time.Duration(harness.Scale(1, 5)) * time.Second)
	calm := pace(t, ports[0], func() bool { return time.Now().After(calmTill) })
	var over atomic.Bool
	during := make(chan []time.Duration, 1)
	go func() { during <- pace(t, ports[0], over.Load) }()
	b := harness.Start(t, conf(1, []int{ports[2]}), limits)
	start := time.Now()
	eventually(t, "b has all sessions", 60*time.Second, sessions(b))
	took := time.Since(start)
	over.Store(true)
	busy := <-during
	t.Logf("%d sessions: copied %v after the new one was ready", n, took.Round(time.Millisecond))
	t.Logf("p99 of requests at the active one: %v before, %v during the start and the copy; max %v and %v", p99(calm), p99(busy),
		calm[len(calm)-1].Round(10*time.Microsecond), busy[len(busy)-1].Round(10*time.Microsecond))
	if !harness.Long() { // small tables are all first pages
		return
	}
	t.Logf("memory: %d MiB without sessions, %d MiB at the active one, %d MiB at the standby: %d and %d bytes a session", empty>>20, a.RSS()>>20, b.RSS()>>20,
		(a.RSS()-empty)/int64(n), (b.RSS()-empty)/int64(n))
	if took > 2*time.Second {
		t.Errorf("the copy took %v, want at most 2 s", took)
	}
}
