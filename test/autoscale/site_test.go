// Package autoscale tests elastic clusters: the built program starts real
// members, by the drivers process and exec, under load.
package autoscale

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// site is one Jetway with an elastic cluster.
type site struct {
	t                   *testing.T
	http, admin, gossip int
	state               string // state_dir
	min, max            int
	drain, affinity     string
	driver              string
	jetway              *harness.Jetway
}

func newSite(t *testing.T) *site {
	return &site{t: t, http: harness.FreePort(t), admin: harness.FreePort(t), gossip: harness.FreePort(t), state: t.TempDir(),
		min: 1, max: 6, drain: "3s", affinity: "none"}
}

// worker is the command of a member, its id left open.
func (s *site) worker(boot string) []string {
	return []string{harness.Binary(s.t), "demo", "worker", "--domain", "el.domain", "--installation", "elastic", "--boot", boot,
		"--join", harness.Loopback(s.gossip)}
}

func (s *site) config() string {
	return fmt.Sprintf(`loadbalancer:
  name: lb
  installation: elastic
  state_dir: %q
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"}
  server_startup_delay: 60s
membership:
  gossip: {bind: "127.0.0.1:%d"}
services:
  app:
    hosts: [el.test]
    min_app_instances: %d
    max_app_instances: %d
    affinity: {mode: %s}
    autoscale:
      target: 2
      stable_window: 2s
      panic_window: 1s
      calm: 2s
      drain: %s
      driver: %s
    domains:
      el.domain: {}
`, s.state, s.http, s.admin, s.gossip, s.min, s.max, s.affinity, s.drain, s.driver)
}

// start runs Jetway; who was started by it is ended with the test.
func (s *site) start() {
	s.t.Helper()
	s.jetway = harness.Start(s.t, s.config())
}

// processes reads the list of the driver process, the dead left out.
func (s *site) processes() map[string]int {
	b, err := os.ReadFile(filepath.Join(s.state, "processes.json"))
	if err != nil {
		return nil
	}
	var list []struct {
		Member string
		PID    int
		Dead   bool
	}
	if json.Unmarshal(b, &list) != nil {
		return nil
	}
	running := map[string]int{}
	for _, p := range list {
		if !p.Dead && p.PID > 0 {
			running[p.Member] = p.PID
		}
	}
	return running
}

// endProcesses is for the end of a test.
func (s *site) endProcesses() {
	for _, pid := range s.processes() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// members returns how many the admin API knows, by state.
func (s *site) members() map[string]int {
	status, body := s.jetway.Get("/api/v1/members")
	var list struct {
		Members []struct{ ID, State string }
	}
	if status != 200 || json.Unmarshal([]byte(body), &list) != nil {
		return nil
	}
	states := map[string]int{}
	for _, m := range list.Members {
		states[m.State]++
	}
	return states
}

// answer is what a member says.
type answer struct {
	status int
	Name   string
	PID    int
}

// client keeps its cookies.
func (s *site) client() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 60 * time.Second, Transport: &http.Transport{}}
}

func (s *site) ask(ctx context.Context, c *http.Client, delay time.Duration) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/?delay=%s", harness.Loopback(s.http), delay), nil)
	if err != nil {
		return a, err
	}
	req.Host = "el.test"
	req.Header.Set("Accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	if resp.StatusCode != 200 {
		return answer{status: resp.StatusCode}, fmt.Errorf("status %d: %s", resp.StatusCode, strings.TrimSpace(string(body)))
	}
	a.status = resp.StatusCode
	return a, json.Unmarshal(body, &a)
}

// load is clients that keep so many requests in flight.
type load struct {
	stop   context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[string]
}

func (s *site) load(clients int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel}
	for range clients {
		l.wg.Go(func() {
			c := s.client()
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				if _, err := s.ask(context.Background(), c, 50*time.Millisecond); err != nil {
					l.failed.Add(1)
					text := err.Error()
					l.first.CompareAndSwap(nil, &text)
				}
				l.done.Add(1)
			}
		})
	}
	s.t.Cleanup(func() { l.end() })
	return l
}

// end stops the clients and returns what failed.
func (l *load) end() string {
	l.stop()
	l.wg.Wait()
	if n := l.failed.Load(); n > 0 {
		return fmt.Sprintf("%d of %d requests failed: %s", n, l.done.Load(), *l.first.Load())
	}
	return ""
}

// eventually waits until f holds.
func (s *site) eventually(within time.Duration, what string, f func() bool) {
	s.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	s.t.Fatalf("not within %s: %s; members %v, processes %v\n%s", within, what, s.members(), s.processes(), s.decisions())
}

// decisions returns what the log says of scaling.
func (s *site) decisions() string {
	var b strings.Builder
	for line := range strings.Lines(s.jetway.Log()) {
		if strings.Contains(line, "scaling") || strings.Contains(line, "process") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
