package tenant

import (
	"context"
	"sync"
	"time"
)

// Verdict is whether a request of a tenant is served.
type Verdict uint8

const (
	Admitted     Verdict = iota
	OverInFlight         // too many of its requests are being worked on
	OverRate             // too many came in the last moments
)

// Ticket is one request of a tenant on its way. The zero Ticket is none.
type Ticket struct {
	key     ticketKey
	counted bool
}

// Counted reports whether Leave has to follow.
func (t *Ticket) Counted() bool { return t.counted }

type ticketKey struct {
	service string
	id      ID
}

// Allowance is what a refused tenant is told, and when to come back.
type Allowance struct {
	Limit  int           // requests, of the window
	Window time.Duration // 0: the limit is on requests at a time
	Wait   time.Duration // until the next request would be admitted
}

const (
	admissionShards = 64
	sweepEvery      = time.Second
)

// Admission counts what tenants take: Enter on a request's way in, Leave on its
// way out. Tenants that have nothing in flight and their whole burst left are
// not in memory. Safe for concurrent use.
type Admission struct {
	Use    Use
	shards [admissionShards]admissionShard
}

type admissionShard struct {
	mu     sync.Mutex // guards states
	states map[ticketKey]admissionState
}

// admissionState is one busy tenant of one service.
type admissionState struct {
	inFlight int
	// due is when the newest request would have come at the full rate, unix
	// nanoseconds: a token bucket in one number (GCRA). The bucket is full
	// once due has passed.
	due int64
}

// NewAdmission returns an Admission in which nobody is busy.
func NewAdmission() *Admission {
	a := &Admission{}
	for i := range a.shards {
		a.shards[i].states = map[ticketKey]admissionState{}
	}
	a.Use.init()
	return a
}

func (a *Admission) shard(id ID) *admissionShard {
	return &a.shards[uint64(id)*0x9e3779b97f4a7c15>>58]
}

// Enter counts a request of a tenant in and says whether it is within limits.
// Unless it was refused, or with dryRun in any case, Leave must follow with the
// same ticket. A refused request takes nothing.
func (a *Admission) Enter(t *Ticket, service string, id ID, l *Limits, dryRun bool, now int64) (Verdict, Allowance) {
	t.counted = false
	if l.InFlight <= 0 && l.Rate <= 0 {
		return Admitted, Allowance{}
	}
	t.key = ticketKey{service, id}
	sh := a.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	st := sh.states[t.key]
	verdict, left := st.judge(l, now)
	if verdict != Admitted && !dryRun {
		return verdict, left
	}
	st.inFlight++
	sh.states[t.key] = st
	t.counted = true
	return verdict, left
}

// Peek tells what Enter would say, and counts nothing.
func (a *Admission) Peek(service string, id ID, l *Limits, now int64) (Verdict, Allowance) {
	sh := a.shard(id)
	sh.mu.Lock()
	st := sh.states[ticketKey{service, id}] // a copy
	sh.mu.Unlock()
	return st.judge(l, now)
}

// judge decides on one request; one that is admitted takes its token.
func (st *admissionState) judge(l *Limits, now int64) (Verdict, Allowance) {
	if l.InFlight > 0 && st.inFlight >= l.InFlight {
		return OverInFlight, Allowance{Limit: l.InFlight, Wait: time.Second}
	}
	if l.Rate <= 0 {
		return Admitted, Allowance{}
	}
	step := int64(float64(time.Second) / l.Rate)
	burst := l.Depth()
	depth := int64(burst) * step
	next := max(st.due, now) + step
	if over := next - now - depth; over > 0 {
		return OverRate, Allowance{Limit: burst, Window: time.Duration(depth), Wait: time.Duration(over)}
	}
	st.due = next
	return Admitted, Allowance{}
}

// Depth returns how many requests come at once after a pause: the burst that
// counts, at least one.
func (l *Limits) Depth() int {
	if l.Burst > 0 {
		return l.Burst
	}
	return max(int(l.Rate+0.5), 1)
}

// Leave counts a request out. It may be called more than once.
func (a *Admission) Leave(t *Ticket, now int64) {
	if !t.counted {
		return
	}
	t.counted = false
	sh := a.shard(t.key.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	st := sh.states[t.key]
	if st.inFlight--; st.inFlight < 0 {
		panic("BUG: a tenant's requests in flight below zero")
	}
	if st.inFlight == 0 && st.due <= now {
		delete(sh.states, t.key)
		return
	}
	sh.states[t.key] = st
}

// Run forgets tenants whose bucket has filled up since their last request,
// until ctx ends.
func (a *Admission) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			a.sweep(now.UnixNano())
		}
	}
}

func (a *Admission) sweep(now int64) {
	for i := range a.shards {
		sh := &a.shards[i]
		sh.mu.Lock()
		for k, st := range sh.states {
			if st.inFlight == 0 && st.due <= now {
				delete(sh.states, k)
			}
		}
		sh.mu.Unlock()
	}
}

// InFlight returns the requests in flight of the tenants that are counted, over
// all services.
func (a *Admission) InFlight() map[ID]int {
	all := map[ID]int{}
	for i := range a.shards {
		sh := &a.shards[i]
		sh.mu.Lock()
		for k, st := range sh.states {
			if st.inFlight > 0 {
				all[k.id] += st.inFlight
			}
		}
		sh.mu.Unlock()
	}
	return all
}

// Busy returns how many tenants are in memory and their requests in flight.
func (a *Admission) Busy() (tenants, inFlight int) {
	for i := range a.shards {
		sh := &a.shards[i]
		sh.mu.Lock()
		tenants += len(sh.states)
		for _, st := range sh.states {
			inFlight += st.inFlight
		}
		sh.mu.Unlock()
	}
	return tenants, inFlight
}
