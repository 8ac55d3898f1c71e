package operate

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// everyCommand runs each command over the API against s, as a table and as
// JSON; how are the flags that say where and who.
func everyCommand(t *testing.T, s site, how ...string) {
	t.Helper()
	f := func(want string, args ...string) {
		t.Helper()
		if out := run(t, 0, append(args, how...)...); !strings.Contains(out, want) {
			t.Errorf("jetway %s lacks %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	for args, want := range map[string]string{"status": "ready", "services": "shop", "members": "w1", "tenants top": "acme", "sessions": "MEMBER",
		"peers": "", "scale": "WANT", "events": "jetway started", "health": "ready", "tenants show acme": "id 42"} {
		words := strings.Fields(args)
		f(want, words...)
		if words[0] == "health" {
			continue
		}
		out := run(t, 0, slices.Concat(words, []string{"-o", "json"}, how)...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil || v["schema_version"] != 1.0 {
			t.Errorf("jetway %s -o json is no JSON of version 1 (%v): %s", args, err, out)
		}
	}
	f("w1 is draining", "drain", "w1")
	f("w1 is up", "undrain", "w1")
	f("weight 7", "weight", "w1", "7")
	f("weight 1,", "weight", "shop/w1", "0")
	f("ejected until", "eject", "w1", "--for", "1m")
	f("w1 is up", "restore", "w1")
	f("nothing was changed", "drain", "w1", "--dry-run")
	f("nothing was changed", "reload", "--dry-run")
	f("reloaded", "reload")
	f("w1", "explain", "GET", "http://"+host+"/")
	f("affinity", "sessions", "find", "http://"+host+"/", "--cookie", "a=b")
	for _, words := range [][]string{{"reload"}, {"log-level", "info"}, {"log-level"}, {"health"}, {"explain", "GET", "http://" + host + "/"}} {
		f(`"schema_version": 1`, append(words, "-o", "json")...)
	}
	f("debug", "log-level", "debug")
	f("debug", "log-level")
}

// TestEveryCommand runs each command over the API against a running Jetway.
func TestEveryCommand(t *testing.T) {
	t.Parallel()
	s := start(t, "", "")
	s.ask(t, "GET /t/acme/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	everyCommand(t, s, "--admin", s.Admin)
	for shell, want := range map[string]string{"bash": "jetway", "zsh": "#compdef jetway", "fish": "jetway"} {
		if out := run(t, 0, "completion", shell); !strings.Contains(out, want) {
			t.Errorf("completion %s: %.100s", shell, out)
		}
	}
	run(t, 0, "version", "-o", "json")
	// Exit codes.
	run(t, 1, "drain", "nobody", "--admin", s.Admin)
	if out := run(t, 1, "drain", "..", "--admin", s.Admin); !strings.Contains(out, `cannot find member ".."`) {
		t.Errorf("a member whose name is a way up: %s", out)
	}
	if out := run(t, 0, "tenants", "show", "nobody", "--admin", s.Admin); !strings.Contains(out, "nobody  unknown\n") {
		t.Errorf("a tenant that nobody knows: %s", out)
	}
	run(t, 1, "tenants", "show", "acme", "--admin", harness.Loopback(harness.FreePort(t)))
	run(t, 1, "scale", "shop", "3", "--admin", s.Admin)
	run(t, 2, "weight", "w1", "heavy", "--admin", s.Admin)
	run(t, 2, "events", "--nope")
	if out := run(t, 1, "services", "--admin", harness.Loopback(harness.FreePort(t))); !strings.Contains(out, `Start it with "jetway run"`) {
		t.Errorf("not running: %s", out)
	}
}

// TestFollowEvents: `jetway events -f` shows changes as they happen.
func TestFollowEvents(t *testing.T) {
	t.Parallel()
	s := start(t, "", "")
	cmd := exec.Command(harness.Binary(t), "events", "-f", "-o", "json", "--admin", s.Admin)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	seen := make(chan string, 100)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e struct {
				Event string `json:"event"`
			}
			json.Unmarshal(lines.Bytes(), &e)
			seen <- e.Event
		}
	}()
	await := func(want string) {
		t.Helper()
		for deadline := time.After(20 * time.Second); ; {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("no event %q", want)
			}
		}
	}
	await("jetway started")
	run(t, 0, "drain", "w1", "--admin", s.Admin)
	await("member changed by operator")
	run(t, 0, "reload", "--admin", s.Admin)
	await("configuration reloaded")
}

// TestApply: one file for two load balancers: on both, or on none.
func TestApply(t *testing.T) {
	t.Parallel()
	one := start(t, "", "", harness.WithEnv("JETWAY_NAME=one"))
	// The two share all but what their environments say.
	m := one.member
	port, admin := harness.FreePort(t), harness.FreePort(t)
	shared := strings.NewReplacer(harness.Loopback(one.port), "127.0.0.1:${JETWAY_PORT}", one.Admin, "127.0.0.1:${JETWAY_ADMIN}").
		Replace(conf(one.port, portOf(t, one.Admin), m, "", ""))
	env := func(s site) []string {
		return []string{"JETWAY_NAME=x", "JETWAY_PORT=" + portText(s.port), "JETWAY_ADMIN=" + s.Admin[strings.LastIndexByte(s.Admin, ':')+1:]}
	}
	boot := func(port, admin int) site {
		s := site{port: port, member: m}
		s.Jetway = harness.Start(t, shared, harness.WithFile("tenants.csv", "acme,42\n"), harness.AwaitTCP(harness.Loopback(port)),
			harness.WithEnv("JETWAY_NAME=x", "JETWAY_PORT="+portText(port), "JETWAY_ADMIN="+portText(admin)))
		s.Admin = harness.Loopback(admin)
		return s
	}
	a, b := boot(harness.FreePort(t), harness.FreePort(t)), boot(port, admin)
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "new.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	version := func(s site) string {
		var v struct {
			Version string `json:"config_version"`
		}
		_, text := s.Get("/api/v1/overview")
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v.Version
	}
	before := version(a)
	if before != version(b) {
		t.Fatalf("versions differ though the files are equal: %s, %s", before, version(b))
	}
	next := strings.Replace(shared, "domains: {shop: {}}", "domains: {shop: {retry: {attempts: 4}}}", 1)
	out := runWith(t, 0, env(a), "apply", "-c", write(next), "--admin", a.Admin, "--also", b.Admin)
	if strings.Count(out, "applied") != 2 || version(a) == before || version(a) != version(b) {
		t.Fatalf("applied on both: versions %s and %s\n%s", version(a), version(b), out)
	}
	after := version(a)
	// What only one can take is taken by none: b has no such file.
	if err := os.WriteFile(filepath.Join(a.Dir, "ca.pem"), []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	only := strings.Replace(next, "retry:", "member_tls: {ca_file: ca.pem}, retry:", 1)
	out = runWith(t, 1, env(a), "apply", "-c", write(only), "--admin", a.Admin, "--also", b.Admin)
	if !strings.Contains(out, "nothing was changed") || version(a) != after || version(b) != after {
		t.Fatalf("refused by one: versions %s and %s\n%s", version(a), version(b), out)
	}
	if text, _ := os.ReadFile(filepath.Join(a.Dir, "loadbalancer.conf")); string(text) != next {
		t.Fatalf("the file of the one that could take it changed:\n%s", text)
	}
	if out := runWith(t, 1, env(a), "apply", "-c", write(next), "--admin", a.Admin, "--also", harness.Loopback(harness.FreePort(t))); !strings.Contains(out, "nothing was changed") {
		t.Fatalf("one that is not there: %s", out)
	}
}

// certificate is one that is syntactically good.
const certificate = `-----BEGIN CERTIFICATE-----
MIIBhTCCASugAwIBAgIQIRi6zePL6mKjOipn+dNuaTAKBggqhkjOPQQDAjASMRAw
DgYDVQQKEwdBY21lIENvMB4XDTE3MTAyMDE5NDMwNloXDTE4MTAyMDE5NDMwNlow
EjEQMA4GA1UEChMHQWNtZSBDbzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD0d
7VNhbWvZLWPuj/RtHFjvtJBEwOkhbN/BnnE8rnZR8+sbwnc/KhCk3FhnpHZnQz7B
5aETbbIgmuvewdjvSBSjYzBhMA4GA1UdDwEB/wQEAwICpDATBgNVHSUEDDAKBggr
BgEFBQcDATAPBgNVHRMBAf8EBTADAQH/MCkGA1UdEQQiMCCCDmxvY2FsaG9zdDo1
NDUzgg4xMjcuMC4wLjE6NTQ1MzAKBggqhkjOPQQDAgNIADBFAiEA2zpJEPQyz6/l
Wf86aX6PepsntZv2GYlA5UpabfT2EZICICpJ5h/iI+i341gBmLiAFQOyTDT+/wQc
6MF9+Yw1Yy0t
-----END CERTIFICATE-----
`

func portText(port int) string { return harness.Loopback(port)[len("127.0.0.1:"):] }

func portOf(t testing.TB, address string) int {
	t.Helper()
	n := 0
	for _, c := range address[strings.LastIndexByte(address, ':')+1:] {
		n = n*10 + int(c-'0')
	}
	return n
}
