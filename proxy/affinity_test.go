package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/balancer/session"
)

// sticky is a proxy before three members that say who they are, what cookies
// and path they saw, and add the fields of the answer that they are told.
type sticky struct {
	*testProxy
	t     *testing.T
	scope *session.Scope
	on    balancer.Affinity
	more  atomic.Pointer[string] // fields of the next answers
	list  []balancer.Member
}

func newSticky(t *testing.T, a balancer.Affinity) *sticky {
	t.Helper()
	ring, err := session.ParseRing([]byte(session.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	s := &sticky{t: t, scope: ring.Scope("d/worker")}
	s.more.Store(new(string))
	a.Scope, a.Timeout = s.scope, max(a.Timeout, time.Minute)
	if a.Cookies == nil {
		a.Cookies = []string{"JSESSIONID"}
	}
	a.Cookie.Name, a.Cookie.Path, a.Cookie.SameSite = "JETWAY", "/", "Lax"
	s.on = a
	for i := range 3 {
		id := fmt.Sprintf("m%d", i)
		_, port, _ := net.SplitHostPort(startMember(t, func(c net.Conn) { s.answer(c, id) }))
		n, _ := net.LookupPort("tcp", port)
		s.list = append(s.list, balancer.Member{ID: id, Domain: "d", Host: "127.0.0.1", HTTP: uint16(n), Weight: 1})
	}
	patient := func(c *Config) { // a busy machine stands still for seconds at times
		c.Timeouts.Header, c.Timeouts.Connect, c.Timeouts.ResponseHeader = time.Minute, time.Minute, time.Minute
	}
	s.testProxy = startCluster(t, patient, balancer.ClusterConfig{Affinity: a}, s.list)
	return s
}

func (s *sticky) answer(c net.Conn, id string) {
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body := fmt.Sprintf("%s|%s|%s", id, strings.Join(req.Header["Cookie"], "+"), req.RequestURI)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(body), *s.more.Load(), body)
	}
}

// reply is an answer, taken apart.
type reply struct {
	status              int
	member, cookie, uri string
	set                 string // own cookie as it is sent back
	header              http.Header
}

