package operate

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// demo is a running `jetway demo`: the admin addresses of its load balancers,
// the first one's clients' port, and where its files are.
type demo struct{ lb1, lb2, http, dir string }

func startDemo(t *testing.T) demo {
	t.Helper()
	cmd := exec.Command(harness.Binary(t), "demo")
	cmd.Dir = t.TempDir()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var d demo
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
	})
	hang := time.AfterFunc(90*time.Second, func() { cmd.Process.Kill() }) // ends the loop
	defer hang.Stop()
	var said strings.Builder
	admin := regexp.MustCompile(`^\s+(lb[12])\s.* http (\S+?),.* admin (\S+)`)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		said.WriteString(line + "\n")
		if m := admin.FindStringSubmatch(line); m != nil && m[1] == "lb1" {
			d.lb1, d.http = m[3], m[2]
		} else if m != nil {
			d.lb2 = m[3]
		}
		if _, dir, ok := strings.Cut(line, "configuration and logs: "); ok {
			d.dir = strings.TrimSpace(dir)
		}
		if strings.HasPrefix(line, "changes as lb1 sees them") {
			go io.Copy(io.Discard, out)
			break
		}
	}
	if d.lb1 == "" || d.lb2 == "" || d.http == "" {
		t.Fatalf("the demo did not start:\n%s", &said)
	}
	return d
}

// TestDemo: every endpoint that looks and every command work with two load
// balancers that know each other by gossip, as `jetway demo` runs them.
func TestDemo(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	for _, admin := range []string{d.lb1, d.lb2} {
		s := site{Jetway: &harness.Jetway{Admin: admin}}
		eventually(t, "it is ready and warm, with its members up", func() bool {
			ready, _ := s.call(t, "GET", "/ready", "")
			health, _ := s.call(t, "GET", "/api/v1/health", "")
			_, text := s.call(t, "GET", "/api/v1/members", "")
			return ready == 200 && health == 200 && strings.Count(text, `"state": "up"`) >= 4
		})
	}
	for _, admin := range []string{d.lb1, d.lb2} {
		s := site{Jetway: &harness.Jetway{Admin: admin}}
		_, text := s.call(t, "GET", "/api/v1/openapi.json", "")
		var doc struct {
			Paths map[string]map[string]any `json:"paths"`
		}
		if err := json.Unmarshal([]byte(text), &doc); err != nil || len(doc.Paths) < 30 {
			t.Fatalf("%d paths (%v)", len(doc.Paths), err)
		}
		for path, methods := range doc.Paths {
			at := strings.NewReplacer("{member}", "worker1", "{tenant}", "jet.com").Replace(path)
			if methods["get"] == nil || strings.Contains(at, "{") {
				continue
			}
			// Gossip among processes of one machine has no keys to tell of.
			if status, text := s.call(t, "GET", at, ""); status != 200 && !(at == "/api/v1/gossip/keys" && status == 409) {
				t.Errorf("GET %s = %d: %s", at, status, text)
			}
		}
	}
	f := func(want string, args ...string) {
		t.Helper()
		if out := run(t, 0, append(args, "--admin", d.lb1)...); !strings.Contains(out, want) {
			t.Errorf("jetway %s lacks %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	url := "http://as.example.com/t/jet.com/"
	f("ready", "status")
	f("as.jet.domain", "services")
	f("worker1", "members")
	f("id 42", "tenants", "show", "jet.com")
	f("TENANT", "tenants", "top")
	f("MEMBER", "sessions")
	f("as.jet.domain", "sessions", "find", url, "--cookie", "a=b")
	f("lb2", "peers")
	f("as.elastic.domain", "scale")
	d.scale(t, "1")
	d.scale(t, "--release")
	f("jet1", "explain", "GET", url)
	f("worker1 is draining", "drain", "worker1")
	f("worker1 is up", "undrain", "worker1")
	f("weight 5", "weight", "worker1", "5")
	f("weight 1", "weight", "worker1", "0")
	f("ejected until", "eject", "worker2", "--for", "1m")
	f("worker2 is", "restore", "worker2")
	f("reloaded", "reload")
	f("jetway started", "events")
	f("info", "log-level", "info")
	f("", "health")
	if d.dir != "" {
		files, _ := filepath.Glob(filepath.Join(d.dir, "lb1*.conf"))
		if len(files) == 1 {
			f("0 of", "check", "-c", files[0], "--against", "live")
		}
	}
}

// scale sets a size by the one of the two that orders members, which the other
// one says it is not.
func (d demo) scale(t *testing.T, to string) {
	t.Helper()
	eventually(t, "one of them takes an order of size "+to, func() bool {
		for _, admin := range []string{d.lb1, d.lb2} {
			out, err := exec.Command(harness.Binary(t), "scale", "as.elastic.domain", to, "--admin", admin).CombinedOutput()
			if err == nil {
				return true
			}
			if !strings.Contains(string(out), "ask that one") {
				t.Fatalf("scale %s: %s", to, out)
			}
		}
		return false
	})
}
