package operate

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"jetway/test/harness"
)

// sessionView is what of a session that was found is looked at.
type sessionView struct {
	Mode, Verdict, Domain, Tenant, From string
	Learned                             bool
	Timeout                             float64 `json:"timeout_seconds"`
	Left                                float64 `json:"left_seconds"`
	Member                              *struct {
		ID     string
		State  string
		Serves bool
	}
	Refused *struct{ Reason string }
}

const sessionSecret = "5F2Asecret5F2Asecret"

// startSessions is a Jetway with a service for each mode of affinity, each with
// two members that set a session cookie to who has none.
func startSessions(t *testing.T) site {
	t.Helper()
	script := func(c *harness.MemberConn, r *harness.Request) {
		set := ""
		if len(harness.Values(r.Fields, "Cookie")) == 0 {
			set = "Set-Cookie: JSESSIONID=" + sessionSecret + "; Path=/\r\n"
		}
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + set + "\r\nok")
	}
	a, b := harness.StartMember(t, "a", script), harness.StartMember(t, "b", script)
	s := site{port: harness.FreePort(t)}
	var members, services strings.Builder
	for _, mode := range []string{"cookie", "learn", "route", "source", "none"} {
		fmt.Fprintf(&members, "    - {id: a, domain: %s, host: 127.0.0.1, http: %d}\n    - {id: b, domain: %[1]s, host: 127.0.0.1, http: %d}\n", mode, a.Port, b.Port)
		fmt.Fprintf(&services, "  %s: {hosts: [%[1]s.test], affinity: {mode: %[1]s}, domains: {%[1]s: {}}}\n", mode)
	}
	s.Jetway = harness.Start(t, fmt.Sprintf(`loadbalancer:
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d", audit_log: audit.log}
  timeouts: {connect: 20s}
membership:
  static:
%stenants: {directory: {file: tenants.csv}}
services:
%s`, s.port, harness.FreePort(t), &members, &services), harness.WithFile("tenants.csv", "acme,42\nzed,43\n"))
	eventually(t, "all members are up", func() bool {
		_, text := s.Get("/api/v1/members")
		return strings.Count(text, `"state": "up"`) == 10
	})
	return s
}

// find asks for the session of a request with cookies.
func (s site) find(t *testing.T, url, cookies string) (v sessionView) {
	t.Helper()
	q := map[string]any{"method": "GET", "url": url}
	if cookies != "" {
		q["fields"] = [][2]string{{"Cookie", cookies}}
	}
	body, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	status, text := s.call(t, "POST", "/api/v1/sessions/find", string(body))
	if err := json.Unmarshal([]byte(text), &v); err != nil || status != 200 {
		t.Fatalf("%s with %q: %d %s (%v)", url, cookies, status, text, err)
	}
	for _, c := range strings.Split(cookies, "; ") {
		if _, value, _ := strings.Cut(c, "="); len(value) > 8 && strings.Contains(text, value) {
			t.Errorf("the answer holds the cookie %q:\n%s", value, text)
		}
	}
	return v
}

// begin sends a tenant's first request and returns the cookies that the client
// got.
func (s site) begin(t *testing.T, host string) string {
	t.Helper()
	var cookies []string
	for _, f := range s.ask(t, "GET /t/acme/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n").Fields {
		if strings.EqualFold(f.Name, "Set-Cookie") {
			pair, _, _ := strings.Cut(f.Value, ";")
			cookies = append(cookies, pair)
		}
	}
	return strings.Join(cookies, "; ")
}

