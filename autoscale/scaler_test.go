package autoscale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jetway/balancer"
)

// TestScalerUpAndDown: load comes, members come; load goes, members drain,
// one step after the other, the one with the fewest sessions first.
func TestScalerUpAndDown(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(5)
		r.run()
		r.want(r.after(5*time.Second), "1 up, 0 draining") // min
		r.asked.Store(45)
		r.want(r.after(2500*time.Millisecond), "1 up, 0 draining")
		r.want(r.after(3*time.Second), "5 up, 0 draining")
		r.mu.Lock()
		for i := range r.members {
			r.members[i].Sessions, r.members[i].InFlight = 3, 9
		}
		first := r.members[2].ID
		r.members[2].Sessions = 1
		r.mu.Unlock()
		r.asked.Store(5)
		r.want(r.after(20*time.Second), "5 up, 0 draining")
		r.want(r.after(10*time.Second), "4 up, 1 draining")
		r.mu.Lock()
		if m := r.members[2]; m.ID != first || m.State != "draining" {
			t.Errorf("%+v drains first", r.members)
		}
		r.members[2].Sessions, r.members[2].InFlight = 0, 0
		r.mu.Unlock()
		r.want(r.after(12*time.Second), "3 up, 1 draining") // idle before its deadline, the next one is not
		r.want(r.after(15*time.Second), "3 up, 1 draining")
		r.after(20 * time.Second)
		if d := r.scaler.Decisions(); !slices.ContainsFunc(d, func(d Decision) bool {
			return strings.Contains(d.Reason, "are over, 9 requests and 3 sessions are cut off")
		}) {
			t.Errorf("not stopped at its deadline: %+v", d)
		}
		r.want(r.after(3*time.Minute), "1 up, 0 draining")
		for _, d := range r.scaler.Decisions() {
			if d.Formula == "" || d.Result == "" || d.Action == "" {
				t.Errorf("decision without an explanation: %+v", d)
			}
		}
	})
}

// TestScalerKeepsWhoIsNeededAgain: load that comes back calls off a drain
// instead of a start.
func TestScalerKeepsWhoIsNeededAgain(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(35)
		r.run()
		r.after(15 * time.Second)
		r.mu.Lock()
		for i := range r.members {
			r.members[i].Sessions = 1
		}
		r.mu.Unlock()
		r.asked.Store(1)
		r.want(r.after(40*time.Second), "3 up, 1 draining")
		n := len(r.starts())
		r.asked.Store(35)
		r.want(r.after(15*time.Second), "4 up, 0 draining")
		if len(r.starts()) != n {
			t.Errorf("starts %v", r.starts())
		}
	})
}

// TestScalerFromZero: the order is given at once, not at the next tick.
func TestScalerFromZero(t *testing.T) {
	inRig(t, func(r *rig) {
		r.settings.Min = 0
		r.run()
		r.want(r.after(5500*time.Millisecond), "0 up, 0 draining")
		begun := time.Now()
		r.asked.Store(1)
		for range 50 {
			r.scaler.Wake(simKey)
		}
		synctest.Wait()
		if n := r.starts(); len(n) != 1 || time.Since(begun) != 0 {
			t.Errorf("starts %v after %s, want one at once", n, time.Since(begun))
		}
		r.want(r.after(4*time.Second), "1 up, 0 draining")
		r.asked.Store(0)
		r.want(r.after(2*time.Minute), "0 up, 0 draining")
		if n := r.starts(); len(n) != 1 {
			t.Errorf("starts %v, want one", n)
		}
	})
}

