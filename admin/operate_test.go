package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestMemberActions(t *testing.T) {
	s := newFixture(t, Config{})
	f := func(path string, status int, has string) {
		t.Helper()
		w := s.do(request("POST", path))
		if w.Code != status || !strings.Contains(w.Body.String(), has) {
			t.Fatalf("%s = %d %s, want %d with %q", path, w.Code, w.Body, status, has)
		}
	}
	f("/api/v1/members/w2/drain?dry_run=1", 200, `"dry_run": true`)
	f("/api/v1/members/w2/weight?weight=7", 200, `"weight": 7`)
	f("/api/v1/members/w2/weight?weight=7", 200, `"weight": 7`)
	f("/api/v1/members/w2/weight?weight=0", 200, `"weight": 1`)
	f("/api/v1/members/w2/weight?weight=1001", 422, "expected 1 to 1000")
	f("/api/v1/members/w2/weight", 422, "expected 1 to 1000")
	f("/api/v1/members/w2/eject?for=10m", 200, `"state": "ejected"`)
	f("/api/v1/members/w2/restore", 200, `"state": "up"`)
	f("/api/v1/members/w2/restore", 200, `"state": "up"`)
	f("/api/v1/members/w2/eject?for=forever", 422, "expected a duration")
	f("/api/v1/members/w1/eject?dry_run=1", 409, "expected domain/id")
	f("/api/v1/members/nobody/eject?dry_run=1", 404, "no such member")
	f("/api/v1/reload?dry_run=1", 200, `"dry_run": true`)
	// What is meant as a dry run is one, or refused.
	f("/api/v1/members/w2/drain?dry_run=true", 200, `"dry_run": true`)
	for _, query := range []string{"dry_run", "dry_run=", "dry_run=yes", "dryrun=1", "dry_run=0&dry_run=1", "dry_run=1;x", "dry_run=%zz", "force=1"} {
		f("/api/v1/members/w2/drain?"+query, 422, "expected")
		f("/api/v1/reload?"+query, 422, "expected")
		f("/api/v1/domains/jet/worker/scale?size=3&"+query, 422, "expected")
	}
	f("/api/v1/members/w2/drain?force=1", 422, `the query has \"force\"; expected dry_run`)
	f("/api/v1/members/w2/eject?form=1s", 422, "expected for or dry_run")
	f("/api/v1/log-level?dry_run=1", 422, "expected none")
	// An order is never sent on to another address.
	f("/api/v1/members//w2/drain", 404, "no such endpoint")
	f("/api/v1/members/w2/../../reload", 404, "no such endpoint")
	f("//api/v1/reload", 404, "no such endpoint")
	f("/api/v1/reload/", 404, "no such endpoint")
	if s.reloads.Load() != 0 {
		t.Fatal("a dry run reloaded")
	}
	if w := s.do(request("GET", "/api/v1/members/w2")); !strings.Contains(w.Body.String(), `"drained": false`) {
		t.Fatalf("a dry run drained: %s", w.Body)
	}
	r := request("POST", "/api/v1/log-level")
	r.Body = http.NoBody
	if w := s.do(r); w.Code != 400 {
		t.Fatalf("no body: %d", w.Code)
	}
	for body, status := range map[string]int{`{"level":"debug"}`: 200, `{"level":"error"} {}`: 400, `{"level":"error"}x`: 400,
		`{"level":"error"}` + strings.Repeat(" ", bodyMax): 413, `{"level":"loud"}`: 422, `{"lvl":"debug"}`: 400,
		`{"level":"` + strings.Repeat("x", bodyMax) + `"}`: 413} {
		r := from(httptest.NewRequest("POST", "/api/v1/log-level", strings.NewReader(body)), "127.0.0.1:9280")
		r.Host, r.RemoteAddr, r.ContentLength = "localhost", "127.0.0.1:5", -1
		if w := s.do(r); w.Code != status {
			t.Fatalf("%.40s: %d %s, want %d", body, w.Code, w.Body, status)
		}
	}
	if s.level != "debug" {
		t.Fatalf("level %q", s.level)
	}
}

