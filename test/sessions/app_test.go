package sessions

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

// app is what members of an application have in common: each keeps sessions in
// its memory, by JSESSIONID, and counts in them.
type app struct {
	ids     atomic.Int64
	members []*harness.Member
}

func startApp(t *testing.T, n int) *app {
	a := &app{}
	for i := range n {
		a.members = append(a.members, harness.StartMember(t, fmt.Sprintf("m%d", i), a.script(fmt.Sprintf("m%d", i))))
	}
	return a
}

func (a *app) static() string {
	var b strings.Builder
	for _, m := range a.members {
		fmt.Fprintf(&b, "    - {id: %s, domain: d, host: 127.0.0.1, http: %d}\n", m.Name, m.Port)
	}
	return b.String()
}

func (a *app) script(name string) harness.Script {
	var mu sync.Mutex
	sessions := map[string]int{}
	return func(c *harness.MemberConn, r *harness.Request) {
		if r.ReadBody() != nil {
			return
		}
		id := ""
		for _, list := range harness.Values(r.Fields, "Cookie") {
			for pair := range strings.SplitSeq(list, ";") {
				if v, ok := strings.CutPrefix(strings.TrimSpace(pair), "JSESSIONID="); ok {
					id = v
				}
			}
		}
		set := ""
		mu.Lock()
		if sessions[id] == 0 {
			id = fmt.Sprintf("%s%08x", strings.Repeat("A", 24), a.ids.Add(1))
			set = "Set-Cookie: JSESSIONID=" + id + "; Path=/; HttpOnly\r\n"
		}
		sessions[id]++
		text := fmt.Sprintf("%s %d", name, sessions[id])
		mu.Unlock()
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(text), set, text))
	}
}

// TestRestart: Jetway is restarted while clients go on asking. No session
// changes its member.
func TestRestart(t *testing.T) {
	for _, mode := range []string{"cookie", "learn", "route", "source"} {
		t.Run(mode, func(t *testing.T) {
			a := startApp(t, 3)
			s := startSite(t, a.static(), "{mode: "+mode+"}", fmt.Sprintf("  state_dir: %q\n", t.TempDir()))
			list := newClients(s, harness.Scale(40, 1000))
			list.round(t)
			var stop atomic.Bool
			var served, failed atomic.Int64
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for i := w; !stop.Load(); i = (i + 8) % len(list) {
						if c := list[i]; c.ask1(t, &failed) {
							served.Add(1)
						}
					}
				})
			}
			for range harness.Scale(1, 5) {
				awaitMore(&served, 200)
				if code := s.Stop(); code != 0 {
					t.Errorf("exit code %d", code)
				}
				s.Jetway = harness.Start(t, s.conf, harness.WithFile("tenants.csv", tenants))
				awaitMore(&served, 200)
			}
			stop.Store(true)
			wg.Wait()
			list.wantBroken(t, "after restarts", "")
			t.Logf("%d requests served, %d failed to connect", served.Load(), failed.Load())
		})
	}
}

func awaitMore(n *atomic.Int64, more int64) {
	for end := n.Load() + more; n.Load() < end; {
		time.Sleep(5 * time.Millisecond)
	}
}

// ask1 is next where nobody may be there to answer. A request whose answer was
// lost may have been counted.
func (c *client) ask1(t *testing.T, failed *atomic.Int64) bool {
	member, count, err := c.ask()
	switch {
	case err != nil:
		failed.Add(1)
		time.Sleep(5 * time.Millisecond)
		return false
	case member != c.member || count <= c.count:
		c.broken = append(c.broken, c.member)
		t.Errorf("%s counted %d, before it was %s and %d", member, count, c.member, c.count)
	}
	c.member, c.count = member, count
	return true
}

// TestFlood: one tenant begins many more sessions than there is room for; the
// other one keeps all of its own.
func TestFlood(t *testing.T) {
	a := startApp(t, 3)
	s := startSite(t, a.static(), "{mode: learn}", "  limits: {sessions: 2000}\n")
	list := newClients(s, 300)
	for _, c := range list {
		c.path = "/?tenantDomain=acme.com"
	}
	list.round(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range harness.Scale(600, 20_000) {
				stranger := s.newClient("/?tenantDomain=flood.com")
				if err := stranger.next(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for range 3 {
		list.round(t)
	}
	list.wantBroken(t, "after the flood", "")
}
