//go:build linux

// Command bench measures Jetway beside HAProxy, nginx and Caddy: on one
// machine, in one run, with the same members, the same client and equal work.
//
//	go run ./test/bench                    everything; tables in Markdown on standard output
//	go run ./test/bench -scenario a,g      these scenarios
//	go run ./test/bench -docs docs/performance.md   likewise, into that page, in 25 minutes
//	go run ./test/bench -short             (a) and (g) in a few seconds; fails on gross regression
//	go run ./test/bench -jetway old=/tmp/jetway1,new=/tmp/jetway2 -proxies old,new -scenario a
//
// The proxies run one at a time on one core, the client and the members, which
// are processes of this same program, on another one. What counts is the CPU
// time of the proxy per request, from /proc. docs/performance.md has the method
// and figures, configs what each proxy is told. Everything that is started ends
// with this program.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The roles of this program's own processes.
const (
	roleVariable = "JETWAY_BENCH_ROLE"
	roleMembers  = "members"
	roleClient   = "client"
	roleHold     = "hold"
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	runtime.LockOSThread() // see process
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) // everything is stopped: run is over
	}
}

// play is a process of this program with a part in a measurement.
func play(role string) error {
	orders := json.NewDecoder(bufio.NewReader(os.Stdin))
	switch role {
	case roleMembers:
		runtime.LockOSThread()
		var spec memberSpec
		if err := orders.Decode(&spec); err != nil {
			return fmt.Errorf("cannot read orders: %w", err)
		}
		return runMembers(spec)
	case roleHold:
		var h holding
		if err := orders.Decode(&h); err != nil {
			return fmt.Errorf("cannot read orders: %w", err)
		}
		return runHold(h)
	}
	var l load
	if err := orders.Decode(&l); err != nil {
		return fmt.Errorf("cannot read orders: %w", err)
	}
	do := runClient
	if l.TLS != "" {
		do = runSecure
	} else {
		runtime.LockOSThread()
	}
	o, err := do(&l)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

// flags are the command line.
type flags struct {
	scenarios, proxies, jetways, cores string
	load                               string
	svg, json, docs                    string
	short                              bool
	seconds, warm                      float64
	options
}

func parse(args []string) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.StringVar(&f.scenarios, "scenario", "", "letters of scenarios, separated by commas; empty: all")
	set.StringVar(&f.load, "load", "", "part of the names of the loads of a scenario that are wanted, such as \"10 MB\"; empty: all")
	set.StringVar(&f.proxies, "proxies", "", "names, separated by commas; empty: every jetway, haproxy, nginx, caddy")
	set.StringVar(&f.jetways, "jetway", "", "NAME=BINARY,...: builds of Jetway; empty: jetway, built from this module")
	set.StringVar(&f.cores, "cores", "0,1", "core of client and members, core of the proxies")
	set.IntVar(&f.rounds, "rounds", 5, "runs of each proxy and load")
	set.Float64Var(&f.seconds, "seconds", 4, "measured per run")
	set.Float64Var(&f.warm, "warm", 1, "seconds of warm-up per run")
	set.BoolVar(&f.short, "short", false, "(a) and (g) in a few seconds; exit 1 on gross regression")
	set.StringVar(&f.svg, "svg", "", "file for a chart")
	set.StringVar(&f.json, "json", "", "file for every figure")
	set.StringVar(&f.docs, "docs", "", "page whose figures are replaced, with a chart beside it; about 25 minutes")
	set.StringVar(&f.own, "pprof", "", "directory for CPU profiles that Jetway makes of itself, one a load; default.pgo is made of them")
	set.StringVar(&f.profile, "perf", "", "directory for a record of perf of each proxy")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 || f.rounds < 1 || f.seconds <= 0 || f.warm < 0 {
		return nil, errors.New("-rounds and -seconds are above 0, and there are no arguments")
	}
	if f.short {
		f.rounds, f.seconds, f.warm = min(f.rounds, 3), min(f.seconds, 2), min(f.warm, 0.5)
	}
	if f.docs != "" { // what two cores measure in 25 minutes: many short rounds outvote a machine that is slow for moments
		f.rounds, f.seconds, f.warm = min(f.rounds, 5), min(f.seconds, 1.2), min(f.warm, 0.3)
		f.sparing = true
	}
	f.measure = time.Duration(f.seconds * float64(time.Second))
	f.options.warm = time.Duration(f.warm * float64(time.Second))
	if _, err := fmt.Sscanf(f.cores, "%d,%d", &f.loadCore, &f.proxyCore); err != nil || f.loadCore == f.proxyCore {
		return nil, fmt.Errorf("-cores %q is not two different numbers", f.cores)
	}
	return f, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	b := &bench{options: f.options, port: 20000 + os.Getpid()%8000}
	if b.dir, err = os.MkdirTemp("", "jetway-bench-"); err != nil {
		return fmt.Errorf("cannot make a directory: %w", err)
	}
	defer os.RemoveAll(b.dir)
	descriptors()
	missing, err := b.find(ctx, f)
	if err != nil {
		return err
	}
	r := newReport(b, missing)
	var page bytes.Buffer
	if f.docs != "" {
		if err := f.writable(); err != nil {
			return err
		}
		out = io.MultiWriter(out, &page)
	}
	r.head(out, b.kinds)
	if f.short {
		err = b.short(ctx, out, r)
	} else {
		err = b.all(ctx, f, out, r)
	}
	if err == nil && f.docs != "" {
		err = f.writeDocs(r, page.String())
	}
	return errors.Join(err, f.write(r))
}

