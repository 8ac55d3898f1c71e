package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// watcher is a Gossip under test and what it published last.
type watcher struct {
	*Gossip
	t    testing.TB
	addr string

	mu      sync.Mutex // guards the rest
	members []balancer.Member
	lists   int
}

// startGossip runs a Gossip on loopback until the test ends.
func startGossip(t testing.TB, node string, cfg GossipConfig) *watcher {
	t.Helper()
	w := &watcher{t: t}
	if cfg.Bind == "" {
		cfg.Bind = "127.0.0.1:0"
	}
	g, err := NewGossip(cfg, Identity{Node: node}, nil, w.take, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	w.Gossip = g
	inBackground(t, node, g.Run)
	addr, err := g.Addr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.addr = addr.String()
	return w
}

func (w *watcher) take(members []balancer.Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members = members
	w.lists++
}

func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lists
}

// list prints the members as "id@domain?" with marks for suspect and draining.
func (w *watcher) list() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, m := range w.members {
		text := m.ID + "@" + m.Domain
		if m.Suspect {
			text += "?"
		}
		if m.Draining {
			text += "!"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// wait polls until the list is as wanted and returns how long that took.
func (w *watcher) wait(want string, most time.Duration) time.Duration {
	w.t.Helper()
	return within(w.t, most, func() error {
		if have := w.list(); have != want {
			return fmt.Errorf("members %q, want %q; rejected %v; %+v", have, want, w.Rejected(), w.Status())
		}
		return nil
	})
}

// within polls until check passes.
func within(t testing.TB, most time.Duration, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > most {
			t.Fatalf("after %v: %v", most, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// inBackground runs a part until the test ends or the returned stop is called,
// which returns how long the end took.
func inBackground(t testing.TB, name string, run func(context.Context) error) (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	var once sync.Once
	var took time.Duration
	stop = func() time.Duration {
		once.Do(func() {
			start := time.Now()
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case <-time.After(20 * time.Second):
				t.Errorf("%s did not end", name)
			}
			took = time.Since(start)
		})
		return took
	}
	t.Cleanup(func() { stop() })
	return stop
}

func startAgent(t testing.TB, node, id string, cfg GossipConfig, wait time.Duration) (stop func() time.Duration) {
	t.Helper()
	if cfg.Bind == "" {
		cfg.Bind = "127.0.0.1:0"
	}
	a, err := NewAgent(AgentConfig{Gossip: cfg, Node: node, DrainWait: wait,
		Announcement: Announcement{Member: balancer.Member{ID: id, Domain: "d", HTTP: 9763, SubDomains: []string{"mgt", "worker"}}}}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return inBackground(t, node, a.Run)
}

// testLog writes to the test's log with JETWAY_TEST_LOG=1.
func testLog(t testing.TB) zerolog.Logger {
	if os.Getenv("JETWAY_TEST_LOG") == "" {
		return zerolog.Nop()
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr}).With().Timestamp().Str("test", t.Name()).Logger()
}

func TestGossipAgentJoinsDrainsAndLeaves(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "gossip.key")
	if err := os.WriteFile(key, []byte(NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	lb1 := startGossip(t, "lb1", GossipConfig{KeyFile: key})
	lb2 := startGossip(t, "lb2", GossipConfig{KeyFile: key, Join: []string{lb1.addr}})
	stop1 := startAgent(t, "web1", "", GossipConfig{KeyFile: key, Join: []string{lb1.addr}}, 500*time.Millisecond)
	startAgent(t, "web2", "w2", GossipConfig{KeyFile: key, Join: []string{lb2.addr}}, 0)
	for _, lb := range []*watcher{lb1, lb2} {
		lb.wait("w2@d web1@d", 10*time.Second)
	}
	st := lb1.Status()
	if st.Alive != 4 || !st.Joined || !st.Encrypted || st.Address != lb1.addr || st.LastError != "" {
		t.Fatalf("status %+v", st)
	}
	if took, ok := lb1.pool.spread(t.Context()); !ok || took <= 0 || took >= convergenceMost {
		t.Errorf("news reached everybody after %v, %v", took, ok)
	}
	ended := make(chan time.Duration, 1)
	go func() { ended <- stop1() }()
	lb1.wait("w2@d web1@d!", 5*time.Second)
	t.Logf("left %v after draining was seen", lb1.wait("w2@d", 10*time.Second))
	lb2.wait("w2@d", 5*time.Second)
	if d := <-ended; d > 500*time.Millisecond+leaveMost {
		t.Fatalf("the agent took %v to leave", d)
	}

	// Without the key, or with another one, nobody gets in.
	startAgent(t, "rogue", "", GossipConfig{Join: []string{lb1.addr}}, 0)
	other := writeKey(t, NewKey(), 0o600)
	startAgent(t, "rogue2", "", GossipConfig{KeyFile: other, Join: []string{lb1.addr}}, 0)
	probe := startAgent(t, "web3", "", GossipConfig{KeyFile: key, Join: []string{lb1.addr}}, 0)
	lb1.wait("w2@d web3@d", 10*time.Second)
	probe()
	lb1.wait("w2@d", 10*time.Second)
}

func TestGossipWithoutSeedsRetriesForEver(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	seed := "127.0.0.1:" + strconv.Itoa(port)
	lb1 := startGossip(t, "lb1", GossipConfig{Join: []string{seed, "127.0.0.1:1"}})
	within(t, 5*time.Second, func() error {
		if st := lb1.Status(); st.LastError == "" || st.Joined {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	lb1.wait("", time.Second)
	lb2 := startGossip(t, "lb2", GossipConfig{Bind: seed})
	startAgent(t, "web1", "", GossipConfig{Join: []string{lb2.addr}}, 0)
	lb1.wait("web1@d", 20*time.Second)
	within(t, 5*time.Second, func() error {
		if st := lb1.Status(); !st.Joined {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
}

func TestGossipJoinErrorIsOneLine(t *testing.T) {
	t.Parallel()
	lb := startGossip(t, "lb1", GossipConfig{Join: []string{fmt.Sprintf("127.0.0.1:%d", freePort(t))}})
	within(t, 10*time.Second, func() error {
		if text := lb.Status().LastError; text == "" || strings.ContainsAny(text, "\n\t") || !strings.Contains(text, "refused") {
			return fmt.Errorf("last error %q", text)
		}
		return nil
	})
}

func TestGossipPortBusyIsAnErrorAtFirst(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g, err := NewGossip(GossipConfig{Bind: l.Addr().String()}, Identity{Node: "lb1"}, nil, func([]balancer.Member) {}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("Run = %v", err)
	}
	if _, err := g.Addr(t.Context()); err == nil {
		t.Fatal("an address although it did not start")
	}
}

// Serf shuts itself down when it loses a name conflict; nothing may be lost.
func TestGossipOutlivesSerf(t *testing.T) {
	t.Parallel()
	lb := startGossip(t, "lb1", GossipConfig{})
	startAgent(t, "web1", "", GossipConfig{Join: []string{lb.addr}}, 0)
	lb.wait("web1@d", 10*time.Second)
	lb.pool.mu.Lock()
	old := lb.pool.serf
	lb.pool.mu.Unlock()
	if err := old.Shutdown(); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, func() error {
		if st := lb.Status(); st.Restarts != 1 || !strings.Contains(st.LastError, "shut itself down") {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	if have := lb.list(); have != "web1@d" {
		t.Fatalf("the list became %q", have)
	}
	// lb1 has no seeds: it finds back by the node it knew.
	took := within(t, 20*time.Second, func() error {
		if st := lb.Status(); !st.Joined || st.Address != lb.addr || st.LastError != "" {
			return fmt.Errorf("status %+v", st)
		}
		if have := lb.list(); have != "web1@d" {
			return fmt.Errorf("list %q", have)
		}
		return nil
	})
	t.Logf("rejoined after %v", took)
}

// The loser of a name conflict comes back in vain, and harms nobody.
func TestGossipNameConflict(t *testing.T) {
	t.Parallel()
	lb1 := startGossip(t, "lb1", GossipConfig{})
	lb2 := startGossip(t, "lb2", GossipConfig{Join: []string{lb1.addr}})
	startAgent(t, "web1", "", GossipConfig{Join: []string{lb1.addr}}, 0)
	lb1.wait("web1@d", 10*time.Second)
	lb2.wait("web1@d", 10*time.Second)
	lists := lb1.count()
	loser := startGossip(t, "web1", GossipConfig{Join: []string{lb1.addr}})
	within(t, 30*time.Second, func() error {
		if st := loser.Status(); st.Restarts == 0 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	lb1.wait("web1@d", 0)
	lb2.wait("web1@d", 0)
	if n := lb1.count(); n != lists {
		t.Fatalf("%d lists were published meanwhile", n-lists)
	}
}

func TestGossipRejectsOnceAndFirstKeepsItsID(t *testing.T) {
	t.Parallel()
	lb := startGossip(t, "lb1", GossipConfig{AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	startAgent(t, "web1", "same", GossipConfig{Join: []string{lb.addr}}, 0)
	lb.wait("same@d", 10*time.Second)
	startAgent(t, "web2", "same", GossipConfig{Join: []string{lb.addr}}, 0)
	within(t, 10*time.Second, func() error {
		r := lb.Rejected()
		if len(r) != 1 || r[0].Node != "web2" || !strings.Contains(r[0].Reason, `already taken by node "web1"`) {
			return fmt.Errorf("rejected %+v", r)
		}
		return nil
	})
	if have := lb.list(); have != "same@d" {
		t.Fatalf("members %q", have)
	}
}

func TestEncodedSizeIsSerfs(t *testing.T) {
	f := func(tags map[string]string) {
		t.Helper()
		pad := tagsMax - encodedSize(tags) - len("zone") - 1 - 3
		for _, more := range []int{0, 1} { // 512 bytes fit, 513 do not
			tags["zone"] = strings.Repeat("z", pad+more)
			p := newPool(settings{resolver: newResolver(DNSConfig{}), bind: netip.MustParseAddrPort("127.0.0.1:0"), loopback: true}, "n", tags, zerolog.Nop())
			s, err := p.start()
			if (err == nil) != (more == 0) {
				t.Fatalf("%d bytes: %v", encodedSize(tags), err)
			}
			if s != nil {
				s.Shutdown()
			}
		}
	}
	f(map[string]string{"domain": "d", "http": "80"})
	many := map[string]string{}
	for i := range 16 { // more than fit a small map
		many["port.mapping."+strconv.Itoa(8000+i)] = "1"
	}
	many["x"] = strings.Repeat("x", 31)
	many["y"] = strings.Repeat("y", 32)
	f(many)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestGossipSpread: alone there is nobody whom news could reach.
func TestGossipSpread(t *testing.T) {
	t.Parallel()
	lb := startGossip(t, "lb1", GossipConfig{})
	if took, ok := lb.pool.spread(t.Context()); !ok || took != 0 {
		t.Errorf("alone: %v, %v", took, ok)
	}
}