// TestQuestionsByPost: questions that have a body are as strict as changes, and
// not for other sites' pages either.
func TestQuestionsByPost(t *testing.T) {
	s := newFixture(t, Config{})
	s.src.Explain = func(q Question) (Explanation, error) { return Explanation{Question: q}, nil }
	f := func(path, body, origin string, status int) {
		t.Helper()
		r := from(httptest.NewRequest("POST", path, strings.NewReader(body)), "127.0.0.1:9280")
		r.Host, r.RemoteAddr, r.ContentLength = "localhost", "127.0.0.1:5", -1
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if w := s.do(r); w.Code != status {
			t.Fatalf("%s %.40s from %q: %d %s, want %d", path, body, origin, w.Code, w.Body, status)
		}
	}
	f("/api/v1/explain", `{"method":"GET","url":"/"}`, "", 200)
	f("/api/v1/explain", `{"method":"GET","url":"/"}`, "http://localhost", 200)
	f("/api/v1/explain", `{"method":"GET","url":"/"}`, "http://evil.example", 403)
	f("/api/v1/sessions/find", `{"method":"GET","url":"/"}`, "http://evil.example", 403)
	f("/api/v1/sessions/count", `{}`, "http://evil.example", 403)
	f("/api/v1/explain", `{"method":"GET","url":"/"}{}`, "", 400)
	f("/api/v1/explain", `{"methd":"GET"}`, "", 400)
	f("/api/v1/explain", ``, "", 400)
	f("/api/v1/explain", `{"url":"`+strings.Repeat("x", bodyMax)+`"}`, "", 413)
}

// TestAuditOfPanic: an action is on record even if it did not come to its end.
func TestAuditOfPanic(t *testing.T) {
	s := newFixture(t, Config{})
	s.src.Reload = func() error { panic("boom") }
	if w := s.do(request("POST", "/api/v1/reload")); w.Code != 500 {
		t.Fatalf("= %d %s", w.Code, w.Body)
	}
	if log := s.log.String(); !strings.Contains(log, `"path":"/api/v1/reload","status":500,"message":"admin action"`) {
		t.Fatalf("log lacks the action: %s", log)
	}
}

// deadlines is a connection whose deadlines can be set.
type deadlines struct {
	*httptest.ResponseRecorder
	write *time.Time
}

func (d deadlines) SetWriteDeadline(at time.Time) error {
	*d.write = at
	return nil
}

// TestHandoverWaitsForClients: the time that an answer may take does not end a
// hand-over, which takes as long as clients do.
func TestHandoverWaitsForClients(t *testing.T) {
	s := newFixture(t, Config{})
	write := time.Unix(1, 0)
	s.src.Standby.Handover = func(context.Context, HandoverOrder) (HandoverResult, error) {
		if !write.IsZero() {
			t.Error("the deadline of the answer stands")
		}
		return HandoverResult{}, nil
	}
	s.http.Handler.ServeHTTP(deadlines{httptest.NewRecorder(), &write}, request("POST", "/api/v1/standby/handover"))
	if !write.IsZero() {
		t.Fatal("no hand-over")
	}
}

func tokens(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTokens(t *testing.T) {
	s := newFixture(t, Config{TokenFile: tokens(t, "# who may\nalice 0123456789abcdef-alice\n0123456789abcdef-nobody\nbob 0123456789abcdef-bob read\n")})
	f := func(method, path, authorization string, status int) {
		t.Helper()
		r := request(method, path)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		before := s.reloads.Load()
		w := s.do(r)
		if w.Code != status {
			t.Fatalf("%s %s as %q = %d %s, want %d", method, path, authorization, w.Code, w.Body, status)
		}
		if changed := s.reloads.Load() != before; changed != (status == 200 && method == "POST") {
			t.Fatalf("%s as %q: changed %v", path, authorization, changed)
		}
	}
	alice, bob := "Bearer 0123456789abcdef-alice", "Bearer 0123456789abcdef-bob"
	f("GET", "/ping", "", 200)
	f("GET", "/ready", "", 200)
	f("GET", "/metrics", "", 401)
	f("GET", "/api/v1/config", "", 401)
	f("GET", "/api/v1/config", "Bearer wrong", 401)
	f("GET", "/api/v1/config", "Basic 0123456789abcdef-alice", 401)
	f("GET", "/api/v1/config", alice, 200)
	f("GET", "/api/v1/config", bob, 200)
	f("POST", "/api/v1/reload", "", 401)
	f("POST", "/api/v1/reload", bob, 403)
	f("POST", "/api/v1/reload", alice, 200)
	f("POST", "/api/v1/reload", "Bearer 0123456789abcdef-nobody", 200)
	f("POST", "/ping", "", 401)
	if log := s.log.String(); !strings.Contains(log, `"operator":"alice"`) || !strings.Contains(log, `"operator":"token 2"`) || strings.Contains(log, "0123456789") {
		t.Fatalf("log does not say who, or says too much: %s", log)
	}
	// A browser's page has no token, but a proxy in front might add one.
	r := request("POST", "/api/v1/reload")
	r.Header.Set("Authorization", alice)
	r.Header.Set("Origin", "http://evil.example")
	if w := s.do(r); w.Code != 403 {
		t.Fatalf("cross-site with a token: %d", w.Code)
	}
	// Whoever guesses is slowed down, whoever knows is not.
	guesses := map[int]int{}
	for range 200 {
		r := request("GET", "/api/v1/config")
		r.Header.Set("Authorization", "Bearer guess")
		guesses[s.do(r).Code]++
	}
	if guesses[429] < 100 || guesses[200] != 0 {
		t.Fatalf("answers to guesses: %v", guesses)
	}
	f("GET", "/api/v1/config", alice, 200)
}

func TestParseTokens(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := ParseTokens(text); !strings.Contains(fmt.Sprint(err), want) {
			t.Fatalf("%q: %v, want %q", text, err, want)
		}
	}
	f("", "holds no token")
	f("# only a comment\n", "holds no token")
	f("short", "expected at least 16")
	f("alice short", "expected at least 16")
	f("alice 0123456789abcdef write", "not understood")
	f("alice 0123456789abcdef read more", "not understood")
	f(strings.Repeat("0123456789abcdef\n", tokensMax+1), "more than")
	f("0123456789abcdef", "<nil>")
}