// TestScalerDriverFails: backoff, then hold with an alarm until released.
func TestScalerDriverFails(t *testing.T) {
	inRig(t, func(r *rig) {
		broken := true
		r.start = func(ctx context.Context, o Order) ([]string, error) {
			if broken {
				return nil, errors.New("no quota")
			}
			return r.world.Start(ctx, o)
		}
		r.run()
		r.after(9 * time.Second)
		if n := len(r.starts()); n != 1 {
			t.Errorf("%d starts within the first backoff, want 1", n)
		}
		r.after(time.Hour)
		if n := len(r.starts()); n != holdAfter {
			t.Errorf("%d starts, want %d and then hold", n, holdAfter)
		}
		st := r.scaler.Status()[0]
		if !st.Alarm || !strings.Contains(st.Hold, "no quota") {
			t.Errorf("%+v", st)
		}
		broken = false
		if err := r.scaler.Release(simKey); err != nil {
			t.Error(err)
		}
		r.want(r.after(10*time.Second), "1 up, 0 draining")
		if st := r.scaler.Status()[0]; st.Alarm || st.Failures != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestScalerDriverHangs: the cluster is looked at all the same, and the order
// that may have arrived is given again with its id.
func TestScalerDriverHangs(t *testing.T) {
	inRig(t, func(r *rig) {
		hangs := 2
		r.start = func(ctx context.Context, o Order) ([]string, error) {
			if hangs--; hangs >= 0 {
				time.Sleep(20 * time.Second)
				return nil, fmt.Errorf("time-out: %w", ErrUnsure)
			}
			return r.world.Start(ctx, o)
		}
		r.run()
		r.want(r.after(55*time.Second), "1 up, 0 draining")
		n := r.starts()
		if len(n) != 3 || n[0] != n[1] || n[1] != n[2] {
			t.Errorf("starts %v, want the same one three times", n)
		}
	})
}

// TestScalerDriverLies: what was started does not join. It is stopped, counted
// and tried again; in the end somebody has to look.
func TestScalerDriverLies(t *testing.T) {
	inRig(t, func(r *rig) {
		r.start = func(context.Context, Order) ([]string, error) { return []string{"ghost"}, nil }
		r.run()
		r.after(65 * time.Second)
		r.orders.Lock()
		last := r.given[len(r.given)-1]
		r.orders.Unlock()
		if last.Action != ActionStop || last.Start == "" || last.Count != 1 || !slices.Equal(last.Members, []string{"ghost"}) {
			t.Errorf("%+v, want a stop of what did not join", last)
		}
		if c := r.scaler.Counts(); c.Failed != 1 {
			t.Errorf("%+v", c)
		}
		r.after(time.Hour)
		if n := len(r.starts()); n != holdAfter || !r.scaler.Status()[0].Alarm {
			t.Errorf("%d starts, %+v", n, r.scaler.Status())
		}
	})
}

// TestScalerDriverStartsTwice: who was not ordered goes again, later.
func TestScalerDriverStartsTwice(t *testing.T) {
	inRig(t, func(r *rig) {
		r.start = func(ctx context.Context, o Order) ([]string, error) {
			twice := o
			twice.Sequence += 1000
			r.world.Start(ctx, twice)
			_, err := r.world.Start(ctx, o)
			return nil, err // it does not even name them
		}
		r.run()
		r.want(r.after(5*time.Second), "2 up, 0 draining")
		r.want(r.after(2*time.Minute), "1 up, 0 draining")
		if n := r.starts(); len(n) != 1 {
			t.Errorf("starts %v", n)
		}
	})
}

// TestScalerRestart: a process is killed in the middle of a scale-out. The one
// after it orders nothing twice, whether the driver keeps a list or not.
func TestScalerRestart(t *testing.T) {
	for _, lists := range []bool{true, false} {
		inRig(t, func(r *rig) {
			r.dir, r.boot = t.TempDir(), 10*time.Second
			r.asked.Store(45)
			if lists {
				r.list = func() (Listing, error) {
					l := Listing{Complete: true}
					r.orders.Lock()
					defer r.orders.Unlock()
					for id, names := range r.carried {
						for _, name := range names {
							l.Instances = append(l.Instances, Instance{Order: id, Member: name})
						}
					}
					return l, nil
				}
			}
			r.run()
			r.want(r.after(1500*time.Millisecond), "0 up, 0 draining")
			r.end() // nothing was written since the order, as when it is killed
			r.run()
			r.want(r.after(4*time.Second), "0 up, 0 draining")
			r.end()
			r.run()
			r.want(r.after(30*time.Second), "5 up, 0 draining")
			sum := 0
			for _, names := range r.carried {
				sum += len(names)
			}
			if sum != 5 {
				t.Errorf("%d members started by %v, want 5", sum, r.starts())
			}
		})
	}
}

// TestScalerHistoryLost: the driver tells what is under way.
func TestScalerHistoryLost(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(25)
		r.list = func() (Listing, error) {
			return Listing{Complete: true, Instances: []Instance{{Order: "d/worker/7", Sequence: 7, Member: "a"}, {Order: "d/worker/7", Sequence: 7, Member: "b"},
				{Order: "d/worker/9", Sequence: 9, Member: "c"}}}, nil
		}
		r.run()
		r.after(2500 * time.Millisecond)
		if n := r.starts(); len(n) != 0 {
			t.Errorf("starts %v although three are booting", n)
		}
		r.mu.Lock()
		r.members = []Member{{ID: "a", State: "up"}, {ID: "b", State: "up"}, {ID: "c", State: "up"}}
		r.mu.Unlock()
		r.want(r.after(5*time.Second), "3 up, 0 draining")
		r.asked.Store(65)
		r.after(15 * time.Second)
		if n := r.starts(); len(n) == 0 || !strings.HasPrefix(n[0], "10 ") && !strings.HasPrefix(n[0], "11 ") {
			t.Errorf("starts %v, want numbers after those that were given", n)
		}
	})
}

// TestScalerDoubt: as long as gossip or the directory are lost nobody is
// stopped, and members that gossip lost still count.
func TestScalerDoubt(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(45)
		r.run()
		r.want(r.after(10*time.Second), "5 up, 0 draining")
		r.asked.Store(0)
		r.say("gossip is lost")
		r.want(r.after(time.Hour), "5 up, 0 draining")
		r.say("")
		r.mu.Lock()
		for i := range r.members {
			r.members[i].State = "suspect"
		}
		r.mu.Unlock()
		r.after(time.Hour)
		r.mu.Lock()
		if len(r.members) != 5 {
			t.Errorf("%+v", r.members)
		}
		for i := range r.members {
			r.members[i].State = "up"
		}
		r.mu.Unlock()
		r.want(r.after(15*time.Second), "5 up, 0 draining") // calm begins anew
		r.want(r.after(3*time.Minute), "1 up, 0 draining")
	})
}

