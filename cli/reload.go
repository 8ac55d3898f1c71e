package cli

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"jetway/admin"
	"jetway/autoscale"
	"jetway/balancer"
	"jetway/config"
	"jetway/discovery"
	"jetway/journal"
	"jetway/proxy"
)

// preparer is what of a reload can fail late: binding and reading certificates.
type preparer interface {
	Prepare(cfg proxy.Config) (commit, abort func(), err error)
}

// reloader replaces the configuration of a load balancer that runs: all of it
// or nothing.
type reloader struct {
	log    zerolog.Logger
	server preparer
	router *balancer.Router
	static discovery.Publish
	// membership prepares what else changes about members; nil where a test has none.
	membership func(next *config.Config) (commit func(), err error)
	tenants    *tenants
	admin      *admin.Server
	audit      *journal.Writer
	// seal gives clusters the keys of their sessions; nil where a test has none.
	seal    func(*config.Config, *balancer.Config) error
	scaling func(autoscale.Config) (commit func(), err error) // nil: nothing is elastic
	hangup  chan struct{}                                     // asks Run for a reload

	current atomic.Pointer[config.Config]
	result  atomic.Pointer[admin.Reload]

	mu    sync.Mutex   // one reload at a time; guards all below
	stage *configStage // nil: none
	files *watcher
}

// newReloader returns a reloader of cfg, which is already loaded; files knows
// its file as it was before.
func newReloader(cfg *config.Config, files *watcher, log zerolog.Logger) *reloader {
	r := &reloader{log: log, hangup: make(chan struct{}, 1), files: files}
	r.files.found(filesOf(cfg))
	r.current.Store(cfg)
	r.result.Store(&admin.Reload{Time: time.Now(), OK: true})
	return r
}

// Run reloads whenever hangup or a changed file asks for it, until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		// The outcome is logged and kept for operators; there is nobody to return it to.
		select {
		case <-ctx.Done():
			return nil
		case <-r.hangup:
			r.reload("SIGHUP")
		case <-tick.C:
			if r.changed() {
				r.reload("file changed")
			}
		}
	}
}

func (r *reloader) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files.poll(filesOf(r.current.Load()))
}

// reload loads the configuration again. On an error everything stays as it was.
func (r *reloader) reload(cause string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reloadLocked(cause)
}

func (r *reloader) reloadLocked(cause string) error {
	err := r.applyLocked()
	result := &admin.Reload{Time: time.Now(), OK: err == nil}
	if err != nil {
		result.Error = err.Error()
		r.log.Error().Str("cause", cause).Strs("problems", strings.Split(err.Error(), "\n")).
			Msg("configuration not reloaded, the one before stays")
	} else {
		r.log.Info().Str("cause", cause).Str("file", r.current.Load().File).Msg("configuration reloaded")
		logWarnings(r.current.Load(), r.log)
	}
	r.result.Store(result)
	return err
}

func (r *reloader) applyLocked() (err error) {
	abort := func() {}
	defer func() {
		if p := recover(); p != nil {
			r.log.Error().Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("reload panicked")
			err = fmt.Errorf("panic while reloading: %v", p)
		}
		if err != nil {
			abort()
		}
	}()
	old := r.current.Load()
	r.files.loading(filesOf(old))
	next, err := config.Load(old.File)
	if err != nil {
		return err
	}
	r.files.found(filesOf(next))
	book, err := r.tenants.prepare(next)
	if err != nil {
		return err
	}
	abort = func() { r.tenants.abandon(book) }
	routing, err := r.tenants.routing(next, book)
	if err != nil {
		return err
	}
	if r.seal != nil {
		if err := r.seal(next, &routing); err != nil {
			return err
		}
	}
	if keys := needRestart(old, next); len(keys) > 0 {
		return fmt.Errorf("%s: %s cannot change while Jetway runs; restart it, or take the change back", next.File, strings.Join(keys, ", "))
	}
	renew := func() {}
	if r.membership != nil {
		if renew, err = r.membership(next); err != nil {
			return err
		}
	}
	scale := func() {}
	if r.scaling != nil {
		if scale, err = r.scaling(next.Autoscale); err != nil {
			return err
		}
	}
	operators, err := r.admin.Prepare(next.Admin.Listener())
	if err != nil {
		return err
	}
	useAudit, keepAudit, err := r.audit.Prepare(next.Admin.AuditLog)
	if err != nil {
		return err
	}
	abort = func() {
		keepAudit()
		r.tenants.abandon(book)
	}
	commit, undo, err := r.server.Prepare(next.Proxy)
	if err != nil {
		return err
	}
	abort = func() {
		undo()
		keepAudit()
		r.tenants.abandon(book)
	}
	// Members that come with their domain are there before it, and those that
	// go with theirs go after it: no request meets a domain without members.
	r.static(union(old.Static, next.Static))
	if err := r.router.Configure(routing); err != nil {
		r.static(old.Static)
		return err
	}
	// From here on nothing fails.
	r.static(next.Static)
	renew()
	scale()
	r.tenants.commit(book)
	operators()
	useAudit()
	commit()
	r.current.Store(next)
	return nil
}

// union adds to old who is new.
func union(old, next []balancer.Member) []balancer.Member {
	all := slices.Clone(old)
	for _, m := range next {
		if !slices.ContainsFunc(old, func(o balancer.Member) bool { return o.Domain == m.Domain && o.ID == m.ID }) {
			all = append(all, m)
		}
	}
	return all
}

// needRestart names the keys that differ and only count at the start.
func needRestart(old, next *config.Config) []string {
	var keys []string
	compare := func(key string, a, b any) {
		if fmt.Sprint(a) != fmt.Sprint(b) {
			keys = append(keys, key)
		}
	}
	compare("loadbalancer.name", old.Name, next.Name)
	compare("loadbalancer.installation", old.Installation, next.Installation)
	compare("loadbalancer.state_dir", old.StateDir, next.StateDir)
	compare("loadbalancer.limits.sessions", old.SessionsMax, next.SessionsMax)
	compare("loadbalancer.admin.address", old.Admin.Address, next.Admin.Address)
	compare("standby", old.Standby == nil, next.Standby == nil)
	if old.Standby != nil && next.Standby != nil {
		compare("standby", *old.Standby, *next.Standby)
	}
	compare("loadbalancer.admin.pprof", old.Admin.Pprof, next.Admin.Pprof)
	if old.Gossip == nil || next.Gossip == nil {
		compare("membership.gossip", old.Gossip == nil, next.Gossip == nil)
		return keys
	}
	a, b := old.Gossip, next.Gossip
	compare("membership.gossip.bind", a.Bind, b.Bind)
	compare("membership.gossip.advertise", a.Advertise, b.Advertise)
	compare("membership.gossip.key_file", a.KeyFile, b.KeyFile)
	compare("membership.gossip.insecure", a.Insecure, b.Insecure)
	compare("membership.gossip.allowed_cidrs", a.AllowedCIDRs, b.AllowedCIDRs)
	return keys
}

func logWarnings(c *config.Config, log zerolog.Logger) {
	for _, w := range c.Warnings {
		log.Warn().Str("warning", w.String()).Msg("configuration")
	}
}
