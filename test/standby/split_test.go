package standby

import (
	"fmt"
	"testing"
	"time"

	"jetway/test/harness"
)

// separate cuts the hosts off from each other and from nobody else; join ends
// that.
func (w *world) separate() (join func()) {
	w.t.Helper()
	family := map[bool]string{false: "ip", true: "ip6"}[w.ipv6]
	for i, h := range w.hosts {
		w.in(h.ns, "nft", "add", "table", "inet", "cut")
		w.in(h.ns, "nft", "add", "chain", "inet", "cut", "in", "{ type filter hook input priority -200 ; }")
		w.in(h.ns, "nft", "add", "rule", "inet", "cut", "in", family, "saddr", w.hosts[1-i].ip, "drop")
	}
	return func() {
		for _, h := range w.hosts {
			w.in(h.ns, "nft", "delete", "table", "inet", "cut")
		}
	}
}

// testSplit: two that cannot see each other both take the address; what either
// learned meanwhile both know once they meet again, and one of them has it.
func testSplit(t *testing.T, w *world) {
	w.settled()
	join := w.separate()
	eventually(t, "each believes to be alone", 20*time.Second, func() error {
		if n := w.owners(); n != 2 {
			return fmt.Errorf("%d have the address", n)
		}
		return nil
	})
	list := w.login(t, "as.example.com", harness.Scale(100, 2000)) // at one of them, and nobody says which
	join()
	healed := time.Now()
	eventually(t, "one has the address", 20*time.Second, func() error {
		if n := w.owners(); n != 1 {
			return fmt.Errorf("%d have the address", n)
		}
		return nil
	})
	t.Logf("one owner %v after healing", time.Since(healed).Round(10*time.Millisecond))
	w.settled()
	for range 2 { // at either of them
		active, other := w.active()
		if n := w.stay("as.example.com", list); n != len(list) {
			t.Errorf("%s knows %d of the %d sessions of the split", active.name, n, len(list))
		}
		if out, err := active.command("handover"); err != nil {
			t.Fatalf("handover: %s", out)
		}
		eventually(t, "the other one has the address", 10*time.Second, func() error {
			if active.has() || !other.has() {
				return fmt.Errorf("%d have it", w.owners())
			}
			return nil
		})
		w.settled()
	}
}
