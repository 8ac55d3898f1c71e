package balancer

import (
	"sync/atomic"
	"time"
)

const (
	latencyShards = 4
	// latencyBounds is the number of bounds of LatencyBounds.
	latencyBounds = 14
)

// LatencyBounds returns the upper bounds of the buckets of a Latency; a last
// one without bound follows.
func LatencyBounds() [latencyBounds]time.Duration {
	const ms = time.Millisecond
	return [...]time.Duration{ms, 2500 * time.Microsecond, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms,
		time.Second, 2500 * ms, 5 * time.Second, 10 * time.Second, 30 * time.Second}
}

// Latency is a histogram of how long requests took, in fixed buckets. Two
// cores that count at once rarely touch the same cache line. Safe for
// concurrent use.
type Latency struct{ shards [latencyShards]latencyShard }

type latencyShard struct {
	buckets [latencyBounds + 1]atomic.Uint64
	sum     atomic.Uint64 // nanoseconds; with the buckets exactly two cache lines
}

// Observe counts one request. producer is any number that is the same for a
// while, such as that of a connection.
func (l *Latency) Observe(producer uint32, d time.Duration) {
	sh := &l.shards[producer%latencyShards]
	sh.buckets[bucketOf(d)].Add(1)
	sh.sum.Add(uint64(max(d, 0)))
}

// bucketOf finds the bucket of a duration, by halves: most requests end in the
// first few comparisons.
func bucketOf(d time.Duration) int {
	bounds := LatencyBounds()
	lo, hi := 0, latencyBounds
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if d > bounds[mid] {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// Counts returns how many requests took at most each bound, their number and
// the sum of their times.
func (l *Latency) Counts() (upTo [latencyBounds]uint64, all uint64, sum time.Duration) {
	for i := range l.shards {
		for b := range l.shards[i].buckets {
			n := l.shards[i].buckets[b].Load()
			all += n
			if b < latencyBounds {
				upTo[b] += n
			}
		}
		sum += time.Duration(l.shards[i].sum.Load())
	}
	for b := 1; b < latencyBounds; b++ {
		upTo[b] += upTo[b-1]
	}
	return upTo, all, sum
}

// Quantile estimates how long the fastest share q of the requests took at
// most, as the bound of a bucket; 0 where there were none.
func (l *Latency) Quantile(q float64) time.Duration {
	upTo, all, _ := l.Counts()
	if all == 0 {
		return 0
	}
	bounds := LatencyBounds()
	for b, n := range upTo {
		if float64(n) >= q*float64(all) {
			return bounds[b]
		}
	}
	return bounds[latencyBounds-1]
}
