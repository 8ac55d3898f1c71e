package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// KeyOrder is what shall become of a key of the gossip pool.
type KeyOrder struct {
	Verb        string `json:"-"`                     // list, install, use or remove
	Key         string `json:"key,omitempty"`         // base64; install only
	Fingerprint string `json:"fingerprint,omitempty"` // of the key meant, or the beginning of it
	Force       bool   `json:"force,omitempty"`       // although not every node confirmed what is needed
}

// GossipKeys is what the nodes of the pool say about their keys, none of which
// is told.
type GossipKeys struct {
	Schema   int               `json:"schema_version"`
	Nodes    int               `json:"nodes"`              // alive
	Silent   []string          `json:"silent,omitempty"`   // alive, but did not answer
	Down     []string          `json:"down,omitempty"`     // failed: they have whatever they had then
	Refusals map[string]string `json:"refusals,omitempty"` // by node: what it said to the change
	Keys     []GossipKey       `json:"keys"`
}

// GossipKey is one key and who has it.
type GossipKey struct {
	Fingerprint string   `json:"fingerprint"`
	Nodes       int      `json:"nodes"`
	Encrypting  int      `json:"encrypting"`
	Lacking     []string `json:"lacking,omitempty"`
	InUse       bool     `json:"in_use"` // this Jetway encrypts with it
}

// gossiping lists the endpoints about the gossip pool.
func (s *Server) gossiping() []route {
	path := "/api/v1/gossip/keys"
	return []route{
		{method: "GET", path: path, summary: "who in the gossip pool has which keys; none is told", handle: s.gossipKeys, answer: GossipKeys{}},
		{method: "POST", path: path + "/{verb}", summary: "install a key in the pool, use it, or remove one", handle: s.gossipKeys, body: KeyOrder{}, answer: GossipKeys{}},
	}
}

// keysWait bounds one order: it asks the whole pool up to seven times.
const keysWait = 50 * time.Second

// gossipKeys lists or changes the keys of the pool.
func (s *Server) gossipKeys(w http.ResponseWriter, r *http.Request) {
	order := KeyOrder{}
	if r.Method == http.MethodPost {
		d := json.NewDecoder(io.LimitReader(r.Body, bodyMax))
		d.DisallowUnknownFields()
		if err := d.Decode(&order); err != nil {
			fail(w, http.StatusBadRequest, `expected JSON: {"key": "base64"} for install, {"fingerprint": "..."} for use and remove`) // never the error: it may hold the key
			return
		}
	}
	order.Verb = r.PathValue("verb")
	switch {
	case order.Verb == "" && r.Method != http.MethodPost:
		order.Verb = "list"
	case order.Verb != "install" && order.Verb != "use" && order.Verb != "remove":
		fail(w, http.StatusNotFound, "no such endpoint; expected GET /api/v1/gossip/keys, or POST /api/v1/gossip/keys/install, /use or /remove")
		return
	}
	if s.src.GossipKeys == nil {
		fail(w, http.StatusConflict, "there is no gossip")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), keysWait)
	defer cancel()
	v, err := s.src.GossipKeys(ctx, order)
	if err != nil {
		status := http.StatusConflict
		if errors.Is(err, context.DeadlineExceeded) {
			status = http.StatusGatewayTimeout
		}
		fail(w, status, err.Error())
		return
	}
	if order.Verb != "list" {
		s.log.Info().Str("change", order.Verb).Int("nodes", v.Nodes).Msg("gossip keys changed by operator")
	}
	v.Schema, v.Keys = SchemaVersion, list(v.Keys)
	answer(w, http.StatusOK, v)
}
