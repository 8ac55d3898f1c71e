package discovery

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"
)

const ringFile = "gossip.keys"

// keyring holds the keys of the pool. It outlives a Serf that ends, and, where
// there is a state_dir, the process: a rotation is not undone by a restart.
type keyring struct {
	file string // key_file
	path string // in state_dir; empty: nothing is kept
	log  zerolog.Logger
	ring *memberlist.Keyring // safe for concurrent use

	rotation sync.Mutex // one change of the whole pool at a time

	mu      sync.Mutex // guards what follows
	fileSum string     // of key_file when it was last read
	kept    string     // content of path
	stale   bool       // key_file does not begin with the key that encrypts
}

// newKeyring reads the key file, and what is kept of a rotation since.
func newKeyring(file, stateDir string, log zerolog.Logger) (*keyring, error) {
	keys, exposed, err := ReadKeys(file)
	if err != nil {
		return nil, err
	}
	if exposed {
		log.Warn().Str("key_file", file).Msg("gossip key can be read by others; chmod 600 is enough")
	}
	k := &keyring{file: file, log: log, fileSum: sumOf(keys)}
	if stateDir != "" {
		k.path = filepath.Join(stateDir, ringFile)
		text, _, err := readKeyFile(k.path, keyFileMax)
		newer, bad := [][]byte(nil), err
		if err == nil {
			newer, bad = parseRing(text, k.fileSum)
		}
		if bad != nil && !os.IsNotExist(bad) {
			log.Warn().Str("file", k.path).Err(bad).Msg("gossip keys kept by the run before cannot be used, taking key_file")
		}
		if len(newer) > 0 {
			k.kept = string(text)
			keys = newer
		}
	}
	if k.ring, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
		return nil, fmt.Errorf("cannot use gossip key %q: %w", file, err)
	}
	return k, nil
}

// reread takes key_file over if its content changed: its first key encrypts
// from now on, and only its keys are understood.
func (k *keyring) reread() error {
	keys, _, err := ReadKeys(k.file)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sum := sumOf(keys)
	if sum == k.fileSum {
		return nil
	}
	k.fileSum = sum
	for _, key := range keys {
		err = errors.Join(err, k.ring.AddKey(key))
	}
	err = errors.Join(err, k.ring.UseKey(keys[0]))
	for _, old := range slices.Clone(k.ring.GetKeys()) {
		if !slices.ContainsFunc(keys, func(key []byte) bool { return bytes.Equal(key, old) }) {
			err = errors.Join(err, k.ring.RemoveKey(old))
		}
	}
	k.log.Info().Str("key", Fingerprint(keys[0])).Int("keys", len(keys)).Msg("gossip keys taken from the changed key_file")
	return err
}

// keep writes the keys in force down where they are not those of key_file:
// another node of the pool may have changed them at any time.
func (k *keyring) keep() error {
	keys := k.ring.GetKeys()
	k.mu.Lock()
	defer k.mu.Unlock()
	same := sumOf(keys) == k.fileSum
	text := ""
	if !same {
		text = formatRing(keys, k.fileSum)
	}
	if text == k.kept {
		return nil
	}
	if !same && !k.stale {
		e := k.log.Warn().Str("key", Fingerprint(keys[0])).Str("key_file", k.file)
		if k.path == "" {
			e.Msg("gossip keys were changed in the pool; put them into key_file, a restart would take the old one: there is no state_dir")
		} else {
			e.Msg("gossip keys were changed in the pool; put them into key_file")
		}
	}
	k.stale, k.kept = !same, text
	if k.path == "" {
		return nil
	}
	if same {
		if err := os.Remove(k.path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("cannot remove gossip keys that are not needed any more: %w", err)
		}
		return nil
	}
	if err := writeState(k.path, text); err != nil {
		return fmt.Errorf("cannot keep the gossip keys: %w", err)
	}
	return nil
}
