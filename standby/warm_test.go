package standby

import "testing"

// TestConfigState: hashes decide whether two configurations differ, epochs only
// which is newer.
func TestConfigState(t *testing.T) {
	a, b := [32]byte{1}, [32]byte{2}
	f := func(theirs [32]byte, own, epoch uint64, want string) {
		t.Helper()
		if got := configState(a, theirs, own, epoch); got != want {
			t.Errorf("epochs %d and %d: %q, want %q", own, epoch, got, want)
		}
	}
	f(a, 1, 2, ConfigSame) // written again, or copied
	f(b, 1, 2, ConfigNewer)
	f(b, 2, 1, ConfigOlder)
	f(b, 2, 2, ConfigOther)
	f(b, 2, 0, ConfigOther) // of a version that does not tell
}
