package session

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
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

// BenchmarkStore: each at random, the hash of the cookie not included. Chained
// lookups wait for the answer of the one before, as no two requests do: what
// that costs beside Floor is the memory's.
func BenchmarkStore(b *testing.B) {
	for _, n := range sizes(b) {
		var s *Store
		var each float64
		now := time.Now()
		run := func(name string, f func(i int)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				runtime.LockOSThread() // for cpuTime
				defer runtime.UnlockOSThread()
				if s == nil {
					s, each = full(b, n)
					now = time.Now()
				}
				b.ReportAllocs()
				began := cpuTime()
				b.ResetTimer()
				i := 0
				for b.Loop() {
					i += 7919
					f(i % n)
				}
				b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op") // what counts where others use the machine too
				b.ReportMetric(each, "B/session")
			})
		}
		run("Get", func(i int) { s.Get(key(i), now) })
		chain := 0
		run("GetChained", func(i int) {
			member, _ := s.Get(key((i+chain)%n), now)
			chain = int(member)
		})
		run("Miss", func(i int) { s.Get(key(n+i), now) })
		run("Use", func(i int) { s.Use(key(i), now, time.Hour) })
		run("Relearn", func(i int) {
			s.Learn(Session{Key: key(i), Member: 3, Tenant: uint32(i % 1000), Timeout: time.Hour}, now)
		})
	}
}

// BenchmarkBusy: the sessions in use at a time are far fewer than there are,
// and all processors look them up.
func BenchmarkBusy(b *testing.B) {
	const n, busy = 1_000_000, 10_000
	s, _ := full(b, n)
	now := time.Now()
	keys := make([]Key, busy)
	for i := range keys {
		keys[i] = key(i * (n / busy))
	}
	for _, at := range []int{1, 100, busy} {
		b.Run(strconv.Itoa(at), func(b *testing.B) {
			var began syscall.Rusage
			syscall.Getrusage(0, &began) // RUSAGE_SELF
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(at); pb.Next(); i += 7919 {
					s.Get(keys[i%at], now)
				}
			})
			var ended syscall.Rusage
			syscall.Getrusage(0, &ended)
			b.ReportMetric(float64(ended.Utime.Nano()+ended.Stime.Nano()-began.Utime.Nano()-began.Stime.Nano())/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkFloor is what one read of memory costs at random, in tables of as
// many bytes as a million and ten million entries have: in chains, each read
// giving the place of the next.
func BenchmarkFloor(b *testing.B) {
	for _, n := range sizes(b) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			s := newStore(b, Options{})
			all := reserve[entry](s, n)
			order := rand.New(rand.NewPCG(1, 2)).Perm(n)
			for i, at := range order {
				all[at].lo = uint64(order[(i+1)%n])
			}
			began := cpuTime()
			b.ResetTimer()
			at := uint64(0)
			for b.Loop() {
				at = all[at].lo
			}
			b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op")
			runtime.KeepAlive(s)
		})
	}
}

// cpuTime is what the thread has worked, whoever else runs on the machine, to
// the nanosecond: getrusage counts in ticks of some milliseconds.
func cpuTime() time.Duration {
	var t syscall.Timespec
	const threadCPU = 3 // CLOCK_THREAD_CPUTIME_ID
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadCPU, uintptr(unsafe.Pointer(&t)), 0)
	return time.Duration(t.Nano())
}

// BenchmarkSweep reports how long a step holds a shard, all of which expired:
// the longest, and that of all but one in a thousand, because interrupts and
// what a hypervisor takes count as work of the thread. How much that is says
// what stands beside each step: as many reads of sessions at random as it frees.
func BenchmarkSweep(b *testing.B) {
	for _, n := range sizes(b) {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var steps, reads []time.Duration
			r, sum := rand.New(rand.NewPCG(1, 2)), uint64(0)
			for b.Loop() {
				b.StopTimer()
				s, _ := full(b, n)
				late := time.Now().Add(2 * time.Hour)
				b.StartTimer()
				for shard := range Shards {
					for slot, more := uint32(0), true; more; more = slot != 0 {
						began := cpuTime()
						slot = s.Sweep(shard, slot, late)
						swept := cpuTime()
						for range sweepFrees {
							sh := &s.shards[r.IntN(Shards)]
							sum += sh.at(r.Uint32N(sh.top)).lo
						}
						steps, reads = append(steps, swept-began), append(reads, cpuTime()-swept)
					}
				}
			}
			runtime.KeepAlive(sum)
			for name, all := range map[string][]time.Duration{"": steps, "-of-reads": reads} {
				slices.Sort(all)
				at := func(share float64) float64 { return float64(all[int(share*float64(len(all)-1))].Microseconds()) }
				b.ReportMetric(at(0.5), "median"+name+"-µs")
				b.ReportMetric(at(0.999), "of-999‰"+name+"-µs")
				b.ReportMetric(at(1), "longest"+name+"-µs")
			}
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
