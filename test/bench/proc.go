//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// ticksPerSecond is USER_HZ, in which /proc counts, on every Linux.
const ticksPerSecond = 100

// usage is what the proxy and the cores used in the measured time.
type usage struct {
	Seconds   float64 // that were measured
	User, Sys float64 // seconds of CPU time of the proxy with all its children
	LoadBusy  float64 // share of the core of client and members, in percent
	Others    float64 // share of the proxy's core that something else used, in percent
	Steal     float64 // share of both cores that the hypervisor took, in percent
	Memory    int64   // bytes resident at the end, see resident
}

// cpu is the proxy's CPU time in seconds.
func (u usage) cpu() float64 { return u.User + u.Sys }

// meter measures from the end of the warm-up on.
type meter struct {
	load        *load
	base        time.Time
	begin, end  int64 // nanoseconds since base
	first, last reading
	running     bool
	done        bool
}

// reading is the counters at one time.
type reading struct {
	at         time.Time
	user, sys  int64 // ticks
	load, core coreTime
}

// coreTime is what one core did, in ticks.
type coreTime struct{ total, idle, steal int64 }

func newMeter(l *load) meter { return meter{load: l, base: time.Now()} }

// start begins the warm-up.
func (m *meter) start() {
	m.base = time.Now()
	m.begin = int64(m.load.Warm)
	m.end = m.begin + int64(m.load.Measure)
}

func (m *meter) now() int64 { return int64(time.Since(m.base)) }

// tick tells the time and reads the counters when the measured time begins
// and ends.
func (m *meter) tick() int64 {
	now := m.now()
	switch {
	case !m.running && now >= m.begin:
		m.first = m.read()
		m.running = true
	case m.running && !m.done && now >= m.end:
		m.last = m.read()
		m.done = true
	}
	return now
}

// measuring reports whether a request counts: at a fixed rate by when it was
// due, otherwise by when it was answered.
func (m *meter) measuring(due, now int64, fixed bool) bool {
	if fixed {
		return due >= m.begin && due < m.end
	}
	return m.running && !m.done
}

func (m *meter) read() reading {
	r := reading{at: time.Now(), load: coreTimes(m.load.LoadCore), core: coreTimes(m.load.ProxyCore)}
	for _, s := range tree(m.load.Proxy) {
		r.user += s.user
		r.sys += s.sys
	}
	return r
}

func (m *meter) usage() usage {
	a, b := m.first, m.last
	if !m.done {
		b = m.read() // the run broke off
	}
	u := usage{Seconds: b.at.Sub(a.at).Seconds(), User: float64(b.user-a.user) / ticksPerSecond,
		Sys: float64(b.sys-a.sys) / ticksPerSecond, Memory: resident(m.load.Proxy)}
	share := func(part, total int64) float64 { return 100 * float64(part) / float64(max(total, 1)) }
	whole := b.load.total - a.load.total
	u.LoadBusy = share(whole-(b.load.idle-a.load.idle), whole)
	core := b.core.total - a.core.total
	busy := core - (b.core.idle - a.core.idle) - (b.core.steal - a.core.steal)
	u.Others = max(share(busy-(b.user-a.user)-(b.sys-a.sys), core), 0)
	u.Steal = share(b.core.steal-a.core.steal+b.load.steal-a.load.steal, core+whole)
	return u
}

// coreTimes reads one core's line of /proc/stat.
func coreTimes(core int) (c coreTime) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != fmt.Sprintf("cpu%d", core) {
			continue
		}
		for i, text := range f[1:9] {
			n, _ := strconv.ParseInt(text, 10, 64)
			c.total += n
			switch i {
			case 3, 4: // idle, waiting for a disk
				c.idle += n
			case 7:
				c.steal += n
			}
		}
	}
	return c
}

// processStat is a line of /proc/PID/stat.
type processStat struct {
	pid, parent int
	user, sys   int64 // ticks, with those of children that ended
	begun       int64 // ticks since the machine started
}

// tree returns a process and what descends from it.
func tree(root int) []processStat {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	all := make(map[int]processStat, len(files))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended
		}
		if s, ok := parseStat(b); ok {
			all[s.pid] = s
		}
	}
	var found []processStat
	for pid, s := range all {
		for up, steps := pid, 0; up > 1 && steps < 10; up, steps = all[up].parent, steps+1 {
			if up == root {
				found = append(found, s)
				break
			}
		}
	}
	return found
}

// parseStat reads /proc/PID/stat; the name in it may hold anything.
func parseStat(b []byte) (s processStat, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return s, false
	}
	s.pid, _ = strconv.Atoi(strings.TrimSpace(string(b[:open])))
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 {
		return s, false
	}
	s.parent, _ = strconv.Atoi(f[1])
	number := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	s.user, s.sys = number(11)+number(13), number(12)+number(14)
	s.begun = number(19)
	return s, true
}

// resident is the memory of a process and its children in bytes, where a page
// that several share counts once (the kernel's "proportional set size").
func resident(root int) (sum int64) {
	for _, s := range tree(root) {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", s.pid))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
				kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
				sum += kib << 10
			}
		}
		f.Close()
	}
	return sum
}

// pin binds the calling thread, and what it starts, to one core.
func pin(core int) error {
	var mask [16]uint64
	mask[core/64] = 1 << (core % 64)
	_, _, e := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(mask), uintptr(unsafe.Pointer(&mask)))
	if e != 0 {
		return fmt.Errorf("cannot bind to core %d: %w", core, e)
	}
	return nil
}
