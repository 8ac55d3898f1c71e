package discovery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"
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

// KeyUse is a key and who has it.
type KeyUse struct {
	Fingerprint string   `json:"fingerprint"`
	Nodes       int      `json:"nodes"`             // that understand it
	Encrypting  int      `json:"encrypting"`        // that encrypt with it; old agents do not say
	Lacking     []string `json:"lacking,omitempty"` // nodes that answered and do not have it
	InUse       bool     `json:"in_use"`            // this node encrypts with it
}

// KeyReport is what the nodes of a pool say about their keys.
type KeyReport struct {
	Nodes    int               `json:"nodes"`              // alive
	Silent   []string          `json:"silent,omitempty"`   // alive, but did not answer
	Down     []string          `json:"down,omitempty"`     // failed: they have whatever they had then
	Refusals map[string]string `json:"refusals,omitempty"` // by node: why it did not do what it was told
	Keys     []KeyUse          `json:"keys"`
}

// ErrNoKeys is returned where gossip is not encrypted.
var ErrNoKeys = errors.New("gossip is not encrypted: there is no key_file")

// KeyError says why keys were not changed; the report holds the proof.
type KeyError struct {
	Text   string
	Report KeyReport
}

func (e *KeyError) Error() string { return e.Text }

// Keys asks every node of the pool which keys it has.
func (g *Gossip) Keys(ctx context.Context) (KeyReport, error) {
	report, _, err := g.pool.askKeys(ctx)
	return report, err
}

// InstallKey gives a key to every node and asks whether they have it. Nobody
// encrypts with it yet.
func (g *Gossip) InstallKey(ctx context.Context, key []byte) (KeyReport, error) {
	return g.pool.rotate(ctx, func(m *serf.KeyManager, _ KeyReport, _ map[string][]byte) (*serf.KeyResponse, error) {
		if len(key) != keySize {
			return nil, fmt.Errorf("cannot install a key of %d bytes: expected %d", len(key), keySize)
		}
		return m.InstallKey(EncodeKey(key))
	}, func(after KeyReport) string {
		return lacking(after, Fingerprint(key), "the key is not installed everywhere yet; install it again, or start what lacks it with it")
	})
}

// UseKey makes every node encrypt with a key that all of them have; force does
// so even if they do not.
func (g *Gossip) UseKey(ctx context.Context, fingerprint string, force bool) (KeyReport, error) {
	return g.pool.rotate(ctx, func(m *serf.KeyManager, before KeyReport, keys map[string][]byte) (*serf.KeyResponse, error) {
		key, err := pick(keys, fingerprint)
		if err != nil {
			return nil, err
		}
		if text := lacking(before, Fingerprint(key), "nothing was changed; install it again, or say force"); text != "" && !force {
			return nil, &KeyError{text, before}
		}
		return m.UseKey(EncodeKey(key))
	}, func(after KeyReport) string {
		for _, k := range after.Keys {
			if strings.HasPrefix(k.Fingerprint, fingerprint) && !k.InUse {
				return fmt.Sprintf("key %s is not in use", fingerprint)
			}
		}
		return ""
	})
}

// RemoveKey takes a key away from every node, unless somebody encrypts with it
// or did not say so.
func (g *Gossip) RemoveKey(ctx context.Context, fingerprint string, force bool) (KeyReport, error) {
	return g.pool.rotate(ctx, func(m *serf.KeyManager, before KeyReport, keys map[string][]byte) (*serf.KeyResponse, error) {
		key, err := pick(keys, fingerprint)
		if err != nil {
			return nil, err
		}
		for _, k := range before.Keys {
			switch {
			case k.Fingerprint != Fingerprint(key):
			case k.InUse || k.Encrypting > 0:
				return nil, &KeyError{fmt.Sprintf("%d nodes encrypt with key %s; nothing was changed; use another one first", max(1, k.Encrypting), k.Fingerprint), before}
			case len(before.Silent) > 0 && !force:
				return nil, &KeyError{fmt.Sprintf("%s did not answer and may encrypt with key %s; nothing was changed; try again, or say force", names(before.Silent), k.Fingerprint), before}
			}
		}
		return m.RemoveKey(EncodeKey(key))
	}, func(after KeyReport) string {
		for _, k := range after.Keys {
			if strings.HasPrefix(k.Fingerprint, fingerprint) {
				return fmt.Sprintf("%d nodes still have key %s; remove it again", k.Nodes, k.Fingerprint)
			}
		}
		return ""
	})
}

// lacking says who does not have a key, or did not say so.
func lacking(r KeyReport, fingerprint, then string) string {
	for _, k := range r.Keys {
		if k.Fingerprint != fingerprint {
			continue
		}
		without := append(slices.Clone(k.Lacking), r.Silent...)
		if len(without) == 0 {
			return ""
		}
		return fmt.Sprintf("%s have or did not confirm key %s: %s", names(without), fingerprint, then)
	}
	return fmt.Sprintf("nobody has key %s: %s", fingerprint, then)
}

// names lists a few names.
func names(list []string) string {
	const shown = 10
	if len(list) > shown {
		return strings.Join(list[:shown], ", ") + fmt.Sprintf(" and %d more", len(list)-shown)
	}
	return strings.Join(list, ", ")
}

