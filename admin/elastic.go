package admin

import (
	"net/http"
	"strconv"
)

// Elastic is what can be told and done about the size of domains. Functions are
// nil where no domain scales by itself.
type Elastic struct {
	Status    func() []any // as autoscale.Status
	Decisions func() []any // as autoscale.Decision, newest first
	// Scale and Release return how the domain stands then, as autoscale.Status.
	Scale   func(domain, subDomain string, size int) (any, error)
	Release func(domain, subDomain string) (any, error)
}

// ElasticList is every domain that scales, and the newest decisions.
type ElasticList struct {
	Schema    int   `json:"schema_version"`
	Domains   []any `json:"domains"`
	Decisions []any `json:"decisions"`
}

// Scaled is the one domain whose size an operator changed, as it stands then.
type Scaled struct {
	Schema  int   `json:"schema_version"`
	Domains []any `json:"domains"`
}

// elastic lists the endpoints about sizes.
func (s *Server) elastic() []route {
	size := []parameter{{"size", "members to have until release"}, {"release", "1: let load decide again"}}
	return []route{
		{method: "GET", path: "/api/v1/autoscale", summary: "domains that scale, and the newest decisions", handle: s.autoscale, answer: ElasticList{}},
		{method: "POST", path: "/api/v1/domains/{domain}/{sub_domain}/scale", summary: "set the size of a domain by hand, or let load decide again", handle: s.scale, query: size, answer: Scaled{}},
	}
}

func (s *Server) autoscale(w http.ResponseWriter, _ *http.Request) {
	v := ElasticList{Schema: SchemaVersion, Domains: []any{}, Decisions: []any{}}
	if s.src.Elastic.Status != nil {
		v.Domains, v.Decisions = list(s.src.Elastic.Status()), list(s.src.Elastic.Decisions())
	}
	answer(w, http.StatusOK, v)
}

func (s *Server) scale(w http.ResponseWriter, r *http.Request) {
	if s.src.Elastic.Scale == nil {
		fail(w, http.StatusConflict, "no domain scales here; expected an autoscale section in the configuration")
		return
	}
	domain, sub := r.PathValue("domain"), r.PathValue("sub_domain")
	text := r.URL.Query().Get("size")
	size, err := strconv.Atoi(text)
	var now any
	switch {
	case r.URL.Query().Get("release") == "1":
		now, err = s.src.Elastic.Release(domain, sub)
	case err != nil || size < 0:
		fail(w, http.StatusUnprocessableEntity, "size is "+quote(text)+"; expected a number, or release=1")
		return
	default:
		now, err = s.src.Elastic.Scale(domain, sub, size)
	}
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	v := Scaled{SchemaVersion, []any{}}
	if now != nil {
		v.Domains = append(v.Domains, now)
	}
	answer(w, http.StatusOK, v)
}
