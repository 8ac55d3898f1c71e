package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"jetway/balancer"
)

// handler joins all endpoints.
func (s *Server) handler() (http.Handler, error) {
	metrics, err := s.metrics()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	get := func(path string, h http.HandlerFunc) { mux.Handle(path, only(h, http.MethodGet, http.MethodHead)) }
	post := func(path string, h http.HandlerFunc) { mux.Handle(path, only(h, http.MethodPost)) }
	get("/ping", s.ping)
	get("/ready", s.ready)
	get("/metrics", metrics.ServeHTTP)
	get("/version", s.version)
	get("/api/v1/overview", s.overview)
	get("/api/v1/members", s.members)
	get("/api/v1/config", s.config)
	get("/api/v1/tenants", s.tenants)
	get("/api/v1/tenants/known", s.known)
	post("/api/v1/explain", s.explain)
	get("/api/v1/gossip/keys", s.gossipKeys)
	post("/api/v1/gossip/keys/{verb}", s.gossipKeys)
	post("/api/v1/reload", s.reload)
	if s.src.Standby.Health != nil {
		get("/api/v1/health", s.health)
		get("/api/v1/peers", s.peers)
		post("/api/v1/standby/notify", s.notify)
		post("/api/v1/standby/handover", s.handover)
	}
	post("/api/v1/members/{member...}", s.change)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such endpoint; there are /ping /ready /metrics /version and /api/v1/{overview,members,tenants,config,reload}")
	})
	return s.guard(mux), nil
}

// only answers 405 to all methods but these.
func only(h http.HandlerFunc, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, m := range methods {
			if r.Method == m {
				h(w, r)
				return
			}
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		fail(w, http.StatusMethodNotAllowed, "expected "+strings.Join(methods, " or "))
	})
}

// ping says whether the process serves at all: a load balancer before this
// one takes a draining one out.
func (s *Server) ping(w http.ResponseWriter, _ *http.Request) {
	if state, reason := s.src.State(); state == Draining {
		line(w, http.StatusServiceUnavailable, reason)
		return
	}
	line(w, http.StatusOK, "pong")
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if state, reason := s.src.State(); state != Ready {
		line(w, http.StatusServiceUnavailable, reason)
		return
	}
	line(w, http.StatusOK, "ready")
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, struct {
		Schema int `json:"schema_version"`
		Build
	}{SchemaVersion, s.src.Build})
}

func (s *Server) overview(w http.ResponseWriter, _ *http.Request) {
	now := time.Now().UnixNano()
	t := s.src.Router.Table()
	state, reason := s.src.State()
	conf := s.src.Config()
	v := Overview{Schema: SchemaVersion, Name: s.src.Name, Build: s.src.Build, PID: os.Getpid(), Started: s.src.Started.UTC(),
		State: state, Reason: reason, InFlight: s.src.InFlight(), Listeners: texts(s.src.Listeners()),
		Config: conf.File, Warnings: list(conf.Warnings), LastReload: s.src.LastReload(),
		Generation: t.Generation(), Clusters: []ClusterView{}, Gossip: s.gossip()}
	for _, c := range t.Clusters() {
		v.Clusters = append(v.Clusters, clusterView(c, now))
	}
	answer(w, http.StatusOK, v)
}

func (s *Server) gossip() *Gossip {
	if s.src.Gossip == nil {
		return nil
	}
	return s.src.Gossip()
}

func (s *Server) members(w http.ResponseWriter, _ *http.Request) {
	now := time.Now().UnixNano()
	t := s.src.Router.Table()
	v := MemberList{Schema: SchemaVersion, Members: []MemberView{}, Rejected: []Rejected{}}
	for _, u := range t.Upstreams() {
		v.Members = append(v.Members, memberView(u.Status(now)))
	}
	for _, m := range t.Orphans() {
		v.Members = append(v.Members, memberView(balancer.Status{Member: m, State: "unused"}))
	}
	v.Rejected = append(v.Rejected, s.src.Rejected()...)
	answer(w, http.StatusOK, v)
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	v := s.src.Config()
	v.Schema, v.Warnings = SchemaVersion, list(v.Warnings)
	answer(w, http.StatusOK, v)
}

func (s *Server) reload(w http.ResponseWriter, _ *http.Request) {
	if err := s.src.Reload(); err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	answer(w, http.StatusOK, struct {
		Schema int    `json:"schema_version"`
		Reload Reload `json:"reload"`
	}{SchemaVersion, s.src.LastReload()})
}

// change drains or undrains the member that the path names, as ID or DOMAIN/ID.
func (s *Server) change(w http.ResponseWriter, r *http.Request) {
	path := r.PathValue("member")
	i := strings.LastIndexByte(path, '/')
	verb := path[i+1:]
	if i <= 0 || verb != "drain" && verb != "undrain" {
		fail(w, http.StatusNotFound, "no such endpoint; expected /api/v1/members/ID/drain or /undrain")
		return
	}
	hit, err := s.src.Router.Drain(path[:i], verb == "drain")
	switch {
	case errors.Is(err, balancer.ErrUnknownMember):
		fail(w, http.StatusNotFound, err.Error())
		return
	case err != nil:
		fail(w, http.StatusConflict, err.Error())
		return
	}
	v := Change{Schema: SchemaVersion, Members: []MemberView{}}
	for _, u := range hit {
		m := memberView(u.Status(time.Now().UnixNano()))
		s.log.Info().Str("domain", m.Domain).Str("member", m.ID).Str("change", verb).Msg("member changed by operator")
		v.Members = append(v.Members, m)
	}
	answer(w, http.StatusOK, v)
}

// line answers one line of text, for machines that only look at the status.
func line(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n") // the client is gone if this fails
}

// Failure is the body of every refusal.
type Failure struct {
	Schema int    `json:"schema_version"`
	Error  string `json:"error"`
}

func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, Failure{SchemaVersion, text})
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("BUG: answer that is no JSON: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // the client is gone if this fails
}
