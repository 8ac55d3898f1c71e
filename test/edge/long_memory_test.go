package edge

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

func onlyLong(t *testing.T) {
	t.Helper()
	if !long() {
		t.Skip("takes minutes; JETWAY_LONG=1 runs it")
	}
}

// TestLongIdleConnections opens 20,000 connections, or as many as descriptors
// allow, and reports what each costs: silent, idle after a request, and over TLS.
func TestLongIdleConnections(t *testing.T) {
	onlyLong(t)
	ca := newAuthority(t, "ca")
	s, opts := secureSite(t, harness.StartMember(t, "m", nil), "", map[string]pair{"site": ca.issue(t, nil, "a.test")}, "site")
	plain := harness.FreePort(t)
	s.listeners = fmt.Sprintf("    - {name: plain, address: \"127.0.0.1:%d\"}\n", plain)
	s.timeouts = "header: 10m, idle: 10m, drain: 2s"
	j := s.start(t, opts...)
	allowed, err := strconv.Atoi(j.Metric("jetway_connections_limit"))
	if err != nil {
		t.Fatal(err)
	}
	var own syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	n := min(20000, allowed-10, int(own.Cur)-200)
	conns := make([]net.Conn, 0, n)
	closeAll := func() {
		for _, c := range conns {
			c.Close()
		}
		conns = conns[:0]
		eventually(t, 30*time.Second, "all are closed", func() bool { return j.Metric("jetway_open_connections") == "0" })
	}
	open := func(what string, n int, dial func(local net.Addr) (net.Conn, error), talk bool) {
		t.Helper()
		before := settled(j)
		for i := range n {
			conn, err := dial(&net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%8))})
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			conns = append(conns, conn)
			if talk {
				if _, status := ask(t, harness.NewClient(conn), get("/")); status != 200 {
					t.Fatalf("connection %d: %d", i, status)
				}
			}
		}
		eventually(t, 30*time.Second, "all are counted", func() bool { return j.Metric("jetway_open_connections") == fmt.Sprint(n) })
		after := settled(j)
		t.Logf("%s: %d connections, RSS %d MiB before, %d MiB after, %d bytes each; admin answers in %v", what, n, before>>20, after>>20,
			(after-before)/int64(n), timed(func() { j.Get("/ready") }))
		if per := (after - before) / int64(n); per > 64<<10 {
			t.Errorf("%s: %d bytes per connection", what, per)
		}
		closeAll()
	}
	dial := func(local net.Addr) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}).Dial("tcp", harness.Loopback(plain))
	}
	open("silent", n, dial, false)
	open("idle after a request", n, dial, true)
	open("idle after a request over TLS", n/2, func(local net.Addr) (net.Conn, error) {
		conn, err := (&net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}).Dial("tcp", s.addr())
		if err != nil {
			return nil, err
		}
		return overTLS(conn, ca.trusting("a.test"))
	}, true)
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// settled waits until the resident memory stops moving and returns it.
func settled(j *harness.Jetway) int64 {
	last := j.RSS()
	for range 20 {
		time.Sleep(250 * time.Millisecond) // between two looks at it
		now := j.RSS()
		if now-last < 256<<10 && last-now < 256<<10 {
			return now
		}
		last = now
	}
	return last
}

