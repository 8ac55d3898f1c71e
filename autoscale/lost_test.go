package autoscale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// turn sets the state of some members.
func (r *rig) turn(state string, which ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range which {
		r.members[i].State = state
	}
}

// there returns the members as they are now.
func (r *rig) there() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.members)
}

// states returns the members by state, in words.
func (r *rig) states() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := map[string]int{}
	for _, m := range r.members {
		n[m.State]++
	}
	return fmt.Sprintf("%d up, %d down", n["up"], n["down"])
}

// TestLostIsReplaced: a member that is down for longer than a start may take is
// replaced and then stopped. Before, it counts, and nobody is stopped.
func TestLostIsReplaced(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(75)
		r.run()
		r.want(r.after(20*time.Second), "8 up, 0 draining")
		r.mu.Lock()
		lost := r.members[3].ID
		r.mu.Unlock()
		r.turn("down", 3)
		time.Sleep(59 * time.Second)
		r.want(r.states(), "7 up, 1 down")
		if s := r.scaler.Status()[0]; s.Ready != 8 || s.Doubt == "" {
			t.Errorf("%+v: it counts, and is in doubt", s)
		}
		time.Sleep(4 * time.Second)
		if s := r.scaler.Status()[0]; !slices.Equal(s.Lost, []string{lost}) || s.Booting != 1 {
			t.Errorf("%+v: it is lost and another one boots", s)
		}
		r.want(r.after(20*time.Second), "8 up, 0 draining")
		if len(r.there()) != 8 || slices.ContainsFunc(r.there(), func(m Member) bool { return m.ID == lost }) {
			t.Errorf("%+v: %s is stopped", r.there(), lost)
		}
	})
}

// TestLostNeedsTime: a member that comes and goes is never given up, and as
// long as it does nobody is stopped.
func TestLostNeedsTime(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(45)
		r.run()
		r.want(r.after(20*time.Second), "5 up, 0 draining")
		n := len(r.starts())
		r.asked.Store(1)
		for range 100 {
			r.turn("ejected", 0)
			time.Sleep(50 * time.Second)
			r.turn("up", 0)
			time.Sleep(5 * time.Second)
		}
		r.want(r.after(0), "5 up, 0 draining")
		if len(r.starts()) != n {
			t.Errorf("starts %v", r.starts())
		}
	})
}

// TestAllLost: where all are down, no more than a quarter is replaced, however
// long it lasts, and nobody is stopped.
func TestAllLost(t *testing.T) {
	inRig(t, func(r *rig) {
		r.settings.Max = 100
		r.asked.Store(155)
		r.run()
		r.want(r.after(20*time.Second), "16 up, 0 draining")
		n := len(r.starts())
		for range 3600 {
			time.Sleep(time.Second)
			r.mu.Lock()
			for i := range r.members { // those that join are down as well
				r.members[i].State = "down"
			}
			r.mu.Unlock()
		}
		if len(r.there()) < 17 || len(r.there()) > 22 { // 16 / (1 - 1/4)
			t.Errorf("%d members by %v", len(r.there()), r.starts()[n:])
		}
	})
}

// TestLostIsNotBelieved while it is not known what can be seen.
func TestLostIsNotBelieved(t *testing.T) {
	inRig(t, func(r *rig) {
		r.asked.Store(45)
		r.run()
		r.want(r.after(20*time.Second), "5 up, 0 draining")
		n := len(r.starts())
		r.say("gossip is lost")
		r.turn("down", 0, 1)
		time.Sleep(time.Hour)
		if len(r.starts()) != n || len(r.there()) != 5 {
			t.Errorf("starts %v, %+v", r.starts(), r.there())
		}
		r.say("")
		r.turn("up", 0, 1)
		r.want(r.after(5*time.Minute), "5 up, 0 draining")
	})
}

// TestLostAtMax: there is no room for another one until the lost one is
// stopped; one that stands in the configuration stays.
func TestLostAtMax(t *testing.T) {
	inRig(t, func(r *rig) {
		r.settings.Max = 3
		r.asked.Store(95)
		r.run()
		r.want(r.after(20*time.Second), "3 up, 0 draining")
		r.turn("down", 1)
		r.want(r.after(3*time.Minute), "3 up, 0 draining")
		if len(r.there()) != 3 {
			t.Errorf("%+v", r.there())
		}
		r.mu.Lock()
		r.members[0].Fixed, r.members[0].State = true, "down"
		r.mu.Unlock()
		r.want(r.after(10*time.Minute), "2 up, 0 draining")
		if d := r.scaler.Decisions()[0]; d.Result != "limited" {
			t.Errorf("%+v", d)
		}
	})
}

// TestFailuresTogetherAreOne: starts that were under way at once fail for one
// reason, and do not bring the cluster to a halt by themselves.
func TestFailuresTogetherAreOne(t *testing.T) {
	inRig(t, func(r *rig) {
		var n atomic.Int64
		r.start = func(ctx context.Context, o Order) ([]string, error) {
			if n.Add(1) > 6 {
				return r.world.Start(ctx, o)
			}
			time.Sleep(10 * time.Second)
			return nil, errors.New("a moment's trouble")
		}
		go func() {
			for i := range 9 {
				r.asked.Store(int64(10 * i))
				time.Sleep(time.Second)
			}
		}()
		r.run()
		r.after(11 * time.Second)
		if len(r.starts()) < 3 {
			t.Fatalf("starts %v, want some at once", r.starts())
		}
		r.after(10 * time.Second)
		if s := r.scaler.Status()[0]; s.Alarm || s.Failures > 2 {
			t.Errorf("%+v", s)
		}
		r.after(2 * time.Minute)
		for _, d := range r.scaler.Decisions() {
			if strings.HasPrefix(d.Result, "hold") {
				t.Errorf("%+v", d)
			}
		}
	})
}
