package standby

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// versionConf is one configuration for two load balancers: what differs comes
// from their environment.
func versionConf(member, balance string) string {
	host, port, _ := strings.Cut(member, ":")
	return fmt.Sprintf(`loadbalancer:
  name: ${NAME}
  listeners: [{address: "127.0.0.1:${HTTP}", public_port: 80}]
  admin: {address: "127.0.0.1:${ADMIN}"}
membership:
  static:
    - {id: w1, domain: as.domain, host: %s, http: %s}
standby: {listen: "127.0.0.1:${STANDBY}", peers: ["127.0.0.1:${PEER}"], key_file: peer.key}
services:
  app:
    domains:
      as.domain:
        hosts: [as.example.com]
        balance: %s
`, host, port, balance)
}

// TestConfigVersions: peers see whose configuration is another one and which is
// newer, and "jetway apply" makes them the same.
func TestConfigVersions(t *testing.T) {
	member := harness.Loopback(harness.StartMember(t, "w", nil).Port)
	ports := [6]int{}
	for i := range ports {
		ports[i] = harness.FreePort(t)
	}
	key := peerKey()
	start := func(i int, balance string) *harness.Jetway {
		own, other := ports[3*i:3*i+3], ports[3*(1-i):3*(1-i)+3]
		env := []string{"NAME=" + string(rune('a'+i)), fmt.Sprint("HTTP=", own[0]), fmt.Sprint("ADMIN=", own[1]),
			fmt.Sprint("STANDBY=", own[2]), fmt.Sprint("PEER=", other[2])}
		text := versionConf(member, balance)
		for _, e := range env { // the harness looks for the admin API in the text
			name, value, _ := strings.Cut(e, "=")
			text = strings.ReplaceAll(text, "${"+name+"}", value)
		}
		return harness.Start(t, text, harness.WithFile("peer.key", key), harness.WithEnv(env...))
	}
	sees := func(j *harness.Jetway, want string) uint64 {
		t.Helper()
		var epoch uint64
		eventually(t, "the peer's configuration is "+want, 15*time.Second, func() error {
			var list struct {
				Peers []struct {
					Connected bool
					State     string `json:"config_state"`
					Epoch     uint64 `json:"config_epoch"`
				}
			}
			_, body := j.Get("/api/v1/peers")
			json.Unmarshal([]byte(body), &list)
			if len(list.Peers) != 1 || !list.Peers[0].Connected || list.Peers[0].State != want {
				return fmt.Errorf("%s", body)
			}
			epoch = list.Peers[0].Epoch
			return nil
		})
		return epoch
	}
	a := start(0, "round_robin")
	time.Sleep(20 * time.Millisecond) // files are told apart by milliseconds
	b := start(1, "random")
	sees(a, "newer")
	sees(b, "older")
	eventually(t, "health says who is behind", 10*time.Second, func() error { // two links are made one in the beginning
		out, code := command(t, "health", "--admin", a.Admin)
		if n := a.Metric("jetway_standby_config_behind"); n != "1" || code != 0 || !strings.Contains(out, "b has a newer configuration") {
			return fmt.Errorf("it exits with %d: %s; jetway_standby_config_behind is %q", code, out, n)
		}
		return nil
	})
	file := filepath.Join(t.TempDir(), "new.conf")
	if err := os.WriteFile(file, []byte(versionConf(member, "peak_ewma")), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "apply", 20*time.Second, func() error { // a link that the machine's pause cut is back in a moment
		if out, code := command(t, "apply", "-c", file, "--admin", a.Admin); code != 0 {
			return fmt.Errorf("%d: %s", code, out)
		}
		return nil
	})
	sees(a, "same")
	eventually(t, "the epochs are equal", 10*time.Second, func() error {
		if x, y := sees(a, "same"), sees(b, "same"); x != y || x == 0 {
			return fmt.Errorf("%d and %d", x, y)
		}
		return nil
	})
}
