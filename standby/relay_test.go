package standby

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer/session"
)

// relay carries connections to one address, as badly as it is told.
type relay struct {
	net.Listener
	to      string
	rate    atomic.Int64 // bytes per second and direction, 0: no limit
	corrupt atomic.Int64 // every so many bytes one is changed, 0: none
	cut     atomic.Int64 // connections end after so many bytes, 0: never
	wg      sync.WaitGroup
}

func newRelay(t testing.TB, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return r
}

func (r *relay) carry(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer up.Close()
	for _, s := range []net.Conn{c, up} {
		s.(*net.TCPConn).SetReadBuffer(16 << 10) // what waits here waits unseen
		s.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	done := make(chan struct{}, 2)
	pipe := func(from, to net.Conn) {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 4<<10)
		var total int64
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if every := r.corrupt.Load(); every > 0 && (total+int64(n))/every != total/every {
				buf[n/2] ^= 0x10
			}
			total += int64(n)
			if cut := r.cut.Load(); cut > 0 && total > cut {
				return
			}
			if rate := r.rate.Load(); rate > 0 {
				time.Sleep(time.Duration(int64(n) * int64(time.Second) / rate))
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go pipe(c, up)
	go pipe(up, c)
	<-done
}

// meshPeer is a Mesh with a table of sessions.
type meshPeer struct {
	*Mesh
	table *session.Store
	relay *relay
	stop  func()
}

// newMeshes starts n peers, each of which reaches the others, perhaps through relays.
func newMeshes(t testing.TB, n, most int, relayed bool) []*meshPeer {
	t.Helper()
	key := keyFile(t, NewSecret())
	book := &addressBook{}
	var all []*meshPeer
	for i := range n {
		p := startMesh(t, key, fmt.Sprintf("lb%d", i), most, relayed, book)
		all = append(all, p)
	}
	return all
}

func startMesh(t testing.TB, key, node string, most int, relayed bool, book *addressBook) *meshPeer {
	t.Helper()
	p := &meshPeer{table: tableOf(t, node, most)}
	var err error
	p.Mesh, err = New(Config{Listen: "127.0.0.1:0", KeyFile: key, Priority: 100}, Self{"i", node, node}, []Kind{Sessions(p.table)},
		Options{Status: func() Status { return Status{Ready: true, Priority: 100} }, Candidates: book.list, Clock: NewClock()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	if relayed {
		p.relay = newRelay(t, p.Address().String())
		book.add(p.relay.Addr().String())
	} else {
		book.add(p.Address().String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	var once sync.Once
	p.stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(p.stop)
	return p
}

func agreed(all []*meshPeer) bool {
	for _, p := range all[1:] {
		if !equal(all[0].table, p.table) {
			return false
		}
	}
	return true
}

// TestBadLinks: links that are slow, corrupt what they carry or break off again
// and again; once they are sound all peers agree, nothing that was deleted is
// back, and nothing has piled up meanwhile.
func TestBadLinks(t *testing.T) {
	long := os.Getenv("JETWAY_LONG") == "1"
	run := func(peers int, what string, spoil func(r *relay)) {
		t.Run(fmt.Sprintf("%s, %d peers", what, peers), func(t *testing.T) {
			all := newMeshes(t, peers, 100_000, true)
			eventually(t, "all are connected", func() bool {
				for _, p := range all {
					if n := 0; true {
						for _, v := range p.Peers() {
							if v.Connected {
								n++
							}
						}
						if n < peers-1 {
							return false
						}
					}
				}
				return true
			})
			for _, p := range all {
				spoil(p.relay)
			}
			lasts, each := 2*time.Second, 200
			if long {
				lasts, each = 20*time.Second, 2000
			}
			var before, after runtime.MemStats
			deleted := map[int]bool{}
			n := 0
			for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				for range each / 10 {
					p := all[n%peers]
					learn(p.table, n, time.Now())
					if n%7 == 0 {
						p.table.Delete(sessionKey(n), time.Now())
						deleted[n] = true
					}
					n++
				}
				if before.HeapAlloc == 0 {
					runtime.GC()
					runtime.ReadMemStats(&before)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			for _, p := range all {
				p.relay.rate.Store(0)
				p.relay.corrupt.Store(0)
				p.relay.cut.Store(0)
			}
			healed := time.Now()
			eventually(t, "all agree", func() bool { return agreed(all) })
			took := time.Since(healed)
			grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			t.Logf("%d sessions, %d deleted; agreed %v after healing; heap grew by %d KiB", n, len(deleted), took.Round(time.Millisecond), grown>>10)
			if took > 5*time.Second && long {
				t.Errorf("agreed only after %v", took)
			}
			if grown > 8<<20 {
				t.Errorf("the heap grew by %d KiB", grown>>10)
			}
			for d := range deleted {
				for _, p := range all {
					if _, ok := p.table.Get(sessionKey(d), time.Now()); ok {
						t.Fatalf("deleted session %d is back", d)
					}
				}
			}
		})
	}
	counts := []int{3}
	if long {
		counts = []int{3, 5}
	}
	for _, n := range counts {
		run(n, "64 KB/s", func(r *relay) { r.rate.Store(64 << 10) })
		run(n, "a changed byte every 20 KB", func(r *relay) { r.corrupt.Store(20 << 10) })
		run(n, "cut every 30 KB", func(r *relay) { r.cut.Store(30 << 10) })
	}
}

// TestLag measures how late a peer learns at 10,000 new sessions a second.
func TestLag(t *testing.T) {
	if os.Getenv("JETWAY_LONG") != "1" {
		t.Skip("JETWAY_LONG=1 measures")
	}
	all := newMeshes(t, 2, 1_000_000, false)
	eventually(t, "connected", func() bool {
		return len(all[0].Peers()) == 1 && all[0].Peers()[0].Connected && all[1].Peers()[0].Connected
	})
	const rate, seconds = 10_000, 10
	type mark struct {
		n  int
		at time.Time
	}
	marks := make(chan mark, rate*seconds)
	go func() {
		defer close(marks)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n, start := 0, time.Now(); n < rate*seconds; <-tick.C {
			for due := int(time.Since(start).Seconds() * rate); n < due && n < rate*seconds; n++ {
				now := time.Now()
				learn(all[0].table, n, now)
				if n%20 == 0 {
					marks <- mark{n, now}
				}
			}
		}
	}()
	var lags []time.Duration
	for m := range marks {
		for {
			if _, ok := all[1].table.Get(sessionKey(m.n), time.Now()); ok {
				break
			}
			if time.Since(m.at) > 5*time.Second {
				t.Fatalf("session %d never came", m.n)
			}
			time.Sleep(200 * time.Microsecond)
		}
		lags = append(lags, time.Since(m.at))
	}
	slices.Sort(lags)
	p50, p99 := lags[len(lags)/2], lags[len(lags)*99/100]
	t.Logf("%d new sessions/s: lag p50 %v, p99 %v, max %v", rate, p50.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), lags[len(lags)-1].Round(time.Millisecond))
	if p99 > 50*time.Millisecond {
		t.Errorf("p99 is %v, want at most 50ms", p99)
	}
}

// useTimes uses sessions again and again and returns how long each use took,
// sorted.
func useTimes(s *session.Store, n int, over func() bool) []time.Duration {
	var took []time.Duration
	for i := 0; !over() && len(took) < 1<<20; i = (i + 7919) % n {
		start := time.Now()
		s.Use(sessionKey(i), start, 10*time.Minute)
		took = append(took, time.Since(start))
		if i%16 == 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	slices.Sort(took)
	return took
}

// residentMemory returns what the process has in memory, in bytes.
func residentMemory() int64 {
	var pages, resident int64
	b, _ := os.ReadFile("/proc/self/statm")
	fmt.Sscan(string(b), &pages, &resident)
	return resident * int64(os.Getpagesize())
}

// TestCopy measures the copy of a million sessions to a new peer.
func TestCopy(t *testing.T) {
	n := 20_000
	if os.Getenv("JETWAY_LONG") == "1" {
		n = 1_000_000
	}
	key := keyFile(t, NewSecret())
	book := &addressBook{}
	a := startMesh(t, key, "a", 2*n, false, book)
	now := time.Now()
	for i := range n {
		if !learn(a.table, i, now) {
			t.Fatalf("session %d does not fit", i)
		}
	}
	filled := time.Now()
	calm := useTimes(a.table, n, func() bool { return time.Since(filled) > 500*time.Millisecond })
	memory := residentMemory()
	start := time.Now()
	b := startMesh(t, key, "b", 2*n, false, book)
	var over atomic.Bool
	busy := make(chan []time.Duration, 1)
	go func() { busy <- useTimes(a.table, n, over.Load) }()
	eventually(t, "b has a connection", func() bool { return len(b.Peers()) == 1 && b.Peers()[0].Connected })
	connected := time.Since(start)
	eventually(t, "all is copied", func() bool { return b.Peers()[0].Missing == 0 && equal(a.table, b.table) })
	took := time.Since(start)
	over.Store(true)
	during := <-busy
	v := a.Peers()[0]
	t.Logf("a look-up at the teacher: p99 %v before, %v during the copy; max %v and %v", calm[len(calm)*99/100], during[len(during)*99/100],
		calm[len(calm)-1], during[len(during)-1])
	t.Logf("resident memory grew by %d bytes for each session of the second table", (residentMemory()-memory)/int64(n))
	t.Logf("%d sessions, %d KiB: copied %v after the start, connected after %v; window and rate as they are by default", n, v.Counts.BytesOut>>10,
		took.Round(time.Millisecond), connected.Round(time.Millisecond))
}
