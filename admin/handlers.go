package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"strings"
	"time"

	"jetway/balancer"
)

// route is one endpoint. What stands here is what /api/v1/openapi.json says.
type route struct {
	method  string // GET answers HEAD too
	path    string // pattern of http.ServeMux
	summary string
	handle  http.HandlerFunc
	query   []parameter
	body    any    // example of the type of the request's body; nil: none
	answer  any    // of the type of a good answer; nil: text
	kind    string // content type of a good answer; empty: JSON
}

// parameter is one of the query of a route.
type parameter struct{ name, meaning string }

// handler joins all endpoints.
func (s *Server) handler() (http.Handler, error) {
	metrics, err := s.metrics()
	if err != nil {
		return nil, err
	}
	s.routes = slices.Concat(s.reading(metrics), s.changing(), s.standing(), s.applying(), s.sessionRoutes(), s.elastic(), s.gossiping())
	mux := http.NewServeMux()
	methods := map[string]map[string]http.HandlerFunc{}
	for _, r := range s.routes {
		if methods[r.path] == nil {
			methods[r.path] = map[string]http.HandlerFunc{}
		}
		methods[r.path][r.method] = r.strict()
	}
	for path, handlers := range methods {
		mux.Handle(path, only(handlers))
	}
	if s.cfg.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("/", noEndpoint)
	return s.guard(plain(mux)), nil
}

// reading lists the endpoints that change nothing.
func (s *Server) reading(metrics http.Handler) []route {
	text := "text/plain; charset=utf-8"
	top := []parameter{{"top", "how many of the busiest tenants, at most 1000; default 20"}}
	return []route{
		{method: "GET", path: "/ping", summary: "200 while the process serves, 503 once it stops", handle: s.ping, kind: text},
		{method: "GET", path: "/ready", summary: "200 once the members are known and until it stops, else 503", handle: s.ready, kind: text},
		{method: "GET", path: "/metrics", summary: "metrics in the text format of Prometheus", handle: metrics.ServeHTTP, kind: text},
		{method: "GET", path: "/version", summary: "which program this is", handle: s.version, answer: Version{}},
		{method: "GET", path: "/api/v1/openapi.json", summary: "this document", handle: s.openAPI, answer: map[string]any{}},
		{method: "GET", path: "/api/v1/overview", summary: "state, listeners, last reload, clusters, gossip", handle: s.overview, answer: Overview{}},
		{method: "GET", path: "/api/v1/services", summary: "services with their domains, hosts and load", handle: s.services, answer: ServiceList{}},
		{method: "GET", path: "/api/v1/domains", summary: "every domain and sub-domain with its members, load and latency", handle: s.domains, answer: ClusterList{}},
		{method: "GET", path: "/api/v1/members", summary: "every member and its state; who is left out, and why", handle: s.members, answer: MemberList{}},
		{method: "GET", path: "/api/v1/members/{member}", summary: "one member, by ID or DOMAIN%2FID", handle: s.member, answer: Change{}},
		{method: "GET", path: "/api/v1/tenants", summary: "the tenant directory and how it is doing; the busiest tenants", handle: s.tenants, query: top, answer: Tenants{}},
		{method: "GET", path: "/api/v1/tenants/known", summary: "all tenants that are known, as a tenants file", handle: s.known, kind: "text/csv; charset=utf-8"},
		{method: "POST", path: explainPath, summary: "the whole decision about a request, which is not sent", handle: s.explain, body: Question{}, answer: Explanation{}},
		{method: "GET", path: "/api/v1/tenants/{tenant}", summary: "one tenant: id, state, plan, and where its requests go", handle: s.tenant, answer: TenantView{}},
		{method: "GET", path: "/api/v1/config", summary: "the effective configuration, secrets masked", handle: s.config, answer: ConfigView{}},
		{method: "GET", path: "/api/v1/events", summary: "the newest changes of state; a stream of server-sent events where Accept is text/event-stream", handle: s.events,
			query: []parameter{{"after", "number of the event after which to begin"}}, answer: EventList{}},
		{method: "GET", path: "/api/v1/log-level", summary: "what is logged", handle: s.logLevel, answer: LogLevel{}},
	}
}

