package autoscale

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// outputMax bounds what is kept of a command's output or a webhook's answer.
const outputMax = 64 << 10

// exitUnsure is the exit code by which a command says that it does not know
// whether it worked: EX_TEMPFAIL of sysexits.h.
const exitUnsure = 75

// execDriver runs commands of the operator's: the order on their standard
// input as JSON and in JETWAY_* of their environment.
type execDriver struct {
	cfg ExecConfig
	log zerolog.Logger
}

func (d *execDriver) Start(ctx context.Context, o Order) ([]string, error) {
	out, err := d.run(ctx, d.cfg.Start, o)
	if err != nil {
		return nil, err
	}
	return memberNames(out), nil
}

func (d *execDriver) Stop(ctx context.Context, o Order) error {
	_, err := d.run(ctx, d.cfg.Stop, o)
	return err
}

func (d *execDriver) List(ctx context.Context, key balancer.Key) (Listing, error) {
	if len(d.cfg.List) == 0 {
		return Listing{}, ErrNoList
	}
	o := newOrder(key, ActionList, 0)
	o.ID = ""
	out, err := d.run(ctx, d.cfg.List, o)
	if err != nil {
		return Listing{}, err
	}
	return parseListing(out)
}

// run runs one command and returns what it wrote to its standard output. Its
// whole process group ends with the time-out.
func (d *execDriver) run(ctx context.Context, argv []string, o Order) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	input, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("BUG: an order that is no JSON: %w", err)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr capped
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(input, '\n')), &stdout, &stderr
	cmd.Env = append(os.Environ(), orderEnvironment(&o)...)
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = time.Second // for the output of what it left behind
	begun := time.Now()
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well and left something in the background, as starters do
	}
	e := d.log.Info()
	if err != nil {
		e = d.log.Warn().Err(err)
	}
	e.Str("domain", o.Domain).Str("sub_domain", o.SubDomain).Str("order", o.ID).Str("action", string(o.Action)).Str("command", argv[0]).
		Dur("took", time.Since(begun)).Str("stdout", stdout.tail()).Str("stderr", stderr.tail()).Msg("command of the scaling driver ended")
	return stdout.b, d.outcome(ctx, argv[0], err, &stderr)
}

// outcome says what the end of a command means for its order.
func (d *execDriver) outcome(ctx context.Context, name string, err error, stderr *capped) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("command %q did not end within %s: %w", name, d.cfg.Timeout, ErrUnsure)
	case errors.As(err, &exit) && (exit.ExitCode() == exitUnsure || exit.ExitCode() < 0):
		return fmt.Errorf("command %q: %s: %w", name, err, ErrUnsure)
	}
	said := ""
	if lines := strings.Split(strings.TrimSpace(stderr.tail()), "\n"); lines[len(lines)-1] != "" {
		said = ": " + lines[len(lines)-1]
	}
	return fmt.Errorf("command %q: %w%s", name, err, said)
}

// orderEnvironment is the order for scripts that do not read JSON.
func orderEnvironment(o *Order) []string {
	return []string{
		"JETWAY_ORDER=" + o.ID, "JETWAY_ACTION=" + string(o.Action), "JETWAY_DOMAIN=" + o.Domain, "JETWAY_SUB_DOMAIN=" + o.SubDomain,
		"JETWAY_SEQUENCE=" + strconv.FormatUint(o.Sequence, 10), "JETWAY_COUNT=" + strconv.Itoa(o.Count),
		"JETWAY_MEMBER=" + o.Member, "JETWAY_HOST=" + o.Host, "JETWAY_START=" + o.Start,
		"JETWAY_MEMBERS=" + strings.Join(o.Members, " "), "JETWAY_JOINED=" + strings.Join(o.Joined, " "),
	}
}

// memberNames reads {"members": ["id", ...]} where that is what was answered.
func memberNames(out []byte) []string {
	var answer struct {
		Members []string `json:"members"`
	}
	if json.Unmarshal(bytes.TrimSpace(out), &answer) != nil {
		return nil // it answers in its own words: members are then counted as they come
	}
	return answer.Members
}

// parseListing reads {"complete": true, "instances": [{"order": ..., "member": ...}]}.
func parseListing(out []byte) (Listing, error) {
	var answer struct {
		Complete  bool       `json:"complete"`
		Instances []Instance `json:"instances"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &answer); err != nil {
		return Listing{}, fmt.Errorf("cannot read the list of what is under way: %w", err)
	}
	for i := range answer.Instances {
		in := &answer.Instances[i]
		if in.Sequence == 0 { // it stands in the id
			in.Sequence, _ = strconv.ParseUint(in.Order[strings.LastIndexByte(in.Order, '/')+1:], 10, 64)
		}
	}
	return Listing{Complete: answer.Complete, Instances: answer.Instances}, nil
}

// capped keeps the beginning of what is written to it.
type capped struct{ b []byte }

func (c *capped) Write(p []byte) (int, error) {
	c.b = append(c.b, p[:min(len(p), outputMax-len(c.b))]...)
	return len(p), nil
}

// tail returns the last few hundred bytes, for the log.
func (c *capped) tail() string {
	const most = 500
	return strings.ToValidUTF8(string(c.b[max(0, len(c.b)-most):]), "?")
}
