package proxy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"jetway/balancer"
)

func TestAccessLogLines(t *testing.T) {
	member := startMember(t, func(c net.Conn) {
		defer c.Close()
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if strings.Contains(string(b[:n]), "/broken") {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	})
	path := filepath.Join(t.TempDir(), "access.log")
	p := startProxy(t, func(c *Config) { c.AccessLog = AccessLogConfig{Path: path, Format: LogJSON} }, member)
	get := func(raw string) {
		t.Helper()
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte(raw))
		c.Read(make([]byte, 4096))
	}
	get("GET /t/acme/a?b=c HTTP/1.1\r\nHost: A.test:80\r\nCookie: secret1=x\r\nAuthorization: Bearer secret2\r\n\r\n")
	get("POST /post HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc")
	get("GET /x HTTP/1.1\r\nHost: nowhere.test\r\n\r\n")
	get("GET / HTTP/1.1\r\nHost: a.test\r\nBad\"Field\r\n\r\n")
	get("POST /broken HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n")
	var lines []map[string]any
	var text string
	for range 500 {
		b, _ := os.ReadFile(path)
		text = string(b)
		if strings.Count(text, "\n") == 5 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for line := range strings.Lines(text) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		lines = append(lines, v)
	}
	if len(lines) != 5 || strings.Contains(text, "secret") {
		t.Fatalf("%d lines, want 5 without secrets:\n%s", len(lines), text)
	}
	find := func(target string) map[string]any { // lines of different connections may change places
		t.Helper()
		for _, l := range lines {
			if fmt.Sprint(l["target"]) == target {
				return l
			}
		}
		t.Fatalf("no line for %q:\n%s", target, text)
		return nil
	}
	f := func(target string, want ...any) {
		t.Helper()
		l := find(target)
		for i := 0; i < len(want); i += 2 {
			if got := l[want[i].(string)]; fmt.Sprint(got) != fmt.Sprint(want[i+1]) {
				t.Errorf("%s: %s = %v, want %v in %v", target, want[i], got, want[i+1], l)
			}
		}
	}
	f("/t/acme/a?b=c", "host", "a.test", "method", "GET", "status", 200, "service", "s", "domain", "d", "sub_domain", "worker",
		"member", member, "attempts", 1, "sticky", "none", "tenant", "acme", "tenant_state", "unknown", "client", "127.0.0.1",
		"listener", "http", "proto", "HTTP/1.1", "reason", nil)
	if l := find("/t/acme/a?b=c"); l["t_total"].(float64) <= 0 || l["t_total"].(float64) < l["t_response"].(float64) || l["bytes_out"].(float64) < 40 {
		t.Errorf("times or bytes of %v", l)
	}
	f("/post", "bytes_in", len("POST /post HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc"))
	f("/x", "status", 404, "reason", "no_host", "ended_by", "jetway", "phase", "decide", "member", nil)
	f("/broken", "status", 502, "reason", "member_broke", "ended_by", "member", "phase", "wait")
	bad := 0
	for _, l := range lines {
		if l["reason"] == "bad_field" && l["phase"] == "head" && l["service"] == nil {
			bad++
		}
	}
	if bad != 1 {
		t.Errorf("no line of the malformed head:\n%s", text)
	}
}

// outcomeOf is an outcome with everything in it that an attacker chooses.
func outcomeOf(hostile []byte) *Outcome {
	x := &exchange{}
	x.decision.Host = &balancer.Host{Service: "s"}
	return &Outcome{Time: time.Unix(1700000000, 1e6), Client: netip.MustParseAddr("10.0.0.1"), Listener: "http",
		Method: hostile, Target: hostile, Host: hostile, ID: hostile, SNI: string(hostile), TLS: true, Decision: &x.decision, Status: 200,
		TotalTime: 1500 * time.Microsecond}
}

// Nothing a client sends can begin a line or a field of its own.
func FuzzAccessLogInjection(f *testing.F) {
	f.Add([]byte("/a\" 200 5\n10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 0"))
	f.Add([]byte(`","status":500,"x":"`))
	f.Add([]byte{0xff, 0x00, 0x7f, 0xe2, 0x80, 0xa8, '\\'})
	text := regexp.MustCompile(`^10\.0\.0\.1 - - \[[^\]]+\] "[^"]+" 200 0 [^ ]+ s - - none - 0 0/0/0/0/1\.500 0 [^ ]+ - tls [^ ]+ 0\n$`)
	f.Fuzz(func(t *testing.T, hostile []byte) {
		o := outcomeOf(hostile)
		l := &accessLog{AccessLogConfig: AccessLogConfig{Format: LogJSON}}
		line := l.appendJSON(nil, o)
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil || strings.Count(string(line), "\n") != 1 || v["status"] != 200.0 {
			t.Fatalf("%v: %q", err, line)
		}
		l = &accessLog{AccessLogConfig: AccessLogConfig{Format: LogText}}
		if line := l.appendText(nil, o); !text.Match(line) {
			t.Fatalf("%q", line)
		}
	})
}

func TestAccessLogWants(t *testing.T) {
	f := func(c AccessLogConfig, o Outcome, want int) { // of 100 requests
		t.Helper()
		l, got := &accessLog{AccessLogConfig: c}, 0
		for range 100 {
			if l.wants(&o) {
				got++
			}
		}
		if got != want {
			t.Fatalf("%+v of %d %s: %d of 100, want %d", c, o.Status, o.TotalTime, got, want)
		}
	}
	f(AccessLogConfig{}, Outcome{Status: 200}, 100)
	f(AccessLogConfig{Sample: 10}, Outcome{Status: 200}, 10)
	f(AccessLogConfig{Sample: 10}, Outcome{Status: 503}, 100)
	f(AccessLogConfig{Sample: 10, Slow: time.Second}, Outcome{Status: 200, TotalTime: time.Second}, 100)
	f(AccessLogConfig{MinStatus: 400}, Outcome{Status: 200}, 0)
	f(AccessLogConfig{MinStatus: 400}, Outcome{Status: 404}, 100)
	f(AccessLogConfig{MinStatus: 400, Slow: time.Second}, Outcome{Status: 200, TotalTime: 2 * time.Second}, 100)
}

func TestAccessLogHidesQueries(t *testing.T) {
	f := func(target, want string) {
		t.Helper()
		l := &accessLog{AccessLogConfig: AccessLogConfig{HideQuery: true}}
		if got := string(l.target(&Outcome{Target: []byte(target)})); got != want {
			t.Fatalf("%q is written as %q, want %q", target, got, want)
		}
	}
	f("/a?token=x", "/a?")
	f("/a", "/a")
	f("/"+strings.Repeat("x", 2*logMax), "/"+strings.Repeat("x", logMax-1))
}

func TestAppendFixed(t *testing.T) {
	f := func(d time.Duration, millis, seconds string) {
		t.Helper()
		if m, s := string(appendMillis(nil, d)), string(appendSeconds(nil, d)); m != millis || s != seconds {
			t.Fatalf("%s = %s ms, %s s, want %s, %s", d, m, s, millis, seconds)
		}
	}
	f(0, "0", "0")
	f(-time.Second, "0", "0")
	f(1500*time.Microsecond, "1.500", "0.001500")
	f(time.Second, "1000", "1")
	f(61*time.Second+7*time.Microsecond, "61000.007", "61.000007")
}
