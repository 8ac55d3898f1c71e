package discovery

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
)

// AgentConfig configures the announcing side beside an application: what
// cannot change while it runs, and what is announced at first.
type AgentConfig struct {
	Gossip       GossipConfig
	Node         string // name in the pool, unique in it
	Installation string // of the load balancers that shall see it; empty: whichever
	Announcement Announcement
	DrainWait    time.Duration // between saying that it drains and leaving
}

// Announcement is what an Agent says; it may change while it runs.
type Announcement struct {
	Member  balancer.Member // an empty Host is the gossip address, an empty ID the node name; Draining keeps requests off
	Check   LocalCheck
	Signing Signing
}

// Signing lets the member serve where its domain's key is needed: by that key,
// or by a signature that was made elsewhere.
type Signing struct {
	KeyFile       string        // private key of the domain
	Valid         time.Duration // of each signature; default 24h; renewed after two thirds
	Signature     string        // made by `jetway sign`
	SignatureFile string        // the same in a file, which is read again when the announcement is
}

const (
	signValid   = 24 * time.Hour
	renewEvery  = time.Minute // signatures and addresses are looked at so often at least
	signLeast   = time.Minute // no signature is made for less
	signatureIn = 1 + 12 + 2 + 86
)

// Agent announces one member to a gossip pool.
type Agent struct {
	pool         *pool
	log          zerolog.Logger
	installation string
	drainWait    time.Duration
	wake         chan struct{} // capacity 1: what is to be announced may differ

	mu       sync.Mutex // guards what follows
	now      Announcement
	key      ed25519.PrivateKey
	healthy  bool // by the local check; without one always
	told     bool // the member was announced once
	draining bool // told to
	waited   bool // that it waits for the application was logged
	signed   signature
}

// signature is the newest one that was made, and what for.
type signature struct {
	text  string
	of    string
	renew time.Time
}

// NewAgent checks the configuration as strictly as the load balancers will
// check the announcement.
func NewAgent(cfg AgentConfig, log zerolog.Logger) (*Agent, error) {
	s, err := checkConfig(cfg.Gossip, log)
	if err != nil {
		return nil, err
	}
	if !isID(cfg.Node) {
		return nil, fmt.Errorf("cannot use gossip node name %q: expected %s", clip(cfg.Node), wantID)
	}
	a := &Agent{log: log, installation: cfg.Installation, drainWait: cfg.DrainWait, wake: make(chan struct{}, 1)}
	tags := map[string]string{}
	if cfg.Installation != "" {
		tags[tagInstallation] = cfg.Installation
	}
	a.pool = newPool(s, cfg.Node, tags, log)
	return a, a.Announce(cfg.Announcement)
}

