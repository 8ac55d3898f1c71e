package proxy

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"jetway/balancer"
	"jetway/tenant"
)

// lookEvery is how often it is looked whether those who wait can go on.
const lookEvery = 5 * time.Millisecond

// waitingRoom holds requests of elastic clusters that have no member, bounded
// in number, bytes and time, and by tenant. Where members come, requests leave
// in the order in which they came, as many at a time as the members there are
// should have in flight; those that arrive meanwhile queue behind. It runs a
// goroutine only while somebody waits.
type waitingRoom struct {
	server *Server

	mu     sync.Mutex // guards all below
	queues map[*balancer.ClusterState]*queue
	runs   bool
	wake   func(balancer.Key) // tells that an empty cluster is asked for; nil: nobody wants to know
}

// queue is those who wait for one cluster.
type queue struct {
	key     balancer.Key
	state   *balancer.ClusterState
	list    []*waiter // in order of arrival
	tenants map[tenant.ID]int
	bytes   int64
	onWay   int // left, and not yet counted by a member
}

// waiter is one request that waits.
type waiter struct {
	queue  *queue
	tenant tenant.ID // 0: none that is known
	bytes  int64     // of its buffer, and by how much that may still grow
	until  time.Time
	done   chan fault // noFault: a member is there; buffered, one
}

// Wake sets who is told that a request waits for an empty cluster. To be
// called before Run; wake must not block.
func (s *Server) Wake(wake func(balancer.Key)) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.wake = wake
}

// mayWait reports whether f is that an elastic cluster has nobody who could
// take the request, which then waits.
func (x *exchange) mayWait(f fault) bool {
	return f == noMember && x.decision.Cluster != nil && x.decision.Cluster.Config.Wait.Time > 0
}

// queues reports whether requests that came before still wait: then this one
// waits behind them.
func (x *exchange) queues() bool {
	c := x.decision.Cluster
	return c.Config.Wait.Time > 0 && c.State.Signals.Held() > 0
}

// carry tries members as attemptAll does. Where all that an elastic cluster has
// are about to go, the request waits for another one.
func (x *exchange) carry(table *balancer.Table) fault {
	f := x.attemptAll(table)
	cluster := x.decision.Cluster
	if x.attempts > 0 || !x.mayWait(f) {
		return f
	}
	if table, f = x.awaitMember(cluster); f != noFault {
		return f
	}
	if on := &cluster.Config.Affinity; on.On() {
		if f := x.findSession(on, table.FailOver()); f != noFault {
			return f
		}
	}
	return x.attemptAll(table)
}

// awaitMember waits until a member of an elastic cluster can take the request.
// It comes back with the Table of then, in which the request is routed.
func (x *exchange) awaitMember(cluster *balancer.Cluster) (table *balancer.Table, f fault) {
	signals := &cluster.State.Signals
	w := x.server.room.enter(x, cluster)
	if w == nil {
		signals.Refused.Add(1)
		return nil, overloaded
	}
	signals.Hold()
	began := time.Now()
	x.watchHeld(w)
	f = <-w.done
	x.unwatchHeld()
	signals.Unhold()
	x.waited()
	cluster.State.Waits.Observe(x.conn.number, x.tick.Sub(began))
	switch x.held = w; {
	case f != noFault:
		x.held = nil // it never was on its way
	case x.gone.Load():
		f = clientGone
	default:
		table = x.server.router.Table()
		f = faultOf(table.Again(&x.route, &x.decision))
	}
	if f != noFault && f != clientGone {
		signals.Refused.Add(1)
	}
	return table, f
}

// turnAway ends a request that waited in vain.
func (x *exchange) turnAway(f fault) (keep bool) {
	if f == clientGone {
		x.lost(f)
		return false
	}
	return x.refuse(f)
}

// watchHeld looks out for the client's end while its request waits, as watch
// does while a member takes long.
func (x *exchange) watchHeld(w *waiter) {
	x.lookOut(func() { x.server.room.leave(w, clientGone) })
}

func (x *exchange) unwatchHeld() {
	x.stopping.Store(true)
	x.conn.conn.SetReadDeadline(time.Unix(1, 0))
	<-x.watched
	x.watched = nil
	x.stopping.Store(false)
	x.conn.readBy = time.Time{}
	x.conn.conn.SetReadDeadline(time.Time{})
}

// arrived notes that a request that had waited is now counted by a member, or
// is over.
func (x *exchange) arrived() {
	if x.held != nil {
		x.server.room.counted(x.held)
		x.held = nil
	}
}

