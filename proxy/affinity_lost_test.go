package proxy

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/balancer/session"
)

// without puts in force all members but some.
func (s *sticky) without(ids ...string) {
	var rest []balancer.Member
	for _, m := range s.list {
		if !strings.Contains(strings.Join(ids, " "), m.ID) {
			rest = append(rest, m)
		}
	}
	s.router.SetMembers(rest)
}

// configure puts fail_over and another affinity in force, as a reload does.
func (s *sticky) configure(failOver bool, on balancer.Affinity) {
	s.t.Helper()
	cfg := testRouting(s.t, balancer.ClusterConfig{Affinity: on})
	cfg.FailOver = failOver
	if err := s.router.Configure(cfg); err != nil {
		s.t.Fatal(err)
	}
}

// begin begins a session by the way of a mode, and returns its cookie.
func (s *sticky) begin() (first reply, cookie string) {
	s.t.Helper()
	if s.on.Mode == balancer.AffinityCookie {
		first = s.get("/", "")
		return first, first.set
	}
	s.fields("Set-Cookie: JSESSIONID=abc; Path=/")
	first = s.get("/", "")
	s.fields()
	cookie, _, _ = strings.Cut(first.header.Get("Set-Cookie"), ";")
	return first, cookie
}

func stickyModes() []balancer.AffinityMode {
	return []balancer.AffinityMode{balancer.AffinityCookie, balancer.AffinityLearn, balancer.AffinityRoute}
}

// TestFailOverOffMembers: with fail_over off a session whose member is gone or
// failing is refused until that is back; where the deadline of a draining one
// is over, it goes elsewhere all the same.
func TestFailOverOffMembers(t *testing.T) {
	for _, mode := range stickyModes() {
		t.Run(string(mode), func(t *testing.T) {
			s := newSticky(t, balancer.Affinity{Mode: mode, Drain: time.Hour})
			s.configure(false, s.on)
			first, cookie := s.begin()
			s.same(4, "/", cookie, first.member)
			s.without(first.member)
			for range 3 {
				s.want("status without the member", s.get("/", cookie).status, 503)
			}
			s.want("another client", s.get("/", "").status, 200)
			s.router.SetMembers(s.list)
			s.same(4, "/", cookie, first.member)
			if _, err := s.router.Drain(first.member, true); err != nil {
				t.Fatal(err)
			}
			s.same(4, "/", cookie, first.member)
			s.on.Drain = time.Nanosecond
			s.configure(false, s.on)
			moved := s.get("/", cookie)
			s.want("status after the deadline", moved.status, 200)
			if moved.member == first.member {
				t.Fatal("the session is where the deadline is over")
			}
			if moved.set != "" {
				cookie = moved.set
			}
			s.same(4, "/", cookie, moved.member)
		})
	}
}

// TestFailOverOffEnds: who is refused does not keep a learned session alive by
// asking again and again.
func TestFailOverOffEnds(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityLearn, Timeout: time.Hour})
	s.configure(false, s.on)
	first, cookie := s.begin()
	var w session.Work
	key := s.scope.Key(&w, 0, []byte("abc"))
	left := func() time.Duration {
		v, _ := s.router.Sessions().Look(key, time.Now())
		return v.Left
	}
	s.router.Sessions().Use(key, time.Now().Add(-30*time.Minute), time.Hour)
	s.without(first.member)
	s.want("status", s.get("/", cookie).status, 503)
	if l := left(); l > 31*time.Minute {
		t.Fatalf("a refused session lives for another %s", l)
	}
	s.router.SetMembers(s.list)
	s.same(1, "/", cookie, first.member)
	if l := left(); l < 50*time.Minute {
		t.Fatalf("a session that was served lives for another %s only", l)
	}
}

// TestLostTogether: the requests that a browser sends at the same time go to one
// and the same member after theirs is gone, or refuses them.
func TestLostTogether(t *testing.T) {
	for _, mode := range stickyModes() {
		for _, refuses := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, refuses), func(t *testing.T) {
				s := newSticky(t, balancer.Affinity{Mode: mode})
				first, cookie := s.begin()
				if refuses {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					l.Close()
					for i := range s.list {
						if s.list[i].ID == first.member {
							s.list[i].HTTP = uint16(l.Addr().(*net.TCPAddr).Port)
						}
					}
					s.router.SetMembers(s.list)
				} else {
					s.without(first.member)
				}
				var wg sync.WaitGroup
				list := make([]reply, 12)
				for i := range list {
					wg.Go(func() { list[i] = s.get("/", cookie) })
				}
				wg.Wait()
				for _, r := range list {
					s.want("status", r.status, 200)
					s.want("member", r.member, list[0].member)
				}
			})
		}
	}
}

// TestCookieModeAlone: where there is nothing to choose, the member does not see
// the cookie from when there was.
func TestCookieModeAlone(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	_, cookie := s.begin()
	s.without("m1", "m2")
	for _, r := range []reply{s.get("/", cookie+"; a=b"), s.get("/", "JETWAY-zzzz=1; a=b"), s.get("/", "a=b")} {
		s.want("cookies seen", r.cookie, "a=b")
		s.want("set", r.set, "")
	}
}

// TestCookieModeMaxAge: a cookie that browsers drop before the timeout is
// refreshed in time.
func TestCookieModeMaxAge(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie, Timeout: 24 * time.Hour, Cookie: balancer.StickyCookie{MaxAge: 4 * time.Hour}})
	first, cookie := s.begin()
	s.want("Max-Age", strings.Contains(first.header.Get("Set-Cookie"), "; Max-Age=14400;"), true)
	name, _, _ := strings.Cut(cookie, "=")
	var w session.Work
	f := func(age time.Duration, refreshed bool) {
		t.Helper()
		r := s.get("/", name+"="+string(s.scope.AppendSeal(nil, &w, 0, session.MemberID("d", "m1"), time.Now().Add(-age))))
		s.want("member", r.member, "m1")
		s.want("refreshed", r.set != "", refreshed)
	}
	f(30*time.Minute, false)
	f(90*time.Minute, true)
}

// TestRouteModeLong: what gets a route loses it again, however long it is.
func TestRouteModeLong(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityRoute})
	for _, n := range []int{1, session.CookieMax - 9, session.CookieMax - 8, session.CookieMax, session.CookieMax + 1, 4000} {
		value := strings.Repeat("x", n)
		s.fields("Set-Cookie: JSESSIONID=" + value)
		first := s.get("/", "")
		s.fields()
		for range 4 {
			r := s.get("/", first.header.Get("Set-Cookie"))
			s.want("member", r.member, first.member)
			s.want("cookies seen", r.cookie, "JSESSIONID="+value)
		}
	}
}

// TestModeChanges: a reload that changes the mode under live sessions loses
// none that the new mode can know of, and fails nobody.
func TestModeChanges(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	first, own := s.begin()
	for _, mode := range []balancer.AffinityMode{balancer.AffinityLearn, balancer.AffinityNone, balancer.AffinityRoute, balancer.AffinitySource} {
		on := s.on
		on.Mode = mode
		s.configure(true, on)
		s.want("status", s.get("/", own+"; JSESSIONID=abc.r0000000").status, 200)
	}
	s.configure(true, s.on)
	s.same(4, "/", own, first.member) // back, and it is still good
}
