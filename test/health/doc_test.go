// Package health tests what becomes of requests when members die, stand still,
// flap or fall off the network: members are processes of their own, and the
// load goes on meanwhile. The short form shows that it works; with
// JETWAY_LONG=1 the times that docs/health.md claims are measured.
package health

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

const (
	memberEnv = "JETWAY_TEST_HEALTH_MEMBER" // address: this process is a member
	// What a member can do: slots requests at a time, each in work.
	slots = 4
	work  = 20 * time.Millisecond
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(memberEnv); addr != "" {
		serveMember(addr)
		return
	}
	harness.Main(m)
}

// serveMember is an application with a bounded capacity.
func serveMember(addr string) {
	free := make(chan struct{}, slots)
	err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		free <- struct{}{}
		defer func() { <-free }()
		if r.Method != http.MethodOptions {
			time.Sleep(work)
		}
		fmt.Fprintln(w, addr)
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// member is one application process.
type member struct {
	t    testing.TB
	port int
	cmd  *exec.Cmd
	mu   sync.Mutex // guards cmd
}

func startMember(t testing.TB) *member {
	t.Helper()
	m := &member{t: t, port: harness.FreePort(t)}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *member) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	exe, err := os.Executable()
	if err != nil {
		m.t.Error(err)
		return
	}
	m.cmd = exec.Command(exe)
	m.cmd.Env = append(os.Environ(), memberEnv+"="+harness.Loopback(m.port))
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.t.Error(err)
		return
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", harness.Loopback(m.port)); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			m.t.Error("a member does not listen")
			return
		}
	}
}

// signal sends a signal to the process; kill also waits for its end.
func (m *member) signal(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cmd.Process.Signal(s)
}

func (m *member) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cmd.Process.Kill()
	m.cmd.Wait()
}

// site is a Jetway before some members.
type site struct {
	*harness.Jetway
	members []*member
	http    int
}

func newSite(t testing.TB, n int, balance, health string) *site {
	t.Helper()
	s := &site{http: harness.FreePort(t)}
	var static strings.Builder
	for i := range n {
		m := startMember(t)
		s.members = append(s.members, m)
		fmt.Fprintf(&static, "    - {id: m%d, domain: d, host: 127.0.0.1, http: %d}\n", i, m.port)
	}
	s.Jetway = harness.Start(t, fmt.Sprintf(`loadbalancer:
  listeners: [{address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"}
  timeouts: {drain: 1s, response_header: 20s}
membership:
  static:
%sservices:
  s:
    hosts: [h.test]
    affinity: {mode: none}
    balance: %s
    health: %s
    domains: {d: {}}
`, s.http, harness.FreePort(t), &static, balance, health), harness.ExitCode(0))
	return s
}

// view is what the admin API says of a member.
type view struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Requests uint64 `json:"requests"`
}

func (s *site) views(t testing.TB) map[string]view {
	t.Helper()
	_, body := s.Get("/api/v1/members")
	var list struct {
		Members []view `json:"members"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Errorf("members: %v: %s", err, body)
	}
	byID := map[string]view{}
	for _, m := range list.Members {
		byID[m.ID] = m
	}
	return byID
}

func (s *site) awaitState(t testing.TB, id, state string, patience time.Duration) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := s.views(t)[id].State
		if got == state {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("member %s is %s, want %s", id, got, state)
		}
	}
}

// watch notes when the number of requests that went to a member last changed.
type watch struct {
	once sync.Once // closes stop
	stop chan struct{}
	done chan struct{}
	mu   sync.Mutex // guards last
	last time.Time
}

func (s *site) watch(t testing.TB, id string) *watch {
	w := &watch{stop: make(chan struct{}), done: make(chan struct{}), last: time.Now()}
	t.Cleanup(func() { w.end() }) // where the test gave up
	go func() {
		defer close(w.done)
		before := uint64(0)
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if n := s.views(t)[id].Requests; n != before {
				before = n
				w.mu.Lock()
				w.last = time.Now()
				w.mu.Unlock()
			}
		}
	}()
	return w
}

// end returns the time of the last change, known to about 5 ms.
func (w *watch) end() time.Time {
	w.once.Do(func() { close(w.stop) })
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}
