package blackbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// run runs jetway with args, checks its exit code and returns its output,
// standard error included.
func run(t testing.TB, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("jetway %s exited with %d, want %d:\n%s", strings.Join(args, " "), got, code, &out)
	}
	return out.String()
}

// TestSmallestFile: one listener, one service, one static member is complete.
func TestSmallestFile(t *testing.T) {
	m := harness.StartMember(t, "only", nil)
	port := harness.FreePort(t)
	conf := fmt.Sprintf(`loadbalancer:
  listeners:
    - {address: "127.0.0.1:%d"}
membership:
  static:
    - {domain: web.domain, host: 127.0.0.1, http: %d}
services:
  defaults: {affinity: {mode: none}}
  web:
    domains:
      web.domain: {hosts: [www.example.com]}
`, port, m.Port)
	harness.Start(t, conf, harness.AwaitTCP(harness.Loopback(port)))
	if g := web(port, "www.example.com", "/").do(t); g.String() != "200 only GET /" {
		t.Errorf("the smallest file: %s", g)
	}
}

func TestCheck(t *testing.T) {
	s := newSite(t)
	m := harness.StartMember(t, "m", nil)
	good := oneMember(s, m, "a.example.com")
	f := func(conf string, code int, want string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "loadbalancer.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := run(t, code, "check", "-c", file); !strings.Contains(out, want) {
			t.Errorf("jetway check does not say %q:\n%s", want, out)
		}
	}
	f(good, 0, "a.example.com")
	f(replace(t, good, "listeners:", "listners:"), 1, ":2:3: ")
	f(replace(t, good, "drain: 5s", "drain: 5"), 1, ":5:21: ")
	f(replace(t, good, "hosts: [a.example.com]", "hosts: [a.example.com], tenant_range: 9-1"), 1, "9-1")
	f("", 1, "loadbalancer.conf")
	run(t, 1, "check", "-c", "no-such-file.conf")
	run(t, 2, "check", "--no-such-flag")
	run(t, 2, "no-such-command")
}

// TestShippedFile: the loadbalancer.conf of the repository is good as it
// stands, and runs.
func TestShippedFile(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	if out := run(t, 0, "check", "-c", filepath.Join(root, "loadbalancer.conf")); !strings.Contains(out, "as.example.com") {
		t.Errorf("jetway check does not show the routes:\n%s", out)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s := newSite(t)
	conf := read("loadbalancer.conf") // its ports may be in use here
	conf = replace(t, conf, `":8280"`, fmt.Sprintf("127.0.0.1:%d", s.http))
	conf = replace(t, conf, "bind: 127.0.0.1:7946", fmt.Sprintf("bind: 127.0.0.1:%d", s.gossip))
	conf = replace(t, conf, "#admin:\n    #address: \"127.0.0.1:9280\"", fmt.Sprintf("admin:\n    address: 127.0.0.1:%d", s.admin))
	j := harness.Start(t, conf, harness.WithFile("tenants.csv", read("tenants.csv")))
	a := web(s.http, "as.example.com", "/")
	a.accept = "application/json"
	if g := a.do(t); g.status != 503 || g.reason() != "no_member" {
		t.Errorf("without members: %s, want 503 no_member", g)
	}
	startMember(t, s, "w1", harness.StartMember(t, "w1", nil))
	awaitState(t, j, "w1", "up", 10*time.Second)
	if g := a.do(t); g.String() != "200 w1 GET /" {
		t.Errorf("with a member: %s", g)
	}
}

// startMember runs `jetway member` for m as a worker of the shared domain.
func startMember(t testing.TB, s site, name string, m *harness.Member, more ...string) *harness.Process {
	t.Helper()
	args := append([]string{"member", "--id", name, "--domain", "as.shared.domain", "--http", fmt.Sprint(m.Port),
		"--bind", harness.Loopback(harness.FreePort(t)), "--join", harness.Loopback(s.gossip)}, more...)
	return harness.StartTool(t, harness.Binary(t), args...)
}

// TestMemberCommand: `jetway member` joins, says on SIGTERM that it drains,
// waits, leaves and exits with 0; no request fails.
func TestMemberCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	j := startSite(t, s)
	leaver, stayer := harness.StartMember(t, "leaver", nil), harness.StartMember(t, "stayer", nil)
	a := startMember(t, s, "leaver", leaver, "--drain-wait", "2s")
	startMember(t, s, "stayer", stayer, "--drain-wait", "0s")
	awaitState(t, j, "leaver", "up", 10*time.Second)
	awaitState(t, j, "stayer", "up", 10*time.Second)
	l := startLoad(s.http, "as.example.com")
	eventually(t, 5*time.Second, "both answer", func() bool { return len(leaver.Requests()) > 0 && len(stayer.Requests()) > 0 })

	a.Signal(syscall.SIGTERM)
	awaitState(t, j, "leaver", "draining", 1900*time.Millisecond)
	before := len(leaver.Requests())
	l.more(t, 200)
	awaitState(t, j, "leaver", "gone", 10*time.Second)
	l.stopClean(t)
	if n := len(leaver.Requests()) - before; n > loadConns {
		t.Errorf("the draining member got %d new requests", n)
	}
	awaitExit(t, a, 10*time.Second, 0)
}

// TestDrainCommand: `jetway drain` and `undrain` of one member.
func TestDrainCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	j := startSite(t, s)
	one, two := harness.StartMember(t, "one", nil), harness.StartMember(t, "two", nil)
	startMember(t, s, "one", one, "--drain-wait", "0s")
	startMember(t, s, "two", two, "--drain-wait", "0s")
	awaitState(t, j, "one", "up", 10*time.Second)
	awaitState(t, j, "two", "up", 10*time.Second)
	run(t, 0, "drain", "--admin", j.Admin, "one")
	awaitState(t, j, "one", "draining", time.Second)
	for range 20 {
		if g := web(s.http, "as.example.com", "/").do(t); g.String() != "200 two GET /" {
			t.Fatalf("while one drains: %s", g)
		}
	}
	run(t, 0, "undrain", "--admin", j.Admin, "one")
	eventually(t, 5*time.Second, "one answers again", func() bool {
		return web(s.http, "as.example.com", "/").do(t).body == "one GET /"
	})
	run(t, 1, "drain", "--admin", j.Admin, "nobody")
	for _, command := range []string{"status", "members"} {
		if out := run(t, 0, command, "--admin", j.Admin); !strings.Contains(out, "as.shared.domain") {
			t.Errorf("jetway %s:\n%s", command, out)
		}
	}
	run(t, 0, "health", "--admin", j.Admin)
	run(t, 0, "reload", "--admin", j.Admin)
	run(t, 1, "status", "--admin", harness.Loopback(harness.FreePort(t)))
}

// TestDemoCheck: `jetway demo --check` passes, and fails when routing is broken.
func TestDemoCheck(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if out := run(t, 0, "demo", "--check"); !strings.Contains(out, " 0 failed") {
		t.Errorf("demo --check:\n%s", out)
	}
	if out := run(t, 1, "demo", "--check", "--break", "routing"); !strings.Contains(out, "FAIL") {
		t.Errorf("demo --check --break routing:\n%s", out)
	}
}

// replace is strings.Replace of something that must be there.
func replace(t testing.TB, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("%q is not in:\n%s", old, s)
	}
	return strings.Replace(s, old, new, 1)
}