func (s *sticky) get(path, cookie string) reply {
	s.t.Helper()
	c := dial(s.t, s.address)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if cookie != "" {
		cookie = "Cookie: " + cookie + "\r\n"
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.test\r\n%s\r\n", path, cookie)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	parts := append(strings.Split(string(body), "|"), "", "")
	r := reply{status: resp.StatusCode, member: parts[0], cookie: parts[1], uri: parts[2], header: resp.Header}
	for _, line := range resp.Header["Set-Cookie"] {
		if strings.HasPrefix(line, "JETWAY-") {
			r.set, _, _ = strings.Cut(line, ";")
		}
	}
	return r
}

func (s *sticky) fields(lines ...string) {
	text := strings.Join(append(lines, ""), "\r\n")
	s.more.Store(&text)
}

func (s *sticky) want(what string, got, want any) {
	s.t.Helper()
	if got != want {
		s.t.Fatalf("%s: %v, expected %v", what, got, want)
	}
}

// same wants n further requests to reach the member of the first.
func (s *sticky) same(n int, path, cookie, member string) {
	s.t.Helper()
	for range n {
		r := s.get(path, cookie)
		s.want("member", r.member, member)
		s.want("cookie set again", r.set, "")
	}
}

func TestCookieMode(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	first := s.get("/", "a=b")
	if first.set == "" {
		t.Fatal("no cookie was set")
	}
	line := first.header.Get("Set-Cookie")
	if want := first.set + "; Path=/; HttpOnly; SameSite=Lax"; line != want {
		t.Fatalf("Set-Cookie is %q, expected %q", line, want)
	}
	s.want("cookies seen", first.cookie, "a=b")
	s.same(6, "/", first.set, first.member)
	r := s.get("/", "x=1; "+first.set+";y=2")
	s.want("cookies seen", r.cookie, "x=1; y=2")
	s.want("only cookie seen", s.get("/", first.set).cookie, "")

	name, value, _ := strings.Cut(first.set, "=")
	replaced := func(cookie string) {
		t.Helper()
		if r := s.get("/", cookie); r.status != 200 || r.set == "" || r.set == cookie {
			t.Fatalf("%.80q was not replaced: %d %q", cookie, r.status, r.set)
		}
	}
	flipped := []byte(value)
	flipped[20] ^= 1
	replaced(name + "=" + string(flipped))
	replaced(name + "=")
	replaced(name + "=" + strings.Repeat("A", 8<<10))
	replaced(first.set + "; " + first.set)
	var w session.Work
	seal := func(tenant int64, member string, age time.Duration) string {
		return name + "=" + string(s.scope.AppendSeal(nil, &w, tenant, session.MemberID("d", member), time.Now().Add(-age)))
	}
	replaced(seal(7, "m1", 0))              // another tenant's
	replaced(seal(0, "nobody", 0))          // of a member that never was
	replaced(seal(0, "m1", 76*time.Second)) // stale: timeout and a quarter
	replaced(seal(0, "m1", -6*time.Minute)) // from the future
	r = s.get("/", seal(0, "m1", 70*time.Second))
	s.want("member of an old cookie", r.member, "m1")
	if r.set == "" {
		t.Fatal("an old cookie was not refreshed")
	}
	s.same(3, "/", seal(0, "m2", 10*time.Second), "m2")
	if other := s.get("/", strings.Replace(first.set, name, "JETWAY-zzzz", 1)); other.cookie != "" || other.set == "" {
		t.Fatalf("the cookie of another cluster: member saw %q", other.cookie)
	}
}

func TestCookieModeAnswers(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	name, _, _ := strings.Cut(s.get("/", "").set, "=")
	f := func(want string, fields ...string) {
		t.Helper()
		s.fields(fields...)
		r := s.get("/", "")
		s.want("Cache-Control", strings.Join(r.header["Cache-Control"], " + "), want)
		s.want("CDN-Cache-Control", r.header.Get("CDN-Cache-Control"), "")
		bound := s.get("/", r.set)
		var plain []string
		for _, line := range fields {
			if v, ok := strings.CutPrefix(line, "Cache-Control: "); ok {
				plain = append(plain, v)
			}
		}
		s.want("Cache-Control without Set-Cookie", strings.Join(bound.header["Cache-Control"], " + "), strings.Join(plain, " + "))
	}
	f("private")
	f("max-age=60 + private", "Cache-Control: public, max-age=60", "CDN-Cache-Control: max-age=60")
	f("no-store", "Cache-Control: no-store")
	f("private, max-age=5", "Cache-Control: private, max-age=5")

	s.fields("Set-Cookie: "+name+"=evil; Path=/", "Set-Cookie: app=1")
	r := s.get("/", "")
	s.want("cookies set", len(r.header["Set-Cookie"]), 2)
	if r.set == name+"=evil" {
		t.Fatal("the member's cookie won")
	}
}

// TestCookieModeMembers: draining keeps, gone and failing breaks once.
func TestCookieModeMembers(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	first := s.get("/", "")
	if _, err := s.router.Drain(first.member, true); err != nil {
		t.Fatal(err)
	}
	s.same(5, "/", first.set, first.member)
	for range 6 {
		if r := s.get("/", ""); r.member == first.member {
			t.Fatal("a draining member got a new session")
		}
	}
	var rest []balancer.Member
	for _, m := range s.list {
		if m.ID != first.member {
			rest = append(rest, m)
		}
	}
	s.router.SetMembers(rest)
	r := s.get("/", first.set)
	if r.set == "" || r.member == first.member {
		t.Fatalf("a session without its member: %+v", r)
	}
	s.same(5, "/", r.set, r.member)
	s.router.SetMembers(s.list) // it is back, and so are its sessions
	s.same(3, "/", first.set, first.member)
	s.same(3, "/", r.set, r.member)
}

func TestFailOverOff(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	first := s.get("/", "")
	x := &exchange{}
	x.server = s.Server
	name, value, _ := strings.Cut(first.set, "=")
	x.now = time.Now()
	x.req.fields = []field{{name: []byte("Cookie"), value: []byte(name + "=" + value)}}
	s.router.SetMembers(s.list[:0])
	s.router.SetMembers([]balancer.Member{{ID: "other", Domain: "d", Host: "127.0.0.1", HTTP: 1, Weight: 1}, {ID: "other2", Domain: "d", Host: "127.0.0.1", HTTP: 2, Weight: 1}})
	r := balancer.Request{Host: []byte("a.test"), Path: []byte("/"), Listener: "http", PublicPort: 80, Now: x.now.UnixNano()}
	if reason := s.router.Table().Route(&r, &x.decision); reason != balancer.OK {
		t.Fatal(reason)
	}
	s.want("fault", x.findSession(&x.decision.Cluster.Config.Affinity, false), noMember)
	s.want("verdict", x.outcome.Session, balancer.SessionBroken)
	s.want("fault with fail_over", x.findSession(&x.decision.Cluster.Config.Affinity, true), noFault)
}

func TestLearnMode(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityLearn})
	s.fields("Set-Cookie: other=1", "Set-Cookie: JSESSIONID=abc; Path=/; HttpOnly")
	first := s.get("/", "")
	s.want("cookies as the member set them", strings.Join(first.header["Set-Cookie"], "+"), "other=1+JSESSIONID=abc; Path=/; HttpOnly")
	s.fields()
	s.same(5, "/", "x=1; JSESSIONID=abc", first.member)
	s.same(5, `/`, `JSESSIONID=nobody; JSESSIONID="abc"`, first.member)
	s.same(5, "/a;jsessionid=abc?q", "", first.member)
	s.same(5, "/t/acme/", "JSESSIONID=unknown", s.get("/t/acme/", "JSESSIONID=unknown").member) // unknown, but in one place
	s.want("cookies seen", s.get("/", "x=1; JSESSIONID=abc").cookie, "x=1; JSESSIONID=abc")
	store := s.router.Sessions()
	s.want("sessions", store.OfMember(session.MemberID("d", first.member)), 1)

	// Its member goes: bound to another one, there and then.
	var rest []balancer.Member
	for _, m := range s.list {
		if m.ID != first.member {
			rest = append(rest, m)
		}
	}
	s.router.SetMembers(rest)
	moved := s.get("/", "JSESSIONID=abc")
	s.router.SetMembers(s.list)
	s.same(5, "/", "JSESSIONID=abc", moved.member)

	// One whose member is gone stands before one whose member serves.
	s.fields("Set-Cookie: JSESSIONID=gone")
	s.router.SetMembers(rest)
	gone := s.get("/", "").member
	s.router.SetMembers(s.list)
	s.fields("Set-Cookie: JSESSIONID=lives")
	lives := s.get("/", "")
	for lives.member == gone {
		lives = s.get("/", "")
	}
	s.fields()
	rest = nil
	for _, m := range s.list {
		if m.ID != gone {
			rest = append(rest, m)
		}
	}
	s.router.SetMembers(rest)
	s.same(5, "/", "JSESSIONID=gone; JSESSIONID=lives", lives.member)
	s.same(5, "/", "JSESSIONID=lives; JSESSIONID=gone", lives.member)
	s.router.SetMembers(s.list)
	s.same(5, "/", "JSESSIONID=gone", gone) // it was not moved
	long := "JSESSIONID=" + strings.Repeat("x", session.CookieMax+1)
	s.same(8, "/", long, s.get("/", long).member)

	for _, name := range []string{"abc", "gone", "lives"} {
		s.fields("Set-Cookie: JSESSIONID=; Max-Age=0")
		s.get("/", "JSESSIONID="+name)
	}
	s.want("sessions after the end", store.Stats().Sessions, 0)
	s.fields("Set-Cookie: JSESSIONID=" + strings.Repeat("x", session.CookieMax+1))
	s.get("/", "")
	s.want("sessions after one that is too long", store.Stats().Sessions, 0)
}

