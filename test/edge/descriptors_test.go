package edge

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

// runWith starts Jetway by another program, such as prlimit, that runs what
// follows its own arguments. It stands in a directory of its own.
func runWith(t testing.TB, s *site, program ...string) (p *harness.Process, admin func(path string) (string, time.Duration)) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "loadbalancer.conf")
	if err := os.WriteFile(conf, []byte(s.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append(program[1:], harness.Binary(t), "run", "-c", conf)
	p = harness.StartTool(t, harness.RequireTool(t, program[0]), args...)
	p.AwaitTCP(harness.Loopback(s.admin))
	return p, func(path string) (string, time.Duration) { return adminGet(harness.Loopback(s.admin), path) }
}

// adminGet asks an admin address; "" where it does not answer within 10 s.
func adminGet(addr, path string) (body string, took time.Duration) {
	start := time.Now()
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return "", time.Since(start)
	}
	defer conn.Close()
	c := harness.NewClient(conn)
	c.Send("GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nConnection: close\r\n\r\n")
	a, err := c.Await("GET", 10*time.Second)
	if err != nil {
		return "", time.Since(start)
	}
	return string(a.Body), time.Since(start)
}

// adminAnswers asks for the metrics three times. Each is answered; one may take
// longer than a second: what the kernel drops of so many packets at once, a SYN
// above all, is sent again only then (RFC 6298). It returns the last answer and
// the median of the times.
func adminAnswers(t testing.TB, admin func(path string) (string, time.Duration)) (page string, median time.Duration) {
	t.Helper()
	tooks := make([]time.Duration, 3)
	for i := range tooks {
		if page, tooks[i] = admin("/metrics"); page == "" {
			t.Errorf("admin does not answer, given up after %v", tooks[i])
		}
	}
	slices.Sort(tooks)
	if tooks[1] > time.Second {
		t.Errorf("admin answered in %v", tooks)
	}
	return page, tooks[1]
}

// metricOf finds a series in a page of metrics.
func metricOf(page, series string) string {
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestDescriptors: 1,000 clients against 256 descriptors. Jetway lives, the
// admin address answers, no member pays for it, and all is well at once when
// the clients are gone.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	m := harness.StartMember(t, "m", nil)
	s := newSite(t, m)
	p, admin := runWith(t, s, "prlimit", "--nofile=256:256")
	clients := 1000
	if testing.Short() {
		clients = 300
	}
	var served, busy, none atomic.Int64
	var wg sync.WaitGroup
	conns := make([]net.Conn, clients)
	for i := range conns {
		wg.Go(func() {
			conn, err := net.DialTimeout("tcp", s.addr(), 30*time.Second)
			if err != nil {
				none.Add(1)
				return
			}
			conns[i] = conn
			c := harness.NewClient(conn)
			c.Send(get("/"))
			switch a, _ := c.Await("GET", 5*time.Second); a.Status {
			case 200:
				served.Add(1)
			case 503:
				busy.Add(1)
			default:
				none.Add(1)
			}
		})
	}
	wg.Wait()
	page, took := adminAnswers(t, admin)
	t.Logf("%d clients: %d served, %d told that it is busy, %d without answer; limit %s, %d descriptors, admin %v", clients,
		served.Load(), busy.Load(), none.Load(), metricOf(page, "jetway_connections_limit"), p.Descriptors(), took)
	if limit, _ := strconv.Atoi(metricOf(page, "jetway_connections_limit")); served.Load() < int64(limit*6/10) || none.Load() > int64(clients/100) {
		t.Error("too few clients were answered")
	}
	if up := metricOf(page, `jetway_member_up{domain="d",member="m"}`); up != "1" {
		t.Errorf("jetway_member_up is %q: the member paid for it", up)
	}
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
	took = eventually(t, 5*time.Second, "a request is served again", func() bool {
		c := harness.Dial(t, s.addr())
		defer c.Close()
		_, status := ask(t, c, get("/"))
		return status == 200
	})
	between(t, "recovery", took, 0, time.Second)
}

// TestDescriptorsOfIdleMembers: connections that are kept to members must not
// use up what clients and the admin address need.
func TestDescriptorsOfIdleMembers(t *testing.T) {
	t.Parallel()
	const domains, clients = 4, 60 // together more than there are descriptors
	release := make(chan struct{})
	var together sync.Mutex // guards release
	script := func(c *harness.MemberConn, r *harness.Request) {
		together.Lock()
		wait := release
		together.Unlock()
		<-wait
		harness.Echo(c, r)
	}
	s := newSite(t, harness.StartMember(t, "m", nil))
	var members []*harness.Member
	for i := range domains {
		m := harness.StartMember(t, fmt.Sprint("m", i), script)
		members = append(members, m)
		s.static += fmt.Sprintf("    - {id: m%d, domain: d%d, host: 127.0.0.1, http: %d}\n", i, i, m.Port)
		s.services += fmt.Sprintf("  s%d:\n    hosts: [d%d.test]\n    domains: {d%d: {}}\n", i, i, i)
	}
	p, admin := runWith(t, s, "prlimit", "--nofile=256:256")
	var conns []*harness.Client
	for range clients {
		conns = append(conns, harness.Dial(t, s.addr()))
	}
	for i := range domains {
		var wg sync.WaitGroup
		var failed atomic.Int64
		var why atomic.Value
		for _, c := range conns {
			wg.Go(func() {
				if a, status := ask(t, c, strings.Replace(get("/"), "a.test", fmt.Sprintf("d%d.test", i), 1)); status != 200 {
					why.Store(fmt.Sprintf("%d %s", status, a.Body))
					failed.Add(1)
				}
			})
		}
		for deadline := time.Now().Add(2 * time.Second); len(members[i].Requests()) < clients && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		together.Lock()
		close(release)
		release = make(chan struct{})
		together.Unlock()
		wg.Wait()
		if n := failed.Load(); n > 0 {
			t.Errorf("domain %d: %d of %d requests failed with %d descriptors open, such as %v", i, n, clients, p.Descriptors(), why.Load())
		}
	}
	adminAnswers(t, admin)
	together.Lock()
	close(release)
	together.Unlock()
}
