package cli

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/config"
	"jetway/tenant"
	"jetway/tenant/directory"
)

// retireAfter is how long a directory that was replaced goes on answering:
// requests that began before may still ask it.
const retireAfter = 15 * time.Second

// tenants owns what is known of tenants while the configuration comes and
// goes: a directory whose configuration stays keeps its answers.
type tenants struct {
	log       zerolog.Logger
	admission *tenant.Admission
	numbers   tenant.Plans
	changed   chan struct{} // tells Run that inUse is another one

	mu      sync.Mutex // guards all below
	inUse   *inUse
	answers *tenant.Answers // for peers; nil: there are none
}

// inUse is one directory with what it was made of.
type inUse struct {
	cfg    directory.Config
	list   *tenant.List     // file
	read   time.Time        // likewise
	source directory.Source // nil for a file, or none
	cache  *tenant.Cache    // over source
}

func newTenants(log zerolog.Logger) *tenants {
	return &tenants{log: log, changed: make(chan struct{}, 1), inUse: &inUse{}}
}

// prepare does what can fail of a change to cfg: it reads the file, or opens
// the source unless it is the one in use. commit must follow, or close.
func (t *tenants) prepare(cfg *config.Config) (*inUse, error) {
	dir, err := cfg.Directory()
	if err != nil {
		return nil, err
	}
	now := t.current()
	next := &inUse{cfg: dir, read: time.Now()}
	if next.list, err = cfg.List(&t.numbers); err != nil {
		return nil, err
	}
	if next.list != nil {
		return next, shrunk(now, next)
	}
	if now.source != nil && reflect.DeepEqual(now.cfg, dir) {
		return now, nil
	}
	if next.source, err = directory.Open(dir); err != nil {
		return nil, fmt.Errorf("cannot open the tenant directory: %w", err)
	}
	if next.source != nil {
		next.cache = tenant.NewCache(dir.Cache, next.source, &t.numbers)
	}
	return next, nil
}

// shrunk refuses a file that lost so many tenants that something must have
// gone wrong with it.
func shrunk(now, next *inUse) error {
	before := now.list.Len()
	if before == 0 || now.cfg.File != next.cfg.File {
		return nil
	}
	lost := now.list.Lost(next.list)
	if float64(lost) > next.cfg.MaxShrink*float64(before) {
		return fmt.Errorf("tenants file %q lost %d of %d tenants, more than tenants.directory.max_shrink (%g%%) allows; raise it if that is right",
			next.cfg.File, lost, before, next.cfg.MaxShrink*100)
	}
	return nil
}

// directory returns what requests ask; nil knows nobody.
func (u *inUse) directory() tenant.Directory {
	switch {
	case u.list != nil:
		return u.list
	case u.cache != nil:
		return u.cache
	}
	return nil
}

// writeKnown writes all tenants that are known as a tenants file.
func (t *tenants) writeKnown(w io.Writer) error {
	d, ok := t.current().directory().(tenant.Knows)
	if !ok {
		return nil
	}
	return tenant.WriteCSV(w, d, &t.numbers)
}

func (u *inUse) close() {
	if u.source != nil {
		u.source.Close() // nothing was written
	}
}

// routing returns the routing configuration of cfg over u.
func (t *tenants) routing(cfg *config.Config, u *inUse) (balancer.Config, error) {
	return cfg.Routing(u.directory(), &t.numbers)
}

func (t *tenants) current() *inUse {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inUse
}

// commit makes next the one in use; Run retires the other.
func (t *tenants) commit(next *inUse) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inUse = next
	if t.answers != nil {
		t.answers.Serve(next.cache)
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// share returns the answers of the directory that is in use, whichever that is
// by then, for peers.
func (t *tenants) share() *tenant.Answers {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers = &tenant.Answers{}
	t.answers.Serve(t.inUse.cache)
	return t.answers
}

// abandon closes what prepare made and commit did not take.
func (t *tenants) abandon(u *inUse) {
	if u != nil && u != t.current() {
		u.close()
	}
}

// Run keeps answers fresh and forgets idle tenants until ctx ends.
func (t *tenants) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { t.admission.Run(ctx) })
	var running *inUse
	retire := func() {}
	for {
		if now := t.current(); now != running {
			retire()
			running, retire = now, t.start(ctx, now, &wg)
		}
		select {
		case <-ctx.Done():
			wg.Wait()
			return nil
		case <-t.changed:
		}
	}
}

// start runs the background of a directory; retire ends it, after a while.
func (t *tenants) start(ctx context.Context, u *inUse, wg *sync.WaitGroup) (retire func()) {
	if u.cache == nil {
		return func() {}
	}
	t.log.Info().Str("kind", u.cfg.Kind()).Msg("tenant directory in use")
	ctx, cancel := context.WithCancel(ctx)
	wg.Go(func() {
		defer u.close()
		u.cache.Run(ctx)
	})
	wg.Go(func() { t.watch(ctx, u.cache) })
	return func() {
		timer := time.AfterFunc(retireAfter, cancel)
		wg.Go(func() {
			<-ctx.Done()
			timer.Stop()
		})
	}
}

// watch logs when the source goes down and comes back.
func (t *tenants) watch(ctx context.Context, c *tenant.Cache) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	was := c.Status()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := c.Status()
		switch {
		case was.Up && !now.Up:
			e := t.log.Warn().Int("known", now.Known)
			if now.LastError != nil {
				e = e.Str("error", now.LastError.Text)
			}
			e.Msg("tenant directory cannot be asked, what is known stays in use")
		case !was.Up && now.Up:
			t.log.Info().Msg("tenant directory answers again")
		}
		if now.Doubted && !was.Doubted {
			t.log.Warn().Int("known", now.Known).Msg("tenants are missing from the directory in numbers, none is forgotten")
		}
		was = now
	}
}
