package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"
)

// part is something that runs for as long as the load balancer does. One that
// ends unasked takes the process with it: a supervisor starts it again whole,
// which beats limping.
type part struct {
	name  string
	stage stage
	run   func(context.Context) error
}

// stage says when a part is stopped: the lower first, each stage only after
// the one before has ended.
type stage int

const (
	stageTraffic stage = iota // clients' requests; ends when those in flight have
	stageWork                 // what goes on in the background
	stageGossip               // the others shall see us until nothing is left to do
	stageAdmin                // tells how the stop goes on
	stageLogs                 // what the others had to say
	stages
)

// stopMost bounds the stop of every stage but the traffic, which bounds itself
// by timeouts.drain.
const stopMost = 15 * time.Second

// exit is the end of one part.
type exit struct {
	*part
	err error
}

// runParts starts parts in order and stops them by stage once ctx ends or one
// of them did. stopping is called before the first is stopped.
func runParts(ctx context.Context, parts []part, stopping func(), panicked func(part string), log zerolog.Logger) error {
	exits := make(chan exit, len(parts))
	var contexts [stages]context.Context
	var cancels [stages]context.CancelFunc
	for i := range contexts {
		contexts[i], cancels[i] = context.WithCancel(context.WithoutCancel(ctx))
		defer cancels[i]()
	}
	var running [stages]int
	for i := range parts {
		p := &parts[i]
		running[p.stage]++
		go func() { exits <- exit{p, p.guarded(contexts[p.stage], panicked, log)} }()
	}
	var errs []error
	select {
	case <-ctx.Done():
	case e := <-exits:
		running[e.stage]--
		errs = append(errs, e.unasked())
		log.Error().Str("part", e.name).AnErr("reason", e.err).Msg("a part ended unasked, stopping")
	}
	stopping()
	for s := range stages {
		cancels[s]()
		errs = append(errs, awaitStage(s, &running, exits))
	}
	return errors.Join(errs...)
}

// awaitStage waits until every part of a stage has ended.
func awaitStage(s stage, running *[stages]int, exits <-chan exit) error {
	var late <-chan time.Time
	if s != stageTraffic {
		t := time.NewTimer(stopMost)
		defer t.Stop()
		late = t.C
	}
	var errs []error
	for running[s] > 0 {
		select {
		case e := <-exits:
			running[e.stage]--
			if e.stage > s { // not asked yet
				e.err = e.unasked()
			}
			errs = append(errs, e.err)
		case <-late:
			return errors.Join(append(errs, fmt.Errorf("%d parts of stage %d did not stop within %s", running[s], s, stopMost))...)
		}
	}
	return errors.Join(errs...)
}

func (e exit) unasked() error {
	if e.err == nil {
		return fmt.Errorf("%s ended by itself", e.name)
	}
	return fmt.Errorf("%s ended: %w", e.name, e.err)
}

// guarded runs the part and makes an error of a panic.
func (p *part) guarded(ctx context.Context, panicked func(string), log zerolog.Logger) (err error) {
	defer func() {
		if r := recover(); r != nil {
			panicked(p.name)
			log.Error().Str("part", p.name).Str("panic", fmt.Sprint(r)).Bytes("stack", debug.Stack()).Msg("part panicked")
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.run(ctx)
}
