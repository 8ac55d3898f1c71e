// Package edge tests what holds the built binary up against the internet:
// time-outs, limits, TLS, whom it trusts, rewriting, draining. The proofs that
// take minutes run whole where JETWAY_LONG=1, which test/full.sh sets, and
// otherwise shortened or not at all.
//
//	go test ./test/edge                            under 45 s
//	JETWAY_LONG=1 go test ./test/edge -run Long -v one after the other, with figures
package edge

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestMain lets more tests run at once than there are cores: most of them wait
// for a time-out.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic("BUG: " + err.Error())
	}
	harness.Main(m)
}

// long reports whether the proofs run whole.
func long() bool { return os.Getenv("JETWAY_LONG") == "1" }

// site is a configuration in parts. Its one service is a.test, its member m.
type site struct {
	port, admin int
	listener    string // further keys of the listener
	listeners   string // further lines of listeners
	timeouts    string // keys
	limits      string // keys
	top         string // further lines of the section loadbalancer
	member      int    // port
	static      string // further lines of members
	service     string // lines of the service
	services    string // further lines of services
}

// newSite is a site before a member, with timeouts that no test waits for.
func newSite(t testing.TB, m *harness.Member) *site {
	s := &site{port: harness.FreePort(t), admin: harness.FreePort(t), timeouts: "drain: 2s, connect: 10s"}
	if m != nil {
		s.member = m.Port
	}
	return s
}

func (s *site) String() string {
	return fmt.Sprintf(`loadbalancer:
  listeners:
    - {name: main, address: "127.0.0.1:%d"%s}
%s  admin: {address: "127.0.0.1:%d"}
  timeouts: {%s}
  limits: {%s}
%smembership:
  static:
    - {id: m, domain: d, host: 127.0.0.1, http: %d}
%sservices:
  defaults: {health: {type: none, failures: 0}}
  s:
    hosts: [a.test]
    affinity: {mode: none}
%s    domains:
      d: {}
%s`, s.port, s.listener, s.listeners, s.admin, s.timeouts, s.limits, s.top, max(s.member, 1), s.static, s.service, s.services)
}

func (s *site) addr() string { return harness.Loopback(s.port) }

func (s *site) start(t testing.TB, opts ...harness.Option) *harness.Jetway {
	t.Helper()
	return harness.Start(t, s.String(), opts...)
}

// edge starts a member and Jetway before it.
func edge(t testing.TB, script harness.Script, change func(*site)) (*site, *harness.Jetway, *harness.Member) {
	t.Helper()
	m := harness.StartMember(t, "m", script)
	s := newSite(t, m)
	if change != nil {
		change(s)
	}
	return s, s.start(t), m
}

// get is a request for a.test.
func get(path string, lines ...string) string {
	return "GET " + path + " HTTP/1.1\r\n" + strings.Join(append([]string{"Host: a.test"}, lines...), "\r\n") + "\r\n\r\n"
}

// post is the head of a request whose body has n bytes.
func post(n int64, lines ...string) string {
	return strings.Replace(get("/", append(lines, fmt.Sprintf("Content-Length: %d", n))...), "GET", "POST", 1)
}

// ask sends a request on c and returns the answer's status, 0 for none.
func ask(t testing.TB, c *harness.Client, request string) (*harness.Answer, int) {
	t.Helper()
	if err := c.Send(request); err != nil {
		t.Logf("cannot send: %v", err)
	}
	a, err := c.Await("GET", 10*time.Second)
	if err != nil {
		return a, 0
	}
	return a, a.Status
}

// want asks once on a connection of its own.
func want(t testing.TB, addr, request string, status int) *harness.Answer {
	t.Helper()
	c := harness.Dial(t, addr)
	defer c.Close()
	a, got := ask(t, c, request)
	if got != status {
		t.Errorf("%.60q: %d %.200q, want %d", request, got, a.Body, status)
	}
	return a
}

// eventually polls until ok and fails the test after within.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// between fails the test if a wait took too little or too much.
func between(t testing.TB, what string, took, least, most time.Duration) {
	t.Helper()
	if harness.Race() {
		most *= 2 // Jetway and its clients take several times as long then; the other limits are far off still
	}
	if !long() {
		most += 2 * time.Second // a busy machine halts everything for that long; the proofs measure
	}
	if took < least || took > most {
		t.Errorf("%s took %v, want %v to %v", what, took.Round(time.Millisecond), least, most)
	}
}

// drip sends piece every d until it fails or times are over; the channel is
// closed afterwards.
func drip(c *harness.Client, piece string, d time.Duration, times int) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for range times {
			if c.Send(piece) != nil {
				return
			}
			<-tick.C
		}
	}()
	return done
}

// closed waits until a connection of the member ends.
func closed(c *harness.MemberConn, gone chan<- time.Duration) {
	if took, err := c.AwaitClose(20 * time.Second); err == nil {
		gone <- took
	}
	close(gone)
}
