package tenant

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
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

// benchmarkWhole is all that a request pays: its tenant found in the path,
// looked up, and matched with 1,000 ranges.
func benchmarkWhole(b *testing.B, d Directory, spread int) {
	r, err := NewResolver(Config{Identify: []Rule{{Path: "**/t/{tenant}/"}, {Query: "tenantDomain"}}}, d)
	if err != nil {
		b.Fatal(err)
	}
	var spec []string
	for i := range 1000 {
		spec = append(spec, fmt.Sprintf("%d-%d", i*1000+1, i*1000+900))
	}
	ranges := mustRanges(b, strings.Join(spec, ","))
	const n = 1 << 16
	paths := make([][]byte, n)
	for i := range paths {
		paths[i] = fmt.Appendf(nil, "/services/t/tenant%07d.example.com/echo", rand.IntN(spread)+1)
	}
	now := time.Now().UnixNano()
	var found Found
	inRange := 0
	b.ReportAllocs()
	runtime.GC()
	before := cpuTime()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		r.Resolve(&found, r.standard, &Request{Path: paths[i%n], Now: now})
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
}

func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkWholeList(b *testing.B) {
	list, err := NewList(millionEntries(), nil)
	if err != nil {
		b.Fatal(err)
	}
	benchmarkWhole(b, list, million)
}

func BenchmarkWholeCache(b *testing.B) {
	c := millionCache()
	b.Run("all", func(b *testing.B) { benchmarkWhole(b, c, million) })
	b.Run("busy10000", func(b *testing.B) { benchmarkWhole(b, c, 10_000) })
	b.Run("busy100", func(b *testing.B) { benchmarkWhole(b, c, 100) })
}

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
