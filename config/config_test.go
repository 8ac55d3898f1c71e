package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/proxy"
	"jetway/tenant"
)

// smallest is a complete file: everything else has a default.
const smallest = `
loadbalancer: {listeners: [{address: ":8280"}]}
membership: {static: [{domain: d, host: 127.0.0.1, http: 9763}]}
services: {app: {hosts: [localhost], domains: {d: {}}}}
`

// full sets every key to something that is not its default.
const full = `
loadbalancer:
  name: lb7
  installation: test
  state_dir: state
  listeners:
    - {name: in, address: "127.0.0.1:8280", public_port: 80, proxy_protocol: true}
    - {name: tls, address: ":8243", tls: {certificates: [{cert_file: a.crt, key_file: a.key}, {cert_file: /b.crt, key_file: /b.key}], client_ca_file: c.pem, require_client_cert: true, ticket_key_file: t.key, strict_sni: true}}
  admin: {address: "127.0.0.1:9999"}
  fail_over: false
  session_timeout: 20m
  timeouts: {header: 1s, body_min_rate: 2KB, idle: 3s, connect: 4ms, response_header: 1m30s, response_idle: 6h, total: 1d, upgrade_idle: 1d2h, drain: 0s}
  limits: {header_bytes: 1000KB, header_fields: 7, connections: 11, connections_per_source: 12, requests_per_connection: 13, upgrades: 14, sessions: 5000}
  trusted_proxies: [10.0.0.0/8, "::1"]
membership:
  gossip: {bind: "10.0.0.4:7946", advertise: "[2001:db8::1]:1", join: ["a_b:1", "[::1]:2"], key_file: g.key, insecure: true, allowed_cidrs: [10.0.0.0/8, "::1"]}
  static:
    - {id: w1, domain: d, sub_domain: "mgt, worker", host: "2001:DB8::1", http: 1, https: 2, port_mapping: {9: 10, 7: 8}, weight: 5, zone: "a $${b} c", state: draining}
tenants:
  identify: [{query: q}, {path: "/t/{tenant}"}]
  super: Super.Tenant
  unknown: refuse
  directory: {file: t.yaml}
  headers: {id: "", name: X-T}
services:
  defaults: {balance: round_robin, retry: {attempts: 3}, member_tls: {server_name: s}, listeners: [in]}
  app:
    retry: {budget: 0.07%}
    limits: {body: 1MiB}
    rewrite: {location: true, cookies: true}
    affinity: {mode: learn, key_file: c.key, cookies: [sid], strip_unknown: true, drain: 5m, source: "header:X-Device", cookie: {name: LB, path: /app, same_site: none, max_age: 1h}}
    health: {type: http, path: "/ok?x=1", host: h.example.com, status: "200,210-299", body: fine, interval: 3s, timeout: 500ms, fall: 4, rise: 1, failures: 0, server_errors: true, max_ejected: 25%, slow_start: 0s}
    balance: {hash: "header:X-Key"}
    domains:
      d:
        tenant_range: " 5-9, 1,* "
        member_scheme: https
        sub_domains:
          mgt: {hosts: [MGT.example.com, "2001:DB8::1", 10.0.0.1], allow_from: [10.0.0.0/8], affinity: {mode: none}}
          worker: {hosts: ["*.example.com"], member_tls: {ca_file: ca.pem, insecure: true}, listeners: []}
  esb: {hosts: [esb], domains: {e: {member_scheme: http, balance: least_requests}}}
`

func mustParse(t *testing.T, data string, env func(string) (string, bool)) *Config {
	t.Helper()
	c, err := Parse("/etc/jetway/loadbalancer.conf", []byte(data), env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s is\n%#v\nwant\n%#v", what, got, want)
	}
}

func standardHealth() balancer.Health {
	return balancer.Health{Type: balancer.CheckTCP, Path: "/", Status: []balancer.StatusRange{{Lo: 200, Hi: 399}}, Interval: 2 * time.Second,
		Timeout: time.Second, Fall: 3, Rise: 2, Failures: 5, MaxEjected: 0.5, SlowStart: 30 * time.Second}
}

