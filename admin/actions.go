package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"jetway/balancer"
)

// memberAction is one thing that an operator does to a member. Each is
// idempotent: done twice it is as if done once.
type memberAction struct {
	verb    string
	summary string
	query   []parameter
	value   func(r *http.Request) error // looks at the query; nil: there is nothing in it
	// do changes the member of an id and returns it. The error is ErrUnknownMember,
	// or says what is wrong with the request.
	do func(id string, r *http.Request) ([]*balancer.Upstream, error)
}

// memberActions lists what can be done to members.
func (s *Server) memberActions() []memberAction {
	router := s.src.Router
	return []memberAction{
		{verb: "drain", summary: "keep new requests off a member while those in flight finish",
			do: func(id string, _ *http.Request) ([]*balancer.Upstream, error) { return router.Drain(id, true) }},
		{verb: "undrain", summary: "give a drained member requests again",
			do: func(id string, _ *http.Request) ([]*balancer.Upstream, error) { return router.Drain(id, false) }},
		{verb: "weight", summary: "put another weight of a member in force, or the announced one again", value: weightOf,
			query: []parameter{{"weight", "1 to 1000; 0: the one that the member announces"}},
			do: func(id string, r *http.Request) ([]*balancer.Upstream, error) {
				n, _ := strconv.Atoi(r.URL.Query().Get("weight")) // weightOf has looked
				return router.SetWeight(id, n)
			}},
		{verb: "eject", summary: "set a member aside for a time, sessions too", value: spanOf,
			query: []parameter{{"for", "duration such as 90s or 10m, at most 24h; default 5m"}},
			do: func(id string, r *http.Request) ([]*balancer.Upstream, error) {
				d, _ := span(r) // spanOf has looked
				return router.Eject(id, d)
			}},
		{verb: "restore", summary: "end the ejection of a member, whoever made it",
			do: func(id string, _ *http.Request) ([]*balancer.Upstream, error) { return router.Restore(id) }},
	}
}

func weightOf(r *http.Request) error {
	text := r.URL.Query().Get("weight")
	if n, err := strconv.Atoi(text); err != nil || n < 0 || n > balancer.MaxWeight {
		return fmt.Errorf("weight is %s; expected 1 to %d, or 0 for the one that the member announces", quote(text), balancer.MaxWeight)
	}
	return nil
}

// ejectMax is the longest that an operator may set a member aside.
const ejectMax = 24 * time.Hour

// span returns how long a member is to be ejected.
func span(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("for")
	if text == "" {
		return 5 * time.Minute, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > ejectMax {
		return 0, fmt.Errorf("for is %s; expected a duration such as 90s or 10m, at most 24h", quote(text))
	}
	return d, nil
}

func spanOf(r *http.Request) error {
	_, err := span(r)
	return err
}

// memberID returns the member that the path names, as ID, DOMAIN%2FID or DOMAIN/ID.
func memberID(r *http.Request) string {
	id := r.PathValue("member")
	if domain := r.PathValue("domain"); domain != "" {
		id = domain + "/" + id
	}
	return id
}

// find returns the members that an id may mean.
func (s *Server) find(id string) (hit []*balancer.Upstream) {
	for _, u := range s.src.Router.Table().Upstreams() {
		if m := u.Member(); m.ID == id || m.Domain+"/"+m.ID == id {
			hit = append(hit, u)
		}
	}
	return hit
}

func (s *Server) member(w http.ResponseWriter, r *http.Request) {
	id := memberID(r)
	hit := s.find(id)
	if len(hit) == 0 {
		fail(w, http.StatusNotFound, "cannot find member "+quote(id)+": "+balancer.ErrUnknownMember.Error())
		return
	}
	answer(w, http.StatusOK, changeOf(hit, false))
}

// act does something to the member that the path names and answers what it is
// like then.
func (s *Server) act(w http.ResponseWriter, r *http.Request, a memberAction) {
	id := memberID(r)
	hit := s.find(id)
	var err error
	if a.value != nil {
		if err := a.value(r); err != nil {
			fail(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
	}
	switch {
	case !dryRun(r):
		hit, err = a.do(id, r)
	case len(hit) == 0:
		err = balancer.ErrUnknownMember
	case len(hit) > 1:
		err = errors.New("cannot tell which member " + quote(id) + " is meant; expected domain/id")
	}
	switch {
	case errors.Is(err, balancer.ErrUnknownMember):
		fail(w, http.StatusNotFound, err.Error())
		return
	case err != nil:
		fail(w, http.StatusConflict, err.Error())
		return
	}
	v := changeOf(hit, dryRun(r))
	for i := range v.Members {
		if m := &v.Members[i]; !v.DryRun {
			s.log.Info().Str("domain", m.Domain).Str("member", m.ID).Str("change", a.verb).Str("state", m.State).Msg("member changed by operator")
		}
	}
	answer(w, http.StatusOK, v)
}

func changeOf(hit []*balancer.Upstream, dry bool) Change {
	v := Change{Schema: SchemaVersion, DryRun: dry, Members: []MemberView{}}
	now := time.Now().UnixNano()
	for _, u := range hit {
		v.Members = append(v.Members, memberView(u.Status(now)))
	}
	return v
}

// quote shows what somebody sent without letting it steer a terminal.
func quote(s string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), 300)]) + `"`
}
