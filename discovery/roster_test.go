package discovery

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"
)

// pooled makes a node of "name 10.0.0.1 status k=v ...".
func pooled(text string) serf.Member {
	f := strings.Fields(text)
	n := serf.Member{Name: f[0], Addr: net.ParseIP(f[1]), Port: 7946, Tags: announced(strings.Join(f[3:], " ")).Tags}
	n.Status = map[string]serf.MemberStatus{"alive": serf.StatusAlive, "failed": serf.StatusFailed, "left": serf.StatusLeft, "leaving": serf.StatusLeaving}[f[2]]
	return n
}

func TestRoster(t *testing.T) {
	var logged strings.Builder
	r := newRoster("lb1", policy{installation: "default"}, zerolog.New(&logged))
	f := func(want string, rejected int, nodes ...string) {
		t.Helper()
		var pool []serf.Member
		for _, n := range nodes {
			pool = append(pool, pooled(n))
		}
		var have []string
		for _, m := range r.build(pool, time.Now()) {
			text := fmt.Sprintf("%s@%s", m.ID, m.Host)
			if m.Suspect {
				text += "?"
			}
			have = append(have, text)
		}
		if h := strings.Join(have, " "); h != want || len(r.reports.list()) != rejected {
			t.Fatalf("%q, rejected %v; want %q, %d", h, r.reports.list(), want, rejected)
		}
	}
	f("", 0)
	f("a@10.0.0.1 b@10.0.0.2?", 0,
		"b 10.0.0.2 failed domain=d http=80", "a 10.0.0.1 alive domain=d http=80", "c 10.0.0.3 left domain=d http=80",
		"e 10.0.0.4 leaving domain=d http=80", "lb1 10.0.0.9 alive role=lb installation=default domain=d http=80",
		"lb2 10.0.0.8 alive role=lb installation=default", "plain 10.0.0.7 alive dc=eu")

	// Reported once, kept with its time, gone when it is.
	f("a@10.0.0.1", 2, "a 10.0.0.1 alive domain=d http=80", "x 10.0.0.2 alive domain=d", "lb9 10.0.0.8 alive role=lb installation=other")
	since := r.reports.list()[0].Since
	f("a@10.0.0.1", 2, "a 10.0.0.1 alive domain=d http=80", "x 10.0.0.2 alive domain=d", "lb9 10.0.0.8 alive role=lb installation=other")
	if n := strings.Count(logged.String(), "member left out"); n != 2 || !r.reports.list()[0].Since.Equal(since) {
		t.Fatalf("%d lines logged: %s", n, &logged)
	}
	f("a@10.0.0.1", 0, "a 10.0.0.1 alive domain=d http=80")

	// Who was there first keeps the id, even if the other has the lower address.
	f("a@10.0.0.5", 0, "m 10.0.0.5 alive domain=d http=80 id=a")
	f("a@10.0.0.5", 1, "m 10.0.0.5 alive domain=d http=80 id=a", "rogue 10.0.0.1 alive domain=d http=80 id=a")
	f("a@10.0.0.5 a@10.0.0.1", 0, "m 10.0.0.5 alive domain=d http=80 id=a", "rogue 10.0.0.1 alive domain=e http=80 id=a")
	// Seen together: the lower address.
	f("z@10.0.0.2", 1, "m2 10.0.0.3 alive domain=d http=80 id=z", "m1 10.0.0.2 alive domain=d http=80 id=z")

	// A new announcement of the id, or of the address, ends a lost one.
	f("a@10.0.0.6", 0, "old 10.0.0.5 failed domain=d http=80 id=a", "new 10.0.0.6 alive domain=d http=80 id=a")
	f("new@10.0.0.5", 0, "old 10.0.0.5 failed domain=d http=80", "new 10.0.0.5 alive domain=e http=80")
	f("new@10.0.0.5 old@10.0.0.5?", 0, "old 10.0.0.5 failed domain=d http=80", "new 10.0.0.5 alive domain=d http=81")
	f("old1@10.0.0.5? old2@10.0.0.5?", 0, "old1 10.0.0.5 failed domain=d http=80", "old2 10.0.0.5 failed domain=d http=80")
}

func BenchmarkRoster(b *testing.B) {
	r := newRoster("lb1", policy{installation: "default"}, zerolog.Nop())
	var pool []serf.Member
	for i := range 2000 {
		pool = append(pool, pooled(fmt.Sprintf("n%d 10.0.%d.%d alive domain=d%d sub_domain=worker http=9763 https=9443 port.mapping.8280=9763", i, i/250, i%250, i%200)))
	}
	for b.Loop() {
		if n := len(r.build(pool, time.Now())); n != 2000 {
			b.Fatalf("%d members", n)
		}
	}
}
