package sessions

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"jetway/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const tenants = "acme.com,1\nflood.com,2\n"

// site is a Jetway before members of one domain.
type site struct {
	*harness.Jetway
	t         *testing.T
	conf      string
	port      int
	transport *http.Transport
}

// startSite: static are lines of membership.static, more stands under loadbalancer.
func startSite(t *testing.T, static, affinity, more string, opts ...harness.Option) *site {
	t.Helper()
	s := &site{t: t, port: harness.FreePort(t), transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	t.Cleanup(s.transport.CloseIdleConnections)
	s.conf = fmt.Sprintf(`loadbalancer:
  listeners: [{name: http, address: "127.0.0.1:%d"}]
  admin: {address: "127.0.0.1:%d"}
  timeouts: {drain: 30s, connect: 10s}
%smembership:
  static:
%stenants:
  directory: {file: tenants.csv}
services:
  app:
    hosts: [app.test]
    affinity: %s
    domains:
      d: {}
`, s.port, harness.FreePort(t), more, static, affinity)
	opts = append(opts, harness.WithFile("tenants.csv", tenants))
	s.Jetway = harness.Start(t, s.conf, opts...)
	s.awaitChecked()
	return s
}

// awaitChecked waits until all members passed their first check: before, they
// do not share the load evenly.
func (s *site) awaitChecked() {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, body := s.Get("/api/v1/members")
		if status == http.StatusOK && strings.Contains(body, `"up"`) && !strings.Contains(body, `"checking"`) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("members are not up: %d %s", status, body)
		}
	}
}

func (s *site) post(path string) {
	s.t.Helper()
	res, err := http.Post("http://"+s.Admin+path, "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("POST %s: %s", path, res.Status)
	}
}

// client is a browser with a cookie jar.
type client struct {
	site   *site
	http   http.Client
	path   string
	member string
	count  int
	broken []string // members that lost its session
}

func (s *site) newClient(path string) *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic("BUG: " + err.Error()) // never fails, says its documentation
	}
	return &client{site: s, path: path, http: http.Client{Jar: jar, Transport: s.transport, Timeout: 30 * time.Second}}
}

func (s *site) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", s.port, path) }

// ask returns the member and the number that it answers with.
func (c *client) ask() (member string, count int, err error) {
	req, err := http.NewRequest(http.MethodGet, c.site.url(c.path), nil)
	if err != nil {
		return "", 0, err
	}
	req.Host = "app.test"
	res, err := c.http.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", 0, err
	}
	if res.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(body))
	}
	_, err = fmt.Sscan(string(body), &member, &count)
	return member, count, err
}

// next is one request, which goes on with the session or begins another.
func (c *client) next() error {
	member, count, err := c.ask()
	if err != nil {
		return err
	}
	switch {
	case c.member == "" && count == 1:
	case member == c.member && count == c.count+1:
	case count == 1:
		c.broken = append(c.broken, c.member)
	default:
		return fmt.Errorf("%s counted %d, before it was %s and %d", member, count, c.member, c.count)
	}
	c.member, c.count = member, count
	return nil
}

type clients []*client

func newClients(s *site, n int) clients {
	list := make(clients, n)
	for i := range list {
		list[i] = s.newClient("/count.jsp")
	}
	return list
}

// round lets every client send one request, some at a time.
func (list clients) round(t *testing.T) {
	t.Helper()
	work := make(chan *client)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for c := range work {
				if err := c.next(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, c := range list {
		work <- c
	}
	close(work)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// wantBroken wants the sessions that had been at a member, and no others, to
// be broken once each.
func (list clients) wantBroken(t *testing.T, when, member string) {
	t.Helper()
	broken, kept, at := 0, 0, map[string]int{}
	for _, c := range list {
		at[c.member]++
		switch {
		case len(c.broken) == 0 && c.member != member:
			kept++
		case len(c.broken) == 1 && c.broken[0] == member:
			broken++
		default:
			t.Errorf("%s: a session at %s was broken by %q", when, c.member, c.broken)
		}
	}
	if member != "" && broken == 0 || kept == 0 {
		t.Errorf("%s: %d sessions broken, %d kept", when, broken, kept)
	}
	t.Logf("%s: %d sessions broken once, %d kept, now at %v", when, broken, kept, at)
}