func TestSmallestFile(t *testing.T) {
	c := mustParse(t, smallest, nil)
	equal(t, "name", c.Name, "lb1")
	equal(t, "warnings", len(c.Warnings), 0)
	equal(t, "admin", c.Admin, Admin{Address: "127.0.0.1:9280"})
	equal(t, "fail_over", c.FailOver, true)
	equal(t, "connect", c.Proxy.Timeouts.Connect, time.Second)
	equal(t, "header_bytes", c.Proxy.Limits.HeaderBytes, 32<<10)
	equal(t, "members", c.Static, []balancer.Member{{ID: "127.0.0.1:9763", Domain: "d", SubDomains: []string{"worker"}, Host: "127.0.0.1", HTTP: 9763, Weight: 1, Source: "static"}})
	all, _ := tenant.ParseRanges("*")
	equal(t, "clusters", c.Clusters, []balancer.ClusterConfig{{
		Service: "app", Key: balancer.Key{Domain: "d", SubDomain: "worker"}, Hosts: []string{"localhost"}, Ranges: all,
		Balance: balancer.LeastRequests, Health: standardHealth(), MemberScheme: balancer.SchemeSame, Retry: balancer.Retry{Attempts: 2, Budget: 0.2},
		Affinity: balancer.Affinity{Mode: balancer.AffinityCookie, Timeout: 10 * time.Minute, Cookies: []string{"JSESSIONID", "PHPSESSID"},
			Cookie: balancer.StickyCookie{Name: "JETWAY", Path: "/", SameSite: "Lax"}},
	}})
	r, err := c.Routing(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "listeners", r.Listeners, []balancer.Listener{{Name: ":8280", PublicPort: 8280}})
}

