// Package explain tests that what Jetway says of a request is what becomes of
// it, and that what it says of a changed file is what the change does.
package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// explanation is what of an answer of the API is compared.
type explanation struct {
	Answer *struct {
		Status int
		Reason string
	}
	Candidates []struct {
		ID, Grade, State, Reason string
		InFlight                 int `json:"in_flight"`
	}
	Choice *struct {
		ID      string
		Certain bool
		Among   []string
	}
	Head []string
}

// question is a request in both forms.
type question struct {
	Method   string      `json:"method"`
	URL      string      `json:"url"`
	Fields   [][2]string `json:"fields"`
	Listener string      `json:"listener"`
	Client   string      `json:"client"`
}

func (q *question) raw() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", q.Method, q.URL)
	for _, f := range q.Fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	return b.String() + "\r\n"
}

// site is a Jetway with members behind it.
type site struct {
	*harness.Jetway
	t       *testing.T
	ports   map[string]int // by listener
	members map[string]*harness.Member
	client  http.Client
}

const tenantsFile = "name,id,active\nt1,1,true\nt2,2,true\nt3,3,true\nt7,7,true\nt20,20,true\noff,50,false\n"

// startSite runs conf, in which @NAME stands for a port: of listeners http and
// alt, of the admin API, and of members, all that are named.
func startSite(t *testing.T, conf string, members ...string) *site {
	s := &site{t: t, ports: map[string]int{"http": harness.FreePort(t), "alt": harness.FreePort(t)}, members: map[string]*harness.Member{}}
	s.Jetway = harness.Start(t, s.fill(conf, members), harness.WithFile("tenants.csv", tenantsFile))
	return s
}

func (s *site) fill(conf string, members []string) string {
	pairs := []string{"@http", fmt.Sprint(s.ports["http"]), "@alt", fmt.Sprint(s.ports["alt"])}
	if s.Jetway == nil {
		s.ports["admin"] = harness.FreePort(s.t)
		s.ports["dead"] = harness.FreePort(s.t)
	}
	pairs = append(pairs, "@admin", fmt.Sprint(s.ports["admin"]), "@dead", fmt.Sprint(s.ports["dead"]))
	for _, name := range members {
		if s.members[name] == nil {
			s.members[name] = harness.StartMember(s.t, name, nil)
		}
		pairs = append(pairs, "@"+name, fmt.Sprint(s.members[name].Port))
	}
	return strings.NewReplacer(pairs...).Replace(conf)
}

// explain asks the API, once the request before is over for Jetway too.
func (s *site) explain(q question) explanation {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		e := s.explainNow(q)
		busy := 0
		for _, c := range e.Candidates {
			busy += c.InFlight
		}
		if busy == 0 || time.Now().After(deadline) {
			return e
		}
		time.Sleep(5 * time.Millisecond) // questions are counted, too
	}
}

func (s *site) explainNow(q question) explanation {
	s.t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		s.t.Fatal(err)
	}
	var res *http.Response
	var text []byte
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if res, err = s.client.Post("http://"+s.Admin+"/api/v1/explain", "application/json", bytes.NewReader(body)); err != nil {
			s.t.Fatal(err)
		}
		text, err = io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusTooManyRequests || time.Now().After(deadline) { // the admin API takes 200 a second
			break
		}
	}
	var e explanation
	if err != nil || res.StatusCode != 200 || json.Unmarshal(text, &e) != nil {
		s.t.Fatalf("%+v: %d %s %v", q, res.StatusCode, text, err)
	}
	return e
}

// ask sends the request; reason is that of Jetway's own answers.
func (s *site) ask(q question) (a *harness.Answer, reason string) {
	s.t.Helper()
	d := net.Dialer{Timeout: 20 * time.Second}
	if q.Client != "127.0.0.1" {
		// A port of an address that is bound to is taken until the kernel forgets
		// its last connection, whoever made that: only where it has to be.
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(q.Client)}
	}
	conn, err := d.Dial("tcp", harness.Loopback(s.ports[q.Listener]))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	c := harness.NewClient(conn)
	c.Send(q.raw())
	if a, err = c.Await(q.Method, 10*time.Second); err != nil {
		s.t.Fatalf("%q: %v", q.raw(), err)
	}
	if a.Status == 200 {
		return a, ""
	}
	_, reason, _ = strings.Cut(string(a.Body), "(")
	reason, _, _ = strings.Cut(reason, ",")
	return a, reason
}

