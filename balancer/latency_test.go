package balancer

import (
	"sync"
	"testing"
	"time"
	"unsafe"
)

func TestLatency(t *testing.T) {
	f := func(d time.Duration, bucket int) {
		t.Helper()
		if got := bucketOf(d); got != bucket {
			t.Fatalf("%s is in bucket %d, want %d", d, got, bucket)
		}
	}
	f(-1, 0)
	f(0, 0)
	f(time.Millisecond, 0)
	f(time.Millisecond+1, 1)
	f(30*time.Second, latencyBounds-1)
	f(time.Hour, latencyBounds)

	var l Latency
	if l.Quantile(0.5) != 0 {
		t.Fatal("a quantile of nothing")
	}
	var wg sync.WaitGroup
	for p := range uint32(8) {
		wg.Go(func() {
			for range 1000 {
				l.Observe(p, 3*time.Millisecond)
			}
			l.Observe(p, time.Minute)
		})
	}
	wg.Wait()
	upTo, all, sum := l.Counts()
	if all != 8008 || upTo[1] != 0 || upTo[2] != 8000 || upTo[latencyBounds-1] != 8000 || sum != 24*time.Second+8*time.Minute {
		t.Fatalf("%v %d %s", upTo, all, sum)
	}
	if l.Quantile(0.5) != 5*time.Millisecond || l.Quantile(1) != 30*time.Second {
		t.Fatalf("quantiles %s %s", l.Quantile(0.5), l.Quantile(1))
	}
	if unsafe.Sizeof(latencyShard{}) != 128 {
		t.Fatal("a shard is not two cache lines")
	}
	if n := testing.AllocsPerRun(100, func() { l.Observe(1, time.Second) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkLatency(b *testing.B) {
	var l Latency
	for b.Loop() {
		l.Observe(1, 3*time.Millisecond)
	}
}