// TestOneSession: a session is found by its cookie in every mode, with the
// member that serves it; looking refreshes nothing, and no cookie is told or
// logged.
func TestOneSession(t *testing.T) {
	t.Parallel()
	s := startSessions(t)
	sent := map[string]string{}
	for _, mode := range []string{"cookie", "learn", "route"} {
		url := "http://" + mode + ".test/t/acme/"
		if v := s.find(t, url, ""); v.Verdict != "none" || v.Member != nil || v.Mode != mode {
			t.Errorf("%s, nothing sent: %+v", mode, v)
		}
		cookies := s.begin(t, mode+".test")
		sent[mode] = cookies
		explained := s.explained(t, url, cookies)
		v := s.find(t, url, cookies)
		if v.Verdict != "kept" || v.Member == nil || !v.Member.Serves || v.Member.ID != explained || v.Tenant != "acme" || v.Domain != mode {
			t.Errorf("%s: %+v, explained as of member %q", mode, v, explained)
			continue
		}
		if timed := v.Timeout > 0 && v.Left > 0; timed != (mode != "route") || v.Learned != (mode == "learn") {
			t.Errorf("%s: how long it lives: %+v", mode, v)
		}
		// Of another tenant it is no session.
		if o := s.find(t, "http://"+mode+".test/t/zed/", cookies); mode != "route" && o.Verdict != "void" && o.Verdict != "none" {
			t.Errorf("%s, another tenant: %+v", mode, o)
		}
		// Its member is set aside: it is still told who that is.
		run(t, 0, "eject", mode+"/"+v.Member.ID, "--for", "10m", "--admin", s.Admin)
		if o := s.find(t, url, cookies); o.Verdict != "broken" || o.Member == nil || o.Member.Serves || o.Member.ID != v.Member.ID || o.Member.State != "ejected" {
			t.Errorf("%s, its member is ejected: %+v %+v", mode, o, o.Member)
		}
		run(t, 0, "restore", mode+"/"+v.Member.ID, "--admin", s.Admin)
		if mode == "learn" {
			left := s.find(t, url, cookies).Left
			eventually(t, "it grows older though it is looked at", func() bool { return s.find(t, url, cookies).Left < left })
		}
	}
	if v := s.find(t, "http://source.test/", ""); v.Mode != "source" || v.Member == nil || !v.Member.Serves {
		t.Errorf("source: %+v", v)
	}
	if v := s.find(t, "http://none.test/", "JSESSIONID=x"); v.Mode != "none" || v.Verdict != "none" || v.Member != nil {
		t.Errorf("none: %+v", v)
	}
	if v := s.find(t, "http://nowhere.test/", "JSESSIONID=x"); v.Refused == nil || v.Refused.Reason != "no_host" {
		t.Errorf("no host: %+v", v)
	}
	if v := s.find(t, "http://learn.test/t/acme/;jsessionid="+sessionSecret, ""); v.Verdict != "kept" || !v.Learned {
		t.Errorf("in the path: %+v", v)
	}
	s.findCommand(t, sent["learn"])
	for what, text := range map[string]string{"log": s.Log(), "audit log": readFile(t, s.Dir+"/audit.log")} {
		if strings.Contains(text, sessionSecret) {
			t.Errorf("the %s holds a cookie:\n%s", what, text)
		}
	}
}

// findCommand asks by the command, with the cookie on its command line and on
// standard input.
func (s site) findCommand(t *testing.T, cookies string) {
	t.Helper()
	url := "http://learn.test/t/acme/"
	for _, want := range []string{"domain    learn", "tenant acme, id 42", "learn, by cookie JSESSIONID", "kept, learned here, ends in ", "member    learn/"} {
		if out := run(t, 0, "sessions", "find", url, "--cookie", cookies, "--admin", s.Admin); !strings.Contains(out, want) {
			t.Errorf("sessions find lacks %q:\n%s", want, out)
		}
	}
	cmd := exec.Command(harness.Binary(t), "sessions", "find", url, "--cookie", "-", "-o", "json", "--admin", s.Admin)
	cmd.Stdin = strings.NewReader("Cookie: " + cookies + "\n")
	out, err := cmd.CombinedOutput()
	var v sessionView
	if err != nil || json.Unmarshal(out, &v) != nil || v.Verdict != "kept" {
		t.Errorf("sessions find --cookie -: %v\n%s", err, out)
	}
	if out := run(t, 0, "sessions", "find", "http://learn.test/t/zed/", "--cookie", cookies, "--admin", s.Admin); !strings.Contains(out, "none: what was sent is not known here") {
		t.Errorf("another tenant's: %s", out)
	}
	run(t, 2, "sessions", "find", "--admin", s.Admin)
	run(t, 1, "sessions", "find", "ftp://x/", "--admin", s.Admin)
}

// explained returns the member that "explain" names for a request.
func (s site) explained(t *testing.T, url, cookies string) string {
	t.Helper()
	body, _ := json.Marshal(map[string]any{"method": "GET", "url": url, "fields": [][2]string{{"Cookie", cookies}}})
	_, text := s.call(t, "POST", "/api/v1/explain", string(body))
	var v struct{ Choice struct{ ID string } }
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v.Choice.ID
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
