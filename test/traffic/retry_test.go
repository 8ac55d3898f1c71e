package traffic

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"jetway/test/harness"
)

// broken is a member that resets after it read a head.
func broken(c *harness.MemberConn, r *harness.Request) { c.Reset() }

// group is some members with the same script.
func group(t *testing.T, n int, script harness.Script) (members []*harness.Member, ports []int) {
	for i := range n {
		m := harness.StartMember(t, fmt.Sprintf("m%d", i), script)
		members, ports = append(members, m), append(ports, m.Port)
	}
	return members, ports
}

// took is how many requests reached the members since it was last asked.
func took(members []*harness.Member) (n, at int) {
	for _, m := range members {
		k := len(m.Take())
		n += k
		at += min(k, 1)
	}
	return n, at
}

// ask sends one request on a connection of its own.
func (b *bench) ask(t *testing.T, request, method string) (status int) {
	t.Helper()
	c := b.dial(t)
	defer c.Close()
	c.Send(request)
	a, err := c.Await(method, 5*time.Second)
	if err != nil {
		t.Errorf("%.40q: %v", request, err)
		return 0
	}
	return a.Status
}

// TestRetryAttempts counts at the members how often a request is tried, each
// time at another one, and that what must not run twice does not.
func TestRetryAttempts(t *testing.T) {
	f := func(o options, method string, want int) {
		t.Helper()
		members, ports := group(t, 4, broken)
		b := startBench(t, o, ports...)
		body := "hello"
		status := b.ask(t, head(method+" / HTTP/1.1", "Host: lb.test", "Content-Length: 5")+body, method)
		if n, at := took(members); status != 502 || n != want || at != want {
			t.Errorf("%+v, %s: answered %d, tried %d times at %d members, want %d", o, method, status, n, at, want)
		}
	}
	attempts := func(n int) options {
		return options{service: fmt.Sprintf("    retry: {attempts: %d, budget: 100%%}\n", n)}
	}
	f(attempts(1), "GET", 1)
	f(attempts(2), "GET", 2)
	f(attempts(3), "GET", 3)
	f(options{}, "GET", 2)
	f(attempts(3), "PUT", 3)
	f(attempts(3), "DELETE", 3)
	f(attempts(3), "POST", 1)
	f(attempts(3), "PATCH", 1)
	f(attempts(3), "BREW", 1)
	f(options{top: "  fail_over: false\n"}, "GET", 1)
}

// TestRetryFailOver: a member that refuses connections costs nothing where
// fail_over is on, and is never replaced where it is off.
func TestRetryFailOver(t *testing.T) {
	f := func(o options, on bool) {
		t.Helper()
		members, ports := group(t, 1, nil)
		b := startBench(t, o, ports[0], harness.FreePort(t), harness.FreePort(t))
		statuses := map[int]int{}
		for range 12 {
			statuses[b.ask(t, head("POST / HTTP/1.1", "Host: lb.test", "Content-Length: 0"), "POST")]++
		}
		n, _ := took(members)
		if n != statuses[200] || on != (n == 12) || statuses[200]+statuses[502]+statuses[503] != 12 {
			t.Errorf("%+v: %d at the member, answers %v", o, n, statuses)
		}
	}
	f(options{service: "    retry: {attempts: 3}\n    balance: round_robin\n"}, true)
	f(options{service: "    retry: {attempts: 3}\n    balance: round_robin\n", top: "  fail_over: false\n"}, false)
}

// TestRetryBudget: where all is broken, repeating does not add more than a
// fifth to the load.
func TestRetryBudget(t *testing.T) {
	members, ports := group(t, 4, broken)
	b := startBench(t, options{service: "    retry: {attempts: 3}\n"}, ports...)
	const clients, each = 8, 100
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				b.ask(t, get("/"), "GET")
			}
		})
	}
	wg.Wait()
	n, _ := took(members)
	t.Logf("%d requests made %d attempts", clients*each, n)
	if limit := clients*each*12/10 + 10; n < clients*each || n > limit {
		t.Errorf("%d requests made %d attempts, at most %d", clients*each, n, limit)
	}
}

// TestRetryStaleOnce: where members reset on kept connections, a request is
// sent once more to one of them, not to each.
func TestRetryStaleOnce(t *testing.T) {
	members, ports := group(t, 4, nil)
	b := startBench(t, options{service: "    retry: {attempts: 3, budget: 100%}\n    balance: round_robin\n"}, ports...)
	var conns []*harness.Client
	for range 16 { // a few kept connections to each member
		c := b.dial(t)
		conns = append(conns, c)
	}
	hold := make(chan bool)
	for _, m := range members {
		m.SetScript(func(c *harness.MemberConn, r *harness.Request) { <-hold; harness.Echo(c, r) })
	}
	for _, c := range conns {
		c.Send(get("/warm"))
	}
	eventually(t, 5*time.Second, "all at the members", func() bool {
		n := 0
		for _, m := range members {
			n += len(m.Requests())
		}
		return n == len(conns)
	})
	close(hold)
	for _, c := range conns {
		if _, err := c.Await("GET", 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	took(members)
	for _, m := range members {
		m.SetScript(broken)
	}
	if status := b.ask(t, get("/"), "GET"); status != 502 {
		t.Errorf("answered %d", status)
	}
	if n, _ := took(members); n > 4 {
		t.Errorf("one GET with 3 attempts and one resend reached members %d times", n)
	}
}

// TestIdleRace: members that close kept connections at random moments cost no
// GET, and no POST runs twice.
func TestIdleRace(t *testing.T) {
	l := newLedger()
	var turns sync.Map
	_, ports := group(t, 2, func(c *harness.MemberConn, r *harness.Request) { closeSometimes(l, &turns, c, r) })
	b := startBench(t, options{service: "    retry: {attempts: 2, budget: 100%}\n"}, ports...)
	length := 2 * time.Second
	if testing.Short() {
		length = 500 * time.Millisecond
	}
	counts := &tally{n: map[string]int{}}
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	for i := range 16 {
		wg.Go(func() {
			c := b.dial(t)
			for seq := uint64(1); time.Now().Before(end); seq++ {
				method := [...]string{"GET", "POST"}[seq%2]
				nonce := uint64(i+1)<<32 | seq
				l.open(nonce, method, 0)
				c.Send(head(fmt.Sprintf("%s /c/%x HTTP/1.1", method, nonce), "Host: lb.test", "Content-Length: 0"))
				a, err := c.Await(method, 5*time.Second)
				if err != nil || a.Status != 200 && (method == "GET" || a.Status != 502) {
					l.wrong.add("%s %x: %d, %v; %+v", method, nonce, a.Status, err, l.of(nonce))
					return
				}
				counts.add(fmt.Sprintf("%s %d", method, a.Status))
				time.Sleep(time.Duration(seq*7919%2000) * time.Microsecond)
			}
		})
	}
	wg.Wait()
	requests, executions, repeated := l.audit(2)
	t.Logf("%d requests, %d executions, %d repeated, %v", requests, executions, repeated, counts.n)
	for _, text := range l.wrong.list {
		t.Error(text)
	}
}

// closeSometimes answers and closes the connection a moment later, if it
// idles then.
func closeSometimes(l *ledger, turns *sync.Map, c *harness.MemberConn, r *harness.Request) {
	var method string
	var nonce uint64
	fmt.Sscanf(r.Line, "%s /c/%x", &method, &nonce)
	begun(turns, c).Add(1)
	l.of(nonce).executed(execution{})
	harness.Echo(c, r)
	idleFor(turns, c, time.Duration(nonce*104729%4000)*time.Microsecond)
}
