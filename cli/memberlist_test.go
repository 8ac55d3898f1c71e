package cli

import (
	"strings"
	"testing"
	"time"

	"jetway/admin"
)

// TestMembersTable: the table says since when a member is in its state and
// why, and how its checks are.
func TestMembersTable(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	f := func(m admin.MemberView, want ...string) {
		t.Helper()
		var out strings.Builder
		if err := printMembers(&out, &admin.MemberList{Members: []admin.MemberView{m}}, now); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%q is missing in:\n%s", w, &out)
			}
		}
	}
	f(admin.MemberView{State: "down", Since: ago(65 * time.Second), Reason: "check: status 503",
		Checks: []admin.CheckView{{SubDomain: "worker", Type: "http", Result: "status 503", Since: ago(70 * time.Second), At: ago(time.Second)}}},
		"down", "1m5s", "http bad 1m10s: status 503", "check: status 503")
	f(admin.MemberView{State: "up", Checks: []admin.CheckView{
		{SubDomain: "mgt", Type: "tcp", OK: true, Since: ago(time.Hour), At: ago(time.Second)}, {SubDomain: "worker", Type: "tcp"}}},
		"mgt tcp good 1h0m0s; worker tcp not made yet", "WHY")
	f(admin.MemberView{Reason: "a\x1b[2Jb"}, `a`) // what others wrote does not reach the terminal raw
}