// find decides what is compared and builds Jetway if need be.
func (b *bench) find(ctx context.Context, f *flags) (missing []string, err error) {
	jetways, order := map[string]string{}, []string{}
	for _, pair := range strings.Split(f.jetways, ",") {
		if name, path, ok := strings.Cut(pair, "="); ok {
			jetways[name] = path
			order = append(order, name)
		}
	}
	if len(order) == 0 {
		path := filepath.Join(b.dir, "jetway")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "jetway").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot build jetway: %w\n%s", err, out)
		}
		jetways["jetway"] = path
		order = append(order, "jetway")
	}
	order = append(order, "haproxy", "nginx", "caddy")
	if f.proxies != "" {
		wanted := strings.Split(f.proxies, ",")
		order = slices.DeleteFunc(order, func(name string) bool { return !slices.Contains(wanted, name) })
	} else if f.short {
		order = slices.DeleteFunc(order, func(name string) bool { return name == "caddy" })
	}
	b.kinds, missing = kinds(jetways, order)
	if len(b.kinds) == 0 {
		return nil, errors.New("there is nothing to measure")
	}
	return missing, nil
}

// all measures the scenarios that were asked for and writes each as it ends.
func (b *bench) all(ctx context.Context, f *flags, out io.Writer, r *report) error {
	wanted := strings.Split(f.scenarios, ",")
	for _, s := range scenarios() {
		if f.scenarios != "" && !slices.Contains(wanted, s.letter) {
			continue
		}
		fmt.Fprintf(out, "\n## (%s) %s\n", s.letter, s.title)
		if s.letter == "g" {
			memory, err := b.memory(ctx, false)
			if err != nil {
				return err
			}
			memory.table(out)
			r.Memory = memory
			continue
		}
		if err := b.scenario(ctx, &s, f.load, out, r); err != nil {
			return err
		}
		if s.note != "" {
			fmt.Fprintf(out, "\n%s\n", s.note)
		}
	}
	return nil
}

func (b *bench) beside(ctx context.Context, points []*point, out io.Writer, r *report) error {
	all, err := b.runBeside(ctx, points)
	if err != nil {
		return err
	}
	for _, result := range all {
		result.table(out)
	}
	r.Results = append(r.Results, all...)
	return nil
}

// scenario measures the points of a scenario whose names contain load. What was measured in this run
// already, for (h), is not measured again for (l).
func (b *bench) scenario(ctx context.Context, s *scenario, load string, out io.Writer, r *report) error {
	var beside []*point
	for i := range s.points {
		pt := &s.points[i]
		if pt.Scenario = s.letter; !strings.Contains(pt.Name, load) {
			continue
		}
		if s.letter == "l" && slices.ContainsFunc(r.Results, func(o *result) bool { return o.Name == pt.Name }) {
			continue
		}
		if len(beside) > 0 && (pt.Group == "" || beside[0].Group != pt.Group) {
			if err := b.beside(ctx, beside, out, r); err != nil {
				return err
			}
			beside = nil
		}
		beside = append(beside, pt)
	}
	if err := b.beside(ctx, beside, out, r); err != nil {
		return err
	}
	if s.letter == "l" {
		for _, noun := range strings.Fields(growing) {
			flatness(out, noun, r.group(noun))
		}
	}
	return nil
}

// write writes the files that were asked for.
func (f *flags) write(r *report) error {
	var errs []error
	if f.svg != "" {
		errs = append(errs, os.WriteFile(f.svg, []byte(chart(r)), 0o644))
	}
	if f.json != "" {
		b, err := json.MarshalIndent(r, "", " ")
		if err == nil {
			err = os.WriteFile(f.json, b, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