func TestLearnModeStrip(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityLearn, StripUnknown: true})
	s.want("cookies seen", s.get("/", "x=1; JSESSIONID=abc; y=2").cookie, "x=1; y=2")
	s.want("one too long", s.get("/", "x=1; JSESSIONID="+strings.Repeat("a", session.CookieMax+1)).cookie, "x=1")
	s.fields("Set-Cookie: JSESSIONID=abc")
	s.get("/", "")
	s.want("cookies seen", s.get("/", "x=1; JSESSIONID=abc").cookie, "x=1; JSESSIONID=abc")
}

func TestRouteMode(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityRoute})
	s.fields("Set-Cookie: JSESSIONID=abc; Path=/", `Set-Cookie: JSESSIONID="q"; Path=/`, "Set-Cookie: other=1")
	first := s.get("/", "")
	route := ""
	for _, u := range s.router.Table().Upstreams() {
		if u.Member().ID == first.member {
			route = u.Route()
		}
	}
	s.want("cookies", strings.Join(first.header["Set-Cookie"], "+"), "JSESSIONID=abc."+route+`; Path=/+JSESSIONID="q.`+route+`"; Path=/+other=1`)
	s.fields()
	for range 5 {
		r := s.get("/p", "x=1; JSESSIONID=abc."+route)
		s.want("member", r.member, first.member)
		s.want("cookies seen", r.cookie, "x=1; JSESSIONID=abc")
		r = s.get("/p;jsessionid=abc."+route+"/q?z", `JSESSIONID="abc.`+route+`"`)
		s.want("member", r.member, first.member)
		s.want("quoted", r.cookie, `JSESSIONID="abc"`)
		s.want("target", r.uri, "/p;jsessionid=abc/q?z")
		r = s.get("/", "JSESSIONID=abc.m1") // jvmRoute: the member's own id, which it wants to see
		s.want("member", r.member, "m1")
		s.want("cookies seen", r.cookie, "JSESSIONID=abc.m1")
	}
	gone := s.get("/", "JSESSIONID=abc.r0000000")
	s.want("cookies seen", gone.cookie, "JSESSIONID=abc")
	s.same(5, "/", "JSESSIONID=abc.r0000000", gone.member)
	for i := range s.list {
		s.fields(fmt.Sprintf("Set-Cookie: JSESSIONID=abc.m%d", i)) // set by the members themselves
		if r := s.get("/", fmt.Sprintf("JSESSIONID=x.m%d", i)); r.header.Get("Set-Cookie") != fmt.Sprintf("JSESSIONID=abc.m%d", i) {
			t.Fatalf("a member's own route became %q", r.header.Get("Set-Cookie"))
		}
	}
}

