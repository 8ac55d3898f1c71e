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

// rosterTest drives a roster through time.
type rosterTest struct {
	*roster
	t   *testing.T
	now time.Time
}

// list builds and prints the members as "id@host?".
func (r *rosterTest) list(steady bool, nodes ...string) string {
	r.t.Helper()
	var pool []serf.Member
	for _, n := range nodes {
		pool = append(pool, pooled(n))
	}
	var have []string
	for _, m := range r.build(pool, r.now, steady) {
		text := fmt.Sprintf("%s@%s", m.ID, m.Host)
		if m.Suspect {
			text += "?"
		}
		have = append(have, text)
	}
	return strings.Join(have, " ")
}

func TestRoster(t *testing.T) {
	var logged strings.Builder
	r := &rosterTest{newRoster("lb1", policy{installation: "default"}, time.Minute, zerolog.New(&logged)), t, time.Now()}
	f := func(want string, rejected int, nodes ...string) {
		t.Helper()
		if h := r.list(true, nodes...); h != want || len(r.reports.list()) != rejected {
			t.Fatalf("%q, rejected %v; want %q, %d", h, r.reports.list(), want, rejected)
		}
	}
	f("", 0)
	f("a@10.0.0.1 b@10.0.0.2?", 0,
		"b 10.0.0.2 failed domain=d http=80", "a 10.0.0.1 alive domain=d http=80", "c 10.0.0.3 left domain=d http=80",
		"e 10.0.0.4 leaving domain=d http=80", "lb1 10.0.0.9 alive role=lb installation=default domain=d http=80",
		"lb2 10.0.0.8 alive role=lb installation=default", "plain 10.0.0.7 alive dc=eu")
	f("a@10.0.0.1", 0, "a 10.0.0.1 alive domain=d http=80", "b 10.0.0.2 left domain=d http=80")

	// Reported once, kept with its time, gone when it is.
	f("a@10.0.0.1", 2, "a 10.0.0.1 alive domain=d http=80", "x 10.0.0.2 alive domain=d", "lb9 10.0.0.8 alive role=lb installation=other")
	since := r.reports.list()[0].Since
	f("a@10.0.0.1", 2, "a 10.0.0.1 alive domain=d http=80", "x 10.0.0.2 alive domain=d", "lb9 10.0.0.8 alive role=lb installation=other")
	if n := strings.Count(logged.String(), "member left out"); n != 2 || !r.reports.list()[0].Since.Equal(since) {
		t.Fatalf("%d lines logged: %s", n, &logged)
	}
	f("", 0, "a 10.0.0.1 left domain=d http=80", "x 10.0.0.2 left domain=d")

	// Who was there first keeps the id, even if the other has the lower address.
	f("a@10.0.0.5", 0, "m 10.0.0.5 alive domain=d http=80 id=a")
	f("a@10.0.0.5", 1, "m 10.0.0.5 alive domain=d http=80 id=a", "rogue 10.0.0.1 alive domain=d http=80 id=a")
	f("a@10.0.0.5 a@10.0.0.1", 0, "m 10.0.0.5 alive domain=d http=80 id=a", "rogue 10.0.0.1 alive domain=e http=80 id=a")
	f("", 0, "m 10.0.0.5 left", "rogue 10.0.0.1 left")
	// Seen together: the lower address.
	f("z@10.0.0.2", 1, "m2 10.0.0.3 alive domain=d http=80 id=z", "m1 10.0.0.2 alive domain=d http=80 id=z")
	f("", 0, "m2 10.0.0.3 left", "m1 10.0.0.2 left")

	// A new announcement of the id, or of the address, ends a lost one for good.
	f("a@10.0.0.6", 0, "old 10.0.0.5 failed domain=d http=80 id=a", "new 10.0.0.6 alive domain=d http=80 id=a")
	f("", 0, "old 10.0.0.5 failed domain=d http=80 id=a", "new 10.0.0.6 left")
	f("old@10.0.0.5", 0, "old 10.0.0.5 alive domain=d http=80")
	f("new@10.0.0.5", 0, "old 10.0.0.5 failed domain=d http=80", "new 10.0.0.5 alive domain=e http=80")
	f("old@10.0.0.5", 0, "old 10.0.0.5 alive domain=d http=80", "new 10.0.0.5 left")
	f("new@10.0.0.5 old@10.0.0.5?", 0, "old 10.0.0.5 failed domain=d http=80", "new 10.0.0.5 alive domain=d http=81")
	f("", 0, "old 10.0.0.5 left", "new 10.0.0.5 left")
	f("old1@10.0.0.5? old2@10.0.0.5?", 0, "old1 10.0.0.5 failed domain=d http=80", "old2 10.0.0.5 failed domain=d http=80")
}