// pick finds the key that a fingerprint, or the beginning of one, names.
func pick(keys map[string][]byte, fingerprint string) ([]byte, error) {
	var found []byte
	for f, key := range keys {
		if !strings.HasPrefix(f, fingerprint) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("cannot tell which key %q is meant: expected more of its fingerprint", clip(fingerprint))
		}
		found = key
	}
	if found == nil || len(fingerprint) < 4 {
		return nil, fmt.Errorf("cannot find key %q: expected a fingerprint of \"jetway gossip keys list\"", clip(fingerprint))
	}
	return found, nil
}

// rotate changes keys in the whole pool and proves what came of it.
func (p *pool) rotate(ctx context.Context, change func(*serf.KeyManager, KeyReport, map[string][]byte) (*serf.KeyResponse, error), wrong func(KeyReport) string) (KeyReport, error) {
	if p.keys == nil {
		return KeyReport{}, ErrNoKeys
	}
	p.keys.rotation.Lock()
	defer p.keys.rotation.Unlock()
	before, keys, err := p.askKeys(ctx)
	if err != nil {
		return before, err
	}
	s, err := p.current()
	if err != nil {
		return before, err
	}
	resp, err := change(s.KeyManager(), before, keys)
	if resp == nil {
		return before, err
	}
	refusals := map[string]string{}
	for node, text := range resp.Messages {
		refusals[clip(node)] = clip(text)
	}
	if err := p.keys.keep(); err != nil {
		p.fail(err)
	}
	after, _, err := p.askKeys(ctx) // the count of the change itself cannot name who is missing
	after.Refusals = refusals
	if err != nil {
		return after, err
	}
	if text := wrong(after); text != "" {
		return after, &KeyError{text, after}
	}
	return after, nil
}

const keyRounds = 3 // answers are single packets and may get lost

// askKeys asks every node for its keys, again while some did not answer.
func (p *pool) askKeys(ctx context.Context) (KeyReport, map[string][]byte, error) {
	if p.keys == nil {
		return KeyReport{}, nil, ErrNoKeys
	}
	s, err := p.current()
	if err != nil {
		return KeyReport{}, nil, err
	}
	answers := map[string]nodeKeys{}
	var report KeyReport
	for range keyRounds {
		report = KeyReport{}
		for _, n := range s.Members() {
			switch n.Status {
			case serf.StatusAlive:
				report.Nodes++
				if _, ok := answers[n.Name]; !ok {
					report.Silent = append(report.Silent, n.Name)
				}
			case serf.StatusFailed:
				report.Down = append(report.Down, clip(n.Name))
			}
		}
		if len(report.Silent) == 0 {
			break
		}
		if err := listKeys(ctx, s, report.Nodes, answers); err != nil {
			return report, nil, err
		}
	}
	report.Silent = slices.DeleteFunc(report.Silent, func(n string) bool { _, ok := answers[n]; return ok })
	for i, n := range report.Silent {
		report.Silent[i] = clip(n)
	}
	slices.Sort(report.Silent)
	slices.Sort(report.Down)
	keys := report.count(answers, p.keys.ring.GetPrimaryKey())
	return report, keys, nil
}

// count adds up who has which key.
func (r *KeyReport) count(answers map[string]nodeKeys, own []byte) map[string][]byte {
	keys := map[string][]byte{}
	uses := map[string]*KeyUse{}
	decode := func(text string) string {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) == 0 {
			return ""
		}
		f := Fingerprint(key)
		if uses[f] == nil && len(uses) < 4*keysMax {
			uses[f] = &KeyUse{Fingerprint: f, InUse: bytes.Equal(key, own)}
			keys[f] = key
		}
		return f
	}
	has := map[[2]string]bool{}
	for node, a := range answers {
		for _, text := range a.Keys {
			if f := decode(text); uses[f] != nil && !has[[2]string{node, f}] {
				has[[2]string{node, f}] = true
				uses[f].Nodes++
			}
		}
		if f := decode(a.PrimaryKey); uses[f] != nil {
			uses[f].Encrypting++
		}
	}
	for f, u := range uses {
		for node := range answers {
			if !has[[2]string{node, f}] {
				u.Lacking = append(u.Lacking, clip(node))
			}
		}
		slices.Sort(u.Lacking)
		r.Keys = append(r.Keys, *u)
	}
	slices.SortFunc(r.Keys, func(a, b KeyUse) int {
		return cmp.Or(compareBool(b.InUse, a.InUse), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
	return keys
}

// nodeKeys is a node's answer, as Serf encodes it.
type nodeKeys struct {
	Result     bool
	Message    string
	Keys       []string
	PrimaryKey string
}

const (
	listKeysQuery   = serf.InternalQueryPrefix + "list-keys"
	keyResponseType = 8 // Serf's messageKeyResponseType
)

// listKeys asks once and adds the answers. Serf's own key manager counts them
// only, and whom to look after is what an operator needs to know.
func listKeys(ctx context.Context, s *serf.Serf, nodes int, answers map[string]nodeKeys) error {
	resp, err := s.Query(listKeysQuery, nil, nil)
	if err != nil {
		return fmt.Errorf("cannot ask for keys: %w", err)
	}
	defer resp.Close()
	late := time.NewTimer(time.Until(resp.Deadline()))
	defer late.Stop()
	for len(answers) < nodes {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return nil
		case r, ok := <-resp.ResponseCh():
			if !ok {
				return nil
			}
			var a nodeKeys
			if len(r.Payload) < 2 || r.Payload[0] != keyResponseType {
				continue
			}
			if err := codec.NewDecoderBytes(r.Payload[1:], &codec.MsgpackHandle{}).Decode(&a); err != nil || !a.Result {
				continue
			}
			answers[r.From] = a
		}
	}
	return nil
}
