package harness

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stopPatience is how long a program may take to stop after SIGTERM.
const stopPatience = 15 * time.Second

// Process is a running program whose output is kept.
type Process struct {
	Name string

	t    testing.TB
	cmd  *exec.Cmd
	log  logBuffer
	gone chan struct{} // closed once Wait returned
	err  error         // of Wait; read after gone
}

// logBuffer keeps what a program writes; both of its streams share it.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// maxLog bounds what is kept of a program's output.
const maxLog = 4 << 20

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() < maxLog {
		l.buf.Write(p)
	}
	return len(p), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// StartTool starts a program that runs in the foreground and stops it when
// the test ends; its output is shown if the test fails.
func StartTool(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	return startProcess(t, exec.Command(path, args...))
}

// StartToolIn is StartTool in a directory.
func StartToolIn(t testing.TB, dir, path string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	return startProcess(t, cmd)
}

func startProcess(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: cmd.Args[0], t: t, cmd: cmd, gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	// A test that dies must not leave the program behind.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", p.Name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.gone)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.Name, tail(p.Log(), 8<<10))
		}
	})
	return p
}

// Log returns everything the program wrote so far.
func (p *Process) Log() string { return p.log.String() }

// Signal sends sig.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("cannot signal %s: %v", p.Name, err)
	}
}

// Gone is closed when the program has ended.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Stop ends the program with SIGTERM, with SIGKILL if that takes too long, and
// returns its exit code, -1 where a signal ended it. Repeated calls only
// return the code.
func (p *Process) Stop() int {
	p.t.Helper()
	select {
	case <-p.gone:
		return p.cmd.ProcessState.ExitCode()
	default:
	}
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(stopPatience):
		p.t.Errorf("%s did not stop within %v of SIGTERM", p.Name, stopPatience)
		p.Signal(syscall.SIGKILL)
		<-p.gone
	}
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the program with SIGKILL, as a crash would.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.gone
}

// RSS returns the program's resident memory in bytes, 0 if it is gone.
func (p *Process) RSS() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// Descriptors returns how many file descriptors the program holds open.
func (p *Process) Descriptors() int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(entries)
}

// AwaitTCP waits until the program accepts connections at addr. It fails the
// test when the program ends first or takes longer than 10 s.
func (p *Process) AwaitTCP(addr string) {
	p.t.Helper()
	p.await("a listener at "+addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

func (p *Process) await(what string, ready func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.gone:
			p.t.Fatalf("%s ended (%v) before there was %s:\n%s", p.Name, p.err, what, tail(p.Log(), 4<<10))
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: no %s within 10 s:\n%s", p.Name, what, tail(p.Log(), 4<<10))
		}
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
