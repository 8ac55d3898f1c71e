package tenant

import (
	"encoding/binary"
	"fmt"
	mathrand "math/rand"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// million is the size of the directories that the benchmarks look into.
const million = 1_000_000

func millionEntries() []Entry {
	entries := make([]Entry, million)
	for i := range entries {
		entries[i] = Entry{Name: fmt.Sprintf("tenant%07d.example.com", i+1), ID: ID(i + 1)}
	}
	return entries
}

// draws are the tenants of a benchmark's requests in their order, as the seven
// digits of their names: read one after the other, so that the stream itself
// costs next to nothing beside what is measured.
func draws(next func() int) []uint64 {
	list := make([]uint64, 1<<20)
	for i := range list {
		copy((*[8]byte)(unsafe.Pointer(&list[i]))[:], fmt.Sprintf("%07d.", next()+1))
	}
	return list
}

// patterns are how often which of a million tenants is asked for. Zipf with
// s = 1.01 gives the busiest 100 tenants a third of the requests, and the busiest
// 10,000 two thirds.
func patterns() map[string]func() int {
	zipf := mathrand.NewZipf(mathrand.New(mathrand.NewSource(1)), 1.01, 1, million-1)
	spread := func(rank int) int { return rank * 611_953 % million } // ranks are not neighbours
	return map[string]func() int{
		"hot100":    func() int { return spread(rand.IntN(100)) },
		"busy10000": func() int { return spread(rand.IntN(10_000)) },
		"zipf":      func() int { return spread(int(zipf.Uint64())) },
		"uniform":   func() int { return rand.IntN(million) },
	}
}

// benchmarkWhole is all that a request pays: its tenant found in the path,
// looked up, and matched with 1,000 ranges.
func benchmarkWhole(b *testing.B, d Directory) {
	r, err := NewResolver(Config{Identify: []Rule{{Path: "**/t/{tenant}/"}, {Query: "tenantDomain"}}}, d)
	if err != nil {
		b.Fatal(err)
	}
	var spec []string
	for i := range 1000 {
		spec = append(spec, fmt.Sprintf("%d-%d", i*1000+1, i*1000+900))
	}
	ranges := mustRanges(b, strings.Join(spec, ","))
	for _, name := range []string{"hot100", "busy10000", "zipf", "uniform"} {
		b.Run(name, func(b *testing.B) {
			list := draws(patterns()[name])
			path := []byte("/services/t/tenant0000000.example.com/echo")
			digits := path[len("/services/t/tenant"):]
			now := time.Now().UnixNano()
			var found Found
			inRange := 0
			b.ReportAllocs()
			runtime.GC()
			before := cpuTime()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				binary.NativeEndian.PutUint64(digits, list[i%len(list)])
				r.Resolve(&found, r.standard, &Request{Path: path, Now: now})
				if found.Outcome != Known {
					b.Fatal(found.Outcome)
				}
				if ranges.Contains(found.ID) {
					inRange++
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op") // what counts where others use the machine too
			if inRange == 0 {
				b.Fatal("nobody was in a range")
			}
		})
	}
}

func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkFloor is what one read of memory costs at random in a table of a
// million tenants, each read giving the place of the next: what Whole/uniform
// costs beyond Whole/hot100 is that read.
func BenchmarkFloor(b *testing.B) {
	lines := newTable(million).lines
	order := rand.Perm(len(lines))
	for i, at := range order {
		lines[at].until.Store(int64(order[(i+1)%len(order)]))
	}
	before := cpuTime()
	b.ResetTimer()
	at := int64(0)
	for b.Loop() {
		at = lines[at].until.Load()
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

func BenchmarkWholeList(b *testing.B) {
	list, err := NewList(millionEntries(), nil)
	if err != nil {
		b.Fatal(err)
	}
	benchmarkWhole(b, list)
}

func BenchmarkWholeCache(b *testing.B) { benchmarkWhole(b, millionCache()) }

func millionCache() *Cache {
	cfg := testCacheConfig()
	cfg.Entries, cfg.TTL = 2*million, time.Hour
	c := NewCache(cfg, newFakeSource(0), &Plans{})
	for _, e := range millionEntries() {
		c.enter(e.Name, e, nil, false)
	}
	return c
}

func BenchmarkReadCSVMillion(b *testing.B) {
	var text strings.Builder
	text.WriteString("name,id,active,plan\n")
	for _, e := range millionEntries() {
		fmt.Fprintf(&text, "%s,%d,true,gold\n", e.Name, e.ID)
	}
	for b.Loop() {
		entries, err := ReadCSV(strings.NewReader(text.String()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := NewList(entries, &Plans{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAdmission(b *testing.B) {
	a := NewAdmission()
	l := &Limits{InFlight: 100, Rate: 1e6}
	var tk Ticket
	now := int64(1e18)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now += 1000
		id := ID(i & 1023)
		a.Enter(&tk, "appserver", id, l, false, now)
		a.Leave(&tk, now)
	}
}

func BenchmarkParseRanges(b *testing.B) {
	var spec []string
	for i := range MaxSpans {
		spec = append(spec, fmt.Sprint(i*2+1))
	}
	text := strings.Join(spec, ",")
	for b.Loop() {
		if _, err := ParseRanges(text); err != nil {
			b.Fatal(err)
		}
	}
}