// Announce changes what is announced. On an error everything stays as it was.
func (a *Agent) Announce(next Announcement) error {
	key, err := a.check(&next)
	if err != nil {
		return fmt.Errorf("cannot announce member: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if next.Check.Type == "" {
		a.healthy = true
	}
	a.now, a.key = next, key
	a.poke()
	return nil
}

// Drain says that the member drains, or that it does no longer.
func (a *Agent) Drain(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draining = on
	a.poke()
}

func (a *Agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// check holds an announcement against what load balancers take, with room for
// what draining and signing add, and reads its keys.
func (a *Agent) check(next *Announcement) (key ed25519.PrivateKey, err error) {
	if next.Signing.Valid <= 0 {
		next.Signing.Valid = signValid
	}
	if err := next.Check.prepare(&next.Member); err != nil {
		return nil, err
	}
	s := &a.pool.settings
	addr := s.bind.Addr()
	if s.advertise.IsValid() {
		addr = s.advertise.Addr()
	}
	if addr.IsUnspecified() { // known only once gossip is up, and of this machine
		addr = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	}
	tags := a.tagsOf(next.Member, true)
	switch sign := &next.Signing; {
	case sign.KeyFile != "":
		var exposed bool
		if key, exposed, err = ReadDomainKey(sign.KeyFile); err != nil {
			return nil, err
		}
		if exposed {
			a.log.Warn().Str("key_file", sign.KeyFile).Msg("domain key can be read by others; chmod 600 is enough")
		}
		if sign.Valid < signLeast {
			return nil, fmt.Errorf("cannot sign for %s: expected at least %s", sign.Valid, signLeast)
		}
		tags[tagSignature] = strings.Repeat("x", signatureIn)
	case sign.SignatureFile != "":
		text, _, err := readKeyFile(sign.SignatureFile, keyFileMax)
		if err != nil {
			return nil, fmt.Errorf("cannot read signature: %w", err)
		}
		sign.Signature = strings.TrimSpace(string(text))
	}
	if text := next.Signing.Signature; text != "" {
		expiry, _, ok := parseSignature(text)
		if !ok {
			return nil, fmt.Errorf("cannot use signature %q: expected what `jetway sign` prints", clip(text))
		}
		if left := time.Until(time.Unix(expiry, 0)); left <= 0 {
			return nil, fmt.Errorf("cannot use signature: it expired at %s; expected a new one of `jetway sign`", time.Unix(expiry, 0).UTC().Format(time.RFC3339))
		}
		tags[tagSignature] = text
	}
	// The allowed networks are the load balancers' to check.
	p := policy{loopback: s.loopback, installation: a.installation}
	if _, err := parseTags(announcement{Name: a.pool.name, Addr: addr, Tags: tags}, p); errors.Is(err, errNotMember) {
		return nil, errors.New("its domain and ports are missing")
	} else if err != nil {
		return nil, err
	}
	if n := encodedSize(tags); n > tagsMax {
		return nil, fmt.Errorf("its tags take %d bytes, at most %d fit: expected fewer or shorter ports, names and mappings", n, tagsMax)
	}
	return key, nil
}

// tagsOf is tagsOf with what the agent adds.
func (a *Agent) tagsOf(m balancer.Member, draining bool) map[string]string {
	m.Draining = m.Draining || draining
	tags := tagsOf(m, a.pool.name)
	if a.installation != "" {
		tags[tagInstallation] = a.installation
	}
	return tags
}

// Run announces the member until ctx ends, then says that it drains, waits,
// and leaves. It returns an error only if gossip could not be started at all.
func (a *Agent) Run(ctx context.Context) error {
	background, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { a.guarded(background, a.attend) })
	wg.Go(func() { a.guarded(background, a.examine) })
	return a.pool.run(ctx, func() { wg.Wait(); a.farewell() })
}

// guarded keeps a part going that panicked.
func (a *Agent) guarded(ctx context.Context, part func(context.Context)) {
	for ctx.Err() == nil {
		func() {
			defer recovered(a.log, "member agent")
			part(ctx)
		}()
		pause(ctx, time.Second)
	}
}

// Addr waits until gossip is up and returns the address that others join.
func (a *Agent) Addr(ctx context.Context) (netip.AddrPort, error) { return a.pool.address(ctx) }

// Status tells how gossip is doing.
func (a *Agent) Status() Status { return a.pool.status() }

// attend announces whatever is to be announced, until ctx ends.
func (a *Agent) attend(ctx context.Context) {
	if _, err := a.pool.address(ctx); err != nil {
		return
	}
	var said map[string]string
	for {
		tags, what := a.compose(time.Now())
		if tags != nil && !maps.Equal(tags, said) {
			a.pool.setTags(tags)
			if what != "" {
				a.log.Info().Str("node", a.pool.name).Msg(what)
			}
			said = tags
		}
		look := time.NewTimer(a.lookAfter())
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-look.C:
		}
		look.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// lookAfter is when to look again whether a signature is to be renewed: several
// times in the third of its life that is left then.
func (a *Agent) lookAfter() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.key == nil {
		return renewEvery
	}
	return min(renewEvery, a.now.Signing.Valid/12)
}

// compose returns the tags that hold now, nil for those that are already said,
// and what became of the member.
func (a *Agent) compose(now time.Time) (tags map[string]string, what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.healthy && !a.told {
		return nil, "" // nobody shall know it before it works
	}
	first := !a.told
	a.told = true
	draining := a.draining || !a.healthy
	tags = a.tagsOf(a.now.Member, draining)
	switch {
	case first:
		what = "member announced"
	case tags[tagState] == stateDraining:
		what = "member says that it drains"
	default:
		what = "member announces itself"
	}
	if a.now.Signing.Signature != "" {
		tags[tagSignature] = a.now.Signing.Signature
		return tags, what
	}
	if a.key == nil {
		return tags, what
	}
	if err := a.signLocked(now); err != nil {
		a.log.Error().Err(err).Msg("member cannot be signed")
	}
	tags[tagSignature] = a.signed.text
	return tags, what
}

// signLocked renews the signature where what it covers changed, or it is old.
func (a *Agent) signLocked(now time.Time) error {
	m := a.now.Member
	if m.Host == "" {
		m.Host = a.pool.host()
	}
	of := string(signedText(a.pool.name, &m, 0)) + string(a.key.Seed())
	if of == a.signed.of && now.Before(a.signed.renew) {
		return nil
	}
	text, err := Sign(a.key, a.pool.name, m, now.Add(a.now.Signing.Valid))
	if err != nil {
		return err
	}
	a.signed = signature{text: text, of: of, renew: now.Add(a.now.Signing.Valid * 2 / 3)}
	return nil
}

// farewell says that the member drains and waits.
func (a *Agent) farewell() {
	a.mu.Lock()
	told := a.told
	a.draining = true
	a.mu.Unlock()
	if !told {
		return
	}
	if tags, _ := a.compose(time.Now()); tags != nil {
		a.pool.setTags(tags)
	}
	time.Sleep(a.drainWait) // nothing ends it early: ctx is over, a second signal ends the process
}

// examine checks the application, if it is to be checked, until ctx ends.
func (a *Agent) examine(ctx context.Context) {
	var count checkCount
	for {
		a.mu.Lock()
		check := a.now.Check
		a.mu.Unlock()
		if check != count.of {
			count = checkCount{of: check}
		}
		wait := localRecheck
		if check.Type != "" {
			wait = check.Interval
			err := check.once(ctx)
			if ctx.Err() != nil {
				return
			}
			a.judge(&count, err)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// checkCount is how many checks in a row had the same outcome.
type checkCount struct {
	of        LocalCheck
	good, bad int
}

// judge takes the outcome of a check: a working application stays up until
// fall checks in a row failed, a broken one down until rise were good; the
// first of all counts at once.
func (a *Agent) judge(n *checkCount, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now.Check != n.of {
		return
	}
	if err == nil {
		n.good, n.bad = n.good+1, 0
	} else {
		n.good, n.bad = 0, n.bad+1
	}
	switch {
	case err == nil && !a.healthy && (n.good >= n.of.Rise || !a.told):
		a.healthy = true
		a.log.Info().Str("check", n.of.String()).Msg("application works")
	case err != nil && a.healthy && n.bad >= n.of.Fall:
		a.healthy = false
		a.log.Warn().Str("check", n.of.String()).Err(err).Msg("application does not work, no requests shall come")
	case err != nil && !a.healthy && !a.told && !a.waited:
		a.waited = true
		a.log.Info().Str("check", n.of.String()).Err(err).Msg("waiting for the application before announcing it")
	}
	a.poke()
}
