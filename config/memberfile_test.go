package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memberBase is the member file that the malformed ones are made of.
const memberBase = `domain: as.shared.domain
sub_domain: mgt,worker
id: w1
node: n1
host: 10.0.0.21
http: 9763
https: 9443
port_mapping: {8281: 9768}
weight: 2
zone: rack-7
state: up
installation: default
drain_wait: 1s
check: {type: http, path: /health, interval: 2s, timeout: 1s, fall: 3, rise: 2, port: 81, host: app.test}
signature: {key_file: domain.key, valid: 24h}
gossip:
  bind: "10.0.0.21:7946"
  advertise: "10.0.0.22:7946"
  join: ["10.0.0.4:7946", "lb.test:7946"]
  key_file: gossip.key
  insecure: false
  allowed_cidrs: [10.0.0.0/8]
`

func loadMember(t *testing.T, text string) (*Member, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"member.yaml": text, "domain.key": "x", "gossip.key": strings.Repeat("A", 43) + "=\n", "member.sig": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return LoadMember(filepath.Join(dir, "member.yaml"))
}

func TestMemberFile(t *testing.T) {
	m, err := loadMember(t, memberBase)
	if err != nil {
		t.Fatal(err)
	}
	a := m.Announcement.Member
	if a.Domain != "as.shared.domain" || len(a.SubDomains) != 2 || a.ID != "w1" || a.HTTP != 9763 || a.HTTPS != 9443 || a.Weight != 2 || a.Draining ||
		len(a.Ports) != 1 || a.Zone != "rack-7" || m.Node != "n1" || len(m.Gossip.Join) != 2 || len(m.Gossip.AllowedCIDRs) != 1 || !filepath.IsAbs(m.Gossip.KeyFile) {
		t.Errorf("got %+v", m.AgentConfig)
	}
	if m, err = loadMember(t, "domain: d\nhttp: 80\n"); err != nil || m.Announcement.Member.Weight != 1 {
		t.Errorf("the smallest file: %v", err)
	}
}

// TestMalformedMember breaks memberBase in one place per case: the first
// occurrence of old becomes new. The message must name the line and the words.
func TestMalformedMember(t *testing.T) {
	f := func(old, new string, want ...string) {
		t.Helper()
		if !strings.Contains(memberBase, old) {
			t.Fatalf("BUG: %q is not in the base", old)
		}
		_, err := loadMember(t, strings.Replace(memberBase, old, new, 1))
		if err == nil {
			t.Errorf("%q for %q was taken", new, old)
			return
		}
		for _, w := range append(want, "member.yaml:") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q for %q: %q is missing in: %v", new, old, w, err)
			}
		}
	}
	f(memberBase, "", ":1:1:", "the file is empty; expected at least domain and a port")
	f(memberBase, "# later\n", ":1:1:", "nothing but comments; expected at least domain and a port")
	f("domain: as.shared.domain\n", "", `"domain"`)
	f("as.shared.domain", "as shared", ":1:", `"as shared"`, `"domain"`)
	f("domain: as", "dommain: as", ":1:", `"dommain"`)
	f("domain: as.shared.domain", "domain: [a, b]", ":1:", "domain")
	f("mgt,worker", "mgt,mgt", ":2:", `"sub_domain"`)
	f("id: w1", "id: w 1", ":3:", `"id"`)
	f("id: w1", "id: w1\nid: w2", ":4:", "id")
	f("node: n1", "node: 'n 1'", ":4:", `"node"`)
	f("10.0.0.21", "10.0.0.21:80", ":5:", `"host"`)
	f("http: 9763", "http: 0", ":6:", `"0"`, `"http"`)
	f("http: 9763", "http: nine", ":6:", `"nine"`)
	f("https: 9443", "https: 70000", ":7:", `"70000"`, `"https"`)
	f("8281: 9768", "x: 9768", ":8:", `"x"`)
	f("8281: 9768", "8281: 0", ":8:", `"port_mapping"`)
	f("{8281: 9768}", "[8281]", ":8:", "port_mapping")
	f("weight: 2", "weight: 1001", ":9:", `"1001"`, `"weight"`)
	f("weight: 2", "weight: -1", ":9:", `"weight"`)
	f("state: up", "state: down", ":11:", `"down"`, "draining")
	f("installation: default", "installation: a b", ":12:", `"installation"`)
	f("drain_wait: 1s", "drain_wait: soon", ":13:", `"soon"`, `"drain_wait"`)
	f("type: http", "type: icmp", ":14:", `"icmp"`, "tcp")
	f("type: http, ", "", ":14:", `type"`)
	f("interval: 2s", "interval: 0s", ":14:", `"interval"`)
	f("fall: 3", "fall: 0", ":14:", `"fall"`)
	f("rise: 2", "rise: 101", ":14:", `"rise"`)
	f("port: 81", "port: http", ":14:", `"http"`, `"port"`)
	f("valid: 24h", "valid: 1s", ":15:", `"valid"`, "1m")
	f("valid: 24h", "text: x", ":15:", "two places")
	f("key_file: domain.key", "key_file: other.key", ":15:", "other.key")
	f("{key_file: domain.key, valid: 24h}", "yes", ":15:", "signature")
	f(`"10.0.0.21:7946"`, "lb.test:7946", ":17:", `"bind"`)
	f(`"10.0.0.22:7946"`, `"10.0.0.22"`, ":18:", `"advertise"`)
	f(`"10.0.0.4:7946"`, `"10.0.0.4"`, ":19:", `"join"`)
	f("key_file: gossip.key", "key_file: none.key", ":20:", "none.key")
	f("insecure: false", "insecure: perhaps", ":21:", `"insecure"`)
	f("10.0.0.0/8", "10.0.0.0/33", ":22:", `"allowed_cidrs"`)
	f("gossip:\n", "gossip: 5\n", ":17:", "a key at the right indentation")
	f("domain: as.shared.domain", "\tdomain: x", ":1:1:", "a tab")
	f("zone: rack-7", "zone: *anchor", "anchor")
	f("zone: rack-7", "zone: ${JETWAY_NO_SUCH_VARIABLE}", ":10:", "JETWAY_NO_SUCH_VARIABLE")
	f("http: 9763\nhttps: 9443\nport_mapping: {8281: 9768}\n", "", "no port")
	f(memberBase, "", "")
	f(memberBase, "[]", "")
	f(memberBase, "\xff\xfe", "")
	f(memberBase, "domain: d\nhttp: 1\n---\ndomain: e\n", "")
}
