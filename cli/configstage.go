package cli

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"jetway/admin"
	"jetway/config"
)

// stageKept is how long what was prepared can be committed, and a commit be
// undone.
const stageKept = time.Minute

// configStage is a configuration on its way to be put in force.
type configStage struct {
	id        string
	text      []byte
	before    []byte    // of the file, once committed
	changed   time.Time // when that was written
	committed bool
	until     time.Time
}

// configVersion is what of a configuration must be equal on all peers, in a
// few digits.
func configVersion(c *config.Config) string {
	sum := sha256.Sum256(c.Shared())
	return fmt.Sprintf("%x", sum[:8])
}

// configEpoch orders configurations: of two that differ the one with the
// greater epoch is newer. It is when the file was written, in milliseconds
// since 1970, so that it survives a restart; "jetway apply" sets it alike on all
// load balancers and above what any of them had.
func configEpoch(c *config.Config) uint64 {
	if c.Changed.IsZero() {
		return 0
	}
	return uint64(max(0, c.Changed.UnixMilli()))
}

// epochAhead is how far an ordered epoch may be ahead of our clock.
const epochAhead = 24 * time.Hour

// epochTime returns when a file of an epoch was written.
func epochTime(epoch uint64) (time.Time, error) {
	switch most := uint64(time.Now().Add(epochAhead).UnixMilli()); {
	case epoch == 0:
		return time.Now(), nil
	case epoch > most:
		return time.Time{}, fmt.Errorf("cannot set epoch %d: it is more than %v ahead of the clock here; is the clock of some load balancer wrong?", epoch, epochAhead)
	}
	return time.UnixMilli(int64(epoch)), nil
}

// prepareFile checks text as if it stood in the configuration file.
func (r *reloader) prepareFile(text string) (admin.Prepared, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.current.Load()
	next, err := loadBeside(old.File, []byte(text))
	if err != nil {
		return admin.Prepared{}, err
	}
	if keys := needRestart(old, next); len(keys) > 0 {
		return admin.Prepared{}, fmt.Errorf("%s: %s cannot change while Jetway runs", old.File, strings.Join(keys, ", "))
	}
	there, err := os.ReadFile(old.File)
	if err != nil {
		return admin.Prepared{}, fmt.Errorf("cannot read configuration %q: %w", old.File, err)
	}
	r.stage = &configStage{id: rand.Text(), text: []byte(text), until: time.Now().Add(stageKept)}
	p := admin.Prepared{ID: r.stage.id, Before: configVersion(old), Version: configVersion(next), Changed: !bytes.Equal(there, []byte(text)),
		Epoch: configEpoch(old)}
	for _, w := range next.Warnings {
		p.Warnings = append(p.Warnings, w.String())
	}
	return p, nil
}

// loadBeside loads text from a file beside path, so that the names in it mean
// the same and it is known that files can be written there.
func loadBeside(path string, text []byte) (*config.Config, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".jetway-apply-*")
	if err != nil {
		return nil, fmt.Errorf("cannot write beside %q: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("cannot write beside %q: %w", path, err)
	}
	next, err := config.Load(f.Name())
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), f.Name(), path))
	}
	return next, nil
}

// staged returns what was prepared under an id. r.mu is held.
func (r *reloader) stagedLocked(id string) (*configStage, error) {
	if r.stage == nil || r.stage.id != id || time.Now().After(r.stage.until) {
		return nil, admin.ErrNotPrepared
	}
	return r.stage, nil
}

// commitFile writes what was prepared in place of the configuration and loads
// it. On an error the file is as it was.
func (r *reloader) commitFile(o admin.ConfigOrder) (admin.Prepared, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, err := r.stagedLocked(o.ID)
	if err != nil {
		return admin.Prepared{}, err
	}
	old := r.current.Load()
	p := admin.Prepared{ID: o.ID, Before: configVersion(old), Version: configVersion(old), Epoch: configEpoch(old)}
	if st.committed {
		return p, nil // done already
	}
	at, err := epochTime(o.Epoch)
	if err != nil {
		return p, err
	}
	if st.before, err = os.ReadFile(old.File); err != nil {
		return p, fmt.Errorf("cannot read configuration %q: %w", old.File, err)
	}
	st.changed = old.Changed
	if err := replaceFile(old.File, st.text, at); err != nil {
		return p, err
	}
	if err := r.reloadLocked("apply"); err != nil {
		return p, errors.Join(err, replaceFile(old.File, st.before, st.changed))
	}
	st.committed, st.until = true, time.Now().Add(stageKept)
	p.Changed, p.Version = !bytes.Equal(st.before, st.text), configVersion(r.current.Load())
	p.Epoch = configEpoch(r.current.Load())
	return p, nil
}

// rollbackFile undoes a commit, or forgets what was prepared.
func (r *reloader) rollbackFile(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, err := r.stagedLocked(id)
	if err != nil {
		return err
	}
	r.stage = nil
	if !st.committed {
		return nil
	}
	if err := replaceFile(r.current.Load().File, st.before, st.changed); err != nil {
		return err
	}
	return r.reloadLocked("apply taken back")
}

// replaceFile replaces a file as a whole, so that nobody reads half of it; it
// keeps its mode. A symbolic link stays one. changed is when it counts as
// written.
func replaceFile(path string, text []byte, changed time.Time) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	mode := os.FileMode(0o640)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".jetway-apply-*")
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close(), os.Chtimes(f.Name(), time.Time{}, changed)); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("cannot write %q: %w", path, err)
	}
	return nil
}
