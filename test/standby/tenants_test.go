package standby

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"jetway/test/harness"
)

// TestTenantsOfPeers: a load balancer that comes up while the directory is down
// serves the tenants that its peer had asked for, and nobody else; and both
// show what a tenant used in the whole installation.
func TestTenantsOfPeers(t *testing.T) {
	directory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/acme.com") {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"id": 42}`)
	}))
	defer directory.Close()
	ports := [6]int{}
	for i := range ports {
		ports[i] = harness.FreePort(t)
	}
	members := []string{harness.Loopback(harness.StartMember(t, "w", nil).Port)}
	more := fmt.Sprintf(`        tenant_range: "*"
      as.jet:
        hosts: [as.example.com]
        tenant_range: "42"
tenants:
  identify: [{query: tenant}]
  directory: {http: {url: '%s/{tenant}'}, ttl: 1h, timeout: 5s}
`, directory.URL)
	jet := strings.Replace(members[0], ":", ", http: ", 1)
	conf := func(i int, peers []int) string {
		text := pairConf(string(rune('a'+i)), ports[3*i], ports[3*i+1], ports[3*i+2], peers, members, more)
		return strings.Replace(text, "  static:\n", "  static:\n    - {id: j1, domain: as.jet, host: "+jet+"}\n", 1)
	}
	key := harness.WithFile("peer.key", peerKey())
	get := func(port int, tenant string) int {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+harness.Loopback(port)+"/?tenant="+tenant, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "as.example.com"
		res, err := (&http.Client{Timeout: 20 * time.Second}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	a := harness.Start(t, conf(0, nil), key)
	for range 3 {
		if status := get(ports[0], "acme.com"); status != http.StatusOK {
			t.Fatalf("a answers %d", status)
		}
	}
	directory.Close()
	b := harness.Start(t, conf(1, []int{ports[2]}), key)
	eventually(t, "b hears of the tenant", 20*time.Second, func() error {
		if n := b.Metric("jetway_directory_told_total"); n != "1" {
			return fmt.Errorf("%q", n)
		}
		return nil
	})
	if status := get(ports[3], "acme.com"); status != http.StatusOK {
		t.Errorf("b answers %d for a tenant that its peer knows", status)
	}
	if status := get(ports[3], "other.com"); status != http.StatusServiceUnavailable {
		t.Errorf("b answers %d for a tenant that nobody could ask for", status)
	}
	if out, code := command(t, "explain", "GET", "http://as.example.com/?tenant=acme.com", "--admin", b.Admin); code != 0 || !strings.Contains(out, "as a peer's directory said") || !strings.Contains(out, "as.jet") {
		t.Errorf("explain exits with %d: %s", code, out)
	}
	eventually(t, "both show the figure of the installation", 15*time.Second, func() error {
		for _, j := range []*harness.Jetway{a, b} {
			var v struct {
				Top []struct {
					ID       int
					Requests int
					All      struct{ Requests int } `json:"installation"`
				}
			}
			_, body := j.Get("/api/v1/tenants")
			json.Unmarshal([]byte(body), &v)
			if len(v.Top) != 1 || v.Top[0].ID != 42 || v.Top[0].All.Requests != 4 || v.Top[0].Requests == 4 {
				return fmt.Errorf("%s", body)
			}
		}
		return nil
	})
	if out, code := command(t, "tenants", "top", "--admin", a.Admin); code != 0 || !strings.Contains(out, "INSTALLATION") {
		t.Errorf("tenants top exits with %d: %s", code, out)
	}
}
