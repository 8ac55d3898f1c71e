package httpcases

import (
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

var rivals = flag.Bool("rivals", false, "run the rows through HAProxy and nginx as well and print a table")

func TestMain(m *testing.M) { harness.Main(m) }

// bench is one load balancer under test between client and members.
type bench struct {
	name    string // jetway, haproxy, nginx
	addr    string
	port    int
	secure  bool // the client's side is TLS
	process *harness.Process
	members map[string]*harness.Member
	// dial opens a client connection.
	dial func() (*harness.Client, error)

	nonce   atomic.Int64
	waits   int           // answers that did not come
	patient time.Duration // how long an answer is waited for; shrinks when many do not come
}

// memberNames are the members of a bench: t1 and t2 alone in the services of
// t1.lb.test and t2.lb.test; p1 and p2 together in that of p.lb.test, k1 and k2 in that of k.lb.test; n1, n2
// and n0 behind n.lb.test for tenants 1, 2 and all others; off refuses connections
// and serves off.lb.test.
func memberNames() []string { return []string{"t1", "t2", "p1", "p2", "k1", "k2", "n0", "n1", "n2"} }

// limits are the values of the configuration that rows depend on.
type limits struct {
	header, idle, responseHeader, responseIdle, total, upgradeIdle string
}

// roomy limits make waiting visible: a row that ends only by a time-out fails.
func roomy() limits { return limits{"6s", "30s", "6s", "6s", "0s", "10s"} }

// tight limits are those of the slow rows; some set a total as well.
func tight() limits { return limits{"1s", "2s", "1s", "1s", "0s", "1s"} }

func tightTotal(total string) limits {
	l := tight()
	l.total = total
	return l
}

// startBench starts members and Jetway between them.
func startBench(t *testing.T, l limits) *bench {
	t.Helper()
	b := newBench(t, "jetway")
	b.start(t, l)
	return b
}

func (b *bench) start(t *testing.T, l limits, opts ...harness.Option) {
	t.Helper()
	opts = append(opts, harness.WithFile("tenants.csv", "name,id\nt1,1\nt2,2\n"), harness.WithFile("cookie.key", cookieSecret+"\n"))
	b.process = harness.Start(t, b.jetwayConfig(t, harness.FreePort(t), l), opts...).Process
}

func newBench(t *testing.T, name string) *bench {
	t.Helper()
	b := &bench{name: name, port: harness.FreePort(t), members: map[string]*harness.Member{}, patient: 5 * time.Second}
	b.addr = harness.Loopback(b.port)
	for _, name := range memberNames() {
		b.members[name] = harness.StartMember(t, name, nil)
	}
	b.dial = func() (*harness.Client, error) { return dialTCP(b.addr) }
	return b
}

func (b *bench) jetwayConfig(t *testing.T, adminPort int, l limits) string {
	var c strings.Builder
	fmt.Fprintf(&c, `loadbalancer:
  name: lb1
  listeners:
    - {name: http, address: "%s"%s}
  admin: {address: "%s"}
  timeouts: {header: %s, body_min_rate: 512B, idle: %s, connect: 1s, response_header: %s, response_idle: %s, total: %s, upgrade_idle: %s, drain: 2s}
membership:
  static:
`, b.addr, b.listenerTLS(), harness.Loopback(adminPort), l.header, l.idle, l.responseHeader, l.responseIdle, l.total, l.upgradeIdle)
	for _, name := range memberNames() {
		domain := name + ".domain"
		if c := name[:1]; c == "p" || c == "k" {
			domain = c + ".domain" // two members
		}
		fmt.Fprintf(&c, "    - {id: %s, domain: %s, host: 127.0.0.1, http: %d}\n", name, domain, b.members[name].Port)
	}
	fmt.Fprintf(&c, "    - {id: off, domain: off.domain, host: 127.0.0.1, http: %d}\n", harness.FreePort(t))
	c.WriteString(`tenants:
  identify: [{path: "**/t/{tenant}/"}, {query: tenantDomain}]
  directory: {file: tenants.csv}
services:
  defaults: {member_scheme: http, affinity: {mode: none}, health: {type: none, failures: 0}}
  t1:
    hosts: [t1.lb.test]
    domains:
      t1.domain: {tenant_range: "*"}
  t2:
    hosts: [t2.lb.test]
    domains:
      t2.domain: {tenant_range: "*"}
  p:
    hosts: [p.lb.test]
    domains:
      p.domain: {tenant_range: "*"}
  k:
    hosts: [k.lb.test]
    affinity: {mode: cookie, key_file: cookie.key}
    domains:
      k.domain: {tenant_range: "*"}
  off:
    hosts: [off.lb.test]
    domains:
      off.domain: {tenant_range: "*"}
  n:
    hosts: [n.lb.test]
    domains:
      n1.domain: {tenant_range: "1"}
      n2.domain: {tenant_range: "2"}
      n0.domain: {tenant_range: "*"}
`)
	return c.String()
}

// next returns a word that no other request of this bench carries.
func (b *bench) next() string { return fmt.Sprintf("%x-%d", b.port, b.nonce.Add(1)) }

// setScript gives all members the row's script; canaries are always echoed.
func (b *bench) setScript(s harness.Script) {
	for _, m := range b.members {
		m.SetScript(func(c *harness.MemberConn, r *harness.Request) {
			if s == nil || strings.Contains(r.Line, "/canary-") || strings.Contains(r.Line, "/before-") {
				harness.Echo(c, r)
				return
			}
			s(c, r)
		})
	}
}

func (b *bench) setBytewise(on bool) {
	for _, m := range b.members {
		m.SetBytewise(on)
	}
}

// take returns and forgets what reached the members, members in fixed order.
func (b *bench) take() []harness.Request {
	var all []harness.Request
	for _, name := range memberNames() {
		all = append(all, b.members[name].Take()...)
	}
	return all
}