// changing lists the endpoints that change something.
func (s *Server) changing() []route {
	dry := []parameter{{dryRunName, "1: say what would change, and change nothing"}}
	routes := []route{
		{method: "POST", path: "/api/v1/reload", summary: "load the configuration again; 422 with what is wrong", handle: s.reload, query: dry, answer: Reloaded{}},
		{method: "POST", path: "/api/v1/log-level", summary: "change what is logged, until the next start", handle: s.setLogLevel, body: LogLevel{}, answer: LogLevel{}},
	}
	for _, a := range s.memberActions() {
		handle := func(w http.ResponseWriter, r *http.Request) { s.act(w, r, a) }
		query := slices.Concat(a.query, dry)
		routes = append(routes,
			route{method: "POST", path: "/api/v1/members/{member}/" + a.verb, summary: a.summary, handle: handle, query: query, answer: Change{}},
			route{method: "POST", path: "/api/v1/members/{domain}/{member}/" + a.verb, summary: a.summary, handle: handle, query: query, answer: Change{}})
	}
	return routes
}

// only answers 405 to all methods but those that have a handler.
func only(handlers map[string]http.HandlerFunc) http.Handler {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		if handlers[m] != nil {
			methods = append(methods, m)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h := handlers[method]; h != nil {
			h(w, r)
			return
		}
		allow := strings.Join(methods, ", ")
		if handlers[http.MethodGet] != nil {
			allow = strings.Replace(allow, "GET", "GET, HEAD", 1)
		}
		w.Header().Set("Allow", allow)
		fail(w, http.StatusMethodNotAllowed, "expected "+strings.ReplaceAll(allow, ", ", " or "))
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
	answer(w, http.StatusOK, Version{SchemaVersion, s.src.Build})
}

func (s *Server) overview(w http.ResponseWriter, _ *http.Request) {
	now := time.Now().UnixNano()
	t := s.src.Router.Table()
	state, reason := s.src.State()
	conf := s.src.Config()
	v := Overview{Schema: SchemaVersion, Name: s.src.Name, Build: s.src.Build, PID: os.Getpid(), Started: s.src.Started.UTC(),
		State: state, Reason: reason, InFlight: s.src.InFlight(), Listeners: texts(s.src.Listeners()),
		Config: conf.File, Version: conf.Version, Warnings: list(conf.Warnings), LastReload: s.src.LastReload(),
		Generation: t.Generation(), Clusters: []ClusterView{}, Gossip: s.gossip()}
	if s.src.Troubles != nil {
		v.Warnings = append(v.Warnings, s.src.Troubles()...)
	}
	if s.src.Standby.Differ != nil {
		v.Differ = s.src.Standby.Differ()
	}
	v.Differ = list(v.Differ)
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

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	do := s.src.Reload
	if dryRun(r) {
		do = s.src.CheckReload
	}
	if err := do(); err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	answer(w, http.StatusOK, Reloaded{SchemaVersion, s.src.LastReload(), dryRun(r)})
}

func (s *Server) logLevel(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, LogLevel{SchemaVersion, s.src.LogLevel()})
}

func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) {
	var v LogLevel
	if !decode(w, r, &v) {
		return
	}
	if err := s.src.SetLogLevel(v.Level); err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	s.logLevel(w, r)
}

// decode reads the JSON body of a request, one value and nothing else; false:
// it was refused.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		switch _, more := d.Token(); {
		case more == nil:
			err = errors.New("something follows it")
		case !errors.Is(more, io.EOF):
			err = more
		}
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, "the body is too large")
	case err != nil:
		fail(w, http.StatusBadRequest, "the body is no JSON of the kind that is expected: "+err.Error())
	}
	return err == nil
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
