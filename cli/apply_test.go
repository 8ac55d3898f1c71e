package cli

import (
	"strings"
	"testing"

	"jetway/standby"
)

func TestAdminOfPeer(t *testing.T) {
	f := func(address, admin, want, problem string) {
		t.Helper()
		got, err := adminOf(&standby.PeerView{Name: "b", Address: address, Admin: admin, Connected: true})
		if got != want || (err != nil) != (problem != "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Fatalf("admin API %q of a peer at %q is at %q (%v), want %q (%s)", admin, address, got, err, want, problem)
		}
	}
	f("10.0.0.5:7947", "10.0.0.5:9280", "10.0.0.5:9280", "")
	f("10.0.0.5:7947", "0.0.0.0:9280", "10.0.0.5:9280", "")
	f("[fd00::5]:7947", "[::]:9280", "[fd00::5]:9280", "")
	f("127.0.0.1:7947", "127.0.0.1:9281", "127.0.0.1:9281", "") // on one machine
	f("10.0.0.5:7947", "127.0.0.1:9280", "", "only its own machine reaches it")
	f("10.0.0.5:7947", "[::1]:9280", "", "only its own machine reaches it")
	f("10.0.0.5:7947", "", "", "not connected")
}