func TestBeyondLoopbackNeedsAuthentication(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		if _, err := New(cfg, Sources{}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%+v: %v, want %q", cfg, err, want)
		}
	}
	f(Config{Address: ":9280"}, "without admin.tls")
	f(Config{Address: "10.0.0.4:9280", TokenFile: tokens(t, "0123456789abcdef")}, "without admin.tls")
	f(Config{Address: "127.0.0.1:1", TokenFile: "nowhere"}, "cannot use admin.token_file")
	f(Config{Address: "127.0.0.1:1", ClientCAFile: "x"}, "without a certificate")
}

func TestRates(t *testing.T) {
	s := newFixture(t, Config{})
	got := map[int]int{}
	for range 5 * changesPerSecond * burstSeconds {
		got[s.do(request("POST", "/api/v1/reload")).Code]++
	}
	if got[429] == 0 || got[200] < changesPerSecond*burstSeconds {
		t.Fatalf("answers to a flood of changes: %v", got)
	}
	if w := s.do(request("GET", "/api/v1/config")); w.Code != 200 {
		t.Fatalf("reading after it: %d", w.Code)
	}
}

func TestEvents(t *testing.T) {
	started := time.Unix(1700000000, 0)
	e := NewEvents(started)
	first := e.newest + 1
	log := zerolog.New(e)
	for i := range eventsMax + 10 {
		log.Info().Int("n", i).Msg("something changed")
	}
	log.Debug().Msg("a detail")
	list, newest, _ := e.after(0)
	if newest != first+eventsMax+9 || len(list) != eventsMax || list[0].ID != first+10 || list[0].Fields["n"] != 10.0 || list[0].Event != "something changed" {
		t.Fatalf("%d events up to %d, first %+v", len(list), newest, list[0])
	}
	if list, _, _ := e.after(newest - 1); len(list) != 1 || list[0].ID != newest {
		t.Fatalf("the newest: %+v", list)
	}
	if list, _, _ := e.after(newest + 1000); len(list) != eventsMax {
		t.Fatalf("%d events for a reader of another process's", len(list))
	}
	_, _, more := e.after(newest)
	log.Warn().Msg("another")
	select {
	case <-more:
	default:
		t.Fatal("a reader is not woken")
	}
	// Who has seen events of the process before gets all of this one.
	later := NewEvents(started.Add(time.Minute))
	log = zerolog.New(later)
	for range 3 {
		log.Info().Msg("after the restart")
	}
	if list, _, _ := later.after(newest); len(list) != 3 || list[0].ID <= newest {
		t.Fatalf("after a restart: %+v", list)
	}
}

