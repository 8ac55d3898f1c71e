package discovery

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestDebounce(t *testing.T) {
	const ms = time.Millisecond
	// f marks changes at these times and wants calls at those.
	f := func(changes []time.Duration, want ...time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			changed := make(chan struct{}, 1)
			var got []time.Duration
			ctx, cancel := context.WithCancel(t.Context())
			go debounce(ctx, changed, publishQuiet, publishMost, func() { got = append(got, time.Since(start)) })
			for _, at := range changes {
				time.Sleep(at - time.Since(start))
				select {
				case changed <- struct{}{}:
				default:
				}
			}
			time.Sleep(time.Minute)
			cancel()
			synctest.Wait()
			if !slices.Equal(got, want) {
				t.Fatalf("called at %v, want %v", got, want)
			}
		})
	}
	f(nil)
	f([]time.Duration{0}, 50*ms)
	f([]time.Duration{0, 0, 0}, 50*ms)
	f([]time.Duration{0, 40 * ms, 80 * ms}, 130*ms)
	f([]time.Duration{0, 51 * ms}, 50*ms, 101*ms)
	var steady []time.Duration // never quiet for 2 s
	for at := time.Duration(0); at < 2*time.Second; at += 30 * ms {
		steady = append(steady, at)
	}
	f(steady, 1000*ms, 2020*ms) // a second burst, from 1020 ms on
}

func TestDebounceEndsWithoutACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			debounce(ctx, changed, publishQuiet, publishMost, func() { t.Error("called after the end") })
		}()
		changed <- struct{}{}
		time.Sleep(publishQuiet / 2)
		cancel()
		<-done
	})
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l limiter
		passed := 0
		for range 1000 {
			if ok, _ := l.allow(time.Now()); ok {
				passed++
			}
		}
		if passed != logBurst {
			t.Fatalf("%d lines passed at once, want %d", passed, logBurst)
		}
		time.Sleep(logEvery)
		if ok, dropped := l.allow(time.Now()); !ok || dropped != 1000-logBurst {
			t.Fatalf("later: %v, %d dropped", ok, dropped)
		}
	})
}
