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
	calm, startup       string // server_startup_delay
	driver              string // with all keys of autoscale after it
	name, join, standby string // of one of several
	options             []harness.Option
	jetway              *harness.Jetway
}

func newSite(t *testing.T) *site {
	return &site{t: t, http: harness.FreePort(t), admin: harness.FreePort(t), gossip: harness.FreePort(t), state: t.TempDir(),
		min: 1, max: 6, drain: "3s", affinity: "none", calm: "2s", startup: "60s", name: "lb"}
}

// worker is the command of a member, its id left open. It joins by this load
// balancer's gossip, and by that of others.
func (s *site) worker(boot string, others ...int) []string {
	command := []string{harness.Binary(s.t), "demo", "worker", "--domain", "el.domain", "--installation", "elastic", "--boot", boot}
	for _, port := range append(others, s.gossip) {
		command = append(command, "--join", harness.Loopback(port))
	}
	return command
}

func (s *site) config() string {
	return fmt.Sprintf(`loadbalancer:
  name: %s
  installation: elastic
  state_dir: %q
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"}
  server_startup_delay: %s
membership:
  gossip: {bind: "127.0.0.1:%d", join: [%s]}
%sservices:
  app:
    hosts: [el.test]
    min_app_instances: %d
    max_app_instances: %d
    affinity: {mode: %s}
    autoscale:
      target: 2
      stable_window: 2s
      panic_window: 1s
      calm: %s
      drain: %s
      driver: %s
    domains:
      el.domain: {}
`, s.name, s.state, s.http, s.admin, s.startup, s.gossip, s.join, s.standby, s.min, s.max, s.affinity, s.calm, s.drain, s.driver)
}

// start runs Jetway; who was started by it is ended with the test.
func (s *site) start() {
	s.t.Helper()
	s.jetway = harness.Start(s.t, s.config(), s.options...)
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

// get reads an answer of the admin API.
func (s *site) get(path string, into any) bool {
	status, body := s.jetway.Get(path)
	return status == 200 && json.Unmarshal([]byte(body), into) == nil
}

// scaling is how the cluster stands.
type scaling struct {
	Acts, Alarm                            bool
	DryRun                                 bool `json:"dry_run"`
	Ready, Booting, Want, Failures, Manual int
	Orders                                 []string
}

func (s *site) scale() scaling {
	var list struct{ Domains []scaling }
	if !s.get("/api/v1/autoscale", &list) || len(list.Domains) != 1 {
		return scaling{}
	}
	return list.Domains[0]
}

// members returns how many the admin API knows, by state.
func (s *site) members() map[string]int {
	var list struct {
		Members []struct{ ID, State string }
	}
	if !s.get("/api/v1/members", &list) {
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
