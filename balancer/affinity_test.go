package balancer

import (
	"testing"
	"time"

	"jetway/balancer/session"
)

// TestDrainDeadline: a draining member keeps its sessions until the deadline,
// however it came to drain and whoever else says so meanwhile, and has them
// again when it drains no more.
func TestDrainDeadline(t *testing.T) {
	for _, most := range []time.Duration{0, 5 * time.Minute} {
		now := 1000 * second
		cfg := example(t)
		for i := range cfg.Clusters {
			cfg.Clusters[i].Affinity = Affinity{Mode: AffinityLearn, Timeout: time.Hour, Drain: most}
		}
		r, err := NewRouter(cfg, Options{Now: func() int64 { return now }})
		if err != nil {
			t.Fatal(err)
		}
		members := workers(2)
		r.SetMembers(members)
		id := session.MemberID(members[0].Domain, members[0].ID)
		want := func(what string, kept bool) {
			t.Helper()
			if got := view(t, r, "as.test").Bound(id, now) != nil; got != kept {
				t.Fatalf("deadline %s, %s: kept %v, expected %v", most, what, got, kept)
			}
		}
		if _, err := r.Drain("w000", true); err != nil {
			t.Fatal(err)
		}
		now += 4 * int64(time.Minute)
		want("within it", true)
		announced := workers(2)
		announced[0].Draining = true
		r.SetMembers(announced)
		r.Drain("w000", false)
		now += int64(time.Minute) - 1
		want("its own word besides", true)
		now++
		want("after it", most == 0)
		r.SetMembers(members)
		want("drains no more", true)
		r.SetMembers(announced)
		want("drains again", true)
		now += 10 * int64(time.Minute)
		want("after that", most == 0)
	}
}
