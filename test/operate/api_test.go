package operate

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jetway/test/harness"
)

// call asks the admin API and returns status and body.
func (s site) call(t testing.TB, method, path, body string, fields ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestEveryEndpoint asks each endpoint that the running process describes, and
// does what can be done.
func TestEveryEndpoint(t *testing.T) {
	t.Parallel()
	s := start(t, ", pprof: true", "")
	s.ask(t, "GET /t/acme/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	_, text := s.call(t, "GET", "/api/v1/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../docs/openapi.json")
	if err != nil || string(file) != text {
		t.Errorf("docs/openapi.json is not what a running Jetway describes (%v)", err)
	}
	known := map[string]bool{}
	f := func(method, path, body string, status int, has string) {
		t.Helper()
		known[method+" "+pattern(doc.Paths, path)] = true
		if got, text := s.call(t, method, path, body); got != status || !strings.Contains(text, has) {
			t.Errorf("%s %s = %d, want %d with %q:\n%s", method, path, got, status, has, text)
		}
	}
	f("GET", "/ping", "", 200, "pong")
	f("GET", "/ready", "", 200, "ready")
	f("GET", "/version", "", 200, `"version"`)
	f("GET", "/metrics", "", 200, "jetway_requests_total")
	f("GET", "/api/v1/openapi.json", "", 200, "3.1.0")
	f("GET", "/api/v1/overview", "", 200, `"config_version"`)
	f("GET", "/api/v1/services", "", 200, `"shop"`)
	f("GET", "/api/v1/domains", "", 200, `"p99_seconds"`)
	f("GET", "/api/v1/members", "", 200, `"w1"`)
	f("GET", "/api/v1/members/w1", "", 200, `"shop"`)
	f("GET", "/api/v1/members/shop%2Fw1", "", 200, `"shop"`)
	f("GET", "/api/v1/members/nobody", "", 404, "no such member")
	f("GET", "/api/v1/tenants", "", 200, `"acme"`)
	f("GET", "/api/v1/tenants?top=0", "", 200, `"top": []`)
	f("GET", "/api/v1/tenants?top=x", "", 400, "expected a number")
	f("GET", "/api/v1/tenants/acme", "", 200, `"id": 42`)
	f("GET", "/api/v1/tenants/nobody", "", 200, `"unknown"`)
	f("GET", "/api/v1/tenants/bad%20name", "", 422, "no tenant name")
	f("GET", "/api/v1/tenants/known", "", 200, "acme")
	f("GET", "/api/v1/config", "", 200, "tenants.csv")
	f("GET", "/api/v1/events", "", 200, "jetway started")
	f("GET", "/api/v1/events?after=x", "", 400, "no number")
	f("GET", "/api/v1/log-level", "", 200, "info")
	f("GET", "/api/v1/sessions", "", 200, `"max"`)
	f("POST", "/api/v1/sessions/find", `{"method":"GET","url":"http://`+host+`/"}`, 200, `"verdict": "none"`)
	f("POST", "/api/v1/sessions/find", `{"url":"nonsense"}`, 400, "names no host")
	f("POST", "/api/v1/sessions/count", `{"groups":[{"domain":"shop"}]}`, 200, `"any": 0`)
	f("GET", "/api/v1/autoscale", "", 200, `"decisions": []`)
	f("GET", "/api/v1/health", "", 200, `"ok": true`)
	f("GET", "/api/v1/peers", "", 200, `"peers": []`)
	f("POST", "/api/v1/explain", `{"method":"GET","url":"http://`+host+`/"}`, 200, `"w1"`)
	f("POST", "/api/v1/log-level", `{"level":"debug"}`, 200, "debug")
	f("POST", "/api/v1/log-level", `{"level":"loud"}`, 422, "expected debug")
	f("POST", "/api/v1/log-level", `{"level":"info"}`, 200, "info")
	f("POST", "/api/v1/reload", "", 200, `"ok": true`)
	f("POST", "/api/v1/reload?dry_run=1", "", 200, `"dry_run": true`)
	for _, member := range []string{"w1", "shop/w1"} {
		at := "/api/v1/members/" + member
		f("POST", at+"/drain?dry_run=1", "", 200, `"drained": false`)
		f("POST", at+"/drain?dryrun=1", "", 422, "expected dry_run")
		f("POST", at+"/drain", "", 200, `"state": "draining"`)
		f("POST", at+"/drain", "", 200, `"state": "draining"`)
		f("POST", at+"/undrain", "", 200, `"state": "up"`)
		f("POST", at+"/weight?weight=9", "", 200, `"weight": 9`)
		f("POST", at+"/weight?weight=x", "", 422, "expected 1 to 1000")
		f("POST", at+"/weight?weight=0", "", 200, `"weight": 1`)
		f("POST", at+"/eject?for=1m", "", 200, `"state": "ejected"`)
		f("POST", at+"/restore", "", 200, `"state": "up"`)
	}
	f("POST", "/api/v1/domains/shop/worker/scale?size=3", "", 422, "")
	f("POST", "/api/v1/standby/notify", `{"state":"MASTER"}`, 409, "no standby section")
	f("POST", "/api/v1/standby/handover", "", 409, "no standby section")
	f("GET", "/api/v1/gossip/keys", "", 409, "there is no gossip")
	f("POST", "/api/v1/gossip/keys/use", `{"fingerprint":"x"}`, 409, "there is no gossip")
	f("POST", "/api/v1/config/prepare", `{"text":"x: y"}`, 422, `key \"x\" is unknown`)
	f("POST", "/api/v1/config/commit", `{"id":"x"}`, 409, "nothing is prepared")
	f("POST", "/api/v1/config/rollback", `{"id":"x"}`, 409, "nothing is prepared")
	for path, methods := range doc.Paths {
		for method := range methods {
			if name := strings.ToUpper(method) + " " + path; !known[name] {
				t.Errorf("%s was not asked", name)
			}
		}
	}
	f("GET", "/api/v1/reload", "", 405, "expected POST")
	f("DELETE", "/api/v1/members", "", 405, "expected GET")
	f("GET", "/nowhere", "", 404, "no such endpoint")
	if got, _ := s.call(t, "GET", "/debug/pprof/goroutine?debug=1", ""); got != 200 {
		t.Errorf("pprof: %d", got)
	}
	if _, text := s.call(t, "GET", "/api/v1/events", ""); !strings.Contains(text, "member changed by operator") || !strings.Contains(text, "admin action") {
		t.Errorf("events lack what operators did:\n%s", text)
	}
}

// pattern finds the path of the document that a path belongs to.
func pattern(paths map[string]map[string]any, path string) string {
	path, _, _ = strings.Cut(path, "?")
	if paths[path] != nil {
		return path
	}
	have := strings.Split(path, "/")
	for p := range paths {
		want := strings.Split(p, "/")
		fits := len(want) == len(have)
		for i := 0; fits && i < len(want); i++ {
			fits = want[i] == have[i] || strings.HasPrefix(want[i], "{")
		}
		if fits {
			return p
		}
	}
	return path
}

// TestTokens: who may look, who may change, and how commands say who they are.
func TestTokens(t *testing.T) {
	t.Parallel()
	file := tokenFile(t, "ops 0123456789abcdef-ops\nboard 0123456789abcdef-board read\n")
	s := start(t, fmt.Sprintf(", token_file: %q", file), "")
	f := func(method, path, token string, status int) {
		t.Helper()
		var fields []string
		if token != "" {
			fields = []string{"Authorization", "Bearer " + token}
		}
		if got, text := s.call(t, method, path, "", fields...); got != status {
			t.Errorf("%s %s with %q = %d, want %d: %s", method, path, token, got, status, text)
		}
	}
	ops, board := "0123456789abcdef-ops", "0123456789abcdef-board"
	f("GET", "/ready", "", 200)
	f("GET", "/metrics", "", 401)
	f("GET", "/metrics", board, 200)
	f("POST", "/api/v1/members/w1/drain", "", 401)
	f("POST", "/api/v1/members/w1/drain", "wrong", 401)
	f("POST", "/api/v1/members/w1/drain", board, 403)
	f("GET", "/debug/pprof/", ops, 404)
	f("POST", "/api/v1/members/w1/drain", ops, 200)
	// Commands find the token in the environment, in a file, or in that of the
	// configuration; without one they say what is missing.
	if out := run(t, 1, "members", "--admin", s.Admin); !strings.Contains(out, "--token-file") {
		t.Errorf("without token: %s", out)
	}
	run(t, 0, "undrain", "w1", "--admin", s.Admin, "--token-file", file)
	runWith(t, 0, []string{"JETWAY_ADMIN_TOKEN=" + ops}, "members", "--admin", s.Admin)
	run(t, 0, "members", "-c", filepath.Join(s.Dir, "loadbalancer.conf"))
	// A token that is taken out of the file is worth nothing after a reload.
	if err := os.WriteFile(file, []byte("ops 0123456789abcdef-new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old token is refused", func() bool {
		got, _ := s.call(t, "GET", "/api/v1/config", "", "Authorization", "Bearer "+ops)
		return got == 401
	})
	f("GET", "/api/v1/config", "0123456789abcdef-new", 200)
}

// TestBeyondLoopback: an admin API that others reach needs TLS and somebody to
// know; then commands work over it.
func TestBeyondLoopback(t *testing.T) {
	t.Parallel()
	m := harness.StartMember(t, "w1", nil)
	port, admin := harness.FreePort(t), harness.FreePort(t)
	dir := t.TempDir()
	write := func(keys string) string {
		text := strings.Replace(conf(port, admin, m, keys, ""), fmt.Sprintf("admin: {address: \"127.0.0.1:%d\"", admin), fmt.Sprintf("admin: {address: \"0.0.0.0:%d\"", admin), 1)
		file := filepath.Join(dir, "loadbalancer.conf")
		for name, text := range map[string]string{"loadbalancer.conf": text, "tenants.csv": "acme,42\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return file
	}
	if out := run(t, 1, "check", "-c", write("")); !strings.Contains(out, "in the clear; expected admin.tls") {
		t.Errorf("without TLS: %s", out)
	}
	if out := run(t, 1, "run", "-c", write("")); !strings.Contains(out, "in the clear") {
		t.Errorf("run without TLS: %s", out)
	}
}
