package admin

import (
	"fmt"
	"net/http"
)

// Sessions counts learned sessions. Nothing in it identifies one.
type Sessions struct {
	Schema    int              `json:"schema_version"`
	Sessions  int              `json:"sessions"`
	Max       int              `json:"max"`
	Tenants   int              `json:"tenants"` // that have sessions
	Learned   uint64           `json:"learned"` // since the start, like all below
	Expired   uint64           `json:"expired"`
	Evicted   uint64           `json:"evicted"` // displaced where there was no room
	Refused   uint64           `json:"refused"`
	Deleted   uint64           `json:"deleted"` // by their application
	FromPeers uint64           `json:"from_peers"`
	Members   []MemberSessions `json:"members"`
}

// MemberSessions is how many sessions a member has.
type MemberSessions struct {
	Domain   string `json:"domain"`
	Member   string `json:"member"`
	Sessions int    `json:"sessions"`
}

// SessionView is one session, found by what its client sends. No cookie stands
// in it: who may look must not be able to come as that client.
type SessionView struct {
	Schema    int    `json:"schema_version"`
	Service   string `json:"service,omitempty"`
	Domain    string `json:"domain,omitempty"`
	SubDomain string `json:"sub_domain,omitempty"`
	Tenant    string `json:"tenant,omitempty"`
	TenantID  int64  `json:"tenant_id,omitempty"`
	// Refused is what a request gets that no domain serves; nil: one does.
	Refused *ExplainedAnswer `json:"refused,omitempty"`
	Mode    string           `json:"mode"`    // of affinity
	Cookies []string         `json:"cookies"` // names of those that are looked at
	// Verdict: kept, broken (bound to a member that cannot serve it), void (what
	// was sent is forged, stale, not known, or another tenant's) or none.
	Verdict string         `json:"verdict"`
	Member  *SessionMember `json:"member,omitempty"` // nil: none, or one that is gone
	Learned bool           `json:"learned"`          // it stands in the table of learned sessions
	From    string         `json:"from,omitempty"`   // where learned: "here" or "peer", whoever saw it last
	// Seconds; 0 where it has no end of its own.
	Timeout float64 `json:"timeout_seconds"`
	Left    float64 `json:"left_seconds"` // if nobody asks for it
	Age     float64 `json:"age_seconds"`  // of a cookie of Jetway's own
}

// SessionMember is the member that a session is bound to.
type SessionMember struct {
	Domain string `json:"domain"`
	ID     string `json:"id"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Serves bool   `json:"serves"` // requests of the session go there
}

// SessionGroups asks how many learned sessions there are of some kinds.
type SessionGroups struct {
	Groups []SessionGroup `json:"groups"`
}

// SessionGroup is the learned sessions of a domain, or those of some of its
// members and tenants.
type SessionGroup struct {
	Domain    string   `json:"domain"`
	SubDomain string   `json:"sub_domain,omitempty"` // empty: all
	Members   []string `json:"members,omitempty"`    // ids; empty: all
	Tenants   []int64  `json:"tenants,omitempty"`    // ids, 0 is nobody; empty: all
}

// SessionCounts answers SessionGroups.
type SessionCounts struct {
	Schema   int   `json:"schema_version"`
	Sessions int   `json:"sessions"` // all that are bound to a member that is there
	Any      int   `json:"any"`      // those of one group or more
	Groups   []int `json:"groups"`   // as asked; one may be in several
}

// SessionGroupsMax bounds the groups of one question, and so what counting costs.
const SessionGroupsMax = 1000

// sessionPath is asked by POST: a cookie in an address would end in logs.
const sessionPath = "/api/v1/sessions/find"

// countPath is asked by POST because a question may name many tenants.
const countPath = "/api/v1/sessions/count"

// sessionRoutes lists the endpoints about sessions.
func (s *Server) sessionRoutes() []route {
	return []route{
		{method: "GET", path: "/api/v1/sessions", summary: "how many learned sessions there are, in all and by member", handle: s.sessions, answer: Sessions{}},
		{method: "POST", path: sessionPath, summary: "the session of a request, by its cookie: whose it is, how long it lives; nothing is sent or refreshed",
			handle: s.findSession, body: Question{}, answer: SessionView{}},
		{method: "POST", path: countPath, summary: "how many learned sessions some members and tenants have; nothing is changed",
			handle: s.countSessions, body: SessionGroups{}, answer: SessionCounts{}},
	}
}

func (s *Server) sessions(w http.ResponseWriter, _ *http.Request) {
	var v Sessions
	if s.src.Sessions != nil {
		v = s.src.Sessions()
	}
	v.Schema, v.Members = SchemaVersion, list(v.Members)
	answer(w, http.StatusOK, v)
}

func (s *Server) findSession(w http.ResponseWriter, r *http.Request) {
	if s.src.FindSession == nil {
		fail(w, http.StatusNotFound, "there are no sessions here")
		return
	}
	q, ok := readQuestion(w, r)
	if !ok {
		return
	}
	v, err := s.src.FindSession(q)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	v.Schema, v.Cookies = SchemaVersion, list(v.Cookies)
	answer(w, http.StatusOK, v)
}

func (s *Server) countSessions(w http.ResponseWriter, r *http.Request) {
	var q SessionGroups
	if !decode(w, r, &q) {
		return
	}
	if s.src.SumSessions == nil {
		fail(w, http.StatusNotFound, "there are no sessions here")
		return
	}
	if len(q.Groups) > SessionGroupsMax {
		fail(w, http.StatusUnprocessableEntity, fmt.Sprintf("%d groups; expected at most %d", len(q.Groups), SessionGroupsMax))
		return
	}
	if !s.counting.TryLock() { // it goes through all of them
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, "sessions are being counted for somebody else")
		return
	}
	defer s.counting.Unlock()
	v := s.src.SumSessions(q.Groups)
	v.Schema, v.Groups = SchemaVersion, list(v.Groups)
	answer(w, http.StatusOK, v)
}
