package standby

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// peerKey is the text of a key file.
func peerKey() string {
	var key [32]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:]) + "\n"
}

// gossipKey is what encrypts gossip in the tests, and what seals cookies.
const gossipKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"

// eventually waits for f, and fails with what it last said.
func eventually(t testing.TB, what string, within time.Duration, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) { // f may run programs
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}

// command runs jetway and returns what it printed and its exit code.
func command(t testing.TB, args ...string) (out string, code int) {
	t.Helper()
	c := exec.Command(harness.Binary(t), args...)
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return b.String(), c.ProcessState.ExitCode()
}

// health is what the admin API says of itself.
type health struct {
	OK     bool   `json:"ok"`
	Warm   bool   `json:"warm"`
	Cold   string `json:"cold"`
	Active bool   `json:"active"`
	Acting bool   `json:"acting"`
	Peers  int    `json:"peers"`
	Reason string `json:"reason"`
}

func healthOf(j *harness.Jetway) (h health) {
	_, body := j.Get("/api/v1/health")
	json.Unmarshal([]byte(body), &h)
	return h
}

// stateOf returns the state of a member as a load balancer sees it.
func stateOf(j *harness.Jetway, member string) string {
	var list struct {
		Members []struct {
			ID, State string
			Weight    int
		}
	}
	_, body := j.Get("/api/v1/members")
	json.Unmarshal([]byte(body), &list)
	for _, m := range list.Members {
		if m.ID == member {
			return m.State
		}
	}
	return "gone"
}

// pairConf is the configuration of one of several load balancers on loopback.
func pairConf(name string, http, admin, standby int, peers []int, members []string, more string) string {
	var list, static []string
	for _, p := range peers {
		list = append(list, fmt.Sprintf("%q", harness.Loopback(p)))
	}
	for i, m := range members {
		host, port, _ := strings.Cut(m, ":")
		static = append(static, fmt.Sprintf("    - {id: w%d, domain: as.domain, host: %s, http: %s}", i+1, host, port))
	}
	return fmt.Sprintf(`loadbalancer:
  name: %s
  listeners: [{address: "127.0.0.1:%d", public_port: 80}]
  admin: {address: "127.0.0.1:%d"}
  timeouts: {drain: 3s}
membership:
  static:
%s
standby: {listen: "127.0.0.1:%d", peers: [%s], key_file: peer.key}
services:
  app:
    domains:
      as.domain:
        hosts: [as.example.com]
%s`, name, http, admin, strings.Join(static, "\n"), standby, strings.Join(list, ", "), more)
}
