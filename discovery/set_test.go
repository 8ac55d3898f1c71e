package discovery

import (
	"fmt"
	"strings"
	"testing"

	"jetway/balancer"
)

func TestSet(t *testing.T) {
	var got []balancer.Member
	calls := 0
	s := NewSet(func(m []balancer.Member) { got = m; calls++ })
	gossip, static := s.Source("gossip"), s.Source("static")
	member := func(source, id, host string, port uint16) balancer.Member {
		return balancer.Member{ID: id, Domain: "d", Host: host, HTTP: port, Weight: 1, Source: source}
	}
	f := func(want string, rejected int) {
		t.Helper()
		var have []string
		for _, m := range got {
			text := fmt.Sprintf("%s=%s:%d*%d", m.ID, m.Host, m.HTTP, m.Weight)
			if m.Draining {
				text += " draining"
			}
			if m.Suspect {
				text += " suspect"
			}
			have = append(have, text)
		}
		if h := strings.Join(have, "; "); h != want || len(s.Rejected()) != rejected {
			t.Fatalf("have %q, %d rejected %v; want %q, %d", h, len(s.Rejected()), s.Rejected(), want, rejected)
		}
	}
	a, b := member("gossip", "a", "10.0.0.1", 80), member("gossip", "b", "10.0.0.2", 80)
	gossip([]balancer.Member{a, b})
	f("a=10.0.0.1:80*1; b=10.0.0.2:80*1", 0)

	// Known by both: one member, with the values of the configuration.
	own := member("static", "w1", "10.0.0.1", 80)
	own.Weight = 5
	static([]balancer.Member{own})
	f("b=10.0.0.2:80*1; w1=10.0.0.1:80*5", 0)
	a.Draining = true
	b.Suspect = true
	gossip([]balancer.Member{a, b})
	f("b=10.0.0.2:80*1 suspect; w1=10.0.0.1:80*5 draining", 0)
	a.Draining, a.Suspect = false, true
	gossip([]balancer.Member{a, b})
	f("b=10.0.0.2:80*1 suspect; w1=10.0.0.1:80*5", 0)
	a.Suspect = false

	// Another domain at the same address is another member.
	other := a
	other.Domain = "e"
	gossip([]balancer.Member{other})
	f("w1=10.0.0.1:80*5; a=10.0.0.1:80*1", 0)

	// The same id elsewhere: the configuration wins, the other is reported.
	gossip([]balancer.Member{member("gossip", "w1", "10.0.0.9", 80)})
	f("w1=10.0.0.1:80*5", 1)
	since := s.Rejected()[0].Since
	static([]balancer.Member{own, member("static", "w2", "10.0.0.7", 80)})
	f("w1=10.0.0.1:80*5; w2=10.0.0.7:80*1", 1)
	if !s.Rejected()[0].Since.Equal(since) {
		t.Fatal("a standing rejection got a new time")
	}

	// The same list again publishes nothing; a source that goes takes its own along.
	before := calls
	static([]balancer.Member{own, member("static", "w2", "10.0.0.7", 80)})
	if calls != before {
		t.Fatal("published without a change")
	}
	static(nil)
	f("w1=10.0.0.9:80*1", 0)
	gossip(nil)
	f("", 0)
}
