// Package membership tests who the members are and who may serve: stock Serf
// agents, `jetway member`, static members, DNS names and commands, each as it
// joins, changes, fails and returns; keys and signatures; rogues and noise at
// the gossip port. Everything runs as users run it: the built binary, real
// agents, a real DNS server, real sockets, all on loopback or in network
// namespaces of their own.
package membership

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestMain lets many tests wait at the same time: nearly all of their time is
// that of gossip, which needs seconds to declare somebody dead.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	harness.Main(m)
}

// patience is how long a test waits for what takes a moment, also on a machine
// that does other things.
const patience = 40 * time.Second

// site is one Jetway's ports and what its configuration has beside the rest.
type site struct {
	http, admin, gossip int
	membership          string // lines of the section
	gossipMore          string // further keys of gossip
	blockMore           string // further lines of services.defaults
}

func newSite(t testing.TB) site {
	return site{http: harness.FreePort(t), admin: harness.FreePort(t), gossip: harness.FreePort(t)}
}

func (s site) conf() string {
	defaults := "  defaults:\n    affinity: {mode: none}\n" + s.blockMore
	gossip := ""
	if s.gossip != 0 {
		gossip = fmt.Sprintf("  gossip: {bind: \"127.0.0.1:%d\"%s}\n", s.gossip, s.gossipMore)
	}
	return fmt.Sprintf(`loadbalancer:
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"}
  state_dir: state
membership:
%s%sservices:
%s  appserver:
    domains:
      as.domain:
        sub_domains:
          mgt: {hosts: [mgt.example.com]}
          worker: {hosts: [as.example.com]}
`, s.http, s.admin, gossip, s.membership, defaults)
}

func (s site) start(t testing.TB, options ...harness.Option) *harness.Jetway {
	t.Helper()
	return harness.Start(t, s.conf(), options...)
}

// eachSerf runs a test with the agent of Debian and with the module's own.
func eachSerf(t *testing.T, f func(t *testing.T, serf string)) {
	t.Parallel()
	t.Run("debian", func(t *testing.T) { t.Parallel(); f(t, harness.RequireTool(t, "serf")) })
	t.Run("module", func(t *testing.T) { t.Parallel(); f(t, moduleSerf(t)) })
}

// moduleSerf returns the serf command of the version that Jetway gossips with.
func moduleSerf(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "tool", "-n", "serf")
	cmd.Dir = filepath.Join("..", "tools")
	out, err := cmd.Output()
	if err != nil {
		if os.Getenv("JETWAY_REQUIRE_ALL") == "1" {
			t.Fatalf("cannot build the module's serf: %v", err)
		}
		t.Skipf("cannot build the module's serf: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// agent is a stock serf agent.
type agent struct {
	*harness.Process
	t    *testing.T
	serf string
	bind int
	rpc  string
}

// startAgent starts an agent that carries tags and more arguments.
func startAgent(t *testing.T, serf, name string, join int, tags string, more ...string) *agent {
	t.Helper()
	return startAgentAt(t, serf, name, harness.FreePort(t), join, tags, more...)
}

func startAgentAt(t *testing.T, serf, name string, bind, join int, tags string, more ...string) *agent {
	t.Helper()
	a := &agent{t: t, serf: serf, bind: bind, rpc: harness.Loopback(harness.FreePort(t))}
	args := []string{"agent", "-node=" + name, "-profile=local", "-bind=" + harness.Loopback(bind), "-rpc-addr=" + a.rpc,
		"-retry-join=" + harness.Loopback(join), "-retry-interval=1s"}
	for _, tag := range strings.Fields(tags) {
		args = append(args, "-tag", tag)
	}
	a.Process = harness.StartTool(t, serf, append(args, more...)...)
	return a
}

// tags changes the agent's tags while it runs.
func (a *agent) tags(args ...string) {
	a.t.Helper()
	if out, err := exec.Command(a.serf, append([]string{"tags", "-rpc-addr", a.rpc}, args...)...).CombinedOutput(); err != nil {
		a.t.Fatalf("serf tags: %v\n%s", err, out)
	}
}

// state is what the admin API says of a member.
type state struct {
	ID         string   `json:"id"`
	SubDomains []string `json:"sub_domains"`
	Host       string   `json:"host"`
	State      string   `json:"state"`
	Source     string   `json:"source"`
	HTTP       int      `json:"http"`
	Weight     int      `json:"weight"`
}

// members returns the members by id, and the reasons of those left out by name.
func members(t testing.TB, j *harness.Jetway) (byID map[string]state, rejected map[string]string) {
	t.Helper()
	var list struct {
		Members  []state `json:"members"`
		Rejected []struct {
			Name   string `json:"name"`
			Reason string `json:"reason"`
		} `json:"rejected"`
	}
	_, body := j.Get("/api/v1/members")
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("cannot read members %q: %v", body, err)
	}
	byID, rejected = map[string]state{}, map[string]string{}
	for _, m := range list.Members {
		byID[m.ID] = m
	}
	for _, r := range list.Rejected {
		rejected[r.Name] = r.Reason
	}
	return byID, rejected
}

func eventually(t testing.TB, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// awaitMember waits until a member is as wanted.
func awaitMember(t testing.TB, j *harness.Jetway, id, what string, want func(state) bool) time.Duration {
	t.Helper()
	var last map[string]state
	start := time.Now()
	for {
		byID, rejected := members(t, j)
		if m, ok := byID[id]; ok && want(m) {
			return time.Since(start)
		}
		if last = byID; time.Since(start) > patience {
			t.Fatalf("not within %v: %s %s; members %v, left out %v", patience, id, what, last, rejected)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func awaitState(t testing.TB, j *harness.Jetway, id, want string) time.Duration {
	t.Helper()
	return awaitMember(t, j, id, "is "+want, func(m state) bool { return m.State == want })
}

func awaitGone(t testing.TB, j *harness.Jetway, id string) time.Duration {
	t.Helper()
	return eventually(t, patience, id+" is gone", func() bool {
		byID, _ := members(t, j)
		_, there := byID[id]
		return !there
	})
}

// get asks for / of a host and returns status and body.
func get(t testing.TB, port int, host string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Close = host, true
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(body)))
}

// serves waits until a member answers.
func serves(t testing.TB, port int, host, name string) {
	t.Helper()
	var last string
	eventually(t, patience, name+" serves "+host, func() bool {
		last = get(t, port, host)
		return last == "200 "+name+" GET /"
	})
}

// run runs the binary and returns what it printed on standard output.
func run(t testing.TB, dir string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := exec.Command(harness.Binary(t), args...)
	cmd.Dir = dir
	var errText strings.Builder
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("jetway %s: %w: %s", strings.Join(args, " "), err, errText.String())
	}
	return string(out), err
}

func mustRun(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := run(t, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}
