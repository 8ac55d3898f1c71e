package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

const (
	execsMax       = 16
	execOutputMax  = 8 << 20 // bytes of standard output; more is a failure
	execErrorMax   = 4 << 10 // bytes kept of standard error
	execAfterKill  = 500 * time.Millisecond
	execInterval   = 10 * time.Second
	execTimeout    = 5 * time.Second
	execFirstBurst = 3 // tries after a failure that come sooner than the interval
)

// ExecConfig is a command that prints the list of members.
type ExecConfig struct {
	Name     string   // unique; what it is called in logs and metrics
	Command  []string // program and arguments; no shell is involved
	Dir      string   // where it runs; empty: where Jetway does
	Interval time.Duration
	Timeout  time.Duration // it is killed after that, and its children with it
}

// ExecStatus is how a command is doing.
type ExecStatus struct {
	Name     string    `json:"name"`
	Members  int       `json:"members"` // of the last good list
	Good     time.Time `json:"good,omitzero"`
	Runs     uint64    `json:"runs"`
	Failures uint64    `json:"failures"`
	Error    string    `json:"error,omitempty"` // of the newest run
}

// Execs runs commands again and again and publishes what they print, each as
// a source of its own. A failure changes nothing: the last good list stays.
type Execs struct {
	log    zerolog.Logger
	source func(name string) Publish
	wake   chan struct{} // capacity 1: the configuration changed

	mu      sync.Mutex // guards what follows
	wanted  []ExecConfig
	running map[string]*execRun // by name; of those that are wanted
}

// execRun is one command in use.
type execRun struct {
	cfg     ExecConfig
	publish Publish
	stop    context.CancelFunc
	done    chan struct{}
	status  ExecStatus // guarded by Execs.mu
}

// NewExecs returns Execs without commands. source gives each its place to
// publish; it is called once per name and start.
func NewExecs(source func(name string) Publish, log zerolog.Logger) *Execs {
	return &Execs{log: log, source: source, wake: make(chan struct{}, 1), running: map[string]*execRun{}}
}

// Configure replaces the commands. Those that stay the same go on; the members
// of one that is gone go with it.
func (e *Execs) Configure(cfgs []ExecConfig) {
	e.mu.Lock()
	e.wanted = slices.Clone(cfgs)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run runs the commands until ctx ends.
func (e *Execs) Run(ctx context.Context) error {
	defer e.adjust(ctx, nil, false)
	for {
		e.mu.Lock()
		wanted := e.wanted
		e.mu.Unlock()
		e.adjust(ctx, wanted, true)
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		}
	}
}

