//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// stopPatience is how long a process may take to stop after SIGTERM.
const stopPatience = 5 * time.Second

// process is a program that runs pinned to one core. It is started by the
// goroutine of main, which holds the main thread: the kernel sends the program
// SIGTERM when that thread ends, however it does.
type process struct {
	name string
	cmd  *exec.Cmd
	log  lastBytes
	in   io.WriteCloser
	gone chan struct{} // closed once it ended
}

// lastBytes keeps the beginning of what a program says.
type lastBytes struct {
	mu  sync.Mutex // guards buf: both streams write to it
	buf bytes.Buffer
}

func (l *lastBytes) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() < 64<<10 {
		l.buf.Write(p)
	}
	return len(p), nil
}

func (l *lastBytes) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start runs a program. out takes its standard output; nil is its log.
func start(core int, out io.Writer, env []string, path string, args ...string) (*process, error) {
	p := &process{name: path, cmd: exec.Command(path, args...), gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if out != nil {
		p.cmd.Stdout = out
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true} // Ctrl-C is ours to handle
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", path, err)
	}
	if err := pin(core); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", path, err)
	}
	go func() {
		p.cmd.Wait() // how it ended shows in its log and in what is measured
		close(p.gone)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends a process and what descends from it.
func (p *process) stop() {
	family := tree(p.pid())
	p.in.Close()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(stopPatience):
		p.cmd.Process.Kill()
		<-p.gone
	}
	for _, s := range family {
		if s.pid != p.pid() && s.lives() {
			syscall.Kill(s.pid, syscall.SIGKILL) // an orphan
		}
	}
}

// lives reports whether a process that was seen before is still there, and
// its number not given to another one.
func (s processStat) lives() bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		return false
	}
	now, ok := parseStat(b)
	return ok && now.begun == s.begun
}

// self starts this program again in a role and hands it its orders.
func self(core int, role string, orders any) (*process, *bufio.Reader, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot find this program: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	p, err := start(core, w, []string{roleVariable + "=" + role}, path)
	w.Close()
	if err != nil {
		r.Close()
		return nil, nil, err
	}
	go func() {
		<-p.gone
		time.Sleep(stopPatience) // what it said last is read by then
		r.Close()
	}()
	if err := json.NewEncoder(p.in).Encode(orders); err != nil {
		p.stop()
		return nil, nil, fmt.Errorf("cannot tell the %s what to do: %w", role, err)
	}
	return p, bufio.NewReader(r), nil
}

// hear reads one line of JSON that a role says.
func hear(ctx context.Context, p *process, from *bufio.Reader, into any) error {
	heard := make(chan error, 1)
	go func() {
		line, err := from.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, into)
		}
		heard <- err
	}()
	select {
	case err := <-heard:
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", p.name, err, p.log.String())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startMembers starts the process of members and returns their ports.
func startMembers(ctx context.Context, core, count int) (p *process, ports []int, err error) {
	p, from, err := self(core, roleMembers, memberSpec{Count: count})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := hear(ctx, p, from, &ports); err != nil {
		p.stop()
		return nil, nil, fmt.Errorf("cannot start members: %w", err)
	}
	return p, ports, nil
}

// put runs a client with a load and returns what it saw.
func put(ctx context.Context, l load) (*outcome, error) {
	p, from, err := self(l.LoadCore, roleClient, l)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	ctx, cancel := context.WithTimeout(ctx, l.Warm+l.Measure+60*time.Second)
	defer cancel()
	o := &outcome{}
	if err := hear(ctx, p, from, o); err != nil {
		return nil, err
	}
	return o, nil
}
