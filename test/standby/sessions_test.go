package standby

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// nsSession is a session that a client began.
type nsSession struct{ cookie, member string }

// login begins sessions and returns them; it is the clients' namespace that asks.
func (w *world) login(t testing.TB, site string, n int) []nsSession {
	t.Helper()
	list := make([]nsSession, n)
	var failed atomic.Int64
	w.keepAlive(8, n, func(c *http.Client, i int) {
		req, _ := http.NewRequest("GET", "http://"+w.virtual()+"/login", nil)
		req.Host = site
		body, cookies, err := ask(c, req)
		if err != nil {
			failed.Add(1)
			return
		}
		list[i] = nsSession{cookies, body}
	})
	if failed.Load() > 0 {
		t.Fatalf("%d of %d logins failed", failed.Load(), n)
	}
	return list
}

// stay returns how many sessions reach their member.
func (w *world) stay(site string, list []nsSession) int {
	var stay atomic.Int64
	w.keepAlive(8, len(list), func(c *http.Client, i int) {
		req, _ := http.NewRequest("GET", "http://"+w.virtual()+"/", nil)
		req.Host = site
		req.Header.Set("Cookie", list[i].cookie)
		if body, _, err := ask(c, req); err == nil && body == list[i].member {
			stay.Add(1)
		}
	})
	return int(stay.Load())
}

// keepAlive calls f for 0 to n-1 from some clients that keep their connections.
func (w *world) keepAlive(clients, n int, f func(c *http.Client, i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c := w.client()
			defer c.CloseIdleConnections()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(c, i)
			}
		})
	}
	wg.Wait()
}

// testSessions: whoever has the address knows every session, however the one
// before it ended.
func testSessions(t *testing.T, w *world, most int) {
	w.settled()
	list := w.login(t, "as.example.com", most)
	active, _ := w.active()
	// What was learned in the last 50 ms may be lost, and is not what this is about.
	eventually(t, "both know all sessions", 30*time.Second, func() error {
		for _, h := range w.hosts {
			var v struct{ Sessions int }
			out, err := h.command("sessions", "-o", "json")
			if json.Unmarshal([]byte(out), &v); err != nil || v.Sessions < most {
				return fmt.Errorf("%s: %d of %d", h.name, v.Sessions, most)
			}
		}
		return nil
	})
	syscall.Kill(active.guard.jetway(t), syscall.SIGKILL)
	eventually(t, "the address moves", 20*time.Second, func() error {
		if active.has() || w.owners() != 1 {
			return fmt.Errorf("%d owners", w.owners())
		}
		return nil
	})
	n := w.stay("as.example.com", list)
	t.Logf("%d of %d sessions stay", n, len(list))
	if least := len(list) - max(len(list)/10_000, 0); n < least {
		t.Errorf("%d of %d sessions stay, want %d", n, len(list), least)
	}
	<-active.guard.gone
	active.startJetway()
}

// sessionsMost is how many sessions are begun.
func sessionsMost() int {
	if harness.Long() {
		return 50_000
	}
	return 500
}