// TestLongSlowBodies moves 10 GB through a reader and 10 GB through a writer
// that are slower than the other side, both at once, and watches the memory.
func TestLongSlowBodies(t *testing.T) {
	onlyLong(t)
	const size, piece = 10_000_000_000, 256 << 10
	s, j, m := edge(t, func(c *harness.MemberConn, r *harness.Request) {
		if strings.HasPrefix(r.Line, "POST ") {
			harness.Echo(c, r)
			return
		}
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", int64(size)))
		io.CopyN(c, zeros{}, size)
	}, nil)
	var wg sync.WaitGroup
	start := time.Now()
	wg.Go(func() { // reads a piece every 2 ms, 131 MB/s
		c := harness.Dial(t, s.addr())
		c.Send(get("/"))
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		total, buf := int64(0), make([]byte, piece)
		for total < size {
			n, err := c.Read(buf)
			if total += int64(n); err != nil {
				t.Errorf("reader after %d bytes: %v", total, err)
				return
			}
			<-tick.C
		}
		t.Logf("reader: %d bytes in %v", total, time.Since(start).Round(time.Second))
	})
	wg.Go(func() { // writes a piece every 2 ms
		c := harness.Dial(t, s.addr())
		c.Send(post(size))
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for sent := int64(0); sent < size; {
			n, err := io.CopyN(c, zeros{}, min(piece, size-sent))
			if sent += n; err != nil {
				t.Errorf("writer after %d bytes: %v", sent, err)
				return
			}
			<-tick.C
		}
		if a, err := c.Await("POST", 30*time.Second); err != nil || a.Status != 200 {
			t.Errorf("writer: %v %d", err, a.Status)
		}
		t.Logf("writer: %d bytes in %v", int64(size), time.Since(start).Round(time.Second))
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	rss := watchRSS(j.Process, done, 2*time.Second)
	t.Logf("RSS in MiB every 2 s: %v", rss)
	if most, least := slices.Max(rss), slices.Min(rss[min(2, len(rss)-1):]); most-least > 16 {
		t.Errorf("memory is not flat: %d to %d MiB", least, most)
	}
	for _, r := range m.Requests() {
		if strings.HasPrefix(r.Line, "POST ") && r.BodyLen != size {
			t.Errorf("%d bytes reached the member", r.BodyLen)
		}
	}
}

// watchRSS notes the resident memory in MiB until done.
func watchRSS(p *harness.Process, done <-chan struct{}, every time.Duration) (mib []int64) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		mib = append(mib, p.RSS()>>20)
		select {
		case <-done:
			return mib
		case <-tick.C:
		}
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// memoryGroup makes a cgroup with a limit, of version 1 or 2, and returns its
// folder; it is removed when the test ends.
func memoryGroup(t *testing.T, limit int) (dir string, kills func() string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a cgroup")
	}
	name := fmt.Sprintf("jetway-edge-%d", os.Getpid())
	for _, v := range []struct{ root, max, events string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"}, {"/sys/fs/cgroup", "memory.max", "memory.events"}} {
		dir = filepath.Join(v.root, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) }) // runs after Jetway's end
		if os.WriteFile(filepath.Join(dir, v.max), []byte(fmt.Sprint(limit)), 0o644) != nil {
			continue
		}
		return dir, func() string {
			events, _ := os.ReadFile(filepath.Join(dir, v.events))
			for line := range strings.Lines(string(events)) {
				if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
					return strings.TrimSpace(n)
				}
			}
			return "?"
		}
	}
	t.Skip("no memory cgroup can be made here")
	return "", nil
}

// TestLongMemoryGroup: one request in a hundred has a body of 100 MB each
// way, under a limit of 256 MiB. Nobody is killed and nothing fails.
func TestLongMemoryGroup(t *testing.T) {
	onlyLong(t)
	const body, clients, length = 100_000_000, 64, 30 * time.Second
	dir, kills := memoryGroup(t, 256<<20)
	m := harness.StartMember(t, "m", func(c *harness.MemberConn, r *harness.Request) {
		if !strings.HasPrefix(r.Line, "POST ") {
			harness.Echo(c, r)
			return
		}
		if r.ReadBody() == nil && r.BodyLen == body {
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", body))
			io.CopyN(c, zeros{}, body)
		}
	})
	s := newSite(t, m)
	p, admin := runWith(t, s, "sh", "-c", "echo $$ > "+dir+"/cgroup.procs && exec \"$@\"", "sh")
	var small, large, failed atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	for i := range clients {
		wg.Go(func() {
			c := harness.Dial(t, s.addr())
			for n := i; time.Now().Before(end); n++ {
				m.Take() // the harness keeps requests; there are many
				count, size := &small, int64(0)
				if n%100 == 0 {
					count, size = &large, body
				}
				a, err := exchangeOf(c, size)
				if err != nil || a.Status != 200 || size > 0 && a.BodyLen != size {
					t.Logf("%d bytes up: %v, %d, %d bytes %.100q", size, err, a.Status, a.BodyLen, a.Body)
					failed.Add(1)
					return
				}
				count.Add(1)
				if len(harness.Values(a.Fields, "Connection")) > 0 {
					c = harness.Dial(t, s.addr())
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	rss := watchRSS(p, done, 2*time.Second)
	t.Logf("%d small and %d large requests, %d failed, RSS in MiB %v, kills %s", small.Load(), large.Load(), failed.Load(), rss, kills())
	if failed.Load() > 0 || kills() != "0" {
		t.Error("requests failed, or the kernel killed somebody")
	}
	if page, _ := admin("/metrics"); page == "" {
		t.Error("admin does not answer")
	}
}

// exchangeOf sends a request with a body of so many bytes and reads the answer.
func exchangeOf(c *harness.Client, size int64) (*harness.Answer, error) {
	c.Send(map[bool]string{false: get("/"), true: post(size)}[size > 0])
	io.CopyN(c, zeros{}, size)
	return c.Await("POST", 60*time.Second)
}
