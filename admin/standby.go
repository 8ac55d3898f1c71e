package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// Standby is what a load balancer with peers can tell and do. Without peers
// all of it is nil, but for Health.
type Standby struct {
	Health   func() Health
	Peers    func() []any    // as standby.PeerView
	Differ   func() []string // peers that have another configuration, in words
	Notify   func(state string) error
	Handover func(context.Context, HandoverOrder) (HandoverResult, error)
}

// Health says whether this Jetway may hold the public address. A cold one may:
// it is worse than a warm one, and better than none.
type Health struct {
	Schema     int      `json:"schema_version"`
	OK         bool     `json:"ok"` // may hold the address
	Reason     string   `json:"reason,omitempty"`
	State      State    `json:"state"`
	Warm       bool     `json:"warm"` // knows what its peers know
	Cold       string   `json:"cold,omitempty"`
	Standby    bool     `json:"standby"` // there is a standby section
	Active     bool     `json:"active"`  // holds the address
	Told       bool     `json:"told"`    // keepalived said whether it does
	Acting     bool     `json:"acting"`  // does what must happen once per installation
	Handing    bool     `json:"handing_over"`
	Behind     string   `json:"config_behind,omitempty"` // who has a newer configuration
	Peers      int      `json:"peers"`                   // connected
	Lag        float64  `json:"lag_seconds"`
	Divergence int      `json:"divergent_shards"`
	InFlight   int64    `json:"in_flight"`
	Listeners  []string `json:"listeners"`
}

// HandoverOrder is how the address is to be handed over.
type HandoverOrder struct {
	Force bool    `json:"force"` // even if requests are still in flight at the end
	Drain float64 `json:"drain_seconds"`
	Wait  float64 `json:"wait_seconds"` // for requests in flight
}

// HandoverResult is what came of it.
type HandoverResult struct {
	Schema  int      `json:"schema_version"`
	Peer    string   `json:"peer"` // who is active now, empty: nobody has said so yet
	Took    float64  `json:"took_seconds"`
	Pause   float64  `json:"pause_seconds"` // in which new connections waited
	Cut     int      `json:"cut"`           // requests and tunnels that were cut off
	Remarks []string `json:"remarks"`
}

// NotifyOrder says what the address is: master, backup or fault.
type NotifyOrder struct {
	State string `json:"state"`
}

// standing lists the endpoints about peers and the public address.
func (s *Server) standing() []route {
	return []route{
		{method: "GET", path: "/api/v1/health", summary: "whether this Jetway may hold the public address; 503 if not", handle: s.health, answer: Health{}},
		{method: "GET", path: "/api/v1/peers", summary: "the other load balancers", handle: s.peers, answer: PeerList{}},
		{method: "POST", path: "/api/v1/standby/notify", summary: "take what keepalived says of the address", handle: s.notify, body: NotifyOrder{}, answer: Health{}},
		{method: "POST", path: "/api/v1/standby/handover", summary: "hand the address over to a peer", handle: s.handover, body: HandoverOrder{}, answer: HandoverResult{}},
	}
}

// ErrRefused is an order that cannot be followed as things are.
var ErrRefused = errors.New("refused")

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if s.src.Standby.Health == nil {
		fail(w, http.StatusNotFound, "nothing is known of the public address")
		return
	}
	h := s.src.Standby.Health()
	h.Schema = SchemaVersion
	status := http.StatusOK
	if !h.OK {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, h)
}

// PeerList is who the other load balancers are.
type PeerList struct {
	Schema int   `json:"schema_version"`
	Peers  []any `json:"peers"`
}

func (s *Server) peers(w http.ResponseWriter, _ *http.Request) {
	v := PeerList{Schema: SchemaVersion, Peers: []any{}}
	if s.src.Standby.Peers != nil {
		v.Peers = append(v.Peers, s.src.Standby.Peers()...)
	}
	answer(w, http.StatusOK, v)
}

// notify takes what keepalived says of the address.
func (s *Server) notify(w http.ResponseWriter, r *http.Request) {
	var order NotifyOrder
	switch {
	case s.src.Standby.Notify == nil:
		fail(w, http.StatusConflict, "there is no standby section in the configuration")
		return
	case !readJSON(w, r, &order):
		return
	}
	if err := s.src.Standby.Notify(order.State); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	s.health(w, r)
}

func (s *Server) handover(w http.ResponseWriter, r *http.Request) {
	var order HandoverOrder
	switch {
	case s.src.Standby.Handover == nil:
		fail(w, http.StatusConflict, "there is no standby section in the configuration")
		return
	case !readJSON(w, r, &order):
		return
	}
	http.NewResponseController(w).SetWriteDeadline(time.Time{}) // it takes as long as clients do
	result, err := s.src.Standby.Handover(r.Context(), order)
	switch {
	case errors.Is(err, ErrRefused):
		fail(w, http.StatusConflict, err.Error())
		return
	case err != nil:
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	result.Schema, result.Remarks = SchemaVersion, list(result.Remarks)
	answer(w, http.StatusOK, result)
}

// readJSON decodes a body, which may be empty. It has answered where it
// returns false.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	body := bufio.NewReader(r.Body)
	if _, err := body.Peek(1); errors.Is(err, io.EOF) {
		return true
	}
	r.Body = io.NopCloser(body)
	return decode(w, r, into)
}
