package operate

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestContrib: the alert rules and the metrics are good in promtool's eyes, and
// rules and board name only metrics that there are.
func TestContrib(t *testing.T) {
	t.Parallel()
	s := start(t, "", "")
	s.ask(t, "GET /t/acme/ HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	_, text := s.Get("/metrics")
	there := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)`).FindAllStringSubmatch(text, -1) {
		there[m[1]] = true
		if m[2] == "histogram" {
			there[m[1]+"_bucket"], there[m[1]+"_sum"], there[m[1]+"_count"] = true, true, true
		}
	}
	doc := readFile(t, "../../docs/metrics.md") // which another test compares with what is registered
	for name := range there {
		bare := regexp.MustCompile("_(bucket|sum|count)$").ReplaceAllString(name, "")
		if strings.HasPrefix(name, "jetway_") && !strings.Contains(doc, "`"+name+"`") && !strings.Contains(doc, "`"+name+"{") && !strings.Contains(doc, "`"+bare+"{") {
			t.Errorf("docs/metrics.md lacks %s", name)
		}
	}
	for _, m := range regexp.MustCompile("`(jetway_[a-z_0-9]+)").FindAllStringSubmatch(doc, -1) {
		there[m[1]] = true // some have series only with peers, TLS and the like
	}
	for _, file := range []string{"../../contrib/jetway-alerts.yml", "../../contrib/jetway-grafana.json"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\b(jetway|process)_[a-z_0-9]+`).FindAllString(string(b), -1)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			if !there[name] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
	b, err := os.ReadFile("../../contrib/jetway-grafana.json")
	if err != nil || !json.Valid(b) {
		t.Errorf("the board is no JSON (%v)", err)
	}
	promtool := harness.RequireTool(t, "promtool")
	if out, err := exec.Command(promtool, "check", "rules", "../../contrib/jetway-alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestScrape: 100,000 tenants make the answer neither long nor slow, and
// strangers, tenants and paths make no series.
func TestScrape(t *testing.T) {
	t.Parallel()
	tenants := 5000
	if harness.Long() {
		tenants = 100_000
	}
	var list strings.Builder
	for i := range tenants {
		fmt.Fprintf(&list, "tenant%d,%d\n", i+1, i+1)
	}
	s := start(t, "", "", harness.WithFile("tenants.csv", list.String()))
	series := func() int {
		_, text := s.Get("/metrics")
		n := 0
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "jetway_") {
				n++
			}
		}
		return n
	}
	c := harness.Dial(t, harness.Loopback(s.port))
	for i := range tenants {
		if err := c.Send(fmt.Sprintf("GET /t/tenant%d/page%d?q=%d HTTP/1.1\r\nHost: %s\r\n\r\n", i+1, i, i, host)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await("GET", 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if i == 100 {
			for j := range 100 {
				s.ask(t, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: stranger%d.example\r\n\r\n", j, j))
			}
		}
	}
	before := series()
	for i := range 500 {
		s.ask(t, fmt.Sprintf("GET /t/nobody%d/ HTTP/1.1\r\nHost: %s\r\n\r\n", i, host))
	}
	if after := series(); after > before+25 || after > 600 {
		t.Errorf("%d series, before strangers %d", after, before)
	}
	best := time.Hour
	size := 0
	for range 5 {
		began := time.Now()
		resp, err := http.Get("http://" + s.Admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		best, size = min(best, time.Since(began)), len(b)
	}
	t.Logf("%d tenants: %d bytes, %s", tenants, size, best)
	if size > 5<<20 || harness.Long() && best > 200*time.Millisecond {
		t.Errorf("a scrape has %d bytes and takes %s", size, best)
	}
}

// TestLogs: lines in both formats, reopened on SIGUSR1, without secrets; what
// operators do is in the audit log; trace context travels on.
func TestLogs(t *testing.T) {
	t.Parallel()
	s := start(t, ", audit_log: audit.log", "  access_log: {path: access.log, format: text}")
	access, audit := filepath.Join(s.Dir, "access.log"), filepath.Join(s.Dir, "audit.log")
	holds := func(file, what string) func() bool {
		return func() bool { b, _ := os.ReadFile(file); return strings.Contains(string(b), what) }
	}
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	s.ask(t, "GET /t/acme/first?q=1 HTTP/1.1\r\nHost: "+host+"\r\nCookie: s=secret1\r\nAuthorization: Basic secret2\r\ntraceparent: "+parent+
		"\r\ntracestate: a=b\r\n\r\n")
	s.ask(t, "GET /malformed HTTP/1.1\r\nHost: "+host+"\r\ntraceparent: 00-zz\r\n\r\n")
	var heads string
	for _, r := range s.member.Requests() {
		heads += string(r.Head)
	}
	for _, line := range []string{"traceparent: " + parent + "\r\n", "tracestate: a=b\r\n", "traceparent: 00-zz\r\n"} {
		if !strings.Contains(heads, line) {
			t.Errorf("the member did not get %q:\n%s", line, heads)
		}
	}
	eventually(t, "a line", holds(access, `"GET /t/acme/first?q=1 HTTP/1.1" 200`))
	text, _ := os.ReadFile(access)
	if m := regexp.MustCompile(`(?m)^127\.0\.0\.1 - acme \[.+\] "GET /t/acme/first\?q=1 HTTP/1\.1" 200 \d+ a\.example\.com shop shop/worker w1 none - 1 [0-9./]+ \d+ [0-9a-f]{32} new plain - \d+$`); !m.Match(text) || strings.Contains(string(text), "secret") {
		t.Errorf("access log:\n%s", text)
	}
	if err := os.Rename(access, access+".1"); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGUSR1)
	eventually(t, "the log opened again", func() bool { _, err := os.Stat(access); return err == nil })
	s.ask(t, "GET /second HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	eventually(t, "a line in the new file", holds(access, "/second"))
	run(t, 0, "drain", "w1", "--admin", s.Admin)
	eventually(t, "the audit log tells who did what", holds(audit, `"path":"/api/v1/members/w1/drain","status":200`))
	// A reload changes the format and then switches the log off.
	conf, err := os.ReadFile(filepath.Join(s.Dir, "loadbalancer.conf"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, 0, "undrain", "w1", "--admin", s.Admin)
	s.WriteFile(t, "loadbalancer.conf", strings.Replace(string(conf), "format: text", "format: json", 1))
	run(t, 0, "reload", "--admin", s.Admin)
	s.ask(t, "GET /third HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	eventually(t, "a line in JSON", holds(access, `"target":"/third"`))
	s.WriteFile(t, "loadbalancer.conf", strings.Replace(string(conf), "path: access.log", `path: ""`, 1))
	run(t, 0, "reload", "--admin", s.Admin)
	s.ask(t, "GET /fourth HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	time.Sleep(500 * time.Millisecond)
	if holds(access, "/fourth")() {
		t.Error("a line though there is no access log any more")
	}
}
