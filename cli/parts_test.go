package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// diary notes what happens in which order.
type diary struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (j *diary) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// until returns a part that takes a second to stop.
func (j *diary) until(name string, s stage) part {
	return part{name, s, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Second)
		j.add(name + " ended")
		return nil
	}}
}

func TestPartsStopByStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j diary
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		err := runParts(ctx, []part{j.until("admin", stageAdmin), j.until("work", stageWork), j.until("gossip", stageGossip),
			j.until("traffic", stageTraffic)}, func() { j.add("draining") }, nil, zerolog.Nop())
		want := []string{"draining", "traffic ended", "work ended", "gossip ended", "admin ended"}
		if err != nil || !slices.Equal(j.lines, want) {
			t.Fatalf("%v %v, want %v", err, j.lines, want)
		}
	})
}

func TestPartThatEndsTakesTheOthersAlong(t *testing.T) {
	f := func(want string, run func(context.Context) error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var j diary
			err := runParts(t.Context(), []part{j.until("traffic", stageTraffic), {"sick", stageWork, run}},
				func() { j.add("draining") }, j.add, zerolog.Nop())
			if err == nil || !strings.Contains(err.Error(), want) || j.lines[len(j.lines)-1] != "traffic ended" {
				t.Fatalf("%v %v, want %q", err, j.lines, want)
			}
		})
	}
	f("sick ended: no more", func(context.Context) error { return errors.New("no more") })
	f("sick ended by itself", func(context.Context) error { return nil })
	f("sick ended: panic: boom", func(context.Context) error { panic("boom") })
}

func TestPartThatDoesNotStopIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j diary
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		stuck := make(chan struct{})
		err := runParts(ctx, []part{{"stuck", stageWork, func(context.Context) error { <-stuck; return nil }},
			j.until("gossip", stageGossip)}, func() {}, j.add, zerolog.Nop())
		if err == nil || !strings.Contains(err.Error(), "did not stop within") || !slices.Equal(j.lines, []string{"gossip ended"}) {
			t.Fatalf("%v %v", err, j.lines)
		}
		close(stuck)
	})
}
