package session

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// full returns a store of n sessions of 1000 tenants and 20 members, and what
// it takes of the process's resident memory.
func full(tb testing.TB, n int) (s *Store, bytesEach float64) {
	tb.Helper()
	debug.FreeOSMemory()
	before := resident(tb)
	s = newStore(tb, Options{Max: n + n/8, Replicated: true})
	now := time.Now()
	for i := range n {
		s.Learn(Session{Key: key(i), Member: uint64(i % 20), Tenant: uint32(i % 1000), Timeout: time.Hour}, now)
	}
	return s, float64(resident(tb)-before) / float64(n)
}

// resident reads VmRSS in bytes.
func resident(tb testing.TB) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip("no /proc here")
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return kb << 10
}

func sizes(tb testing.TB) []int {
	if os.Getenv("JETWAY_LONG") != "" {
		return []int{1_000_000, 10_000_000}
	}
	return []int{1_000_000}
}

// BenchmarkStore: each at random, the hash of the cookie not included.
func BenchmarkStore(b *testing.B) {
	for _, n := range sizes(b) {
		var s *Store
		var each float64
		now := time.Now()
		run := func(name string, f func(i int)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				if s == nil {
					s, each = full(b, n)
					now = time.Now()
				}
				b.ReportAllocs()
				b.ResetTimer()
				i := 0
				for b.Loop() {
					i += 7919
					f(i % n)
				}
				b.ReportMetric(each, "B/session")
			})
		}
		run("Get", func(i int) { s.Get(key(i), now) })
		run("Miss", func(i int) { s.Get(key(n+i), now) })
		run("Use", func(i int) { s.Use(key(i), now, time.Hour) })
		run("Relearn", func(i int) {
			s.Learn(Session{Key: key(i), Member: 3, Tenant: uint32(i % 1000), Timeout: time.Hour}, now)
		})
	}
}

// cpuTime is what the thread has worked, whoever else runs on the machine.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(1, &u) // RUSAGE_THREAD
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSweep reports the longest time that one step held a shard, all of
// which expired: work of its own, not what others took of the machine.
func BenchmarkSweep(b *testing.B) {
	for _, n := range sizes(b) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var longest time.Duration
			for b.Loop() {
				b.StopTimer()
				s, _ := full(b, n)
				late := time.Now().Add(2 * time.Hour)
				b.StartTimer()
				for shard := range Shards {
					for slot, more := uint32(0), true; more; more = slot != 0 {
						began := cpuTime()
						slot = s.Sweep(shard, slot, late)
						longest = max(longest, cpuTime()-began)
					}
				}
			}
			b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
		})
	}
}

// BenchmarkFlood: a tenant over its share learns into a full store.
func BenchmarkFlood(b *testing.B) {
	s, _ := full(b, 1_000_000)
	s.SetMax(1_000_000)
	now := time.Now()
	i := 0
	for b.Loop() {
		s.Learn(Session{Key: key(20_000_000 + i), Member: 3, Tenant: 5000, Timeout: time.Hour}, now)
		i++
	}
}
