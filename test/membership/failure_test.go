package membership

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jetway/test/harness"
)

// load asks for / of the worker's host on a few connections until it is
// stopped.
type load struct {
	address string
	end     func() // stops it and waits
	stop    chan struct{}
	wg      sync.WaitGroup
	good    atomic.Int64
	failed  atomic.Int64
	first   atomic.Value // string
}

func startLoad(t testing.TB, address string) *load {
	t.Helper()
	l := &load{address: address, stop: make(chan struct{})}
	var once sync.Once
	l.end = func() { once.Do(func() { close(l.stop) }); l.wg.Wait() }
	t.Cleanup(l.end)
	pause := 100 * time.Millisecond // requests all the time, and time for the others
	if harness.Long() {
		pause = 2 * time.Millisecond
	}
	for range 4 {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if err := l.ask(address); err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, err.Error())
				} else {
					l.good.Add(1)
				}
				time.Sleep(pause)
			}
		})
	}
	return l
}

// ask makes a connection and a few requests on it.
func (l *load) ask(address string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := harness.NewClient(conn)
	for range 20 {
		if err := c.Send("GET / HTTP/1.1\r\nHost: as.example.com\r\n\r\n"); err != nil {
			return err
		}
		a, err := c.Await("GET", 10*time.Second)
		if err != nil {
			return err
		}
		if a.Status != 200 {
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		if v := harness.Values(a.Fields, "Connection"); len(v) > 0 && v[0] == "close" {
			return nil
		}
	}
	return nil
}

func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	want := l.good.Load() + n
	eventually(t, patience, "the load goes on", func() bool { return l.good.Load() >= want })
}

// TestMoreThanHalfKilled: three of five members die with their agents; the
// other two go on serving, and those that come back do so by announcing.
func TestMoreThanHalfKilled(t *testing.T) {
	t.Parallel()
	serf := moduleSerf(t)
	s := newSite(t)
	j := s.start(t)
	var apps []*harness.Member
	var agents []*agent
	for i := range 5 {
		app := harness.StartMember(t, fmt.Sprint("m", i), nil)
		apps = append(apps, app)
		agents = append(agents, startAgent(t, serf, app.Name, s.gossip, fmt.Sprintf("domain=as.domain http=%d", app.Port)))
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	l := startLoad(t, harness.Loopback(s.http))
	l.more(t, 100)
	for i := range 3 {
		agents[i].Kill()
		apps[i].Close()
	}
	l.more(t, 100)
	cut := l.failed.Load() // what was in flight there
	eventually(t, patience, "gossip misses all three", func() bool {
		byID, _ := members(t, j)
		for i := range 3 {
			if byID[apps[i].Name].State == "up" {
				return false
			}
		}
		return len(byID) == 5
	})
	l.more(t, 500)
	if n := l.failed.Load() - cut; n > 0 {
		t.Errorf("%d requests failed while two members served: %v", n, l.first.Load())
	}
	for i := range 3 {
		harness.StartMemberAt(t, apps[i].Name, apps[i].Port, nil)
		startAgentAt(t, serf, apps[i].Name, agents[i].bind, s.gossip, fmt.Sprintf("domain=as.domain http=%d", apps[i].Port))
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	t.Logf("%d requests failed when three of five were killed, %d served", l.failed.Load(), l.good.Load())
}

// TestFailedAlone: a member whose agent died but which still answers serves
// for failed_grace and is then left out, while more than half are there.
func TestFailedAlone(t *testing.T) {
	t.Parallel()
	serf := moduleSerf(t)
	s := newSite(t)
	s.gossipMore = ", failed_grace: 3s"
	j := s.start(t)
	apps, agents := make([]*harness.Member, 3), make([]*agent, 3)
	for i := range apps {
		apps[i] = harness.StartMember(t, fmt.Sprint("m", i), nil)
		agents[i] = startAgent(t, serf, apps[i].Name, s.gossip, fmt.Sprintf("domain=as.domain http=%d", apps[i].Port))
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	l := startLoad(t, harness.Loopback(s.http))
	agents[0].Kill()
	awaitState(t, j, "m0", "suspect")
	t.Logf("left out %v after it was lost", awaitGone(t, j, "m0"))
	l.more(t, 200)
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d requests failed: %v", n, l.first.Load())
	}
	// Most of those that are left at once: they stay.
	agents[1].Kill()
	agents[2].Kill()
	awaitState(t, j, "m1", "suspect")
	awaitState(t, j, "m2", "suspect")
	until := time.Now().Add(8 * time.Second)
	for time.Now().Before(until) {
		if byID, _ := members(t, j); len(byID) != 2 {
			t.Fatalf("members %v", byID)
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.more(t, 200)
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d requests failed: %v", n, l.first.Load())
	}
	startAgentAt(t, serf, "m0", agents[0].bind, s.gossip, fmt.Sprintf("domain=as.domain http=%d", apps[0].Port))
	awaitState(t, j, "m0", "up")
}

// TestGossipBlocked: gossip is blocked in both directions between all nodes,
// the data path is open: nothing fails for as long as it lasts, also long
// after failed_grace, and all is as it was when it ends.
func TestGossipBlocked(t *testing.T) {
	t.Parallel()
	serf := moduleSerf(t)
	s := newSite(t)
	own := newRelay(t, s.gossip)
	s.gossipMore = fmt.Sprintf(`, advertise: "%s", failed_grace: 2s`, own.address)
	j := s.start(t)
	relays := []*relay{own}
	var apps []*harness.Member
	for i := range 3 {
		app := harness.StartMember(t, fmt.Sprint("m", i), nil)
		bind := harness.FreePort(t)
		r := newRelay(t, bind)
		startAgentAt(t, serf, app.Name, bind, own.port, fmt.Sprintf("domain=as.domain http=%d", app.Port), "-advertise="+r.address)
		apps, relays = append(apps, app), append(relays, r)
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	l := startLoad(t, harness.Loopback(s.http))
	l.more(t, 100)
	for _, r := range relays {
		r.block(true)
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "suspect")
	}
	hold := 6 * time.Second
	if harness.Long() {
		hold = 2 * time.Minute
	}
	until := time.Now().Add(hold)
	for time.Now().Before(until) {
		if byID, _ := members(t, j); len(byID) != 3 {
			t.Fatalf("members %v while gossip is blocked", byID)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, app := range apps {
		app.Take()
	}
	l.more(t, 300)
	for _, app := range apps {
		if len(app.Requests()) == 0 {
			t.Errorf("%s serves nothing although it answers", app.Name)
		}
	}
	for _, r := range relays {
		r.block(false)
	}
	for _, app := range apps {
		awaitState(t, j, app.Name, "up")
	}
	l.more(t, 100)
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed: %v", n, l.good.Load(), l.first.Load())
	}
	t.Logf("0 of %d requests failed while gossip was blocked for %v", l.good.Load(), hold)
}
