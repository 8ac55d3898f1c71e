//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
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

// ownProfile has Jetway sample itself for as long as one run lasts, and keeps
// what it says beside that of other rounds. The function that it returns waits
// for it.
func (b *bench) ownProfile(p *proxy, pt *point, l load) func() {
	ended := make(chan error, 1)
	go func() { ended <- b.fetchProfile(p, pt, l) }()
	return func() {
		if err := <-ended; err != nil {
			b.say("profile of %s: %v", p.Name, err)
		}
	}
}

func (b *bench) fetchProfile(p *proxy, pt *point, l load) error {
	if err := os.MkdirAll(b.own, 0o755); err != nil {
		return fmt.Errorf("cannot keep it: %w", err)
	}
	seconds := max(1, int((l.Warm + l.Measure).Seconds()))
	c := http.Client{Timeout: time.Duration(seconds)*time.Second + 30*time.Second}
	res, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", p.Admin, seconds))
	if err != nil {
		return fmt.Errorf("cannot get it: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot get it: %s", res.Status)
	}
	f, err := os.CreateTemp(b.own, pt.Scenario+"-"+p.Name+"-*.pprof")
	if err != nil {
		return fmt.Errorf("cannot keep it: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(f, res.Body); err != nil {
		return fmt.Errorf("cannot keep it: %w", err)
	}
	return f.Close()
}