// enter lets a request wait; nil where too many do.
func (r *waitingRoom) enter(x *exchange, c *balancer.Cluster) *waiter {
	w := newWaiter(x, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[c.State]
	if q == nil {
		q = &queue{key: c.Config.Key, state: c.State, tenants: map[tenant.ID]int{}}
		if r.queues == nil {
			r.queues = map[*balancer.ClusterState]*queue{}
		}
		r.queues[c.State] = q
	}
	if !q.fits(w, &c.Config.Wait) {
		r.forgetLocked(q)
		return nil
	}
	w.queue = q
	q.list = append(q.list, w)
	q.bytes += w.bytes
	q.tenants[w.tenant]++
	if r.wake != nil {
		r.wake(q.key)
	}
	if !r.runs {
		r.runs = true
		go r.run()
	}
	return w
}

func newWaiter(x *exchange, c *balancer.Cluster) *waiter {
	w := &waiter{bytes: int64(len(x.conn.in.buf) + headBuffer), until: x.now.Add(c.Config.Wait.Time), done: make(chan fault, 1)}
	if x.decision.Tenant.Outcome == tenant.Known {
		w.tenant = x.decision.Tenant.ID
	}
	return w
}

// fits reports whether one more may wait.
func (q *queue) fits(w *waiter, limits *balancer.Wait) bool {
	return len(q.list) < limits.Requests && (limits.Bytes <= 0 || q.bytes+w.bytes <= limits.Bytes) &&
		(w.tenant == 0 || limits.TenantRequests <= 0 || q.tenants[w.tenant] < limits.TenantRequests)
}

// foresee tells what would become of a request that has to wait: how many are
// before it, or overloaded.
func (r *waitingRoom) foresee(x *exchange) (before int, f fault) {
	c := x.decision.Cluster
	w := newWaiter(x, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queues[c.State]
	if q == nil {
		q = &queue{}
	}
	if !q.fits(w, &c.Config.Wait) {
		return 0, overloaded
	}
	return len(q.list), noFault
}

// leave ends the waiting of one request, unless it has ended.
func (r *waitingRoom) leave(w *waiter, f fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(w.queue.list, w); i >= 0 {
		w.queue.list = slices.Delete(w.queue.list, i, i+1)
		w.leftLocked(f)
		r.forgetLocked(w.queue)
	}
}

// leftLocked tells a waiter that was taken off its list.
func (w *waiter) leftLocked(f fault) {
	q := w.queue
	q.bytes -= w.bytes
	if q.tenants[w.tenant]--; q.tenants[w.tenant] == 0 {
		delete(q.tenants, w.tenant)
	}
	if f == noFault {
		q.onWay++
	}
	w.done <- f
}

// counted notes that one that left is no longer on its way.
func (r *waitingRoom) counted(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.queue.onWay--
	r.forgetLocked(w.queue)
}

func (r *waitingRoom) forgetLocked(q *queue) {
	if len(q.list) == 0 && q.onWay == 0 {
		delete(r.queues, q.state)
	}
}

// run lets those go on for whom there is a member, until nobody waits.
func (r *waitingRoom) run() {
	defer func() {
		if p := recover(); p != nil { // those who wait must not wait for ever
			r.server.stats.panics.Add(1)
			r.server.log.Error().Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("waiting room panicked")
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, q := range r.queues {
				for _, w := range q.list {
					w.leftLocked(crashed)
				}
				q.list = nil
			}
			r.runs = false
		}
	}()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for now := range tick.C {
		if !r.look(now) {
			return
		}
	}
}

// look lets go on who can, and sends away who waited too long. It reports
// whether somebody still waits.
func (r *waitingRoom) look(now time.Time) bool {
	table := r.server.router.Table()
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := 0
	for _, q := range r.queues {
		free := 0
		if i := slices.IndexFunc(table.Clusters(), func(c *balancer.Cluster) bool { return c.Config.Key == q.key }); i >= 0 {
			free = places(table.Clusters()[i], now.UnixNano())
		} else {
			free = len(q.list) + q.onWay // routing will tell them
		}
		free -= q.onWay
		draining := r.server.draining.Load()
		q.list = slices.DeleteFunc(q.list, func(w *waiter) bool {
			switch {
			case free > 0:
				free--
				w.leftLocked(noFault)
			case draining || now.After(w.until):
				w.leftLocked(noMember)
			default:
				return false
			}
			return true
		})
		waiting += len(q.list)
		r.forgetLocked(q)
	}
	r.runs = waiting > 0
	return r.runs
}

// places is how many requests the members of a cluster should be given now.
func places(c *balancer.Cluster, now int64) int {
	n := 0
	for _, u := range c.Upstreams {
		switch u.Status(now).State {
		case "up", "suspect":
			n += max(c.Config.Wait.PerMember-int(u.InFlight()), 0)
		}
	}
	return n
}