func TestSourceMode(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinitySource})
	s.same(6, "/", "", s.get("/", "").member)
}

// TestAffinityAllocations: a request of a bound client costs no allocation
// more than one without affinity.
func TestAffinityAllocations(t *testing.T) {
	s := newSticky(t, balancer.Affinity{Mode: balancer.AffinityCookie})
	cookie := s.get("/", "").set
	x := &exchange{server: s.Server, conn: &clientConn{}, now: time.Now(), tick: time.Now()}
	line := []byte("Cookie: a=b; " + cookie + "\r\n")
	x.req.fields = []field{{name: line[:6], value: bytes.TrimSpace(line[8:]), line: line}}
	r := balancer.Request{Host: []byte("a.test"), Path: []byte("/"), Listener: "http", PublicPort: 80, Now: x.now.UnixNano()}
	s.router.Table().Route(&r, &x.decision)
	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		x.findSession(&x.decision.Cluster.Config.Affinity, true)
		x.endpoint = x.chooseMember()
		out = x.appendEdited(out[:0], &x.req.fields[0])
		x.settleSession()
		x.affinity.issue = true
		out = x.appendOwnCookie(out[:0])
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
	if x.outcome.Session != balancer.SessionKept {
		t.Fatalf("verdict %s", x.outcome.Session)
	}
}
