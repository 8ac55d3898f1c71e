//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"text/template"
	"time"
)

// TestMain lets this test binary play the parts that the program has for
// itself.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestClient puts every kind of load on a member directly.
func TestClient(t *testing.T) {
	runtime.LockOSThread() // see process; the thread ends with the test
	members, ports, err := startMembers(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer members.stop()
	f := func(name string, l load, want string) {
		t.Helper()
		l.Target = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), uint16(ports[0]))
		l.Host, l.Conns, l.Proxy = benchHost, 4, members.pid()
		l.Warm, l.Measure = 20*time.Millisecond, 200*time.Millisecond
		o, err := put(t.Context(), l)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want != "" && strings.Contains(o.FirstError, want) {
			return
		}
		if o.FirstError != want || o.Requests == 0 || o.Usage.Seconds < 0.1 || l.Rate > 0 && o.Latency == nil {
			t.Fatalf("%s: %+v, expected error %q", name, o, want)
		}
	}
	f("closed loop", load{Path: "/b100", Length: 100}, "")
	f("fixed rate", load{Path: "/b100", Length: 100, Rate: 500}, "")
	f("large", load{Path: "/b10485760", Length: 10 << 20}, "")
	f("from a file", load{Path: "/b102400", Length: 100 << 10}, "")
	f("upload", load{Path: "/up", Length: 100, Upload: 100 << 10}, "")
	f("many paths", load{Path: "/t/tenant%d/b100", Vary: 100_000, Length: 100}, "")
	f("WebSocket", load{Socket: true, Length: 100}, "")
	f("wrong length", load{Path: "/b99", Length: 100}, "is not 100 bytes")
	f("no answer", load{Path: "/none", Length: 100}, "connection ended")
}

func TestParseStat(t *testing.T) {
	s, ok := parseStat([]byte("42 (a) b (c) S 7 1 1 0 -1 4194560 1 0 0 0 10 20 3 4 20 0 1 0 999 1 1 1"))
	if want := (processStat{pid: 42, parent: 7, user: 13, sys: 24, begun: 999}); !ok || s != want {
		t.Fatalf("parseStat = %+v, %v, want %+v", s, ok, want)
	}
	if _, ok := parseStat([]byte("garbage")); ok {
		t.Fatal("garbage was parsed")
	}
}

func TestStats(t *testing.T) {
	self := func(v *float64) float64 { return *v }
	if s := spreadOf([]float64{3, 1, 2}, self); s != (spread{2, 1, 3}) {
		t.Fatalf("spread of three = %v", s)
	}
	if s := spreadOf([]float64{4, 1}, self); s != (spread{2.5, 1, 4}) {
		t.Fatalf("spread of two = %v", s)
	}
	if s := spreadOf(nil, self); !math.IsNaN(s.Median) {
		t.Fatalf("spread of none = %v", s)
	}
	waits := make([]float64, 1000)
	for i := range waits {
		waits[i] = float64(999 - i)
	}
	if l := quantiles(waits); *l != (latency{500, 990, 999}) {
		t.Fatalf("quantiles = %+v", *l)
	}
}

// TestConfigurations fills every template in every way that scenarios do.
func TestConfigurations(t *testing.T) {
	b := &bench{dir: t.TempDir(), port: 20000}
	for _, s := range scenarios() {
		for _, pt := range s.points {
			pt.Tenants, pt.Hosts = min(pt.Tenants, 100), min(pt.Hosts, 100)
			filled, err := b.newSetup(&pt, "test", []int{1, 2, 3})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"jetway.conf", "haproxy.cfg", "nginx.conf", "Caddyfile"} {
				var out strings.Builder
				if err := template.Must(template.ParseFS(configs, "configs/"+name)).Execute(&out, &filled); err != nil {
					t.Fatalf("%s for %q: %v", name, pt.Name, err)
				}
				if strings.Contains(out.String(), "<no value>") {
					t.Fatalf("%s for %q has holes:\n%s", name, pt.Name, out.String())
				}
			}
		}
	}
}

// TestStops: what is started ends when the context does.
func TestStops(t *testing.T) {
	runtime.LockOSThread()
	members, ports, err := startMembers(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer members.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err = put(ctx, load{Target: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), uint16(ports[0])), Host: benchHost,
		Path: "/b100", Length: 100, Conns: 1, Measure: time.Minute, Proxy: members.pid()})
	if err == nil || time.Since(begun) > 10*time.Second {
		t.Fatalf("put = %v after %v", err, time.Since(begun))
	}
	members.stop()
	if left := tree(members.pid()); len(left) > 0 {
		t.Fatalf("still there: %+v", left)
	}
}

// TestInsert: figures replace what stood between the two lines, again and again.
func TestInsert(t *testing.T) {
	page := "before\n" + figuresBegin + "\nold\n" + figuresEnd + "\nafter\n"
	for _, figures := range []string{"first", "second"} {
		var err error
		if page, err = insert(page, figures); err != nil {
			t.Fatal(err)
		}
	}
	if want := "before\n" + figuresBegin + "\n\nsecond\n\n" + figuresEnd + "\nafter\n"; page != want {
		t.Fatalf("%q, want %q", page, want)
	}
	if _, err := insert("no lines", "x"); err == nil {
		t.Fatal("a page without the lines is accepted")
	}
}

// TestTargets: bars apply to the first build of Jetway, and only to what was measured.
func TestTargets(t *testing.T) {
	of := func(name string, cpu, p99 float64) measured {
		o := outcome{Requests: 1e6, Usage: usage{User: cpu, Seconds: 1}}
		fixed := o
		fixed.Latency = &latency{P99: p99}
		return measured{Name: name, Closed: []outcome{o}, Fixed: []outcome{fixed}}
	}
	r := &report{Results: []*result{
		{Scenario: "a", Name: "plain", Units: 1, Proxies: []measured{of("new", 9, 100), of("haproxy", 10, 50), of("nginx", 8, 100)}},
		{Scenario: "h", Name: "1 members", Units: 1, Proxies: []measured{of("new", 10, 1)}},
		{Scenario: "h", Name: "10 members", Units: 1, Proxies: []measured{of("new", 12, 1)}},
	}}
	got := ""
	for _, tg := range r.targets() {
		got += fmt.Sprintf("%.2f/%.2f ", tg.got, tg.limit)
	}
	if want := "0.90/0.95 1.12/1.00 2.00/1.20 1.20/1.10 "; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}
