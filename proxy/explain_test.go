package proxy

import (
	"net/netip"
	"testing"

	"jetway/balancer"
)

// TestExplainTellsOutOfReach: a client is answered as if there were no such
// host; who asks why is told which pattern it is that must not be reached.
func TestExplainTellsOutOfReach(t *testing.T) {
	p := startCluster(t, nil, balancer.ClusterConfig{AllowFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, nil)
	f := func(host, client string, status int, pattern string) {
		t.Helper()
		e, err := p.Explain(Question{Method: "GET", Target: "/", Fields: [][2]string{{"Host", host}}, Client: netip.MustParseAddr(client)})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if e.OutOfReach != nil {
			got = e.OutOfReach.Pattern
		}
		if e.Status != status || got != pattern || e.Client.String() != client {
			t.Errorf("%s from %s: %d %s, %q out of reach, client %s; want %d, %q", host, client, e.Status, e.Reason, got, e.Client, status, pattern)
		}
	}
	f("a.test", "127.0.0.1", 404, "a.test")
	f("a.test", "10.0.0.1", 503, "") // reached, and has no member
	f("b.test", "127.0.0.1", 404, "")
}

// TestFindSessionWithoutChoice: where there is one member no cookie is set, and
// none is named.
func TestFindSessionWithoutChoice(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	f := func(members []balancer.Member, cookies int) {
		t.Helper()
		s.router.SetMembers(members)
		v, err := s.FindSession(Question{Method: "GET", Target: "/", Fields: [][2]string{{"Host", "a.test"}, {"Cookie", "a=b"}},
			Client: netip.MustParseAddr("127.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Cookies) != cookies || v.Verdict != balancer.SessionNone {
			t.Errorf("%d members: cookies %q, verdict %s; want %d cookies and none", len(members), v.Cookies, v.Verdict, cookies)
		}
	}
	f(s.list, 1)
	f(s.list[:1], 0)
}
