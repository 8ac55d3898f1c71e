package autoscale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

const (
	processFile = "processes.json"
	childrenMax = 10_000 // the dead included
	deadMax     = 200    // remembered, so that their order is not carried out again
	logsKept    = 50
	pollChild   = 20 * time.Millisecond
)

// processDriver runs members as processes of this machine. They outlive
// Jetway: the next one adopts them.
type processDriver struct {
	cfg     ProcessConfig
	nursery *nursery
}

// nursery keeps the processes of all clusters, and their list in a file.
type nursery struct {
	dir string // empty: not kept
	log zerolog.Logger

	mu       sync.Mutex // guards all below
	opened   bool
	children []*child
}

func newNursery(dir string, log zerolog.Logger) *nursery { return &nursery{dir: dir, log: log} }

// open reads the file and adopts those that still run.
func (n *nursery) open() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.opened {
		return nil
	}
	if !canIdentify() {
		return errors.New("the driver process needs Linux: nowhere else can it be told whether a pid is still the same process")
	}
	if n.dir == "" {
		n.log.Warn().Msg("the scaling driver process has no state_dir: after a restart it does not know the processes that it started")
		n.opened = true
		return nil
	}
	b, err := readFileMost(filepath.Join(n.dir, processFile), historyMax)
	if errors.Is(err, fs.ErrNotExist) {
		n.opened = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the list of processes: %w", err)
	}
	if err := json.Unmarshal(b, &n.children); err != nil {
		return fmt.Errorf("cannot use %q, move it away to start without: %w", filepath.Join(n.dir, processFile), err)
	}
	n.opened = true
	n.adoptLocked()
	return nil
}

// adoptLocked finds out who of the children is still there. One that was about
// to be started when the process before ended is known by its environment.
func (n *nursery) adoptLocked() {
	adopted := 0
	n.children = slices.DeleteFunc(n.children, func(c *child) bool {
		if c == nil || c.Order == "" {
			return true
		}
		if c.PID == 0 {
			c.PID = findByEnvironment(c.environment())
			if c.PID == 0 {
				return true // it was never started: its order may be given again
			}
			c.Started = startTime(c.PID)
		}
		if !c.Dead && !c.alive() {
			c.Dead = true
		}
		if !c.Dead {
			adopted++
		}
		return false
	})
	if adopted > 0 {
		n.log.Info().Int("processes", adopted).Msg("members of the process before adopted")
	}
	n.saveLocked()
}

func (n *nursery) saveLocked() {
	dead := 0
	for _, c := range slices.Backward(n.children) {
		if c.Dead {
			dead++
		}
	}
	n.children = slices.DeleteFunc(n.children, func(c *child) bool {
		if !c.Dead || dead <= deadMax {
			return false
		}
		dead--
		return true
	})
	if n.dir == "" {
		return
	}
	b, err := json.Marshal(n.children)
	if err == nil {
		err = replaceFile(filepath.Join(n.dir, processFile), b)
	}
	if err != nil {
		n.log.Error().Err(err).Msg("list of processes cannot be written: after a restart they are not known")
	}
}

// Start implements Driver: those of the order that were started before are not
// started again.
func (d *processDriver) Start(ctx context.Context, o Order) ([]string, error) {
	n := d.nursery
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for i := range o.Count {
		at := slices.IndexFunc(n.children, func(c *child) bool { return c.Order == o.ID && c.Index == i })
		if at >= 0 {
			names = append(names, n.children[at].Member)
			continue
		}
		c, err := n.startLocked(&d.cfg, &o, i)
		if err != nil && len(names) == 0 {
			return nil, err
		}
		if err != nil { // the others of the order are there: those that are missing are found out
			n.log.Warn().Str("order", o.ID).Err(err).Msg("not all processes of an order could be started")
			break
		}
		names = append(names, c.Member)
	}
	return names, nil
}

func (n *nursery) startLocked(cfg *ProcessConfig, o *Order, index int) (*child, error) {
	if len(n.children) >= childrenMax {
		return nil, fmt.Errorf("cannot start a process: there are %d already", len(n.children))
	}
	c := &child{Order: o.ID, Sequence: o.Sequence, Index: index, Domain: o.Domain, SubDomain: o.SubDomain, ended: make(chan struct{}),
		Member: o.SubDomain + "-" + strconv.FormatUint(o.Sequence, 36) + "-" + strconv.Itoa(index)}
	if cfg.PortFirst > 0 {
		var err error
		if c.Port, err = n.freePortLocked(cfg); err != nil {
			return nil, err
		}
	}
	n.children = append(n.children, c)
	n.saveLocked() // before it runs, so that it is found whenever this process ends
	cmd, err := n.spawn(cfg, c)
	if err != nil {
		n.children = n.children[:len(n.children)-1]
		n.saveLocked()
		return nil, fmt.Errorf("cannot start a process: %w", err)
	}
	c.PID, c.Started = cmd.Process.Pid, startTime(cmd.Process.Pid)
	n.saveLocked()
	n.log.Info().Str("member", c.Member).Int("pid", c.PID).Uint16("port", c.Port).Str("order", o.ID).Msg("process started")
	go n.await(cmd, c)
	return c, nil
}