// Status tells how each command is doing, sorted by name.
func (e *Execs) Status() []ExecStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []ExecStatus
	for _, r := range e.running {
		out = append(out, r.status)
	}
	slices.SortFunc(out, func(a, b ExecStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Settled reports whether every command was run once, for better or worse.
func (e *Execs) Settled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.running {
		if r.status.Runs == 0 {
			return false
		}
	}
	return len(e.running) == len(e.wanted)
}

// adjust ends what is not wanted and starts what is new. Members of what ends
// are withdrawn, unless all of it ends.
func (e *Execs) adjust(ctx context.Context, wanted []ExecConfig, withdraw bool) {
	e.mu.Lock()
	var ended []*execRun
	for name, r := range e.running {
		if !slices.ContainsFunc(wanted, func(c ExecConfig) bool { return reflect.DeepEqual(c, r.cfg) }) {
			ended = append(ended, r)
			delete(e.running, name)
		}
	}
	e.mu.Unlock()
	for _, r := range ended {
		r.stop()
		<-r.done
		renewed := slices.ContainsFunc(wanted, func(c ExecConfig) bool { return c.Name == r.cfg.Name })
		if withdraw && !renewed { // a changed command keeps its members until it has printed others
			r.publish(nil)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, cfg := range wanted {
		if e.running[cfg.Name] != nil {
			continue
		}
		r := &execRun{cfg: cfg, publish: e.source(cfg.Name), done: make(chan struct{}), status: ExecStatus{Name: cfg.Name}}
		run, stop := context.WithCancel(ctx)
		r.stop = stop
		e.running[cfg.Name] = r
		go e.repeat(run, r)
	}
}

// repeat runs one command until ctx ends.
func (e *Execs) repeat(ctx context.Context, r *execRun) {
	defer close(r.done)
	retry := backoff{first: time.Second, most: r.cfg.Interval}
	for failed := 0; ; {
		wait := jitter(r.cfg.Interval)
		if e.once(ctx, r) {
			failed = 0
			retry.reset()
		} else if failed++; failed <= execFirstBurst {
			wait = min(retry.next(), wait)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// once runs the command and publishes its list; false if that did not work.
func (e *Execs) once(ctx context.Context, r *execRun) (ok bool) {
	defer recovered(e.log, "exec "+r.cfg.Name)
	members, err := runExec(ctx, r.cfg)
	if ctx.Err() != nil {
		return false
	}
	e.mu.Lock()
	r.status.Runs++
	before := r.status.Error
	if err != nil {
		r.status.Failures++
		r.status.Error = err.Error()
	} else {
		r.status.Error, r.status.Members, r.status.Good = "", len(members), time.Now()
	}
	after := r.status.Error
	e.mu.Unlock()
	switch {
	case err != nil && after != before:
		e.log.Warn().Str("exec", r.cfg.Name).Err(err).Msg("command gave no list of members, the last one stays")
	case err == nil && before != "":
		e.log.Info().Str("exec", r.cfg.Name).Int("members", len(members)).Msg("command gives a list of members again")
	}
	if err != nil {
		return false
	}
	r.publish(members)
	return true
}

// runExec runs a command once and parses what it printed.
func runExec(ctx context.Context, cfg ExecConfig) ([]balancer.Member, error) {
	within, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	c := exec.CommandContext(within, cfg.Command[0], cfg.Command[1:]...)
	stdout, stderr := &cappedBuffer{max: execOutputMax, stop: cancel}, &cappedBuffer{max: execErrorMax}
	c.Stdout, c.Stderr, c.Dir = stdout, stderr, cfg.Dir
	c.Env = append(os.Environ(), "JETWAY_EXEC="+cfg.Name)
	ownGroup(c)
	c.WaitDelay = execAfterKill // a grandchild that keeps the pipes open
	err := c.Run()
	name := filepath.Base(cfg.Command[0])
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		endGroup(c)
		return nil, fmt.Errorf("cannot run %q: it left a process behind that keeps its output open", name)
	case stdout.over:
		return nil, fmt.Errorf("cannot use output of %q: it is longer than %d MiB", name, execOutputMax>>20)
	case errors.Is(within.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("cannot run %q: it took longer than %s", name, cfg.Timeout)
	case err != nil:
		if said := firstLine(stderr.kept.Bytes()); said != "" {
			return nil, fmt.Errorf("cannot run %q: %w: %s", name, err, said)
		}
		return nil, fmt.Errorf("cannot run %q: %w", name, err)
	}
	members, err := ParseMembers(stdout.kept.Bytes())
	if err != nil {
		return nil, fmt.Errorf("cannot use output of %q: %w", name, err)
	}
	return members, nil
}

// firstLine is what a command said, fit for a message.
func firstLine(said []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(said), []byte("\n"))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, clip(string(line)))
}

// cappedBuffer keeps up to max bytes; what is over is taken and dropped, and
// stop, if there is one, called. The buffer is no embedded one, whose ReadFrom
// would know no limit.
type cappedBuffer struct {
	kept bytes.Buffer
	max  int
	over bool
	stop func()
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	room := b.max - b.kept.Len()
	if len(p) <= room {
		return b.kept.Write(p)
	}
	b.over = true
	b.kept.Write(p[:room])
	if b.stop != nil {
		b.stop()
	}
	return len(p), nil
}
