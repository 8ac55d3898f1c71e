package admin

import (
	"net/http"
)

// Question is a request that is to be explained.
type Question struct {
	Method   string      `json:"method"`
	URL      string      `json:"url"`                // http://HOST/PATH, or /PATH with a Host field
	Fields   [][2]string `json:"fields,omitempty"`   // names and values
	Listener string      `json:"listener,omitempty"` // name; empty: by the scheme and port of the URL
	Client   string      `json:"client,omitempty"`   // address that it comes from; empty: 127.0.0.1
}

// Explanation is the whole decision about a request: how it was made and what
// would become of it.
type Explanation struct {
	Schema     int              `json:"schema_version"`
	Live       bool             `json:"live"` // false: from the configuration file alone
	Generation uint64           `json:"generation"`
	Question   Question         `json:"question"`
	Arrival    ExplainedArrival `json:"arrival"`
	// Answer is what the client gets from Jetway itself; nil: it is forwarded,
	// at once or when it has been held.
	Answer     *ExplainedAnswer     `json:"answer,omitempty"`
	Held       *ExplainedWait       `json:"held,omitempty"`   // until an elastic domain has a member; nil: it does not wait
	Host       *ExplainedHost       `json:"host,omitempty"`   // nil: no pattern matches
	Tenant     *ExplainedTenant     `json:"tenant,omitempty"` // nil: it did not come so far
	Domain     *ExplainedDomain     `json:"domain,omitempty"` // nil: no range holds the tenant
	Limits     *ExplainedLimits     `json:"limits,omitempty"` // nil: none
	Session    *ExplainedSession    `json:"session,omitempty"`
	Candidates []ExplainedCandidate `json:"candidates"`
	Choice     *ExplainedChoice     `json:"choice,omitempty"` // nil: nobody
	Head       []string             `json:"head,omitempty"`   // lines that the member gets
}

// ExplainedArrival is where and from whom the request comes.
type ExplainedArrival struct {
	Listener   string `json:"listener"`
	PublicPort uint16 `json:"public_port"`
	TLS        bool   `json:"tls"`
	Client     string `json:"client"`  // as trusted proxies say
	Trusted    bool   `json:"trusted"` // it comes from a trusted proxy
}

// ExplainedAnswer is an answer of Jetway's own.
type ExplainedAnswer struct {
	Status     int    `json:"status"`
	Reason     string `json:"reason"`
	Text       string `json:"text"`
	RetryAfter int    `json:"retry_after_seconds,omitempty"` // of limits
}

// ExplainedWait is how a request waits for a member that is started.
type ExplainedWait struct {
	Most   string `json:"most"`   // then it is answered with 503
	Before int    `json:"before"` // requests that wait already
}

// ExplainedHost is the host pattern that matched.
type ExplainedHost struct {
	Name      string `json:"name"`
	Pattern   string `json:"pattern"`
	Service   string `json:"service"`
	SubDomain string `json:"sub_domain"`
	// OutOfReach is true where the listener or the client is not among those of
	// listeners and allow_from: the answer is that of an unknown host.
	OutOfReach bool `json:"out_of_reach,omitempty"`
}

// ExplainedTenant is whose request it is.
type ExplainedTenant struct {
	Name    string `json:"name,omitempty"`
	Outcome string `json:"outcome"`             // none, super, known, unknown, inactive, failed
	Rule    string `json:"rule,omitempty"`      // of tenants.identify that found the name
	ID      int64  `json:"id,omitempty"`        //
	From    string `json:"from,omitempty"`      // the directory
	Age     string `json:"age,omitempty"`       // of its answer, or since the file was read
	Told    bool   `json:"told,omitempty"`      // a peer's directory said so, not the one here
	Kept    bool   `json:"kept,omitempty"`      // the last good answer: the directory could not confirm it
	Refresh bool   `json:"refresh,omitempty"`   // it is old enough to be asked for again
	AskedBy bool   `json:"asked_now,omitempty"` // for this explanation
}

// ExplainedDomain is the cluster that the request goes to.
type ExplainedDomain struct {
	Name      string `json:"name"`
	SubDomain string `json:"sub_domain"`
	Range     string `json:"range"` // the part of tenant_range that holds the tenant
	Balance   string `json:"balance"`
	LowerWins bool   `json:"lower_score_wins"`
}

// ExplainedLimits are what the tenant may take there. 0 is no limit.
type ExplainedLimits struct {
	Rate     float64 `json:"rate"`
	Burst    int     `json:"burst"`
	InFlight int     `json:"in_flight"`
	Body     int64   `json:"body"`
	DryRun   bool    `json:"dry_run"`
	Verdict  string  `json:"verdict"` // admitted, rate, in_flight
}

// ExplainedSession is what binds the client to a member.
type ExplainedSession struct {
	Mode    string `json:"mode"`
	Verdict string `json:"verdict"` // none, new, kept, broken, void
	Member  string `json:"member,omitempty"`
}

// ExplainedCandidate is a member of the cluster.
type ExplainedCandidate struct {
	ID       string   `json:"id"`
	Address  string   `json:"address,omitempty"` // empty: no port for this listener
	TLS      bool     `json:"tls"`
	State    string   `json:"state"`
	Grade    string   `json:"grade"`            // fit, suspect, checking, failing, unreachable, out: those of the best grade are chosen from
	Score    *float64 `json:"score,omitempty"`  // nil: nothing is compared
	Reason   string   `json:"reason,omitempty"` // why it is not plainly fit
	InFlight int64    `json:"in_flight"`
	Weight   int      `json:"weight"`
	Chosen   bool     `json:"chosen"`
}

// ExplainedChoice is the member that would get the request.
type ExplainedChoice struct {
	ID      string   `json:"id"`
	Address string   `json:"address"`
	TLS     bool     `json:"tls"`
	Why     string   `json:"why"`
	Certain bool     `json:"certain"`         // false: chance decides
	Among   []string `json:"among,omitempty"` // whom it decides between
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	if s.src.Explain == nil {
		fail(w, http.StatusNotFound, "nothing can be explained here")
		return
	}
	q, ok := readQuestion(w, r)
	if !ok {
		return
	}
	e, err := s.src.Explain(q)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	e.Schema, e.Candidates = SchemaVersion, list(e.Candidates)
	answer(w, http.StatusOK, e)
}

// readQuestion reads the body of r; false: it was refused.
func readQuestion(w http.ResponseWriter, r *http.Request) (q Question, ok bool) {
	ok = decode(w, r, &q) // before q is looked at: the order within a return is not defined
	return q, ok
}

// known answers all tenants that are known, as a tenants file.
func (s *Server) known(w http.ResponseWriter, _ *http.Request) {
	if s.src.Known == nil {
		fail(w, http.StatusNotFound, "there is no directory")
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	if err := s.src.Known(w); err != nil {
		panic(http.ErrAbortHandler) // cut, so that it is not taken for the whole list
	}
}
