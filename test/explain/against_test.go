package explain

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// plan is a configuration as the test changes it.
type plan struct {
	ranges   map[string]string   // by domain
	hosts    map[string][]string // by domain
	tenants  map[string]int      // ids by name
	identify string
	unknown  string
}

func firstPlan() plan {
	p := plan{ranges: map[string]string{"d1": "*", "d2": "1-5", "d3": "6,8"}, tenants: map[string]int{},
		hosts:    map[string][]string{"d1": {"a.test", "*.b.test"}, "d2": {"a.test"}, "d3": {"a.test", "*.b.test"}},
		identify: "{path: '**/t/{tenant}/'}", unknown: "default"}
	for i := 1; i <= 20; i++ {
		p.tenants[fmt.Sprintf("t%d", i)] = i
	}
	return p
}

// change changes one thing, or two; the result may be no good configuration.
func (p plan) change(r *rand.Rand) plan {
	next := plan{ranges: map[string]string{}, hosts: map[string][]string{}, tenants: map[string]int{}, identify: p.identify, unknown: p.unknown}
	for d, v := range p.ranges {
		next.ranges[d], next.hosts[d] = v, slices.Clone(p.hosts[d])
	}
	for name, id := range p.tenants {
		next.tenants[name] = id
	}
	for range 1 + r.IntN(2) {
		d := pick(r, "d1", "d2", "d3")
		switch r.IntN(7) {
		case 0, 1, 2:
			lo := 1 + r.IntN(20)
			next.ranges[d] = pick(r, fmt.Sprint(lo), fmt.Sprintf("%d-%d", lo, lo+r.IntN(6)), fmt.Sprintf("%d,%d", lo, lo+1+r.IntN(9)), "*")
		case 3:
			next.hosts[d] = pick(r, []string{"a.test"}, []string{"a.test", "*.b.test"}, []string{"a.test", "x.b.test"}, []string{"*.b.test", "c.test"})
		case 4:
			next.tenants[fmt.Sprintf("t%d", 1+r.IntN(20))] = 100 + r.IntN(1000)
		case 5:
			next.unknown = pick(r, "default", "refuse")
		case 6:
			next.identify = pick(r, "{path: '**/t/{tenant}/'}", "{path: '**/u/{tenant}/'}", "{query: who}", "{path: '**/t/{tenant}/'}, {query: who}")
		}
	}
	return next
}

func (p plan) conf() string {
	var b strings.Builder
	fmt.Fprintf(&b, `loadbalancer:
  listeners: [{name: http, address: "127.0.0.1:@http"}]
  admin: {address: "127.0.0.1:@admin"}
  timeouts: {connect: 20s}
membership:
  static:
    - {id: d1, domain: d1, host: 127.0.0.1, http: @d1}
    - {id: d2, domain: d2, host: 127.0.0.1, http: @d2}
    - {id: d3, domain: d3, host: 127.0.0.1, http: @d3}
tenants:
  identify: [%s]
  unknown: %s
  directory: {file: %%s, max_shrink: 100%%%%}
services:
  defaults: {affinity: {mode: none}, health: {type: none}}
  app:
    domains:
`, p.identify, p.unknown)
	for _, d := range []string{"d1", "d2", "d3"} {
		fmt.Fprintf(&b, "      %s: {tenant_range: %q, hosts: [\"%s\"]}\n", d, p.ranges[d], strings.Join(p.hosts[d], `", "`))
	}
	return b.String()
}

func (p plan) csv() string {
	var b strings.Builder
	for name, id := range p.tenants {
		fmt.Fprintf(&b, "%s,%d\n", name, id)
	}
	return b.String()
}

// probe asks for every host and tenant in every form and returns who answered.
func (s *site) probe() map[string]string {
	found := map[string]string{}
	for _, host := range []string{"a.test", "jetway-check.b.test", "x.b.test", "c.test"} {
		for i := 1; i <= 20; i++ {
			for form, url := range map[string]string{"path t": "/t/t%d/", "path u": "/u/t%d/", "query": "/?who=t%d"} {
				q := question{Method: "GET", URL: fmt.Sprintf(url, i), Fields: [][2]string{{"Host", host}}, Listener: "http", Client: "127.0.0.1"}
				a, reason := s.ask(q)
				who := "nowhere: " + reason
				if a.Status == 200 {
					who, _, _ = strings.Cut(string(a.Body), " ")
				}
				found[fmt.Sprintf("%s %s t%d", host, form, i)] = who
			}
		}
	}
	return found
}

