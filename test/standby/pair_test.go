package standby

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

// post changes something by the admin API.
func post(t testing.TB, j *harness.Jetway, path string) {
	t.Helper()
	res, err := http.Post("http://"+j.Admin+path, "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s", path, res.Status)
	}
}

// TestPair: two load balancers find each other, agree on what an operator
// ordered, also after one was away, and tell each other whom they ejected.
func TestPair(t *testing.T) {
	ports := [6]int{}
	for i := range ports {
		ports[i] = harness.FreePort(t)
	}
	var members []string
	for range 2 {
		members = append(members, harness.Loopback(harness.StartMember(t, "w", nil).Port))
	}
	dead := harness.Loopback(harness.FreePort(t)) // nobody listens there
	members = append(members, dead)
	key := harness.WithFile("peer.key", peerKey())
	confA := pairConf("a", ports[0], ports[1], ports[2], nil, members, "")
	confB := pairConf("b", ports[3], ports[4], ports[5], []int{ports[2]}, members, "")
	a, b := harness.Start(t, confA, key), harness.Start(t, confB, key)
	warm := func(j *harness.Jetway) func() error {
		return func() error {
			if h := healthOf(j); !h.OK || !h.Warm || h.Peers != 1 {
				return fmt.Errorf("%+v", h)
			}
			return nil
		}
	}
	eventually(t, "a is warm", 15*time.Second, warm(a))
	eventually(t, "b is warm", 15*time.Second, warm(b))
	state := func(j *harness.Jetway, member, want string) {
		t.Helper()
		eventually(t, member+" "+want, 5*time.Second, func() error {
			if s := stateOf(j, member); s != want {
				return fmt.Errorf("it is %s", s)
			}
			return nil
		})
	}
	post(t, a, "/api/v1/members/w1/drain")
	state(b, "w1", "draining")
	post(t, b, "/api/v1/members/w1/undrain")
	state(a, "w1", "up")

	// a sees that w3 is dead; b takes its word for it.
	c := &http.Client{Timeout: 5 * time.Second}
	eventually(t, "a ejects w3", 10*time.Second, func() error {
		req, _ := http.NewRequest("GET", "http://"+harness.Loopback(ports[0])+"/", nil)
		req.Host = "as.example.com"
		res, err := c.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if s := stateOf(a, "w3"); s != "ejected" && s != "down" {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	eventually(t, "b leaves w3 out", 5*time.Second, func() error {
		if s := stateOf(b, "w3"); s != "ejected" && s != "down" { // a's word, or a check of its own came first
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})

	// What was ordered while one was away it hears when it is back.
	b.Kill()
	post(t, a, "/api/v1/members/w2/drain")
	b = harness.Start(t, confB, key)
	state(b, "w2", "draining")

	// Exit codes of health, and the list of peers.
	eventually(t, "health of a good one exits with 0", 10*time.Second, func() error {
		if out, code := command(t, "health", "--admin", a.Admin); code != 0 || !strings.Contains(out, "1 peers") {
			return fmt.Errorf("%d: %s", code, out)
		}
		return nil
	})
	if out, code := command(t, "health", "--admin", harness.Loopback(harness.FreePort(t))); code != 1 {
		t.Errorf("health of nobody exits with %d: %s", code, out)
	}
	if out, code := command(t, "health", "--nonsense"); code != 2 {
		t.Errorf("health --nonsense exits with %d: %s", code, out)
	}
	eventually(t, "the peer is listed with the same configuration", 5*time.Second, func() error {
		out, code := command(t, "peers", "--admin", a.Admin, "-o", "json")
		var list struct{ Peers []map[string]any }
		if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Peers) != 1 || list.Peers[0]["same_config"] != true {
			return fmt.Errorf("peers exits with %d: %s", code, out)
		}
		return nil
	})
	// One that is stopped does not answer in time; it must not hold the address.
	a.Signal(syscall.SIGSTOP)
	out, code := command(t, "health", "--admin", a.Admin, "--timeout", "300ms")
	a.Signal(syscall.SIGCONT)
	if code != 1 {
		t.Errorf("health of a stopped one exits with %d: %s", code, out)
	}
	b.Kill()
	eventually(t, "a knows that nobody is left to hand over to", 15*time.Second, func() error {
		if n := healthOf(a).Peers; n != 0 {
			return fmt.Errorf("%d peers", n)
		}
		return nil
	})
	if out, code := command(t, "handover", "--admin", a.Admin, "--drain", "10ms"); code != 1 || !strings.Contains(out, "not connected") {
		t.Errorf("a hand-over to nobody exits with %d: %s", code, out)
	}
}

// TestStranger: who does not have the key stays outside.
func TestStranger(t *testing.T) {
	ports := [6]int{}
	for i := range ports {
		ports[i] = harness.FreePort(t)
	}
	m := []string{harness.Loopback(harness.StartMember(t, "w", nil).Port)}
	a := harness.Start(t, pairConf("a", ports[0], ports[1], ports[2], nil, m, ""), harness.WithFile("peer.key", peerKey()))
	b := harness.Start(t, pairConf("b", ports[3], ports[4], ports[5], []int{ports[2]}, m, ""), harness.WithFile("peer.key", peerKey()))
	eventually(t, "the stranger is counted", 10*time.Second, func() error {
		if n := a.Metric(`jetway_peer_refused_total{reason="stranger"}`); n == "" || n == "0" {
			return fmt.Errorf("%q", n)
		}
		return nil
	})
	if h := healthOf(a); h.Peers != 0 {
		t.Error("a stranger became a peer")
	}
	post(t, b, "/api/v1/members/w1/drain")
	time.Sleep(300 * time.Millisecond)
	if s := stateOf(a, "w1"); s != "up" {
		t.Errorf("what a stranger said was heard: w1 is %s", s)
	}
}
