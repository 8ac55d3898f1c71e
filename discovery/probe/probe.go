// Package probe checks members actively: it connects to them, or asks them,
// over connections of its own, and tells the balancer's checks what came of it.
//
// A Prober owns the times at which members are checked and nothing else; the
// verdicts are the balancer's. Each check is one short-lived goroutine, of
// which there are at most concurrent at a time. Checks are spread over their
// interval, a member that vanished is not checked any more, and one that
// answers requests needs no connection to prove that it takes them. New starts
// nothing.
package probe

import (
	"container/heap"
	"context"
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// concurrent bounds the checks under way: each takes a descriptor. 256 with a
// time-out of 1 s let 500 dead members be checked every 2 s.
const concurrent = 256

// Options are what a Prober takes from the parts around it.
type Options struct {
	// Checks returns the checks of the members there are now.
	Checks func() []*balancer.Check
	// TLS returns how a member is spoken to at an endpoint with TLS.
	TLS func(*balancer.Endpoint) (*tls.Config, error)
}

// Prober checks members.
type Prober struct {
	opts  Options
	log   zerolog.Logger
	wake  chan struct{}
	done  chan finished
	limit int

	jobs map[*balancer.Check]*job // owned by Run
	due  queue                    // likewise
	free int                      // likewise

	made, skipped, bad, late, panics atomic.Uint64
}

// Stats counts what a Prober did.
type Stats struct {
	Made    uint64 // checks that sent something
	Skipped uint64 // checks that were not needed
	Bad     uint64
	Late    uint64 // checks that had to wait because too many were under way
	Panics  uint64
}

// job is one check and when it is due.
type job struct {
	check *balancer.Check
	at    time.Time
	wait  time.Duration // that led to at
	dozes bool          // half of wait is over
	index int           // in the queue, -1: under way
	gone  bool
	late  bool

	tls    *tls.Config // for the endpoint tlsFor; used by one check at a time
	tlsFor *balancer.Endpoint
}

// finished is a job that was done.
type finished struct {
	job  *job
	wait time.Duration
}

// New returns a Prober.
func New(opts Options, log zerolog.Logger) *Prober {
	return &Prober{opts: opts, log: log, wake: make(chan struct{}, 1), done: make(chan finished, concurrent),
		limit: concurrent, jobs: map[*balancer.Check]*job{}}
}

// Wake makes Run look at the list of checks again. It never blocks.
func (p *Prober) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Stats returns the counters. Safe for concurrent use.
func (p *Prober) Stats() Stats {
	return Stats{p.made.Load(), p.skipped.Load(), p.bad.Load(), p.late.Load(), p.panics.Load()}
}

// Run checks members until ctx ends.
func (p *Prober) Run(ctx context.Context) error {
	p.free = p.limit
	p.reconcile(time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(p.work(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
			p.reconcile(time.Now())
		case f := <-p.done:
			p.finish(f)
		case <-timer.C:
		}
	}
}

// reconcile takes up new checks and drops those of members that vanished.
func (p *Prober) reconcile(now time.Time) {
	list := p.opts.Checks()
	current := make(map[*balancer.Check]bool, len(list))
	for _, c := range list {
		current[c] = true
		if p.jobs[c] == nil { // new: at once, since the member waits for it
			j := &job{check: c, at: now, dozes: true}
			p.jobs[c] = j
			heap.Push(&p.due, j)
		}
	}
	for c, j := range p.jobs {
		if current[c] {
			continue
		}
		delete(p.jobs, c)
		j.gone = true
		if j.index >= 0 {
			heap.Remove(&p.due, j.index)
		}
	}
}

// work begins what is due and returns for how long there is nothing to do.
func (p *Prober) work(ctx context.Context) time.Duration {
	now := time.Now()
	for len(p.due) > 0 {
		j := p.due[0]
		if wait := j.at.Sub(now); wait > 0 {
			return wait
		}
		if !j.dozes {
			j.check.Doze()
			j.dozes, j.at = true, j.at.Add(j.wait/2)
			heap.Fix(&p.due, 0)
			continue
		}
		target := j.check.Target()
		if target.Health.Type == balancer.CheckTCP && j.check.Awake() {
			p.skipped.Add(1)
			p.next(j, j.check.Report(now.UnixNano(), balancer.CheckResult{Result: "it answers requests"}), now)
			heap.Fix(&p.due, 0)
			continue
		}
		if p.free == 0 {
			if !j.late {
				j.late = true
				p.late.Add(1)
			}
			return time.Hour // until one ends
		}
		heap.Pop(&p.due)
		j.index, j.late = -1, false
		p.free--
		go p.run(ctx, j, target)
	}
	return time.Hour
}

// next plans the check after one that was done at now.
func (p *Prober) next(j *job, wait time.Duration, now time.Time) {
	j.wait, j.dozes, j.at = wait, false, now.Add(wait-wait/2)
}

func (p *Prober) finish(f finished) {
	p.free++
	if f.job.gone {
		return
	}
	p.next(f.job, f.wait, time.Now())
	heap.Push(&p.due, f.job)
}

// run makes one check. Whatever happens in it, the job comes back.
func (p *Prober) run(ctx context.Context, j *job, target balancer.CheckTarget) {
	wait := target.Health.Interval
	defer func() {
		if r := recover(); r != nil {
			p.panics.Add(1)
			p.log.Error().Str("panic", fmt.Sprint(r)).Bytes("stack", debug.Stack()).Msg("check panicked")
		}
		p.done <- finished{j, wait} // never blocks: it holds as many as there can be
	}()
	began := time.Now()
	r, ok := p.probe(ctx, j, &target, j.check.Ask())
	if !ok {
		return
	}
	p.made.Add(1)
	if r.Err != nil {
		p.bad.Add(1)
	}
	r.Took = time.Since(began)
	wait = j.check.Report(time.Now().UnixNano(), r)
}

// queue is a heap of jobs by when they are due.
type queue []*job

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, k int) bool { return q[i].at.Before(q[k].at) }
func (q queue) Swap(i, k int) {
	q[i], q[k] = q[k], q[i]
	q[i].index, q[k].index = i, k
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	j := x.(*job)
	j.index = len(*q)
	*q = append(*q, j)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	j.index = -1
	return j
}
