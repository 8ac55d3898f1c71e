package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"jetway/test/harness"
)

// load is open: requests come at a rate, whatever becomes of those before.
// Every second one is a POST, which may not be repeated once its bytes left.
type load struct {
	client *http.Client
	url    string
	cancel context.CancelFunc
	loop   chan struct{}
	wg     sync.WaitGroup

	mu     sync.Mutex // guards all below
	count  int
	failed []failure
}

type failure struct {
	method string
	begun  time.Time
	what   string
}

// underWayMost bounds the requests that wait.
const underWayMost = 2000

func startLoad(t testing.TB, port int, perSecond float64) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{url: "http://" + harness.Loopback(port) + "/", cancel: cancel, loop: make(chan struct{}),
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1000,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}}}
	places := make(chan struct{}, underWayMost)
	go func() {
		defer close(l.loop)
		start := time.Now()
		for n := 0; ctx.Err() == nil; {
			due := int(time.Since(start).Seconds() * perSecond)
			for ; n < due && ctx.Err() == nil; n++ {
				method := http.MethodGet
				if n%2 == 1 {
					method = http.MethodPost
				}
				places <- struct{}{}
				l.wg.Go(func() {
					l.one(method)
					<-places
				})
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	t.Cleanup(l.stop)
	return l
}

func (l *load) one(method string) {
	begun := time.Now()
	req, err := http.NewRequest(method, l.url, strings.NewReader(map[string]string{http.MethodPost: "x=1"}[method]))
	if err != nil {
		panic(err)
	}
	req.Host = "h.test"
	if method == http.MethodPost {
		req.GetBody = nil // the client must not repeat it either
	}
	what := ""
	resp, err := l.client.Do(req)
	if err != nil {
		what = err.Error()
	} else {
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || err != nil {
			what = resp.Status + ": " + strings.TrimSpace(string(body))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if what != "" {
		l.failed = append(l.failed, failure{method, begun, what})
	}
}

// stop ends the load and waits for what is under way.
func (l *load) stop() {
	l.cancel()
	<-l.loop
	l.wg.Wait()
}

// failures are those of a method begun in a time; zero times are open.
func (l *load) failures(method string, from, to time.Time) (list []failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.failed {
		if f.method == method && !f.begun.Before(from) && (to.IsZero() || f.begun.Before(to)) {
			list = append(list, f)
		}
	}
	return list
}

func (l *load) done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// tell prints a few failures.
func tell(t testing.TB, list []failure, since time.Time) {
	t.Helper()
	for i, f := range list {
		if i == 5 {
			t.Logf("... %d in all", len(list))
			return
		}
		t.Logf("%s %v after: %s", f.method, f.begun.Sub(since).Round(time.Millisecond), f.what)
	}
}