// spawn runs the command in a session of its own: neither the terminal nor the
// end of Jetway ends it.
func (n *nursery) spawn(cfg *ProcessConfig, c *child) (*exec.Cmd, error) {
	replace := strings.NewReplacer("{id}", c.Member, "{port}", strconv.Itoa(int(c.Port)), "{domain}", c.Domain,
		"{sub_domain}", c.SubDomain, "{order}", c.Order)
	argv := make([]string, len(cfg.Command))
	for i, a := range cfg.Command {
		argv[i] = replace.Replace(a)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = cfg.Directory
	cmd.Env = append(os.Environ(), c.environment(), "JETWAY_ORDER="+c.Order, "JETWAY_MEMBER="+c.Member,
		"JETWAY_DOMAIN="+c.Domain, "JETWAY_SUB_DOMAIN="+c.SubDomain, "JETWAY_PORT="+strconv.Itoa(int(c.Port)))
	cmd.SysProcAttr = ownSession()
	if n.dir != "" {
		out, err := n.openLog(c)
		if err != nil {
			return nil, err
		}
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
	}
	return cmd, cmd.Start()
}

// openLog makes the file for the output of a child and removes the oldest of
// the others.
func (n *nursery) openLog(c *child) (*os.File, error) {
	dir := filepath.Join(n.dir, "processes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, o := range n.children {
		if !o.Dead {
			running[o.Member+".log"] = true
		}
	}
	entries, _ := os.ReadDir(dir) // by name; none to remove where it cannot be read
	old := slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return running[e.Name()] })
	for i := range max(len(old)-logsKept, 0) {
		os.Remove(filepath.Join(dir, old[i].Name())) // it is tried again next time
	}
	return os.OpenFile(filepath.Join(dir, c.Member+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// freePortLocked finds a port that no child has and nobody listens on.
func (n *nursery) freePortLocked(cfg *ProcessConfig) (uint16, error) {
	taken := map[uint16]bool{}
	for _, c := range n.children {
		taken[c.Port] = taken[c.Port] || !c.Dead
	}
	for p := int(cfg.PortFirst); p <= int(cfg.PortEnd); p++ {
		if taken[uint16(p)] {
			continue
		}
		l, err := net.Listen("tcp", ":"+strconv.Itoa(p))
		if err != nil {
			continue
		}
		l.Close()
		return uint16(p), nil
	}
	return 0, fmt.Errorf("cannot start a process: no port of %d-%d is free", cfg.PortFirst, cfg.PortEnd)
}

// await notes the end of a process of our own.
func (n *nursery) await(cmd *exec.Cmd, c *child) {
	err := cmd.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	c.Dead = true
	close(c.ended)
	n.saveLocked()
	e := n.log.Info()
	if err != nil {
		e = e.Str("end", err.Error())
	}
	e.Str("member", c.Member).Int("pid", c.PID).Msg("process ended")
}

// Stop implements Driver.
func (d *processDriver) Stop(ctx context.Context, o Order) error {
	n := d.nursery
	n.mu.Lock()
	var targets []*child
	known := false
	for _, c := range n.children {
		switch {
		case o.Start != "":
			known = true
			if c.Order == o.Start && !slices.Contains(o.Joined, c.Member) {
				targets = append(targets, c)
			}
		case c.Domain == o.Domain && c.Member == o.Member:
			known = true
			targets = append(targets, c)
		}
	}
	n.mu.Unlock()
	if !known && o.Member != "" {
		return fmt.Errorf("%q: %w", o.Member, ErrForeign)
	}
	var errs []error
	for _, c := range targets {
		errs = append(errs, n.end(ctx, c, d.cfg.StopWait))
	}
	return errors.Join(errs...)
}

// end asks a process to end and ends it after a while.
func (n *nursery) end(ctx context.Context, c *child, wait time.Duration) error {
	if !n.signal(c, syscall.SIGTERM) {
		return nil // it has ended
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	poll := time.NewTicker(pollChild)
	defer poll.Stop()
	killed := false
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d of %q has not ended: %w", c.PID, c.Member, ErrUnsure)
		case <-c.ended: // never for one that was adopted
			return nil
		case <-poll.C:
			if !n.isAlive(c) {
				return nil
			}
		case <-deadline.C:
			if killed {
				return fmt.Errorf("process %d of %q cannot be killed", c.PID, c.Member)
			}
			killed = true
			n.log.Warn().Str("member", c.Member).Int("pid", c.PID).Dur("after", wait).Msg("process did not end when asked to, killed")
			n.signal(c, syscall.SIGKILL)
			deadline.Reset(5 * time.Second)
		}
	}
}

// signal sends a signal to the process, and to its group where it is the last
// one; false where it has ended.
func (n *nursery) signal(c *child, sig syscall.Signal) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !c.aliveLocked(n) {
		return false
	}
	return signalProcess(c.PID, c.Started, sig)
}

func (n *nursery) isAlive(c *child) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return c.aliveLocked(n)
}

// List implements Driver.
func (d *processDriver) List(_ context.Context, key balancer.Key) (Listing, error) {
	n := d.nursery
	n.mu.Lock()
	defer n.mu.Unlock()
	l := Listing{Complete: true, Known: []string{}} // another load balancer's processes are its own
	for _, c := range n.children {
		if c.Domain != key.Domain || c.SubDomain != key.SubDomain {
			continue
		}
		l.Known = append(l.Known, c.Order)
		if c.aliveLocked(n) {
			l.Instances = append(l.Instances, Instance{c.Order, c.Sequence, c.Member})
		}
	}
	return l, nil
}
