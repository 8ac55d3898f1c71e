// Package blackbox tests the built jetway binary from outside: with a
// configuration string, real `serf agent`s as members, and HTTP clients.
package blackbox

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// eachSerf runs f with Debian's serf and with that of the module's version.
func eachSerf(t *testing.T, f func(t *testing.T, serf string)) {
	t.Parallel()
	t.Run("debian", func(t *testing.T) { t.Parallel(); f(t, harness.RequireTool(t, "serf")) })
	t.Run("module", func(t *testing.T) { t.Parallel(); f(t, moduleSerf(t)) })
}

// moduleSerf returns the serf command of the version that Jetway gossips
// with. The go command builds it once and keeps it in its cache.
func moduleSerf(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "tool", "-n", "serf")
	cmd.Dir = filepath.Join("..", "tools")
	out, err := cmd.Output()
	if err != nil {
		what := fmt.Sprintf("cannot build the module's serf: %v", err)
		if os.Getenv("JETWAY_REQUIRE_ALL") == "1" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	return strings.TrimSpace(string(out))
}

// agent starts a stock serf agent that joins the pool at join and carries tags.
func agent(t *testing.T, serf, name string, join int, tags ...string) *harness.Process {
	t.Helper()
	args := []string{"agent", "-node=" + name, "-profile=local", "-bind=" + harness.Loopback(harness.FreePort(t)),
		"-rpc-addr=" + harness.Loopback(harness.FreePort(t)), "-join=" + harness.Loopback(join)}
	for _, tag := range tags {
		args = append(args, "-tag", tag)
	}
	return harness.StartTool(t, serf, args...)
}

// ask is one request.
type ask struct {
	url    string // http://127.0.0.1:PORT/path
	host   string
	accept string
	from   string // local address, if not the usual
	ca     *tls.Config
}

// got is its answer.
type got struct {
	status int
	body   string
	header http.Header
}

func (g got) String() string { return fmt.Sprintf("%d %s", g.status, strings.TrimSpace(g.body)) }

// reason is the reason code of Jetway's own JSON answer.
func (g got) reason() string {
	var own struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal([]byte(g.body), &own) != nil {
		return ""
	}
	return own.Reason
}

// do sends the request on a connection of its own.
func (a ask) do(t testing.TB) got {
	t.Helper()
	g, err := a.try()
	if err != nil {
		t.Fatalf("cannot ask %+v: %v", a, err)
	}
	return g
}

func (a ask) try() (got, error) {
	d := &net.Dialer{Timeout: 5 * time.Second}
	if a.from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(a.from)}
	}
	tr := &http.Transport{DialContext: d.DialContext, TLSClientConfig: a.ca, DisableKeepAlives: true, DisableCompression: true}
	return a.with(&http.Client{Transport: tr, Timeout: 10 * time.Second})
}

// with sends the request by a client, which may keep its connection.
func (a ask) with(c *http.Client) (got, error) {
	req, err := http.NewRequest(http.MethodGet, a.url, nil)
	if err != nil {
		return got{}, err
	}
	req.Host = a.host
	if a.accept != "" {
		req.Header.Set("Accept", a.accept)
	}
	res, err := c.Do(req)
	if err != nil {
		return got{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return got{}, err
	}
	return got{res.StatusCode, string(body), res.Header}, nil
}

// http returns a request for host and path at a port of loopback.
func web(port int, host, path string) ask {
	return ask{url: "http://" + harness.Loopback(port) + path, host: host}
}

// eventually polls until ok, and fails the test after within.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// memberState is what the admin API says of a member.
type memberState struct {
	ID     string `json:"id"`
	Domain string `json:"domain"`
	State  string `json:"state"`
	Source string `json:"source"`
	HTTP   int    `json:"http"`
	Weight int    `json:"weight"`
}

// members returns the members by id, and the reasons of those left out by name.
func members(t testing.TB, j *harness.Jetway) (byID map[string]memberState, rejected map[string]string) {
	t.Helper()
	var list struct {
		Members  []memberState `json:"members"`
		Rejected []struct {
			Name   string `json:"name"`
			Reason string `json:"reason"`
		} `json:"rejected"`
	}
	_, body := j.Get("/api/v1/members")
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("cannot read members %q: %v", body, err)
	}
	byID, rejected = map[string]memberState{}, map[string]string{}
	for _, m := range list.Members {
		byID[m.ID] = m
	}
	for _, r := range list.Rejected {
		rejected[r.Name] = r.Reason
	}
	return byID, rejected
}

// awaitState waits for a state of a member; "gone" is not to be listed.
func awaitState(t testing.TB, j *harness.Jetway, id, state string, within time.Duration) time.Duration {
	t.Helper()
	return eventually(t, within, id+" is "+state, func() bool {
		byID, _ := members(t, j)
		m, ok := byID[id]
		return ok && m.State == state || !ok && state == "gone"
	})
}
