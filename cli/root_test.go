package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"jetway/discovery"
)

const goodConf = `loadbalancer:
  listeners:
    - {name: http, address: "127.0.0.1:0"}
  admin: {address: "127.0.0.1:1"}
membership:
  static:
    - {id: w1, domain: d, host: 127.0.0.1, http: 9763}
services:
  app:
    domains:
      d: {tenant_range: "*", hosts: [a.example.com]}
`

func writeConf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lb.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodes(t *testing.T) {
	good := writeConf(t, goodConf)
	warns := writeConf(t, goodConf+"tenants: {unknown: refuse}\n")
	bad := writeConf(t, "loadbalancer: {nmae: x}\n")
	unreadable := writeConf(t, "loadbalancer: {admin: {address: x}}\n")
	t.Chdir(t.TempDir()) // no loadbalancer.conf here
	f := func(code int, stdout, stderr string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		got := execute(args, &out, &errs)
		if got != code || !strings.Contains(out.String(), stdout) || !strings.Contains(errs.String(), stderr) {
			t.Fatalf("jetway %s = %d, want %d\nstdout, want %q:\n%s\nstderr, want %q:\n%s", strings.Join(args, " "),
				got, code, stdout, &out, stderr, &errs)
		}
	}
	f(0, "jetway ", "", "version")
	f(0, `"go": "go1`, "", "version", "-o", "json")
	f(0, `"schema_version": 1`, "", "version", "-o", "json")
	f(0, "commit ", "", "--version")
	f(0, "commit ", "", "-v")
	f(0, "Usage:", "", "--help")
	f(0, "bash", "", "completion", "bash")
	f(2, "", `unknown command "statsu"; did you mean status?`, "statsu")
	f(2, "", "unknown flag: --nope", "--nope")
	f(2, "", `unexpected argument "x"`, "check", "x")
	f(2, "", `--id is "x", expected a whole number`, "tenants", "add", "--id", "x", "name")
	f(2, "", `--drain is "5", expected a duration such as`, "handover", "--drain", "5")
	f(2, "", "expected table or json", "members", "-o", "xml")
	f(2, "", "which member?", "drain")
	f(2, "", "which member?", "drain", "w1", "")
	f(2, "", "expected a member", "weight", "", "3")
	f(2, "", "expected DOMAIN or DOMAIN/SUB-DOMAIN", "scale", "", "3")
	f(2, "", "expected DOMAIN or DOMAIN/SUB-DOMAIN", "scale", "d/", "3")
	f(2, "", "expected DOMAIN or DOMAIN/SUB-DOMAIN", "scale", "/worker", "--release")
	f(2, "", `--after is "x", expected a whole number`, "events", "--after", "x")
	f(2, "", "keygen what? expected gossip", "keygen")
	f(2, "", "--domain is missing", "member", "--http", "1")
	f(2, "", "expected host:port", "status", "--admin", "nonsense")
	f(2, "", "expected json or console", "run", "-c", good, "--log-format", "xml")
	f(2, "", "expected debug, info", "run", "-c", good, "--log-level", "loud")
	f(1, "", "no such file", "run", "-c", "nowhere.conf")
	f(1, "", bad+`:1:16: key "nmae" is unknown`, "run", "-c", bad)
	f(1, "", "loadbalancer.conf", "run")
	f(1, "", bad+`:1:16: key "nmae" is unknown`, "check", "-c", bad)
	f(0, "a.example.com", "", "check", "-c", good)
	f(0, "# a.example.com", "", "check", "-c", good, "--print")
	f(0, "", "(warning)", "check", "-c", warns)
	f(1, "", "-W", "check", "-c", warns, "-W")
	f(1, "", "Is it running?", "status", "--admin", "127.0.0.1:1")
	f(1, "", "cannot reach Jetway at http://127.0.0.1:1", "status", "-c", good)
	// What is wrong elsewhere in the file does not lead to another Jetway.
	broken := writeConf(t, strings.Replace(goodConf, "services:", "sevrices:", 1))
	f(1, "", "cannot reach Jetway at http://127.0.0.1:1: ", "reload", "-c", broken)
	if err := os.WriteFile("loadbalancer.conf", []byte("loadbalancer: {name: \"${JETWAY_TEST_UNSET}\", admin: {address: \"127.0.0.1:1\"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(1, "", "cannot reach Jetway at http://127.0.0.1:1: ", "drain", "w1")
	listed := writeConf(t, goodConf+"tenants: {identify: [{query: t}], directory: {file: tenants.csv}}\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(listed), "tenants.csv"), []byte("acme,7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(0, "known acme, id 7, named by query t; directory file "+filepath.Join(filepath.Dir(listed), "tenants.csv")+", read ", "",
		"explain", "GET", "http://a.example.com/?t=acme", "--offline", "-c", listed)
	var out, errs bytes.Buffer // somebody may listen on the default address
	if execute([]string{"members", "-c", unreadable}, &out, &errs); !strings.Contains(errs.String(), "cannot take the admin address from") {
		t.Fatalf("jetway members -c %s says %s", unreadable, &errs)
	}
	f(1, "", "cannot reach Jetway", "reload", "--admin", "127.0.0.1:1")
	f(1, "", "not ready: cannot reach Jetway", "health", "--admin", "http://127.0.0.1:1/")
}

// What check prints can be checked again, and means the same.
func TestCheckPrintRoundTrip(t *testing.T) {
	printed := func(conf string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := execute([]string{"check", "--print", "-c", writeConf(t, conf)}, &out, &errs); code != 0 {
			t.Fatalf("= %d %s", code, &errs)
		}
		return out.String()
	}
	once := printed(goodConf)
	if twice := printed(once); twice != once {
		t.Fatalf("differs when printed again:\n%s\n---\n%s", once, twice)
	}
}

func TestKeygenKeepsTheKeyThatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gossip.key")
	var out, errs bytes.Buffer
	if code := execute([]string{"keygen", "gossip", "--out", path}, &out, &errs); code != 0 || out.Len() != 0 {
		t.Fatalf("= %d %s%s", code, &out, &errs)
	}
	first, err := os.ReadFile(path)
	if err != nil || len(first) != 45 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", info.Mode())
	}
	if code := execute([]string{"keygen", "gossip", "--out", path}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "there is one already") {
		t.Fatalf("= %d %s", code, &errs)
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(again, first) {
		t.Fatal("the key was replaced")
	}
}

// The help is part of the interface: a change of it shall be seen. Run with
// UPDATE_GOLDEN=1 after a change that is meant.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		switch c.Name() {
		case "completion", "help": // not written here
			return
		}
		if c.Hidden {
			return
		}
		c.InitDefaultHelpFlag()
		fmt.Fprintf(&out, "==== %s\n", c.CommandPath())
		c.SetOut(&out)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		if c.Short == "" || c.HasParent() && (!c.HasSubCommands() && c.Long == "" || c.Example == "") {
			t.Errorf("%s lacks a text or an example", c.CommandPath())
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(newRoot())
	const golden = "testdata/help.golden"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(want, out.Bytes()) {
		t.Fatalf("help differs from %s (%v):\n%s", golden, err, &out)
	}
}

func TestBaseURL(t *testing.T) {
	f := func(address, want string) {
		t.Helper()
		got, err := baseURL(address)
		if got != want || (err != nil) != (want == "") {
			t.Fatalf("%q = %q, %v, want %q", address, got, err, want)
		}
	}
	f("127.0.0.1:9280", "http://127.0.0.1:9280")
	f(":9280", "http://127.0.0.1:9280")
	f("0.0.0.0:9280", "http://127.0.0.1:9280")
	f("[::]:9280", "http://127.0.0.1:9280")
	f("[::1]:9280", "http://[::1]:9280")
	f("lb1.example:9280", "http://lb1.example:9280")
	f("https://lb1.example/jetway/", "https://lb1.example/jetway")
	f("ftp://lb1.example", "")
	f("9280", "")
	f("lb1:", "")
}

func TestMemberFlags(t *testing.T) {
	f := func(node, bind, problem string, args ...string) {
		t.Helper()
		c := &cobra.Command{}
		var flags agentFlags
		flags.add(c)
		if err := c.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		cfg, err := flags.config(c, func() (string, error) { return "web1", nil })
		if problem != "" {
			if err == nil || !strings.Contains(err.Error(), problem) {
				t.Fatalf("%v: %v, want %q", args, err, problem)
			}
			return
		}
		if err != nil || cfg.Node != node || cfg.Gossip.Bind != bind {
			t.Fatalf("%v = node %q bind %q, %v; want %q %q", args, cfg.Node, cfg.Gossip.Bind, err, node, bind)
		}
	}
	f("web1-80", "0.0.0.0:7946", "", "--domain=d", "--http=80")
	f("web1-443", "127.0.0.1:0", "", "--domain=d", "--https=443", "--join=127.0.0.1:7946", "--join=localhost:7956")
	f("web1-9763", "0.0.0.0:7946", "", "--domain=d", "--map=8280=9763", "--join=127.0.0.1:7946", "--join=10.0.0.1:7946")
	f("w1.d", "10.0.0.2:1", "", "--domain=d", "--id=w1", "--http=80", "--bind=10.0.0.2:1")
	f("", "", "--domain is missing", "--http=80")
	f("", "", "no port is given", "--domain=d")
	f("", "", `--map "8280"`, "--domain=d", "--map=8280")
	f("", "", `--map "0=1"`, "--domain=d", "--map=0=1")
	f("", "", `--map "1=65536"`, "--domain=d", "--map=1=65536")
	f("", "", "from two places", "--domain=d", "--http=80", "--signature=x", "--sign-key-file=y")
	f("", "", `--check "ftp:"`, "--domain=d", "--http=80", "--check=ftp:")

	// A file says the same, and flags replace what it says.
	file := filepath.Join(t.TempDir(), "member.yaml")
	if err := os.WriteFile(file, []byte("domain: e\nhttp: 81\nid: w2\nnode: n2\ngossip: {bind: 127.0.0.1:7}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f("n2", "127.0.0.1:7", "", "--file="+file)
	f("n3", "127.0.0.1:8", "", "--file="+file, "--node=n3", "--bind=127.0.0.1:8", "--weight=4")
	f("", "", "cannot read member file", "--file="+file+"x")
}

func TestParseCheck(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		c, err := parseCheck(text, discovery.LocalCheck{Port: 9})
		if got := fmt.Sprintf("%s %s %d %s", c.Type, c.Host, c.Port, c.Path); err != nil && want != "" || err == nil && got != want {
			t.Fatalf("%q = %q, %v; want %q", text, got, err, want)
		}
	}
	f("tcp:", "tcp  9 ")
	f("tcp://:80", "tcp  80 ")
	f("http:///health?deep=1", "http  9 /health?deep=1")
	f("http://10.0.0.1:81/x", "http 10.0.0.1 81 /x")
	f("http://:0/", "")
	f("http://:99999/", "")
	f("https:///", "")
	f("health", "")
	f("", "")
}

func TestNodeName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := nodeName("lb1", dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := nodeName("lb1", dir); again != first || len(first) != len("lb1-")+8 {
		t.Fatalf("%q, then %q", first, again)
	}
	if other, _ := nodeName("lb1", ""); other == first {
		t.Fatal("without state_dir the digits are not fresh")
	}
	if err := os.WriteFile(filepath.Join(dir, "node"), []byte("../../etc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nodeName("lb1", dir); err == nil {
		t.Fatal("took a node id that is none")
	}
}
