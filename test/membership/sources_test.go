package membership

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// nameserver is a dnsmasq whose names come from a file of lines like
// /etc/hosts.
type nameserver struct {
	*harness.Process
	t     *testing.T
	port  int
	hosts string
}

func startNameserver(t *testing.T, lines string) *nameserver {
	t.Helper()
	binary := harness.RequireTool(t, "dnsmasq")
	dir, err := os.MkdirTemp("", "jetway-dns") // it gives up root, and must still read it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n := &nameserver{t: t, port: harness.FreePort(t), hosts: filepath.Join(dir, "hosts")}
	n.write(lines)
	n.start(binary)
	return n
}

func (n *nameserver) start(binary string) {
	n.Process = harness.StartTool(n.t, binary, "--no-daemon", "--conf-file=/dev/null", fmt.Sprintf("--port=%d", n.port), "--listen-address=127.0.0.1",
		"--bind-interfaces", "--no-resolv", "--no-hosts", "--local=/test/", "--addn-hosts="+n.hosts, "--pid-file=")
	eventually(n.t, patience, "the DNS server answers", func() bool {
		c, err := net.Dial("tcp", harness.Loopback(n.port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (n *nameserver) write(lines string) {
	n.t.Helper()
	if err := os.WriteFile(n.hosts, []byte(lines), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// set replaces the names of a server that runs.
func (n *nameserver) set(lines string) {
	n.write(lines)
	n.Signal(syscall.SIGHUP)
}

// memberOn starts a member on another loopback address and port.
func memberOn(t *testing.T, host string, port int, name string) func() {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		t.Fatal(err)
	}
	m := harness.ServeMember(t, name, port, ln, nil)
	return m.Close
}

// TestStaticNames: members with DNS names join, move, multiply, stay while DNS
// is gone or says they do not exist, and come back; no request waits for DNS.
func TestStaticNames(t *testing.T) {
	t.Parallel()
	dns := startNameserver(t, "127.0.0.1 web.test\n")
	s := newSite(t)
	s.gossip = 0
	port := harness.FreePort(t)
	s.membership = fmt.Sprintf(`  static:
    - {id: web, domain: as.domain, host: web.test, http: %d}
    - {id: missing, domain: as.domain, sub_domain: mgt, host: missing.test, http: %d}
  dns: {servers: ["127.0.0.1:%d"], interval: 1s, timeout: 500ms}
`, port, port, dns.port)
	memberOn(t, "127.0.0.1", port, "one")
	memberOn(t, "127.0.0.2", port, "two")
	j := s.start(t)
	serves(t, s.http, "as.example.com", "one")
	if got := get(t, s.http, "mgt.example.com"); !strings.HasPrefix(got, "503") {
		t.Errorf("a name that does not exist serves: %s", got)
	}
	at := func(id, host string) {
		t.Helper()
		awaitMember(t, j, id, "is at "+host, func(m state) bool { return m.Host == host && m.Source == "static" })
	}
	at("web", "127.0.0.1")
	dns.set("127.0.0.2 web.test\n127.0.0.2 missing.test\n") // moved, and joined
	at("web", "127.0.0.2")
	serves(t, s.http, "as.example.com", "two")
	serves(t, s.http, "mgt.example.com", "two")
	dns.set("127.0.0.1 web.test\n127.0.0.2 web.test\n127.0.0.2 missing.test\n")
	at("web@127.0.0.1", "127.0.0.1")
	at("web@127.0.0.2", "127.0.0.2")

	// DNS fails: with an answer that there is no such name, by silence, and by absence.
	stays := func(what string) {
		t.Helper()
		eventually(t, patience, "trouble is noticed: "+what, func() bool { return j.Metric(`jetway_member_names_unresolved`) == "2" })
		for range 30 {
			started := time.Now()
			if got := get(t, s.http, "as.example.com"); got != "200 one GET /" && got != "200 two GET /" {
				t.Fatalf("%s: got %q", what, got)
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Fatalf("%s: a request took %v", what, took)
			}
		}
	}
	dns.set("127.0.0.9 other.test\n")
	stays("no such name")
	dns.set("127.0.0.2 web.test\n127.0.0.2 missing.test\n")
	at("web", "127.0.0.2")
	dns.Signal(syscall.SIGSTOP)
	stays("silence")
	dns.Signal(syscall.SIGCONT)
	dns.Kill()
	stays("absence")
	dns.write("127.0.0.1 web.test\n127.0.0.2 missing.test\n")
	dns.start(harness.RequireTool(t, "dnsmasq"))
	at("web", "127.0.0.1")

	// Changed while Jetway runs: the name goes, an address comes.
	j.Reload(t, strings.Replace(s.conf(), "host: web.test", "host: 127.0.0.2", 1))
	at("web", "127.0.0.2")
}

// TestSeedNames: a well-known address that is a DNS name is looked up again
// and again, for ever, by Jetway and by the member's agent.
func TestSeedNames(t *testing.T) {
	t.Parallel()
	dns := startNameserver(t, "")
	serf := moduleSerf(t)
	s := newSite(t)
	seed := harness.FreePort(t)
	s.gossipMore = fmt.Sprintf(`, join: ["pool.test:%d"]`, seed)
	s.membership = fmt.Sprintf("  dns: {servers: [\"127.0.0.1:%d\"]}\n", dns.port)
	j := s.start(t) // an unknown name keeps nobody from starting
	app := harness.StartMember(t, "app", nil)
	if got := get(t, s.http, "as.example.com"); !strings.HasPrefix(got, "503") {
		t.Errorf("got %q without members", got)
	}
	eventually(t, patience, "it says that nobody can be reached", func() bool { return strings.Contains(j.Log(), "no well-known gossip address can be reached") })
	dns.set("127.0.0.1 pool.test\n::1 pool.test\n")
	startAgentAt(t, serf, "w1", seed, harness.FreePort(t), fmt.Sprintf("domain=as.domain http=%d", app.Port))
	awaitState(t, j, "w1", "up")
	serves(t, s.http, "as.example.com", "app")
}

// TestExec: a command's members join, change, drain and go with what it
// prints, and stay while it fails in whatever way.
func TestExec(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.gossip = 0
	s.membership = "  exec:\n    - {name: cloud, command: [/bin/sh, members.sh], interval: 1s, timeout: 1s}\n"
	one, two := harness.StartMember(t, "one", nil), harness.StartMember(t, "two", nil)
	list := func(members string) string { return "cat <<'EOF'\n" + members + "\nEOF\n" }
	member := func(id string, port int, more string) string {
		return fmt.Sprintf(`{"id": %q, "domain": "as.domain", "host": "127.0.0.1", "http": %d%s}`, id, port, more)
	}
	j := s.start(t, harness.WithFile("members.sh", list("["+member("e1", one.Port, "")+"]")))
	if got := get(t, s.http, "as.example.com"); got != "200 one GET /" {
		t.Errorf("ready before the command was asked: %s", got)
	}
	awaitMember(t, j, "e1", "comes from exec", func(m state) bool { return m.Source == "exec" })
	j.WriteFile(t, "members.sh", list("["+member("e1", one.Port, `, "state": "draining"`)+","+member("e2", two.Port, `, "weight": 4, "sub_domain": "mgt,worker"`)+"]"))
	awaitState(t, j, "e1", "draining")
	awaitMember(t, j, "e2", "has weight 4", func(m state) bool { return m.Weight == 4 })
	serves(t, s.http, "mgt.example.com", "two")
	j.WriteFile(t, "members.sh", list("["+member("e2", two.Port, "")+"]"))
	awaitGone(t, j, "e1")

	bad := func(what, script, said string) {
		t.Helper()
		from := len(j.Log())
		j.WriteFile(t, "members.sh", script)
		eventually(t, patience, what+" is told of", func() bool { return strings.Contains(j.Log()[from:], said) })
		if byID, _ := members(t, j); len(byID) != 1 || byID["e2"].State != "up" {
			t.Fatalf("%s: members %v", what, byID)
		}
		serves(t, s.http, "as.example.com", "two")
	}
	bad("an exit code", "echo no such region >&2; exit 3\n", "exit status 3: no such region")
	bad("no output", "true\n", "it is empty")
	bad("no JSON", "echo hello\n", "line 1 column")
	bad("an unknown key", list(`[{"domain": "d", "hots": "x"}]`), `unknown field \"hots\"`)
	bad("a bad member", list("["+member("e2", two.Port, "")+",\n"+member("e3", 99999, "")+"]"), "member 2 of the list")
	if _, out := j.Get("/api/v1/overview"); !strings.Contains(out, `membership.exec \"cloud\" gives no list, that of `) || !strings.Contains(out, "member 2 of the list") {
		t.Errorf("the overview does not tell of the command:\n%s", out)
	}
	bad("silence", "sleep 100\n", "took longer than 1s")
	bad("a flood", "yes\n", "longer than 8 MiB")
	bad("a child that stays", "sleep 100 &\n", "it left a process behind")
	if n := j.Metric(`jetway_member_exec_failures_total{exec="cloud"}`); n == "" || n == "0" {
		t.Errorf("failures are not counted: %q", n)
	}
	j.WriteFile(t, "members.sh", list("["+member("e1", one.Port, "")+"]"))
	serves(t, s.http, "as.example.com", "one")

	// Taken out of the configuration, its members go.
	j.Reload(t, strings.Replace(s.conf(), s.membership, "  static: []\n", 1))
	awaitGone(t, j, "e1")
}