func TestEveryKey(t *testing.T) {
	c := mustParse(t, full, nil)
	equal(t, "state_dir", c.StateDir, "/etc/jetway/state")
	equal(t, "public ports", []uint16{c.Proxy.Listeners[0].PublicPort, c.Proxy.Listeners[1].PublicPort}, []uint16{80, 8243})
	equal(t, "relative certificate", c.Proxy.Listeners[1].TLS.Certificates[0].CertFile, "/etc/jetway/a.crt")
	equal(t, "absolute key", c.Proxy.Listeners[1].TLS.Certificates[1].KeyFile, "/b.key")
	equal(t, "admin", c.Admin, Admin{Address: "127.0.0.1:9999", Configured: true})
	equal(t, "upgrade_idle", c.Proxy.Timeouts.UpgradeIdle, 26*time.Hour)
	equal(t, "body_min_rate", c.Proxy.Timeouts.BodyMinRate, int64(2000))
	equal(t, "networks", fmt.Sprint(c.Gossip.AllowedCIDRs), "[10.0.0.0/8 ::1/128]")
	equal(t, "member", c.Static[0], balancer.Member{ID: "w1", Domain: "d", SubDomains: []string{"mgt", "worker"}, Host: "2001:db8::1", HTTP: 1, HTTPS: 2,
		Ports: []balancer.PortMapping{{From: 7, To: 8}, {From: 9, To: 10}}, Weight: 5, Zone: "a ${b} c", Draining: true, Source: "static"})
	equal(t, "tenants", c.Tenants.Config, tenant.Config{Identify: []tenant.Rule{{Query: "q"}, {Path: "/t/{tenant}"}}, Super: "super.tenant", RefuseUnknown: true})
	equal(t, "directory", c.Tenants.Directory.File, "/etc/jetway/t.yaml")
	equal(t, "range", c.Clusters[0].Ranges.String(), "1,5-9,*")
	equal(t, "hosts", c.Clusters[0].Hosts, []string{"mgt.example.com", "[2001:db8::1]", "10.0.0.1"})

	equal(t, "limits", c.Proxy.Limits, proxy.Limits{HeaderBytes: 1000000, HeaderFields: 7, Connections: 11, ConnectionsPerSource: 12, RequestsPerConnection: 13, Upgrades: 14})
	equal(t, "trusted", fmt.Sprint(c.Proxy.TrustedProxies), "[10.0.0.0/8 ::1/128]")
	equal(t, "proxy_protocol", []bool{c.Proxy.Listeners[0].ProxyProtocol, c.Proxy.Listeners[1].ProxyProtocol}, []bool{true, false})
	equal(t, "client certificates", *c.Proxy.Listeners[1].TLS, proxy.TLSConfig{Certificates: c.Proxy.Listeners[1].TLS.Certificates,
		ClientCAFile: "/etc/jetway/c.pem", RequireClientCert: true, TicketKeyFile: "/etc/jetway/t.key", StrictSNI: true})
	equal(t, "body and rewrite", []any{c.Clusters[0].BodyLimit, c.Clusters[0].RewriteLocation, c.Clusters[0].RewriteCookies, c.Clusters[2].BodyLimit}, []any{int64(1 << 20), true, true, int64(0)})

	// What a level does not say comes from the one above, key by key.
	mgt, worker, esb := c.Clusters[0], c.Clusters[1], c.Clusters[2]
	learned := balancer.Affinity{Mode: balancer.AffinityLearn, Timeout: 20 * time.Minute, KeyFile: "/etc/jetway/c.key", Cookies: []string{"sid"},
		StripUnknown: true, Drain: 5 * time.Minute, Header: "x-device", Cookie: balancer.StickyCookie{Name: "LB", Path: "/app", SameSite: "None", MaxAge: time.Hour}}
	equal(t, "affinity of worker", worker.Affinity, learned)
	learned.Mode = balancer.AffinityNone
	equal(t, "affinity of mgt", mgt.Affinity, learned)
	equal(t, "affinity of esb", esb.Affinity.Mode, balancer.AffinityCookie)
	equal(t, "sessions", c.SessionsMax, 5000)
	equal(t, "retry of mgt", mgt.Retry, balancer.Retry{Attempts: 3, Budget: 0.0007})
	equal(t, "retry of esb", esb.Retry, balancer.Retry{Attempts: 3, Budget: 0.2})
	equal(t, "TLS of mgt", mgt.MemberTLS, balancer.MemberTLS{ServerName: "s"})
	equal(t, "TLS of worker", worker.MemberTLS, balancer.MemberTLS{CAFile: "/etc/jetway/ca.pem", ServerName: "s", Insecure: true})
	equal(t, "schemes", []balancer.Scheme{mgt.MemberScheme, worker.MemberScheme, esb.MemberScheme}, []balancer.Scheme{"https", "https", "http"})
	equal(t, "balance", []balancer.Policy{mgt.Balance, esb.Balance}, []balancer.Policy{"hash", "least_requests"})
	equal(t, "hash", []balancer.HashBy{mgt.HashBy, esb.HashBy}, []balancer.HashBy{{What: "header", Header: "x-key"}, {}})
	equal(t, "health of mgt", mgt.Health, balancer.Health{Type: "http", Path: "/ok?x=1", Host: "h.example.com", Status: []balancer.StatusRange{{Lo: 200, Hi: 200}, {Lo: 210, Hi: 299}},
		Body: "fine", Interval: 3 * time.Second, Timeout: 500 * time.Millisecond, Fall: 4, Rise: 1, ServerErrors: true, MaxEjected: 0.25})
	equal(t, "health of esb", esb.Health, standardHealth())
	equal(t, "listeners", [][]string{mgt.Listeners, worker.Listeners}, [][]string{{"in"}, nil})
	equal(t, "allow_from", []int{len(mgt.AllowFrom), len(worker.AllowFrom)}, []int{1, 0})
}

// values is what a Config says, without positions.
func values(c *Config) Config {
	v := *c
	v.Warnings, v.masked = nil, nil
	return v
}

func TestPrintReadsBack(t *testing.T) {
	for _, text := range []string{smallest, full, base} {
		c := mustParse(t, text, nil)
		again := mustParse(t, string(c.Print()), nil)
		equal(t, "what was printed and read", values(again), values(c))
		equal(t, "what was printed twice", string(again.Print()), string(c.Print()))
	}
}

