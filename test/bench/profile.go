//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// record lets perf sample a proxy during the measured time of one run. The
// function that it returns waits for perf to finish.
func (b *bench) record(p *proxy, l load) (func(), error) {
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return nil, fmt.Errorf("cannot profile: %w", err)
	}
	var pids []string
	for _, s := range tree(p.proc.pid()) {
		pids = append(pids, fmt.Sprint(s.pid))
	}
	file := filepath.Join(b.profile, p.Name+".perf")
	if err := pin(b.loadCore); err != nil {
		return nil, err
	}
	cmd := exec.Command("perf", "record", "-q", "-F", "1999", "-g", "-o", file, "-p", strings.Join(pids, ","), "--",
		"sleep", fmt.Sprint((l.Warm + l.Measure).Seconds()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot profile: %w", err)
	}
	return func() {
		end := time.AfterFunc(stopPatience, func() { cmd.Process.Kill() })
		defer end.Stop()
		if err := cmd.Wait(); err != nil {
			b.say("perf: %v", err)
		}
		b.say("profile of %s: perf report -i %s --no-children", p.Name, file)
	}, nil
}