func TestEventStream(t *testing.T) {
	s := newFixture(t, Config{Address: "127.0.0.1:0", Required: true})
	log := zerolog.New(s.src.Events)
	log.Info().Str("member", "w1").Msg("member joined")
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	req, _ := http.NewRequest("GET", "http://"+s.Address().String()+"/api/v1/events", nil)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			if data, ok := strings.CutPrefix(in.Text(), "data: "); ok {
				lines <- data
			}
		}
	}()
	next := func(want string) {
		t.Helper()
		select {
		case data := <-lines:
			var v Event
			if json.Unmarshal([]byte(data), &v) != nil || v.Event != want {
				t.Fatalf("event %s, want %q", data, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event %q", want)
		}
	}
	next("member joined")
	log.Warn().Msg("member ejected")
	next("member ejected")
	began := time.Now()
	cancel() // a stream does not hold up the end
	if err := <-done; err != nil || time.Since(began) > stopWait {
		t.Fatalf("%v after %s", err, time.Since(began))
	}
}

// The document is that of the handlers: its golden copy in docs is what they
// say, every endpoint of it answers, and answers look as it says.
func TestOpenAPI(t *testing.T) {
	s := newFixture(t, Config{})
	got, err := json.MarshalIndent(s.Document(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "../docs/openapi.json"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != string(got) {
		t.Fatalf("%s is not what the handlers say (%v); UPDATE_GOLDEN=1 go test ./admin writes it", golden, err)
	}
	var doc struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any `json:"properties"`
				Required   []string       `json:"required"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(got, &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatal(err, doc.OpenAPI)
	}
	for _, r := range s.routes {
		if doc.Paths[r.path][strings.ToLower(r.method)] == nil {
			t.Errorf("%s %s is not in the document", r.method, r.path)
		}
		path := strings.NewReplacer("{member}", "w2", "{domain}", "jet", "{tenant}", "acme", "{sub_domain}", "worker").Replace(r.path)
		if r.method != "GET" || strings.Contains(r.path, "{tenant}") {
			continue
		}
		w := s.do(request("GET", path))
		if r.path == "/api/v1/tenants/known" || r.path == "/api/v1/gossip/keys" {
			continue // needs a directory, or gossip
		}
		if w.Code != 200 {
			t.Errorf("%s = %d %s", path, w.Code, w.Body)
			continue
		}
		var body map[string]any
		if r.answer == nil || json.Unmarshal(w.Body.Bytes(), &body) != nil {
			continue
		}
		name := fmt.Sprintf("%T", r.answer)
		schema, ok := doc.Components.Schemas[name[strings.LastIndexByte(name, '.')+1:]]
		if !ok {
			continue // free form
		}
		for key := range body {
			if schema.Properties[key] == nil {
				t.Errorf("%s answers %q, which the document does not have", path, key)
			}
		}
		for _, key := range schema.Required {
			if _, there := body[key]; !there {
				t.Errorf("%s lacks %q, which the document requires", path, key)
			}
		}
	}
}

// A change of a domain's size answers how the domain stands then.
func TestScale(t *testing.T) {
	s := newFixture(t, Config{})
	size := map[string]int{}
	status := func(domain, sub string) (any, error) {
		return map[string]any{"domain": domain, "sub_domain": sub, "want": size[domain]}, nil
	}
	s.src.Elastic = Elastic{
		Scale: func(domain, sub string, n int) (any, error) {
			if n > 4 {
				return nil, errors.New("expected 0 to 4")
			}
			size[domain] = n
			return status(domain, sub)
		},
		Release: func(domain, sub string) (any, error) {
			delete(size, domain)
			return status(domain, sub)
		},
	}
	f := func(query string, status int, want string) {
		t.Helper()
		w := s.do(request("POST", "/api/v1/domains/shared/worker/scale?"+query))
		if got := strings.Join(strings.Fields(w.Body.String()), ""); w.Code != status || !strings.Contains(got, want) {
			t.Fatalf("%s = %d %s, want %d with %s", query, w.Code, got, status, want)
		}
	}
	f("size=3", 200, `"domains":[{"domain":"shared","sub_domain":"worker","want":3}]`)
	f("size=3", 200, `"want":3`) // again
	f("release=1", 200, `"want":0`)
	f("size=5", 422, "expected0to4")
	f("size=x", 422, "expectedanumber")
}

// TestHeadOfEvents: HEAD has no body, so it follows nothing either.
func TestHeadOfEvents(t *testing.T) {
	s := newFixture(t, Config{})
	r := request("HEAD", "/api/v1/events")
	r.Header.Set("Accept", "text/event-stream")
	if w := s.do(r); w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("= %d %s", w.Code, w.Header())
	}
}

// TestAuditOfUnsaidStatus: a handler that names no status has answered 200.
func TestAuditOfUnsaidStatus(t *testing.T) {
	s := newFixture(t, Config{Pprof: true})
	if w := s.do(request("POST", "/debug/pprof/symbol")); w.Code != 200 {
		t.Fatalf("= %d %s", w.Code, w.Body)
	}
	if log := s.log.String(); !strings.Contains(log, `"path":"/debug/pprof/symbol","status":200,"message":"admin action"`) {
		t.Fatalf("log lacks the action: %s", log)
	}
}
