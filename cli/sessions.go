package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"jetway/balancer"
	"jetway/balancer/session"
	"jetway/config"
	"jetway/standby"
)

// cookieKeyName is the file in state_dir that holds the key of those who have
// no key file.
const cookieKeyName = "cookie.key"

// sessions gives clusters the keys that seal their cookies and name their
// sessions.
type sessions struct {
	log   zerolog.Logger
	store *session.Store

	mu     sync.Mutex    // guards all below
	own    *session.Ring // where there is no key file; made once
	owner  session.Owner // of what is saved
	file   string        // where learned sessions are saved; empty: they are not
	learns bool          // some cluster does
}

const (
	savedName     = "sessions"
	refusedEnding = ".refused"
	// saveEvery is how often learned sessions are saved, and saveShare how
	// much longer than a save takes the pause after it is at least.
	saveEvery = time.Minute
	saveShare = 20
)

func newSessions(cfg *config.Config, node string, log zerolog.Logger) (*sessions, error) {
	store, err := session.New(session.Options{Max: cfg.SessionsMax, Node: session.NodeID(node), Replicated: cfg.Standby != nil})
	if err != nil {
		return nil, err
	}
	return &sessions{log: log, store: store}, nil
}

// seal completes the affinity of every cluster of a routing configuration.
func (s *sessions) seal(cfg *config.Config, routing *balancer.Config) error {
	rings := map[string]*session.Ring{}
	learns := false
	for i := range routing.Clusters {
		c := &routing.Clusters[i]
		a := &c.Affinity
		a.Always = cfg.Gossip != nil || c.Elastic
		if a.Mode != balancer.AffinityCookie && a.Mode != balancer.AffinityLearn {
			continue
		}
		ring := rings[a.KeyFile]
		if ring == nil {
			var err error
			if ring, err = s.ring(a.KeyFile, cfg); err != nil {
				return err
			}
			rings[a.KeyFile] = ring
		}
		a.Scope = ring.Scope(c.Key.String())
		if a.Cookie.Path != "/" {
			a.Scope = a.Scope.AtPath(a.Cookie.Path)
		}
		learns = learns || a.Mode == balancer.AffinityLearn
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if learns && !s.learns && cfg.StateDir == "" {
		s.log.Warn().Msg("learned sessions do not survive a restart: there is no state_dir")
	}
	s.learns, s.owner = learns, session.Owner{Installation: cfg.Installation}
	for _, ring := range rings {
		s.owner.Keys = append(s.owner.Keys, ring.Fingerprints()...)
	}
	if cfg.StateDir != "" {
		s.file = filepath.Join(cfg.StateDir, savedName)
	}
	return nil
}

// restore takes over what was saved by the process before this one. It comes
// before the first request. A file that is no good is a cold start; it is kept
// beside, or the next save would make an end of what a mistake in the
// configuration or an older version could not use.
func (s *sessions) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.learns || s.file == "" {
		return
	}
	n, err := s.store.Restore(s.file, s.owner, time.Now())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		e := s.log.Error().Err(err)
		if kept := s.file + refusedEnding; os.Rename(s.file, kept) == nil {
			e = e.Str("kept_as", kept)
		}
		e.Msg("saved sessions are refused, starting without any")
	default:
		s.log.Info().Int("sessions", n).Msg("sessions restored")
	}
}

// Run sweeps the learned sessions and saves them, the last time once ctx ends.
// By then there are no requests any more.
func (s *sessions) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.store.Run(ctx) })
	defer wg.Wait()
	timer := time.NewTimer(saveEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.save()
			return nil
		case <-timer.C:
			timer.Reset(max(saveEvery, saveShare*s.save()))
		}
	}
}

// save returns how long it took.
func (s *sessions) save() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.learns || s.file == "" {
		return 0
	}
	began := time.Now()
	n, err := s.store.Save(s.file, s.owner, began)
	took := time.Since(began)
	if err != nil {
		s.log.Error().Err(err).Msg("sessions not saved")
	} else {
		s.log.Debug().Int("sessions", n).Dur("took", took).Msg("sessions saved")
	}
	return took
}

// ring reads a key file, or takes the key that there is without one: one made
// of the peers' own, so that they agree, or one that is kept.
func (s *sessions) ring(file string, cfg *config.Config) (*session.Ring, error) {
	if file != "" {
		return readRing(file)
	}
	if cfg.Standby != nil && cfg.Standby.KeyFile != "" {
		return peerRing(cfg.Standby.KeyFile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own != nil {
		return s.own, nil
	}
	var err error
	if cfg.StateDir == "" {
		s.log.Warn().Msg("sessions do not survive a restart: there is neither affinity.key_file nor state_dir")
		s.own, err = session.ParseRing([]byte(session.NewSecret()))
	} else {
		s.own, err = keptRing(filepath.Join(cfg.StateDir, cookieKeyName))
	}
	return s.own, err
}

// peerRing derives cookie keys from those of the peers.
func peerRing(file string) (*session.Ring, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the peers' key: %w", err)
	}
	secrets, err := standby.ParseSecrets(string(data))
	if err != nil {
		return nil, fmt.Errorf("cannot use the peers' key %q: %w", file, err)
	}
	var derived [][]byte
	for _, secret := range secrets {
		key, err := standby.Derive(secret, "cookies")
		if err != nil {
			return nil, err
		}
		derived = append(derived, key[:])
	}
	return session.RingOf(derived...), nil
}

func readRing(file string) (*session.Ring, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read cookie keys: %w", err)
	}
	ring, err := session.ParseRing(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use cookie keys %q: %w", file, err)
	}
	return ring, nil
}

// keptRing reads the key in state_dir, making it first where there is none.
func keptRing(file string) (*session.Ring, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
			err = writeNew(file, session.NewSecret()+"\n")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot keep a cookie key: %w", err)
	}
	return readRing(file)
}