// TestScalerLimitOfAll bounds the members of all clusters together.
func TestScalerLimitOfAll(t *testing.T) {
	inRig(t, func(r *rig) {
		r.max = 4
		r.asked.Store(95)
		r.run()
		r.want(r.after(time.Minute), "4 up, 0 draining")
		if !slices.ContainsFunc(r.scaler.Decisions(), func(d Decision) bool { return d.Action == limited && d.Result == "limited" }) {
			t.Errorf("%+v", r.scaler.Decisions())
		}
	})
}

// TestScalerDryRun decides and does nothing.
func TestScalerDryRun(t *testing.T) {
	inRig(t, func(r *rig) {
		r.settings.DryRun = true
		r.asked.Store(45)
		r.run()
		r.want(r.after(time.Minute), "0 up, 0 draining")
		if d := r.scaler.Decisions()[0]; d.Action != dryRun || d.Result != "dry run: would start 5" {
			t.Errorf("%+v", d)
		}
		if n := r.scaler.Decided(); len(n) != 1 || n[0].Action != "dry_run" {
			t.Errorf("%+v", n)
		}
	})
}

// TestScalerManual: an operator's size holds until it is released.
func TestScalerManual(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(5)
		r.run()
		r.after(5 * time.Second)
		if err := r.scaler.Scale(simKey, 3); err != nil {
			t.Error(err)
		}
		r.want(r.after(time.Hour), "3 up, 0 draining")
		if err := r.scaler.Scale(simKey, 11); err == nil {
			t.Error("above max")
		}
		if err := r.scaler.Hold(simKey, "maintenance"); err != nil {
			t.Error(err)
		}
		r.asked.Store(95)
		r.want(r.after(time.Minute), "3 up, 0 draining")
		if err := r.scaler.Release(simKey); err != nil {
			t.Error(err)
		}
		r.want(r.after(time.Minute), "10 up, 0 draining")
		if err := r.scaler.Release(balancer.Key{Domain: "other"}); !errors.Is(err, ErrUnknownCluster) {
			t.Error(err)
		}
	})
}
