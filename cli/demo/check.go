package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	killSeen = 10 * time.Second // how long gossip may take to notice a kill
	newcomer = 50               // answers by which a member counts as in use
)

// checks drives requests through the demo and prints what it expected and saw.
type checks struct {
	t       *topology
	ps      *processes
	c       *client
	out     io.Writer
	started time.Time
	whole   bool // nothing is broken on purpose
	n       int
	wrong   int
}

// errChecks is why `demo --check` exits with 1.
type errChecks struct{ wrong, n int }

func (e errChecks) Error() string { return fmt.Sprintf("%d of %d checks failed", e.wrong, e.n) }

func runChecks(ctx context.Context, k *checks) error {
	fmt.Fprintf(k.out, "%-40s | %-34s | %-34s | ok\n", "check", "expected", "seen")
	fmt.Fprintf(k.out, "%s-|-%s-|-%s-|-----\n", strings.Repeat("-", 40), strings.Repeat("-", 34), strings.Repeat("-", 34))
	elastic := k.startScaling(ctx)
	defer elastic.stop()
	scaled := func(context.Context) error { return k.report(elastic) }
	k.routing()
	for _, f := range []func(context.Context) error{k.bothWorkers, k.kill, k.restart, k.add, k.drain, k.leave, scaled, k.survive} {
		if err := f(ctx); err != nil {
			k.row("the check itself", "no error", err.Error())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := k.ps.failed(); err != nil {
		k.row("processes", "none ended by itself", err.Error())
	}
	fmt.Fprintf(k.out, "\n%d checks, %d failed, %.1f s\n", k.n, k.wrong, time.Since(k.started).Seconds())
	if k.wrong > 0 {
		return errChecks{k.wrong, k.n}
	}
	return nil
}

func (k *checks) row(what, expected, seen string) {
	ok := "ok"
	k.n++
	if expected != seen {
		k.wrong++
		ok = "FAIL"
	}
	fmt.Fprintf(k.out, "%-40s | %-34s | %-34s | %s\n", what, expected, seen, ok)
}

// routing asks one question after the other: who answers?
func (k *checks) routing() {
	a, b, jet1 := &k.t.balancers[0], &k.t.balancers[1], &k.t.members[3]
	shared, mgt, jet := sharedDomain+"/worker", sharedDomain+"/mgt", jetDomain+"/worker"
	f := func(what string, q question, show func(reply) string, expected string) {
		r, err := k.c.ask(q)
		if err != nil {
			k.row(what, expected, err.Error())
			return
		}
		k.row(what, expected, show(r))
	}
	f("worker", question{port: a.HTTP, host: workerHost, path: "/"}, where, shared)
	f("worker by wildcard host", question{port: a.HTTP, host: wildcardHost, path: "/"}, where, shared)
	f("mgt", question{port: a.HTTP, host: mgtHost, path: "/"}, where, mgt)
	f("mgt on a listener not its own", question{port: a.Mapped, host: mgtHost, path: "/"}, where, "404 no_host")
	if runtime.GOOS == "linux" {
		f("mgt from an address not allowed", question{port: a.HTTP, host: mgtHost, path: "/", elsewhere: true}, where, "404 no_host")
	}
	f("shared tenant", question{port: a.HTTP, host: workerHost, path: "/t/" + sharedTenant + "/"}, tenantOf,
		fmt.Sprintf("%s, tenant %d", shared, sharedTenantID))
	f("private jet", question{port: a.HTTP, host: workerHost, path: "/t/" + jetTenant + "/"}, tenantOf,
		fmt.Sprintf("%s, tenant %d", jet, jetTenantID))
	f("private jet by query", question{port: a.HTTP, host: workerHost, path: "/?tenantDomain=" + jetTenant}, where, jet)
	f("super tenant", question{port: a.HTTP, host: workerHost, path: "/t/carbon.super/"}, where, shared)
	f("unknown tenant", question{port: a.HTTP, host: workerHost, path: "/t/nobody.com/"}, where, shared)
	f("forged tenant header", question{port: a.HTTP, host: workerHost, path: "/", tenant: "42"}, tenantOf, shared+", no tenant")
	f("unknown host", question{port: a.HTTP, host: "nobody.example.com", path: "/"}, where, "404 no_host")
	f("port not mapped", question{port: a.HTTP, host: workerHost, path: "/t/" + jetTenant + "/"}, port,
		fmt.Sprintf("port %d", jet1.http))
	f("port mapping", question{port: a.Mapped, host: workerHost, path: "/t/" + jetTenant + "/"}, port,
		fmt.Sprintf("port %d", jet1.mapped))
	f("second load balancer", question{port: b.HTTP, host: workerHost, path: "/t/" + jetTenant + "/"}, where, jet)
}

// where tells which cluster answered, or Jetway's own status and reason.
func where(r reply) string {
	if r.status != 200 {
		return fmt.Sprintf("%d %s", r.status, r.reason)
	}
	return r.Domain + "/" + r.SubDomain
}

func port(r reply) string {
	if r.status != 200 {
		return where(r)
	}
	return fmt.Sprintf("port %d", r.Port)
}

// tenantOf tells which tenant the member was told, and where.
func tenantOf(r reply) string {
	id, ok := r.Headers["X-Tenant-Id"]
	if r.status != 200 || !ok {
		return where(r) + ", no tenant"
	}
	return where(r) + ", tenant " + id
}

// load starts clients that ask for any worker of the shared domain.
func (k *checks) load() *load {
	return startLoad(k.c, question{port: k.t.balancers[0].HTTP, host: workerHost, path: "/"}, loadConns)
}

func (k *checks) bothWorkers(ctx context.Context) error {
	l := k.load()
	defer l.stop()
	seen := "both answer"
	for _, name := range []string{"worker1", "worker2"} {
		if err := l.answered(ctx, name, newcomer); err != nil {
			seen = err.Error()
		}
	}
	k.row("both workers share the load", "both answer", seen)
	return nil
}

// kill ends a worker and its agent as a crash of their machine would, in the
// middle of at least loadMin requests.
func (k *checks) kill(ctx context.Context) error {
	l := k.load()
	defer l.stop()
	m := &k.t.members[0]
	if err := l.answered(ctx, m.name, newcomer); err != nil {
		return err
	}
	for _, name := range []string{m.name, m.agent()} {
		if err := k.ps.signal(name, os.Kill); err != nil {
			return err
		}
	}
	for _, name := range []string{m.name, m.agent()} {
		if err := k.ps.wait(name, stopWithin); err != nil {
			return err
		}
	}
	before := l.from(m.name)
	if err := l.more(ctx, loadMin); err != nil {
		return err
	}
	noticed, err := k.leftUp(ctx, m.name)
	if err != nil {
		return err
	}
	result := l.stop()
	k.row(fmt.Sprintf("%s killed during %d GETs, %d conns", m.name, l.done.Load(), loadConns), "0 failed", result)
	k.row(fmt.Sprintf("%s is out after %.1f s more", m.name, noticed.Seconds()), "not up", "not up")
	k.row("answers of the killed worker", "at most those under way", underWay(l.from(m.name)-before))
	return nil
}

// underWay allows for answers that had been sent but not yet counted when the
// worker was killed.
func underWay(n int) string {
	if n > loadConns {
		return fmt.Sprintf("%d", n)
	}
	return "at most those under way"
}

// leftUp waits until a member is no longer up at the first load balancer.
func (k *checks) leftUp(ctx context.Context, name string) (time.Duration, error) {
	start := time.Now()
	err := k.await(ctx, killSeen, name, func(state string) bool { return state != "up" })
	return time.Since(start), err
}

// await waits for a state of a member at the first load balancer.
func (k *checks) await(ctx context.Context, within time.Duration, name string, fit func(state string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return until(ctx, func() error {
		state, err := k.c.state(&k.t.balancers[0], name)
		if err != nil || fit(state) {
			return err
		}
		return fmt.Errorf("%s is still %s after %v", name, state, within)
	})
}

func (k *checks) restart(ctx context.Context) error {
	m := &k.t.members[0]
	return k.join(ctx, m, m.name+" started again")
}

func (k *checks) add(ctx context.Context) error {
	return k.join(ctx, &k.t.spare, k.t.spare.name+" added")
}

// join starts a member under load and waits until it answers.
func (k *checks) join(ctx context.Context, m *member, what string) error {
	l := k.load()
	defer l.stop()
	if err := k.t.startMember(k.ps, m); err != nil {
		return err
	}
	start, seen := time.Now(), "answers, "
	if err := l.answered(ctx, m.name, newcomer); err != nil {
		seen = err.Error() + ", "
	}
	what = fmt.Sprintf("%s, %.1f s to traffic", what, time.Since(start).Seconds())
	k.row(what, "answers, 0 failed", seen+l.stop())
	return nil
}

// drain takes a worker out and back by the admin API.
func (k *checks) drain(ctx context.Context) error {
	l := k.load()
	defer l.stop()
	m, b := &k.t.spare, &k.t.balancers[0]
	if err := k.c.change(b, m.name, "drain"); err != nil {
		return err
	}
	if err := l.more(ctx, 20*loadConns); err != nil { // what was under way
		return err
	}
	before := l.from(m.name)
	if err := l.more(ctx, loadMin/2); err != nil {
		return err
	}
	k.row(m.name+" drained by the admin API", "0 new requests", fmt.Sprintf("%d new requests", l.from(m.name)-before))
	if err := k.c.change(b, m.name, "undrain"); err != nil {
		return err
	}
	seen := "answers, "
	if err := l.answered(ctx, m.name, newcomer); err != nil {
		seen = err.Error() + ", "
	}
	k.row(m.name+" undrained", "answers, 0 failed", seen+l.stop())
	return nil
}

// leave stops a worker as its operator would: the agent first, which drains
// and leaves, then the application.
func (k *checks) leave(ctx context.Context) error {
	l := k.load()
	defer l.stop()
	m := &k.t.spare
	if err := k.ps.signal(m.agent(), syscall.SIGTERM); err != nil {
		return err
	}
	start := time.Now()
	if err := k.await(ctx, killSeen, m.name, func(state string) bool { return state == "draining" || state == "gone" }); err != nil {
		return err
	}
	what := fmt.Sprintf("%s leaves, draining after %.1f s", m.name, time.Since(start).Seconds())
	if err := l.more(ctx, 20*loadConns); err != nil { // what was under way
		return err
	}
	before := l.from(m.name)
	if err := k.await(ctx, killSeen, m.name, func(state string) bool { return state == "gone" }); err != nil {
		return err
	}
	if err := k.ps.signal(m.name, syscall.SIGTERM); err != nil {
		return err
	}
	if err := l.more(ctx, loadMin/4); err != nil {
		return err
	}
	k.row(what, "0 new requests, 0 failed", fmt.Sprintf("%d new requests, %s", l.from(m.name)-before, l.stop()))
	return nil
}
