package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// stopWithin is how long a child may take to stop when asked.
const stopWithin = 3 * time.Second

// processes owns the children of the demo.
type processes struct {
	exe    string
	dir    string           // for their logs
	starts chan *startOrder // to the one thread that starts children

	mu   sync.Mutex // guards list
	list []*process
}

// process is one child.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer // the child ends when this closes
	log   string
	done  chan struct{} // closed once it ended; err is set before
	err   error
	meant bool // its end was asked for; guarded by processes.mu
}

type startOrder struct {
	cmd  *exec.Cmd
	errs chan error
}

func newProcesses(dir string) (*processes, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find my own binary: %w", err)
	}
	ps := &processes{exe: exe, dir: dir, starts: make(chan *startOrder)}
	go ps.starter()
	return ps, nil
}

// starter starts every child from one thread, which lives as long as the demo:
// Linux sends the death signal when the starting thread ends, not the process.
func (ps *processes) starter() {
	runtime.LockOSThread()
	for o := range ps.starts {
		o.errs <- o.cmd.Start()
	}
	select {} // unlocked or ended, the thread would take the children with it
}

// start runs `jetway ARGS` as a child called name.
func (ps *processes) start(name string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(ps.dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(ps.exe, append([]string{"demo", "child", "--"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = log, log, childAttributes()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("cannot make a pipe to %s: %w", name, err)
	}
	o := &startOrder{cmd: p.cmd, errs: make(chan error, 1)}
	ps.starts <- o
	if err := <-o.errs; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.list = append(ps.list, p)
	return p, nil
}

// running returns the process of that name that has not ended, or nil.
func (ps *processes) running(name string) *process {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range slices.Backward(ps.list) {
		if p.name == name && !p.ended() {
			return p
		}
	}
	return nil
}

// signal sends a signal that is meant to end the process of that name.
func (ps *processes) signal(name string, sig os.Signal) error {
	p := ps.running(name)
	if p == nil {
		return fmt.Errorf("%s is not running", name)
	}
	ps.mu.Lock()
	p.meant = true
	ps.mu.Unlock()
	return p.cmd.Process.Signal(sig)
}

// wait returns once the process of that name has ended.
func (ps *processes) wait(name string, within time.Duration) error {
	p := ps.running(name)
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s did not end within %v", name, within)
	}
}

// failed names a process that ended although nobody asked it to.
func (ps *processes) failed() error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.list {
		if p.ended() && !p.meant {
			return fmt.Errorf("%s ended by itself: %v", p.name, p.err)
		}
	}
	return nil
}

// ends returns the processes that have ended so far.
func (ps *processes) ends() []*process {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var ended []*process
	for _, p := range ps.list {
		if p.ended() {
			ended = append(ended, p)
		}
	}
	return ended
}

// stopAll asks every child to stop and kills what is still there later.
func (ps *processes) stopAll() {
	ps.mu.Lock()
	list := slices.Clone(ps.list)
	for _, p := range list {
		p.meant = true
	}
	ps.mu.Unlock()
	for _, p := range list {
		if !p.ended() {
			p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it just ended
		}
	}
	deadline := time.After(stopWithin)
	for _, p := range list {
		select {
		case <-p.done:
		case <-deadline:
			p.cmd.Process.Kill()
			<-p.done
			deadline = time.After(0) // no more patience with the others
		}
	}
}

// logTails returns the last lines of every log as an error, to be shown
// beside the failure that they may explain.
func (ps *processes) logTails() error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var errs []error
	for _, p := range ps.list {
		if tail := p.tail(5); tail != "" {
			errs = append(errs, fmt.Errorf("log of %s:\n%s", p.name, tail))
		}
	}
	return errors.Join(errs...)
}

func (p *process) tail(lines int) string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	all := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// childCommand is `jetway demo child -- ARGS`: it does what `jetway ARGS` does
// and ends when its standard input does, which is when the demo ends.
func childCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "child -- ARGS",
		Short:  "Run another command until standard input ends",
		Args:   cobra.MinimumNArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			go func() {
				io.Copy(io.Discard, os.Stdin) // returns at the end, by error or not
				os.Exit(1)
			}()
			root := cmd.Root()
			root.SetArgs(args)
			return root.ExecuteContext(cmd.Context())
		},
	}
}
