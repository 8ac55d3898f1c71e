package tenants

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jetway/test/harness"
)

// flood is many clients that ask as fast as they can.
type flood struct {
	*site
	clients *fasthttp.Client
	svc     *service
	known   int // tenants t1 to this are known

	next, lost, odd atomic.Int64
}

// ask returns who answered: a member's name, or the status and reason of Jetway.
func (f *flood) ask(host, path string) string {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.SetRequestURI("http://" + harness.Loopback(f.port) + path)
	req.Header.SetHost(host)
	req.UseHostHeader = true
	if err := f.clients.DoTimeout(req, res, 20*time.Second); err != nil {
		return "error: " + err.Error()
	}
	body := string(res.Body())
	if res.StatusCode() == 200 {
		who, _, _ := strings.Cut(body, " ")
		return who
	}
	_, reason, _ := strings.Cut(body, "(")
	reason, _, _ = strings.Cut(reason, ",")
	return fmt.Sprintf("%d %s", res.StatusCode(), reason)
}

// learn asks for all tenants that are to be known.
func (f *flood) learn(t *testing.T) {
	var wg sync.WaitGroup
	var next, left atomic.Int64
	for range 16 {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= f.known; n = int(next.Add(1)) {
				for tries := 0; f.ask("app.test", fmt.Sprintf("/t/t%d/", n)) != "jet"; tries++ {
					if tries == 1000 {
						left.Add(1)
						break
					}
					time.Sleep(20 * time.Millisecond) // more questions than allowed in a second
				}
			}
		})
	}
	wg.Wait()
	if left.Load() > 0 {
		t.Fatalf("%d of %d tenants are not known", left.Load(), f.known)
	}
}

// stranger asks for something that nobody has: in turn a tenant in the path, a
// tenant in the host, and a host.
func (f *flood) stranger(n int64) {
	name := fmt.Sprintf("nobody-%d-%s", n, strings.Repeat("x", 40))
	who := ""
	switch n % 3 {
	case 0:
		who = f.ask("app.test", "/t/"+name+"/")
	case 1:
		who = f.ask(name+".apps.test", "/")
	default:
		if who = f.ask(name+".test", "/"); who == "404 no_host" {
			return
		}
	}
	if who != "403 unknown_tenant" && who != "503 directory" {
		f.odd.Add(1)
	}
}

// until asks for strangers up to a number, a tenant that is known in between,
// and returns the peak of memory.
func (f *flood) until(until int64) (peak int64) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for n := f.next.Add(1); n <= until; n = f.next.Add(1) {
				f.stranger(n)
				if n%50 == 0 && f.ask("app.test", fmt.Sprintf("/t/t%d/", n*7%int64(f.known)+1)) != "jet" {
					f.lost.Add(1)
				}
			}
		})
	}
	go func() { wg.Wait(); close(stop) }()
	for {
		peak = max(peak, f.RSS())
		select {
		case <-stop:
			f.next.Store(until)
			return peak
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestFlood: names and hosts that nobody has cost constant memory, a bounded
// number of questions and no series, and take nothing from tenants that are
// known.
func TestFlood(t *testing.T) {
	names, known, rate := int64(30_000), 2_000, 2_000
	if harness.Race() {
		names, known = 5_000, 500
	}
	if harness.Long() {
		names, known, rate = 1_000_000, 100_000, 1_000
	}
	svc, url := startService(t)
	s := startSite(t, source{hosts: `, "*.apps.test"`, conf: fmt.Sprintf("http: {url: '%s', token: let-me-in}, rate: %d, ttl: 1h", url, rate)},
		"identify: [{path: '**/t/{tenant}/'}, {host: '{tenant}.apps.test'}]\n  unknown: refuse", "")
	f := &flood{site: s, svc: svc, known: known, clients: &fasthttp.Client{MaxConnsPerHost: 64}}
	t.Cleanup(f.clients.CloseIdleConnections)
	f.learn(t)
	before := f.series()
	start, asked := time.Now(), svc.asked.Load()
	var peaks [8]int64 // of each eighth: what grows does so in all of them
	for i := range peaks {
		peaks[i] = f.until(names * int64(i+1) / int64(len(peaks)))
	}
	first, second := slices.Max(peaks[:4]), slices.Max(peaks[4:])
	took := time.Since(start)
	questions := svc.asked.Load() - asked
	t.Logf("%d known tenants, %d names and hosts in %v; peak %d KiB, then %d KiB, by eighths %d; %d questions",
		known, names, took.Round(time.Millisecond), first>>10, second>>10, peaks, questions)
	if f.odd.Load() > 0 || f.lost.Load() > 0 {
		t.Errorf("%d odd answers, %d requests of known tenants lost", f.odd.Load(), f.lost.Load())
	}
	if harness.Long() && float64(second) > 1.05*float64(first) {
		t.Errorf("the second half took the peak from %d to %d", first, second)
	}
	if most := 2 * float64(rate) * (took.Seconds() + 1); float64(questions) > most+200 {
		t.Errorf("%d questions in %v", questions, took)
	}
	if n := f.series(); n > before+2 {
		t.Errorf("%d series before, %d after", before, n)
	}
}

func (s *site) series() (n int) {
	_, body := s.Get("/metrics")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "jetway_") {
			n++
		}
	}
	return n
}
