package discovery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/serf/serf"
)

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
