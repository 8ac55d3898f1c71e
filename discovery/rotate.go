package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/serf/serf"
)

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