// moves returns the tenants of whom any request went elsewhere.
func moves(before, after map[string]string, forms []string) []string {
	moved := map[string]bool{}
	for k, b := range before {
		if i := strings.LastIndexByte(k, ' '); after[k] != b && b != "nowhere: no_host" && slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(k, " "+f+" ") }) {
			moved[k[i+1:]] = true
		}
	}
	var names []string
	for name := range moved {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// forms are the ways of naming a tenant that a list of rules takes.
func (p plan) forms() (list []string) {
	for form, text := range map[string]string{"path t": "/t/", "path u": "/u/", "query": "query"} {
		if strings.Contains(p.identify, text) {
			list = append(list, form)
		}
	}
	return list
}

// TestAgainstLive: what "check --against live" says of random changes of a file
// is what probes before and after find.
func TestAgainstLive(t *testing.T) {
	n := 8
	if harness.Long() {
		n = 100
	}
	r := rand.New(rand.NewPCG(3, 9))
	now := firstPlan()
	members := []string{"d1", "d2", "d3"}
	s := startSite(t, fmt.Sprintf(now.conf(), "tenants.csv"), members...)
	s.WriteFile(t, "tenants.csv", now.csv())
	s.Signal(syscall.SIGHUP)
	s.reloaded(1)
	before := s.probe()
	moved, quiet := 0, 0
	for done := 0; done < n; {
		next := now.change(r)
		s.WriteFile(t, "new.csv", next.csv())
		s.WriteFile(t, "new.conf", s.fill(fmt.Sprintf(next.conf(), "new.csv"), members))
		said, ok := s.against()
		if !ok {
			continue // no good configuration
		}
		done++
		generation := s.generation()
		s.WriteFile(t, "tenants.csv", next.csv())
		s.Reload(t, s.fill(fmt.Sprintf(next.conf(), "tenants.csv"), members))
		s.reloaded(generation + 1)
		after := s.probe()
		want := moves(before, after, append(now.forms(), next.forms()...))
		var got []string
		for _, m := range said.Moves {
			got = append(got, m.Tenants...)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) || said.Moved != len(want) {
			t.Fatalf("change %d: said to move: %d %q, found: %q\nfrom\n%s\nto\n%s%+v", done, said.Moved, got, want, now.conf(), next.conf(), said.Moves)
		}
		moved += len(want)
		if len(want) == 0 {
			quiet++
		}
		now, before = next, after
	}
	t.Logf("%d changes moved %d tenants; %d changes moved nobody", n, moved, quiet)
}

type difference struct {
	Moved int `json:"moved_tenants"`
	Moves []struct {
		Before, After, Who string
		Hosts, Tenants     []string
	}
}

// against runs the command; ok is false for a bad file.
func (s *site) against() (d difference, ok bool) {
	s.t.Helper()
	cmd := exec.Command(harness.Binary(s.t), "check", "-c", filepath.Join(s.Dir, "new.conf"), "--against", "live", "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		var text string
		if e, is := err.(*exec.ExitError); is {
			text = string(e.Stderr)
		}
		if !strings.Contains(text, "new.conf:") {
			s.t.Fatalf("%v: %s", err, text)
		}
		return d, false
	}
	if err := json.Unmarshal(out, &d); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return d, true
}

func (s *site) generation() (n int) {
	s.t.Helper()
	var v struct{ Generation int }
	if _, body := s.Get("/api/v1/overview"); json.Unmarshal([]byte(body), &v) != nil {
		s.t.Fatal(body)
	}
	return v.Generation
}

// reloaded waits until the table is at least of this generation and stays.
func (s *site) reloaded(least int) {
	s.t.Helper()
	last := -1
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		g := s.generation()
		if g >= least && g == last {
			return
		}
		last = g
	}
	s.t.Fatalf("not reloaded:\n%s", s.Log())
}