func TestVariables(t *testing.T) {
	env := map[string]string{"NAME": "lb9", "EMPTY": "", "KEY": "c2VjcmV0", "EVIL": "a]\nservices: {", "PORT": "81"}
	look := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	f := func(text, want string) {
		t.Helper()
		c, err := Parse("f", []byte(strings.Replace(base, "lb1", text, 1)), look)
		if err != nil {
			if want != "" {
				t.Errorf("%s: %v", text, err)
			}
			return
		}
		if c.Name != want {
			t.Errorf("%s is %q, want %q", text, c.Name, want)
		}
	}
	f("${NAME}", "lb9")
	f("a${NAME}-${NAME}b", "alb9-lb9b")
	f("${NONE:-x}", "x")
	f("${EMPTY:-x}", "x") // as in a shell
	f("${NAME:-x}", "lb9")
	f("lb${NONE:-}", "lb")
	f("${EVIL}", "") // never structure, nor a line of its own
	f("${none", "")

	c := mustParse(t, strings.Replace(smallest, "9763", `"${PORT}"`, 1), look)
	equal(t, "port", c.Static[0].HTTP, uint16(81))

	secret := strings.Replace(smallest, "{static:", `{gossip: {bind: "127.0.0.1:1", key_file: "${KEY}"}, static:`, 1)
	c = mustParse(t, secret, look)
	equal(t, "key_file", c.Gossip.KeyFile, "/etc/jetway/c2VjcmV0")
	if printed := string(c.Print()); strings.Contains(printed, "c2VjcmV0") || !strings.Contains(printed, "key_file: '******'") {
		t.Errorf("the secret is not masked:\n%s", printed)
	}
}

func TestWarnings(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		c := mustParse(t, text, nil)
		if len(c.Warnings) != len(want) {
			t.Fatalf("got warnings %v, want %d", c.Warnings, len(want))
		}
		for i, w := range c.Warnings {
			if !strings.Contains(w.String(), want[i]) {
				t.Errorf("got warning %q, want %q in it", w, want[i])
			}
		}
	}
	f(base, `domain "a" gets no request by tenant id`, "b/worker can have no member")
	f(smallest+`tenants: {identify: [{query: a}]}`, "no tenant can be found: there is no directory")
	f(smallest+`tenants: {unknown: refuse}`, "every request that names a tenant is refused")
	f(strings.Replace(smallest, "host:", "sub_domain: mgt, host:", 1), `member "127.0.0.1:9763" serves d/mgt, which no service has`, "d/worker can have no member")
	f(strings.Replace(smallest, "{static:", `{gossip: {bind: "10.0.0.1:1", insecure: true, join: ["a:1"]}, static:`, 1), "gossip knows 1 other addresses to join")
	f(strings.Replace(smallest, "{static:", `{gossip: {bind: "10.0.0.1:1", insecure: true, join: ["10.0.0.1:1", "10.0.0.2:1"]}, static:`, 1), "gossip knows 1 other addresses to join")
	f(strings.Replace(smallest, "{static:", `{gossip: {bind: "0.0.0.0:1", advertise: "10.0.0.1:1", insecure: true, join: ["10.0.0.1:1", "10.0.0.2:1", "a:1"]}, static:`, 1))
	// One machine alone has nobody else to restart for.
	f(strings.Replace(smallest, "{static:", `{gossip: {bind: "127.0.0.1:1"}, static:`, 1))
}

// An admin API that other machines reach has to know who asks.
func TestAdminBeyondLoopback(t *testing.T) {
	f := func(admin, want string) {
		t.Helper()
		_, err := Parse("x", []byte(strings.Replace(smallest, "{listeners:", "{admin: "+admin+", listeners:", 1)), nil)
		if got := fmt.Sprint(err); !strings.Contains(got, want) || err == nil && want != "<nil>" {
			t.Fatalf("%s: %s, want %q", admin, got, want)
		}
	}
	pair := "cert_file: a, key_file: b"
	f(`{address: "127.0.0.1:1"}`, "<nil>")
	f(`{address: "localhost:1", token_file: t}`, "<nil>")
	f(`{address: ":1"}`, "in the clear; expected admin.tls")
	f(`{address: "10.0.0.4:1", token_file: t}`, "in the clear")
	f(`{address: "10.0.0.4:1", tls: {`+pair+`}}`, "asks nobody who they are; expected admin.token_file or admin.tls.client_ca_file")
	f(`{address: "10.0.0.4:1", tls: {`+pair+`}, token_file: t}`, "<nil>")
	f(`{address: "10.0.0.4:1", tls: {`+pair+`, client_ca_file: c}}`, "<nil>")
	f(`{tls: {`+pair+`}}`, "<nil>")
}