const manyKinds = `loadbalancer:
  listeners:
    - {name: http, address: "127.0.0.1:@http"}
    - {name: alt, address: "127.0.0.1:@alt", public_port: 8281}
  admin: {address: "127.0.0.1:@admin"}
  timeouts: {connect: 20s}
  trusted_proxies: [127.0.0.2]
membership:
  static:
    - {id: a1, domain: shared, host: 127.0.0.1, http: @a1}
    - {id: a2, domain: shared, host: 127.0.0.1, http: @a2, weight: 3}
    - {id: a3, domain: shared, host: 127.0.0.1, http: @a3, weight: 3, port_mapping: {8281: @b1}}

    - {id: gone, domain: shared, host: 127.0.0.1, http: @dead}
    - {id: idle, domain: shared, host: 127.0.0.1, http: @b2}
    - {id: j1, domain: jet, host: 127.0.0.1, http: @j1}
    - {id: h1, domain: hashed, host: 127.0.0.1, http: @h1}
    - {id: h2, domain: hashed, host: 127.0.0.1, http: @h2, weight: 2}
    - {id: h3, domain: hashed, host: 127.0.0.1, http: @h3}
    - {id: r1, domain: turns, host: 127.0.0.1, http: @r1}
    - {id: r2, domain: turns, host: 127.0.0.1, http: @r2, weight: 2}
    - {id: k1, domain: kept, host: 127.0.0.1, http: @k1}
    - {id: k2, domain: kept, host: 127.0.0.1, http: @k2}
    - {id: k3, domain: kept, host: 127.0.0.1, http: @k3}
    - {id: s1, domain: source, host: 127.0.0.1, http: @s1}
    - {id: s2, domain: source, host: 127.0.0.1, http: @s2}
    - {id: m1, domain: shared, sub_domain: mgt, host: 127.0.0.1, http: @m1}
    - {id: p1, domain: mapped, host: 127.0.0.1, port_mapping: {8281: @p1}}
tenants:
  identify: [{header: X-Tenant}, {cookie: tenant}, {host: "{tenant}.apps.test"}, {path: "**/t/{tenant}/"}, {query: tenantDomain}]
  headers: {id: X-Tenant-Id, name: X-Tenant-Name}
  directory: {file: tenants.csv}
services:
  app:
    domains:
      shared:
        tenant_range: "*"
        sub_domains:
          worker: {hosts: [app.test, "*.apps.test"]}
          mgt: {hosts: [mgt.test], listeners: [alt]}
      jet:
        tenant_range: "2,7-10"
        sub_domains:
          worker: {hosts: [app.test, "*.apps.test"]}
  hashed:
    balance: {hash: tenant}
    domains:
      hashed: {hosts: [hash.test]}
  turns:
    balance: round_robin
    allow_from: [127.0.0.1, 127.0.0.3]
    domains:
      turns: {hosts: [turns.test, "*.turns.test"], tenant_range: "1-3"}
  kept:
    affinity: {mode: cookie}
    domains:
      kept: {hosts: [kept.test]}
  source:
    affinity: {mode: source}
    domains:
      source: {hosts: [source.test]}
  mapped:
    domains:
      mapped: {hosts: [mapped.test]}
  empty:
    domains:
      empty: {hosts: [empty.test]}
`

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func randomQuestion(r *rand.Rand) question {
	tenant := pick(r, "t1", "T2", "t3", "t7", "t7", "t2", "t20", "t20", "off", "nobody", "t%32", "..", "t1%00")
	q := question{Method: pick(r, "GET", "GET", "GET", "GET", "GET", "GET", "PUT", "DELETE", "OPTIONS", "TRACE"), Listener: pick(r, "http", "http", "alt"),
		Client: pick(r, "127.0.0.1", "127.0.0.2", "127.0.0.3"),
		URL: pick(r, "/", "/", "/a/b?c=d", "/a/b?c=d", "/t/"+tenant+"/", "/t/"+tenant+"/", "/?tenantDomain="+tenant, "/t/"+tenant+"/x", "/a/t/"+tenant, "/t/"+tenant+";p=1/", "//t//"+tenant+"/", "/?tenantDomain="+tenant,
			"/t/"+tenant+"/?tenantDomain=t3", "/a/../b", "/t%2f"+tenant+"/", "/%zz", "/t", "/t/", "/x?q=/t/t1/", "/.;/x")}
	host := pick(r, "app.test", "app.test", "app.test", "hash.test", "turns.test", "kept.test", "kept.test", "source.test", "APP.test:80", "app.test.", "hash.test", "turns.test", "a.b.turns.test", "mgt.test", "mapped.test", "empty.test",
		"nowhere.test", strings.TrimRight(tenant, "%0.")+".apps.test", "apps.test", "app..test", "[::1]:80")
	q.Fields = append(q.Fields, [2]string{"Host", host})
	for _, f := range [][2]string{{"X-Tenant", tenant}, {"Cookie", "a=b; tenant=" + tenant}, {"X-Forwarded-For", pick(r, "127.0.0.3", "10.0.0.9, 127.0.0.2", "junk")},
		{"Connection", "x-tenant"}, {"X-Tenant-Id", "99"}, {"Accept", "text/html"}, {"X-Forwarded-Proto", "https"}, {"X-Request-Id", "told"},
		{"Host", "app.test"}, {"Expect", "nonsense"}, {"bad name", "x"}} {
		if n := r.IntN(100); n < 10 && (f[0] != "Host" && f[0] != "Expect" && f[0] != "bad name" || n < 2) {
			q.Fields = append(q.Fields, f)
		}
	}
	return q
}

