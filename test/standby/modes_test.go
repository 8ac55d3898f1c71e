package standby

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// statelessDomains keep sessions without a table.
const statelessDomains = `      cookie.domain:
        hosts: [cookie.example.com]
        affinity: {mode: cookie, key_file: cookie.key}
      route.domain:
        hosts: [route.example.com]
        affinity: {mode: route}
`

// onlyLong skips a test that builds a network of its own where the short form
// has one already.
func onlyLong(t *testing.T) {
	t.Helper()
	if !harness.Long() {
		t.Skip("takes half a minute: JETWAY_LONG=1 runs it")
	}
}

// nsView is a member as a host's load balancer shows it.
type nsView struct {
	ID, Domain, State string
	Weight            int
}

// member returns what a host thinks of a member.
func (h *host) member(domain, id string) (v nsView) {
	out, _ := h.command("members", "-o", "json")
	var list struct{ Members []nsView }
	json.Unmarshal([]byte(out), &list)
	for _, m := range list.Members {
		if m.Domain == domain && m.ID == id {
			return m
		}
	}
	return nsView{}
}

// TestFailoverModes: over IPv6, with peers that find each other by encrypted
// gossip, and without a table of sessions.
func TestFailoverModes(t *testing.T) {
	onlyLong(t)
	w := newWorld(t, setup{ipv6: true, gossip: true, more: statelessDomains,
		domain: "        affinity: {mode: none}\n        balance: round_robin\n"})
	t.Run("handover", func(t *testing.T) { testHandover(t, w) })
	t.Run("cookie and route", func(t *testing.T) { testStateless(t, w) })
	t.Run("weight and ejection", func(t *testing.T) { testMembers(t, w) })
}

// killActive ends the active Jetway and waits until the other has the address.
func (w *world) killActive(t *testing.T) (dead *host) {
	t.Helper()
	active, other := w.active()
	syscall.Kill(active.guard.jetway(t), syscall.SIGKILL)
	eventually(t, "the address moves", 10*time.Second, func() error {
		if active.has() || !other.has() {
			return fmt.Errorf("%d owners", w.owners())
		}
		return nil
	})
	<-active.guard.gone
	return active
}

// testStateless: sessions that stand in cookies survive everything.
func testStateless(t *testing.T, w *world) {
	n := harness.Scale(100, 2000)
	sites := []string{"cookie.example.com", "route.example.com"}
	var all [][]nsSession
	w.settled()
	for _, site := range sites {
		all = append(all, w.login(t, site, n))
	}
	for range repeats(1) {
		dead := w.killActive(t)
		for i, site := range sites {
			stay := w.stay(site, all[i])
			t.Logf("%s: %d of %d sessions stay", site, stay, n)
			if stay != n {
				t.Errorf("%s: %d of %d sessions stay, want all", site, stay, n)
			}
		}
		dead.startJetway()
		w.settled()
	}
}

// testMembers: what an operator ordered at one is in force at the other, and
// one that was ejected by evidence is so for whoever takes over.
func testMembers(t *testing.T, w *world) {
	w.settled()
	active, other := w.active()
	if out, err := other.command("weight", "as.domain/w3", "5"); err != nil {
		t.Fatal(out)
	}
	if out, err := active.command("drain", "as.domain/w2"); err != nil {
		t.Fatal(out)
	}
	eventually(t, "both have weight and drain", 10*time.Second, func() error {
		for _, h := range w.hosts {
			if m, d := h.member("as.domain", "w3"), h.member("as.domain", "w2"); m.Weight != 5 || d.State != "draining" {
				return fmt.Errorf("%s: %+v %+v", h.name, m, d)
			}
		}
		return nil
	})
	w1 := w.members[0]
	w1.broken.Store(true)
	defer w1.broken.Store(false)
	eventually(t, "the active one ejects w1, the other takes its word", 30*time.Second, func() error {
		for range 10 {
			if _, _, err := w.get("/", "", 5*time.Second, 10*time.Second); err != nil {
				return err
			}
		}
		a, b := active.member("as.domain", "w1"), other.member("as.domain", "w1")
		if a.State != "ejected" || b.State != "ejected" {
			return fmt.Errorf("%+v %+v", a, b)
		}
		return nil
	})
	heard := time.Now()
	dead := w.killActive(t)
	asked := w1.asked.Load()
	for range 20 {
		if body, _, err := w.get("/", "", 5*time.Second, 10*time.Second); err != nil || body != "w3" {
			t.Errorf("after the failover: %q %v", body, err)
		}
	}
	// A peer's word counts for ten seconds, and was heard before we saw it.
	if more := w1.asked.Load() - asked; more > 0 && time.Since(heard) < 8*time.Second {
		t.Errorf("%d requests went to the ejected member", more)
	}
	dead.startJetway()
	eventually(t, "the one that came back knows weight and drain", 20*time.Second, func() error {
		if m, d := dead.member("as.domain", "w3"), dead.member("as.domain", "w2"); m.Weight != 5 || d.State != "draining" {
			return fmt.Errorf("%+v %+v", m, d)
		}
		return nil
	})
}

// TestHandoverWithoutRights: without CAP_NET_ADMIN it loses next to nothing, and
// says what it did instead; a request that does not end stops it, unless it is forced.
func TestHandoverWithoutRights(t *testing.T) {
	onlyLong(t)
	w := newWorld(t, setup{noAdmin: true})
	active, other := w.active()
	l := w.load()
	time.Sleep(500 * time.Millisecond)
	out, err := active.command("handover")
	if err != nil {
		t.Fatalf("handover: %s\n%s", out, active.guard.tail())
	}
	time.Sleep(time.Second)
	failed, done, _ := l.end()
	t.Logf("%s%d of %d requests failed", out, len(failed), done)
	if !strings.Contains(out, "kept waiting by full queues of the listening sockets") || !strings.Contains(out, "nft: ") {
		t.Errorf("it does not say what is missing: %s", out)
	}
	if len(failed)*1000 > done { // those in the middle of a handshake
		t.Errorf("%d of %d requests failed, the first with %v", len(failed), done, failed[0])
	}
	if !other.has() || active.has() {
		t.Error("the address did not move")
	}
	w.settled()
	active, other = w.active()
	ended := make(chan error, 1)
	go func() {
		_, _, err := w.get("/long", "", 5*time.Second, time.Minute)
		ended <- err
	}()
	eventually(t, "the long request is under way", 10*time.Second, func() error {
		if out, _ := active.command("status", "-o", "json"); strings.Contains(out, `"in_flight": 0`) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	try := func(more ...string) (out string, err error) {
		eventually(t, "somebody can take over", 30*time.Second, func() error { // a busy machine makes peers cold for moments
			out, err = active.command(append([]string{"handover", "--drain", "100ms", "--wait", "1s"}, more...)...)
			if strings.Contains(out, "nobody can take over") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		return out, err
	}
	if out, err := try(); err == nil || !strings.Contains(out, "--force") || !active.has() {
		t.Errorf("a hand-over with a request in flight: %v %s", err, out)
	}
	if out, err := try("--force"); err != nil || !strings.Contains(out, "1 cut off") || !other.has() {
		t.Errorf("a forced one: %v %s", err, out)
	}
	if err := <-ended; err == nil {
		t.Log("the long request ended well all the same")
	}
}
