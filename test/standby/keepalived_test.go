package standby

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jetway/test/harness"
)

// TestKeepalivedAccepts: keepalived itself has nothing to say against what
// "jetway keepalived" prints, in either form, for either family.
func TestKeepalivedAccepts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("keepalived needs root to check a configuration")
	}
	keepalived, ip := harness.RequireTool(t, "keepalived"), harness.RequireTool(t, "ip")
	ns := fmt.Sprintf("jwk%d", os.Getpid())
	for _, args := range [][]string{{"netns", "add", ns}, {"-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", "p0"}, {"-n", ns, "link", "set", "eth0", "up"}} {
		if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v %s", args, err, out)
		}
		if args[0] == "netns" {
			t.Cleanup(func() { exec.Command(ip, "netns", "del", ns).Run() })
		}
	}
	f := func(own, peer, virtual string, form ...string) {
		t.Helper()
		dir := t.TempDir()
		write := func(name, text string) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		write("peer.key", peerKey())
		conf := write("loadbalancer.conf", fmt.Sprintf(`loadbalancer:
  name: lb1
  state_dir: %s
  listeners: [{address: ":8280"}]
standby: {listen: %q, peers: [%q], key_file: peer.key, virtual_address: %q, interface: eth0}
services: {app: {domains: {d: {hosts: [as.example.com]}}}}
`, dir, own, peer, virtual))
		out, code := command(t, append([]string{"keepalived", "-c", conf}, form...)...)
		if code != 0 {
			t.Fatalf("it exits with %d: %s", code, out)
		}
		file := write("keepalived.conf", out)
		if said, err := exec.Command(ip, "netns", "exec", ns, keepalived, "--vrrp", "--config-test", "--log-console", "-f", file).CombinedOutput(); err != nil || strings.Contains(string(said), file) {
			t.Errorf("%v: keepalived says: %v %s\n%s", form, err, said, out)
		}
	}
	f("10.0.0.4:7947", "10.0.0.5:7947", "10.0.0.9/24")
	f("10.0.0.4:7947", "10.0.0.5:7947", "10.0.0.9/24", "--script")
	f("[fd00::4]:7947", "[fd00::5]:7947", "fd00::9/64")
	f("[fd00::4]:7947", "[fd00::5]:7947", "fd00::9/64", "--script")
}
