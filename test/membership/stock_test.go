package membership

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"jetway/test/harness"
)

// TestStockAgent takes stock agents through all that a member does: joined,
// changed, left, failed, replaced and returned.
func TestStockAgent(t *testing.T) {
	eachSerf(t, func(t *testing.T, serf string) {
		s := newSite(t)
		key := mustRun(t, "", "keygen", "gossip")
		s.gossipMore = ", key_file: gossip.key"
		j := s.start(t, harness.WithFile("gossip.key", key))
		app := harness.StartMember(t, "app", nil)
		other := harness.StartMember(t, "other", nil)
		start := func(name, tags string, more ...string) *agent {
			return startAgent(t, serf, name, s.gossip, tags, append(more, "-encrypt="+key)...)
		}
		a := start("web1", fmt.Sprintf("domain=as.domain sub_domain=mgt,worker http=%d port.mapping.1=9", app.Port))
		t.Logf("joined %v after its start", awaitState(t, j, "web1", "up"))
		serves(t, s.http, "as.example.com", "app") // one member, several sub-domains
		serves(t, s.http, "mgt.example.com", "app")

		a.tags("-set", "state=draining")
		awaitState(t, j, "web1", "draining")
		a.tags("-delete", "state", "-set", "weight=7")
		awaitMember(t, j, "web1", "has weight 7", func(m state) bool { return m.Weight == 7 && m.State == "up" })
		a.tags("-set", fmt.Sprintf("http=%d", other.Port))
		serves(t, s.http, "as.example.com", "other")
		a.tags("-set", "http=99999")
		awaitGone(t, j, "web1")
		if _, rejected := members(t, j); !strings.Contains(rejected["web1"], `"99999"`) {
			t.Errorf("left out: %v", rejected)
		}
		a.tags("-set", fmt.Sprintf("http=%d", app.Port))
		awaitState(t, j, "web1", "up")

		b := start("web2", fmt.Sprintf("domain=as.domain http=%d", other.Port))
		start("web3", fmt.Sprintf("domain=as.domain http=%d", harness.FreePort(t)))
		start("plain", "dc=eu")
		awaitState(t, j, "web2", "up")
		a.Signal(syscall.SIGINT)
		t.Logf("left %v after SIGINT", awaitGone(t, j, "web1"))

		b.Kill()
		t.Logf("suspect %v after SIGKILL", awaitState(t, j, "web2", "suspect"))
		serves(t, s.http, "as.example.com", "other") // its application still answers
		// Another node that announces its id ends it for good; it may come back itself.
		c := start("web2b", fmt.Sprintf("domain=as.domain id=web2 http=%d", app.Port))
		awaitMember(t, j, "web2", "is at the other port", func(m state) bool { return m.HTTP == app.Port && m.State == "up" })
		c.Signal(syscall.SIGINT)
		awaitGone(t, j, "web2")
		startAgentAt(t, serf, "web2", b.bind, s.gossip, fmt.Sprintf("domain=as.domain http=%d", other.Port), "-encrypt="+key)
		t.Logf("back %v after its start", awaitState(t, j, "web2", "up"))

		// Without the key there is no way in; what comes later is in.
		startAgent(t, serf, "stranger", s.gossip, "domain=as.domain http=80")
		start("web4", fmt.Sprintf("domain=as.domain http=%d", app.Port))
		awaitState(t, j, "web4", "up")
		if byID, _ := members(t, j); byID["stranger"].ID != "" {
			t.Error("a node without the key is a member")
		}
	})
}