func TestRoutes(t *testing.T) {
	file := `
loadbalancer: {listeners: [{address: ":0"}]}
membership: {gossip: {bind: "127.0.0.1:0"}}
tenants: {directory: {file: t.csv}UNKNOWN}
services:
  app:
    hosts: [a.example.com]
    domains: {DOMAINS}
`
	f := func(domains, unknown string, want ...string) {
		t.Helper()
		c := mustParse(t, strings.NewReplacer("DOMAINS", domains, "UNKNOWN", unknown).Replace(file), nil)
		var b strings.Builder
		if err := c.Routes(&b); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(b.String()) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		equal(t, "routes", lines, append([]string{"a.example.com (app/worker)"}, want...))
	}
	f(`d: {}`, "", "any tenant -> d", "no or unknown tenant -> d")
	f(`a: {tenant_range: "1-4,6,5"}, jet: {tenant_range: 42}, s: {tenant_range: "*"}`, "",
		"1-6 -> a", "7-41 -> s", "42 -> jet (private jet)", "43 and above -> s", "no or unknown tenant -> s")
	f(`a: {tenant_range: "2-4"}, b: {tenant_range: "5,10"}`, ", unknown: refuse",
		"1 -> nowhere (404 no_domain)", "2-4 -> a", "5 -> b", "6-9 -> nowhere (404 no_domain)", "10 -> b", "11 and above -> nowhere (404 no_domain)",
		"no or super tenant -> nowhere (404 no_domain)", "unknown tenant -> nowhere (403 unknown_tenant)")
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadLooksIntoFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "bad.crt", "no certificate")
	write(t, dir, "short.key", "c2hvcnQ=")
	path := write(t, dir, "lb.conf", `loadbalancer:
  listeners:
    - address: ":8243"
      tls:
        certificates:
          - {cert_file: none.crt, key_file: none.key}
          - {cert_file: bad.crt, key_file: bad.crt}
membership:
  gossip: {bind: "10.0.0.1:7946", key_file: short.key}
tenants:
  directory: {file: none.csv}
services:
  app:
    member_tls: {ca_file: bad.crt}
    hosts: [a]
    domains: {d: {}}
`)
	_, err := Load(path)
	want := []string{
		`:6:25: "DIR/none.crt" cannot be read: no such file or directory; expected a readable file`,
		`:6:45: "DIR/none.key" cannot be read`,
		`:7:25: "DIR/bad.crt" cannot be used with its key`,
		`:9:45: "DIR/short.key" is no gossip key; expected base64 of 32 bytes`,
		`:11:21: "DIR/none.csv" cannot be read`,
		`:14:27: "DIR/bad.crt" holds no certificate; expected one`,
	}
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got\n%v\nwant %d problems", err, len(want))
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], path+strings.ReplaceAll(w, "DIR", dir)) {
			t.Errorf("got  %s\nwant %s", lines[i], w)
		}
	}
	if _, err := Load(filepath.Join(dir, "none.conf")); err == nil || !strings.Contains(err.Error(), "cannot read configuration") {
		t.Errorf("a missing file gives %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory is read as a file")
	}
}

// TestLoadBroken: a file that is no YAML, or nothing, is a problem with a place.
func TestLoadBroken(t *testing.T) {
	for _, text := range []string{"", "{", "- a\n", "loadbalancer: [\n", "\x00"} {
		path := write(t, t.TempDir(), "lb.conf", text)
		c, err := Load(path)
		if c != nil || err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, %v, want a problem that names the file", text, c, err)
		}
	}
}

