package proxy

import (
	"sync/atomic"
	"testing"
	"time"

	"jetway/balancer"
)

// BenchmarkMetrics is what a served request does for metrics alone: the gauge
// of requests in flight up and down, one more look at the clock, and its place
// in the histogram of its cluster. What balancing counts is there without
// metrics, too.
func BenchmarkMetrics(b *testing.B) {
	var s stats
	var l balancer.Latency
	var conns atomic.Uint32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		number, begin := conns.Add(1), time.Now()
		for pb.Next() {
			s.inFlight.Add(1)
			l.Observe(number, time.Since(begin))
			s.inFlight.Add(-1)
		}
	})
}
