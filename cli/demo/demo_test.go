package demo

import (
	"encoding/json"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"jetway/config"
)

func TestPortsTakeAnotherWhenBusy(t *testing.T) {
	busy, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	usual := busy.Addr().(*net.TCPAddr).Port
	p := newPorts()
	defer p.releaseAll()
	first, err := p.take(usual)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.take(usual)
	if err != nil {
		t.Fatal(err)
	}
	if first == usual || second == usual || first == second {
		t.Fatalf("took %d and %d, with %d in use", first, second, usual)
	}
}

// TestConfigurationIsGood: the generated files load without a warning, and
// --break routing is no mistake that the configuration would find.
func TestConfigurationIsGood(t *testing.T) {
	f := func(broken bool, jetRange string) {
		t.Helper()
		top, err := newTopology(t.TempDir(), broken)
		if err != nil {
			t.Fatal(err)
		}
		defer top.ports.releaseAll()
		b := &top.balancers[0]
		if err := top.writeConf(b); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(top.confFile(b))
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Warnings) > 0 {
			t.Errorf("warnings: %v", cfg.Warnings)
		}
		for _, c := range cfg.Clusters {
			if c.Key.Domain == jetDomain && c.Ranges.String() != jetRange {
				t.Errorf("the private jet serves %s, want %s", c.Ranges, jetRange)
			}
		}
	}
	f(false, "42")
	f(true, "43")
}

func TestOptions(t *testing.T) {
	f := func(o options, want string) {
		t.Helper()
		err := o.validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	f(options{}, "")
	f(options{check: true}, "")
	f(options{check: true, sabot: "routing"}, "")
	f(options{sabot: "routing"}, "only for --check")
	f(options{check: true, sabot: "everything"}, `"everything"`)
}

func TestAppAnswers(t *testing.T) {
	a := &app{name: "w1", domain: "d", subDomain: "worker"}
	ask := func(accept string) string {
		var ctx fasthttp.RequestCtx
		ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
		ctx.Request.SetRequestURI("/t/acme.com/?x=1")
		ctx.Request.Header.SetHost("as.example.com")
		ctx.Request.Header.Set("X-Tenant-Id", "7")
		ctx.Request.Header.Set("Accept", accept)
		a.handle(&ctx)
		return string(ctx.Response.Body())
	}
	var ans answer
	if err := json.Unmarshal([]byte(ask("application/json")), &ans); err != nil {
		t.Fatal(err)
	}
	if ans.Name != "w1" || ans.Path != "/t/acme.com/?x=1" || ans.Host != "as.example.com" || ans.Headers["X-Tenant-Id"] != "7" || ans.PID != os.Getpid() {
		t.Errorf("answered %+v", ans)
	}
	text := ask("*/*")
	for _, want := range []string{"w1 of d/worker", "GET /t/acme.com/?x=1", "Host: as.example.com", "X-Tenant-Id: 7"} {
		if !strings.Contains(text, want) {
			t.Errorf("text does not say %q:\n%s", want, text)
		}
	}
}

func TestChanges(t *testing.T) {
	m := func(state string) memberState {
		return memberState{ID: "w", Domain: "d", SubDomains: []string{"worker"}, Host: "127.0.0.1", HTTP: 1, State: state}
	}
	f := func(before, now map[string]memberState, want ...string) {
		t.Helper()
		if got := changes(before, now); !slices.Equal(got, want) {
			t.Errorf("changes are %q, want %q", got, want)
		}
	}
	none, up, draining := map[string]memberState{}, map[string]memberState{"k": m("up")}, map[string]memberState{"k": m("draining")}
	f(none, up, "+ w of d/worker at 127.0.0.1:1, up")
	f(up, up)
	f(up, draining, "~ w of d/worker: up -> draining")
	f(draining, none, "- w of d/worker")
}