// TestExplainAgrees: for random requests, what is explained is what happens:
// the same answer, or the same members to choose from, the same choice where it
// is certain, and the same head for the member.
func TestExplainAgrees(t *testing.T) {
	n := 600
	if harness.Long() {
		n = 10_000
	}
	s := startSite(t, manyKinds, "a1", "a2", "a3", "b1", "b2", "j1", "h1", "h2", "h3", "r1", "r2", "m1", "p1", "k1", "k2", "k3", "s1", "s2")
	s.drain("shared/idle")
	s.await("gone", "down")

	r := rand.New(rand.NewPCG(11, 17))
	forwarded, certain, reasons := 0, 0, map[string]int{}
	var cookies []string
	for i := range n {
		q := randomQuestion(r)
		if len(cookies) > 0 && r.IntN(2) == 0 {
			q.Fields = append(q.Fields, [2]string{"Cookie", cookies[r.IntN(len(cookies))]})
		}
		e := s.explain(q)
		a, reason := s.ask(q)
		for _, f := range a.Fields {
			if strings.EqualFold(f.Name, "Set-Cookie") && len(cookies) < 50 {
				cookie, _, _ := strings.Cut(f.Value, ";")
				cookies = append(cookies, cookie)
			}
		}
		heads := s.take()
		if e.Answer != nil {
			reasons[reason]++
			if a.Status != e.Answer.Status || reason != e.Answer.Reason || len(heads) > 0 {
				t.Fatalf("%d: %q from %s at %s: explained as %+v, answered %d %s", i, q.raw(), q.Client, q.Listener, *e.Answer, a.Status, reason)
			}
			continue
		}
		forwarded++
		if a.Status != 200 || e.Choice == nil || len(heads) != 1 {
			t.Fatalf("%d: %q: explained as forwarded to %+v, answered %d %s", i, q.raw(), e.Choice, a.Status, reason)
		}
		who, among := "", e.Choice.Among
		var head []string
		for who, head = range heads {
		}
		if e.Choice.Certain {
			among = []string{e.Choice.ID}
			certain++
		}
		if !slices.Contains(among, who) {
			t.Fatalf("%d: %q: went to %s, explained as %+v of %+v", i, q.raw(), who, *e.Choice, e.Candidates)
		}
		if !slices.Equal(head, masked(e.Head)) {
			t.Fatalf("%d: the member got\n%q, explained as\n%q", i, head, masked(e.Head))
		}
	}
	t.Logf("%d requests: %d forwarded, %d of them to a certain member; refused: %v", n, forwarded, certain, reasons)
	if forwarded < n/4 || certain < n/20 || len(reasons) < 7 {
		t.Errorf("the requests are of few kinds")
	}
}

// masked is a head without what differs each time.
func masked(head []string) []string {
	return slices.DeleteFunc(slices.Clone(head), func(l string) bool { return strings.HasPrefix(l, "X-Request-Id: ") && l != "X-Request-Id: told" })
}

// take returns the heads that members got since, by member.
func (s *site) take() map[string][]string {
	heads := map[string][]string{}
	for name, m := range s.members {
		for _, r := range m.Take() {
			id := name
			switch name { // members under other names
			case "b1":
				id = "a3"
			case "b2":
				id = "idle"
			}
			heads[id] = masked(strings.Split(strings.TrimRight(string(r.Head), "\r\n"), "\r\n"))
		}
	}
	return heads
}

func (s *site) drain(id string) {
	res, err := s.client.Post("http://"+s.Admin+"/api/v1/members/"+id+"/drain", "", nil)
	if err != nil || res.StatusCode != 200 {
		s.t.Fatal(res, err)
	}
	res.Body.Close()
}

// await waits until a member is in a state.
func (s *site) await(id, state string) {
	s.t.Helper()
	var members struct {
		Members []struct{ ID, State string }
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_, body := s.Get("/api/v1/members")
		if err := json.Unmarshal([]byte(body), &members); err != nil {
			s.t.Fatal(err)
		}
		for _, m := range members.Members {
			if m.ID == id && m.State == state {
				return
			}
		}
	}
	s.t.Fatalf("%s is not %s: %+v", id, state, members)
}