func TestLoadTenants(t *testing.T) {
	dir := t.TempDir()
	want := []tenant.Entry{{Name: "acme.com", ID: 1}, {Name: "initech.com", ID: 42}}
	good := map[string]string{
		"a.csv":  "# comment\nname,id\nacme.com,1\ninitech.com,42,more\n",
		"a.yaml": "- {name: acme.com, id: 1}\n- name: initech.com\n  id: 42\n",
		"b.yml":  `[{"name": "acme.com", "id": 1}, {"name": "initech.com", "id": "42"}]`,
	}
	for _, name := range slices.Sorted(maps.Keys(good)) {
		got, err := LoadTenants(write(t, dir, name, good[name]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		equal(t, name, got, want)
	}
	f := func(name, text, want string) {
		t.Helper()
		path := write(t, dir, name, text)
		_, err := LoadTenants(path)
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(want, "FILE", path)) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	f("c.csv", "acme.com,1\ninitech.com\n", "FILE:2: ")
	f("d.csv", "acme.com,1\ninitech.com,x\n", "FILE:2: ")
	f("e.csv", "acme.com,1\n\"initech.com,x\n", "FILE:2:")
	f("f.yaml", "- {name: acme.com, id: 1}\n- {name: initech.com}\n", `FILE:2:3: key "id" is missing`)
	f("g.yaml", "- {name: acme.com, id: one}\n", `FILE:1:24: "one" is wrong for "id"`)
	f("h.yaml", "acme.com: 1\n", `FILE:1:1: a section stands where the list of tenants belongs`)
	f("i.txt", "acme.com,1\n", `ends in .csv`)
	if _, err := LoadTenants(filepath.Join(dir, "none.csv")); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestRoutingReadsTenants(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "t.csv", "acme.com,1\nACME.com,2\n")
	c, err := Load(write(t, dir, "lb.conf", smallest+"tenants: {directory: {file: t.csv}}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(nil); err == nil || !strings.Contains(err.Error(), `"acme.com" stands twice`) {
		t.Errorf("a tenant that stands twice gives %v", err)
	}
	write(t, dir, "t.csv", "acme.com,1\n")
	list, err := c.List(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Routing(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "tenants", r.Tenants.Tenants(), 1)
}

// FuzzParse wants no panic, problems with positions, and of what is accepted a
// print that reads back the same.
func FuzzParse(f *testing.F) {
	f.Add(smallest)
	f.Add(full)
	f.Add(base)
	f.Add(bomb)
	f.Add("a: [\"x\n\t- *b")
	shipped, err := os.ReadFile("../loadbalancer.conf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(shipped))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("/f", []byte(text), func(string) (string, bool) { return "", false })
		if err != nil {
			for _, p := range err.(Problems) {
				if p.Line < 1 || p.Column < 1 || p.What == "" {
					t.Fatalf("problem without position: %+v", p)
				}
			}
			return
		}
		if len(c.masked) > 0 {
			return // what is masked does not read back
		}
		again, err := Parse("/f", c.Print(), nil)
		if err != nil {
			t.Fatalf("what was printed is refused: %v\n%s", err, c.Print())
		}
		if !reflect.DeepEqual(values(again), values(c)) {
			t.Fatalf("what was printed reads back as\n%s\nwant\n%s", again.Print(), c.Print())
		}
	})
}

// The operators' listener is found in a file that is wrong elsewhere, or only
// right for Jetway's own user and environment.
func TestLoadAdmin(t *testing.T) {
	f := func(text string, want Admin, problem string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "lb.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := LoadAdmin(path)
		if problem != "" {
			if err == nil || !strings.Contains(err.Error(), problem) {
				t.Fatalf("%s: %v, want %q", text, err, problem)
			}
			return
		}
		if got.TokenFile != "" {
			got.TokenFile = filepath.Base(got.TokenFile)
		}
		if err != nil || got != want {
			t.Fatalf("%s = %+v, %v; want %+v", text, got, err, want)
		}
	}
	standard := Admin{Address: "127.0.0.1:9280"}
	at := Admin{Address: "127.0.0.1:7", Configured: true}
	f(smallest, standard, "")
	f("loadbalancer: {admin: {address: \"127.0.0.1:7\"}}\n", at, "")
	f("loadbalancer: {nmae: x, name: \"${JETWAY_TEST_UNSET}\", admin: {address: \"127.0.0.1:7\"}}\nservces: []\n", at, "")
	f("loadbalancer: {access_log: {path: /nowhere/at/all}, admin: {address: \"127.0.0.1:7\", token_file: gone}}\n",
		Admin{Address: "127.0.0.1:7", Configured: true, TokenFile: "gone"}, "")
	f("services: {}\n", standard, "")
	f("loadbalancer: {admin: {address: nonsense}}\n", Admin{}, ":1:33: ")
	f("loadbalancer: {admin: {address: \"127.0.0.1:${JETWAY_TEST_UNSET}\"}}\n", Admin{}, "JETWAY_TEST_UNSET")
	f("loadbalancer: {admin: {adress: \"127.0.0.1:7\"}}\n", Admin{}, `expected "address"`)
	f("loadbalancer: [\n", Admin{}, "lb.conf:")
	f("", Admin{}, "the file is empty")
}