// A member that only gossip says failed stays for the grace, and for longer
// only while most failed at once.
func TestRosterGrace(t *testing.T) {
	r := &rosterTest{newRoster("lb1", policy{installation: "default"}, time.Minute, zerolog.Nop()), t, time.Now()}
	node := func(i int, status string) string {
		return fmt.Sprintf("m%d 10.0.0.%d %s domain=d http=80", i, i, status)
	}
	f := func(after time.Duration, want string, steady bool, nodes ...string) {
		t.Helper()
		r.now = r.now.Add(after)
		if have := r.list(steady, nodes...); have != want {
			t.Fatalf("%q, want %q", have, want)
		}
	}
	alive, failed := node(1, "alive"), node(1, "failed")
	two, three := node(2, "alive"), node(3, "alive")
	all := "m1@10.0.0.1 m2@10.0.0.2 m3@10.0.0.3"
	f(0, all, true, alive, two, three)
	f(time.Second, "m1@10.0.0.1? m2@10.0.0.2 m3@10.0.0.3", true, failed, two, three)
	f(59*time.Second, "m1@10.0.0.1? m2@10.0.0.2 m3@10.0.0.3", true, failed, two, three)
	f(time.Second, "m2@10.0.0.2 m3@10.0.0.3", true, failed, two, three)
	f(time.Minute, "m2@10.0.0.2 m3@10.0.0.3", true, failed, two, three) // and does not come back by itself
	f(time.Minute, all, true, alive, two, three)

	// While our own view is doubtful no time counts.
	f(time.Second, "m1@10.0.0.1? m2@10.0.0.2 m3@10.0.0.3", false, failed, two, three)
	f(time.Hour, "m1@10.0.0.1? m2@10.0.0.2 m3@10.0.0.3", false, failed, two, three)
	f(59*time.Second, "m1@10.0.0.1? m2@10.0.0.2 m3@10.0.0.3", true, failed, two, three)
	f(time.Second, "m2@10.0.0.2 m3@10.0.0.3", true, failed, two, three)
	f(0, all, true, alive, two, three)

	// Two of three at once: for ever, even if gossip forgets all of them.
	lost := "m1@10.0.0.1? m2@10.0.0.2? m3@10.0.0.3"
	f(0, lost, true, failed, node(2, "failed"), three)
	f(25*time.Hour, lost, true, failed, node(2, "failed"), three)
	f(time.Hour, lost, true, three)
	f(time.Second, "m1@10.0.0.1? m2@10.0.0.2? m3@10.0.0.3?", true)
	f(25*time.Hour, "m1@10.0.0.1? m2@10.0.0.2? m3@10.0.0.3?", true)
	// Others came: those that are still lost have had their time.
	f(time.Second, "m3@10.0.0.3 m4@10.0.0.4 m5@10.0.0.5 m6@10.0.0.6", true, three, node(4, "alive"), node(5, "alive"), node(6, "alive"))
	// One that was held back comes back.
	f(time.Second, "m1@10.0.0.1 m3@10.0.0.3 m4@10.0.0.4 m5@10.0.0.5 m6@10.0.0.6", true, alive, three, node(4, "alive"), node(5, "alive"), node(6, "alive"))
	// It failed, and then said good-bye after all.
	f(0, "m1@10.0.0.1? m3@10.0.0.3 m4@10.0.0.4 m5@10.0.0.5 m6@10.0.0.6", true, failed, three, node(4, "alive"), node(5, "alive"), node(6, "alive"))
	f(0, "m3@10.0.0.3 m4@10.0.0.4 m5@10.0.0.5 m6@10.0.0.6", true, node(1, "left"), three, node(4, "alive"), node(5, "alive"), node(6, "alive"))
}

func BenchmarkRoster(b *testing.B) {
	r := newRoster("lb1", policy{installation: "default"}, time.Minute, zerolog.Nop())
	var pool []serf.Member
	for i := range 2000 {
		pool = append(pool, pooled(fmt.Sprintf("n%d 10.0.%d.%d alive domain=d%d sub_domain=worker http=9763 https=9443 port.mapping.8280=9763", i, i/250, i%250, i%200)))
	}
	for b.Loop() {
		if n := len(r.build(pool, time.Now(), true)); n != 2000 {
			b.Fatalf("%d members", n)
		}
	}
}
