//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// report is everything that a run of the program found out.
type report struct {
	Time     time.Time
	Machine  string
	Kernel   string
	Load     string // load averages before
	Settings string
	Versions map[string]string
	Missing  []string
	Results  []*result
	Memory   *memoryResult
}

func newReport(b *bench, missing []string) *report {
	r := &report{Time: time.Now().UTC(), Machine: machine(), Kernel: kernel(), Load: firstLine("/proc/loadavg"),
		Versions: map[string]string{}, Missing: missing}
	r.Settings = fmt.Sprintf("%d rounds, %v warm-up and %v measured each; proxies on core %d, client and members on core %d",
		b.rounds, b.warm, b.measure, b.proxyCore, b.loadCore)
	for _, k := range b.kinds {
		r.Versions[k.Name] = k.Version
	}
	return r
}

func machine() string {
	model := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s", model, runtime.NumCPU(), strings.Join(strings.Fields(firstLine("/proc/meminfo")), " "))
}

func kernel() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return "unknown"
	}
	var b strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

func firstLine(path string) string {
	b, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// head writes what the figures depend on.
func (r *report) head(w io.Writer, kinds []*kind) {
	fmt.Fprintf(w, "# Benchmark of %s\n\n", r.Time.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(w, "- machine: %s\n- kernel: %s, congestion control %s; built with %s\n- load averages before: %s\n- %s\n", r.Machine, r.Kernel,
		firstLine("/proc/sys/net/ipv4/tcp_congestion_control"), runtime.Version(), r.Load, r.Settings)
	for _, k := range kinds {
		fmt.Fprintf(w, "- %s: %s\n", k.Name, k.Version)
	}
	for _, name := range r.Missing {
		fmt.Fprintf(w, "- %s is not installed and left out\n", name)
	}
}

// table writes the result of one point as Markdown. Ratios are to the first
// proxy, which is Jetway: below 1.00 it needs less than that one.
func (r *result) table(w io.Writer) {
	fmt.Fprintf(w, "\n### (%s) %s\n\n", r.Scenario, r.Name)
	fmt.Fprintf(w, "| proxy | CPU µs/%s | min..max | user+sys | %s is | requests/s | load core busy | others | memory |",
		r.Unit, r.Proxies[0].Name)
	columns := 9
	if r.Rate > 0 {
		fmt.Fprintf(w, " p50 µs | p99 µs | p99.9 µs | p99 min..max |")
		columns += 4
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", columns-1))
	for i := range r.Proxies {
		r.Proxies[i].row(w, r)
	}
	if r.Rate > 0 {
		fmt.Fprintf(w, "\nLatency at %.0f requests/s, half of what the slowest can do.\n", r.Rate)
	}
	for i := range r.Proxies {
		m := &r.Proxies[i]
		for _, why := range m.Void {
			fmt.Fprintf(w, "\nVoid run of %s: %.600s\n", m.Name, why)
		}
		m.interruptions(w)
	}
}

func (m *measured) row(w io.Writer, r *result) {
	if len(m.Closed) == 0 {
		why := "void"
		if m.Absent != "" {
			why, _, _ = strings.Cut(m.Absent, "\n")
		}
		fmt.Fprintf(w, "| %s | %.200s |\n", m.Name, why)
		return
	}
	middle := func(value func(o *outcome) float64) float64 { return spreadOf(m.Closed, value).Median }
	cost := m.cost(r.Units)
	user := middle(func(o *outcome) float64 { return 100 * o.Usage.User / max(o.Usage.cpu(), 1e-9) })
	busy := spreadOf(m.Closed, func(o *outcome) float64 { return o.Usage.LoadBusy })
	rate := fmt.Sprintf("%.0f", m.rate().Median)
	if busy.Median > busyMax {
		rate = "refused"
	}
	base := "-"
	if to := ratio(&r.Proxies[0], m, r.Units, r.Units); !math.IsNaN(to) {
		base = fmt.Sprintf("%.2f x", to)
	}
	fmt.Fprintf(w, "| %s | **%.2f** | %.2f..%.2f | %.0f+%.0f %% | %s | %s | %.0f %% | %.1f %% | %.1f MB |",
		m.Name, cost.Median, cost.Min, cost.Max, user, 100-user, base, rate, busy.Median,
		middle(func(o *outcome) float64 { return o.Usage.Others + o.Usage.Steal }),
		middle(func(o *outcome) float64 { return float64(o.Usage.Memory) / 1e6 }))
	if r.Rate > 0 {
		m.latencies(w)
	}
	fmt.Fprintln(w)
}

func (m *measured) latencies(w io.Writer) {
	busy := spreadOf(m.Fixed, func(o *outcome) float64 { return o.Usage.LoadBusy }).Median
	if len(m.Fixed) == 0 || busy > busyMax {
		fmt.Fprintf(w, " refused (%.0f %% busy) | | | |", busy)
		return
	}
	p99 := spreadOf(m.Fixed, func(o *outcome) float64 { return o.Latency.P99 })
	fmt.Fprintf(w, " %.0f | %.0f | %.0f | %.0f..%.0f |",
		spreadOf(m.Fixed, func(o *outcome) float64 { return o.Latency.P50 }).Median, p99.Median,
		spreadOf(m.Fixed, func(o *outcome) float64 { return o.Latency.P999 }).Median, p99.Min, p99.Max)
}

// interruptions tells what a client notices of reloads.
func (m *measured) interruptions(w io.Writer) {
	var ended, unanswered, requests int64
	for _, o := range append(m.Closed[:len(m.Closed):len(m.Closed)], m.Fixed...) {
		ended += o.Reconnects
		unanswered += o.Unanswered
		requests += o.Requests
	}
	if ended > 0 {
		fmt.Fprintf(w, "\n%s ended %d connections in %d requests, %d of them with a request sent and not answered.\n",
			m.Name, ended, requests, unanswered)
	}
}

// flatness tells how far the dearest point of a group is above the cheapest.
func flatness(w io.Writer, group string, results []*result) {
	if len(results) < 2 {
		return
	}
	fmt.Fprintf(w, "\nAgainst %s, the dearest over the cheapest:", group)
	for _, m := range results[0].Proxies {
		if ratio := flat(m.Name, results); !math.IsNaN(ratio) {
			fmt.Fprintf(w, " %s %.2f x;", m.Name, ratio)
		}
	}
	fmt.Fprintln(w)
}

// table writes scenario (g).
func (r *memoryResult) table(w io.Writer) {
	fmt.Fprintf(w, "\n### (g) %d idle connections, %d active ones\n\n", r.Idle, r.Active)
	fmt.Fprintln(w, "| proxy | idle process MB | KB per idle connection | min..max | with TLS | KB per active connection |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|")
	for _, p := range r.Proxies {
		var good []footprint
		for _, f := range p.Rounds {
			if f.Failed == "" {
				good = append(good, f)
			}
		}
		if len(good) == 0 {
			why, _, _ := strings.Cut(p.Rounds[0].Failed, "\n")
			fmt.Fprintf(w, "| %s | void: %.200s |\n", p.Name, why)
			continue
		}
		each := spreadOf(good, func(f *footprint) float64 { return f.PerIdle / 1024 })
		secured := spreadOf(good, func(f *footprint) float64 { return f.PerTLS / 1024 }).Median
		active := spreadOf(good, func(f *footprint) float64 { return f.PerActive / 1024 }).Median
		fmt.Fprintf(w, "| %s | %.1f | **%.2f** | %.2f..%.2f |", p.Name,
			spreadOf(good, func(f *footprint) float64 { return f.Idle / 1e6 }).Median, each.Median, each.Min, each.Max)
		if secured == 0 && active == 0 { // -short
			fmt.Fprintln(w, " - | - |")
			continue
		}
		fmt.Fprintf(w, " %.2f | %.2f |\n", secured, active)
	}
}
