package admin

import (
	"net"
	"slices"
	"strconv"
	"time"

	"jetway/balancer"
)

// Build says which program this is.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Built   string `json:"commit_time,omitempty"`
	Go      string `json:"go"`
}

// Reload is the result of the newest attempt to load the configuration; the
// load at the start counts.
type Reload struct {
	Time  time.Time `json:"time"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"`
}

// ConfigView is the effective configuration.
type ConfigView struct {
	Schema   int      `json:"schema_version"`
	File     string   `json:"file"`
	Version  string   `json:"version"` // what must be equal on all peers
	Warnings []string `json:"warnings"`
	YAML     string   `json:"yaml"` // defaults filled in, secrets masked
}

// Gossip is what the gossip pool looks like from here.
type Gossip struct {
	Node      string `json:"node"`
	Address   string `json:"address"` // what others join; empty while it is down
	Joined    bool   `json:"joined"`  // somebody else is alive in the pool
	Encrypted bool   `json:"encrypted"`
	Health    int    `json:"health_score"` // 0 is best
	// ConvergenceSeconds is how long the last news took to nearly all other
	// nodes; 0: not measured yet, or there are none.
	ConvergenceSeconds float64        `json:"convergence_seconds"`
	Nodes              map[string]int `json:"nodes"` // by state, this one included
	Restarts           int            `json:"restarts"`
	LastError          string         `json:"last_error,omitempty"`
	Stalls             uint64         `json:"stalls"`            // times this process stood still
	Overloads          uint64         `json:"overloads"`         // times messages came faster than they were taken
	Conflicts          uint64         `json:"name_conflicts"`    // times two nodes of one name were met
	Forged             uint64         `json:"forged"`            // messages dropped that no honest node sends
	Trouble            string         `json:"trouble,omitempty"` // the last of all these
	TroubleAt          *time.Time     `json:"trouble_at,omitempty"`
}

// Rejected is somebody who claims to be a member and is left out, and why.
type Rejected struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
}

// Overview is Jetway at a glance.
type Overview struct {
	Schema     int           `json:"schema_version"`
	Name       string        `json:"name"`
	Build      Build         `json:"build"`
	PID        int           `json:"pid"`
	Started    time.Time     `json:"started"`
	State      State         `json:"state"`
	Reason     string        `json:"reason,omitempty"`
	InFlight   int64         `json:"in_flight"`
	Listeners  []string      `json:"listeners"`
	Config     string        `json:"config_file"`
	Version    string        `json:"config_version"` // what must be equal on all peers
	Differ     []string      `json:"config_differs"` // peers that have another one, in words
	LastReload Reload        `json:"last_reload"`
	Warnings   []string      `json:"warnings"`   // of the configuration, and what else is wrong now
	Generation uint64        `json:"generation"` // rebuilds of the routing table
	Clusters   []ClusterView `json:"clusters"`
	Gossip     *Gossip       `json:"gossip,omitempty"`
}

// ClusterView is one domain and sub-domain.
type ClusterView struct {
	Service     string            `json:"service"`
	Domain      string            `json:"domain"`
	SubDomain   string            `json:"sub_domain"`
	Hosts       []string          `json:"hosts"`
	TenantRange string            `json:"tenant_range"`
	Members     int               `json:"members"`
	Up          int               `json:"up"`
	InFlight    int64             `json:"in_flight"`
	Responses   map[string]uint64 `json:"responses"` // by class of status; "none": the client was gone
	Retries     uint64            `json:"retries"`
	// Estimates over all requests since the start, as bounds of the buckets of
	// jetway_request_duration_seconds; 0: there were none.
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
}

// MemberList is every member that is known.
type MemberList struct {
	Schema   int          `json:"schema_version"`
	Members  []MemberView `json:"members"`
	Rejected []Rejected   `json:"rejected"`
}

// MemberView is one member. State is up, suspect, ejected, draining, or
// unused where no service has its domain and sub-domain.
type MemberView struct {
	ID           string            `json:"id"`
	Domain       string            `json:"domain"`
	SubDomains   []string          `json:"sub_domains"`
	Host         string            `json:"host"`
	HTTP         uint16            `json:"http,omitempty"`
	HTTPS        uint16            `json:"https,omitempty"`
	PortMapping  map[string]uint16 `json:"port_mapping,omitempty"`
	Weight       int               `json:"weight"`
	Zone         string            `json:"zone,omitempty"`
	Source       string            `json:"source"`
	State        string            `json:"state"`
	Drained      bool              `json:"drained"` // by an operator
	InFlight     int64             `json:"in_flight"`
	Requests     uint64            `json:"requests"`
	Failures     uint64            `json:"failures"`
	Ejections    uint64            `json:"ejections"`
	EjectedUntil *time.Time        `json:"ejected_until,omitempty"`
	Reason       string            `json:"reason,omitempty"`  // why it is in its state, in words
	Since        *time.Time        `json:"since,omitempty"`   // of the state
	Share        float64           `json:"share"`             // of its weight; below 1 in slow start
	Latency      float64           `json:"latency_seconds"`   // of its answers, of late; 0: not measured
	Advised      bool              `json:"advised,omitempty"` // ejected on a peer's word
	Checks       []CheckView       `json:"checks,omitempty"`
}

// CheckView is the newest result of a health check.
type CheckView struct {
	SubDomain string     `json:"sub_domain"`
	Type      string     `json:"type"`
	OK        bool       `json:"ok"`
	Result    string     `json:"result"`
	Since     *time.Time `json:"since,omitempty"` // since when it is good, or not
	At        *time.Time `json:"at,omitempty"`
	Took      float64    `json:"took_seconds"`
}

// Change is the answer to a change of members.
type Change struct {
	Schema  int          `json:"schema_version"`
	DryRun  bool         `json:"dry_run"` // nothing was changed
	Members []MemberView `json:"members"` // as they are now
}

// Reloaded is the answer to a reload.
type Reloaded struct {
	Schema int    `json:"schema_version"`
	Reload Reload `json:"reload"`
	DryRun bool   `json:"dry_run"` // the file is good, and nothing was changed
}

// LogLevel is what is logged: debug, info, warn or error.
type LogLevel struct {
	Schema int    `json:"schema_version,omitempty"`
	Level  string `json:"level"`
}

// Version is the program's.
type Version struct {
	Schema int `json:"schema_version"`
	Build
}

// ServiceList is every service.
type ServiceList struct {
	Schema   int           `json:"schema_version"`
	Services []ServiceView `json:"services"`
}

// ServiceView is one service: the sum of its clusters.
type ServiceView struct {
	Service   string            `json:"service"`
	Hosts     []string          `json:"hosts"`
	Domains   []string          `json:"domains"`
	Members   int               `json:"members"`
	Up        int               `json:"up"`
	InFlight  int64             `json:"in_flight"`
	Responses map[string]uint64 `json:"responses"`
	Retries   uint64            `json:"retries"`
}

// ClusterList is every domain and sub-domain.
type ClusterList struct {
	Schema  int           `json:"schema_version"`
	Domains []ClusterView `json:"domains"`
}

// classes name the elements of balancer.ClusterState.Responses.
func classes() [6]string { return [6]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} }

func clusterView(c *balancer.Cluster, now int64) ClusterView {
	v := ClusterView{Service: c.Config.Service, Domain: c.Config.Key.Domain, SubDomain: c.Config.Key.SubDomain,
		Hosts: list(c.Config.Hosts), TenantRange: c.Config.Ranges.String(), Members: len(c.Upstreams),
		InFlight: c.State.InFlight.Load(), Responses: map[string]uint64{}, Retries: c.State.Retries.Load(), P50: c.State.Latency.Quantile(0.5).Seconds(), P99: c.State.Latency.Quantile(0.99).Seconds()}
	for i, class := range classes() {
		if n := c.State.Responses[i].Load(); n > 0 {
			v.Responses[class] = n
		}
	}
	v.Up = c.Up(now)
	return v
}

func memberView(s balancer.Status) MemberView {
	m := &s.Member
	v := MemberView{ID: m.ID, Domain: m.Domain, SubDomains: list(m.SubDomains), Host: m.Host, HTTP: m.HTTP, HTTPS: m.HTTPS,
		Weight: s.Weight, Ejections: s.Ejections.Unreachable + s.Ejections.Failing, Reason: s.Reason, Share: s.Share, Latency: s.Latency.Seconds(), Advised: s.Advised, Zone: m.Zone, Source: m.Source, State: s.State, Drained: s.Drained,
		InFlight: s.InFlight, Requests: s.Requests, Failures: s.Failures}
	for _, p := range m.Ports {
		if v.PortMapping == nil {
			v.PortMapping = map[string]uint16{}
		}
		v.PortMapping[strconv.Itoa(int(p.From))] = p.To
	}
	v.EjectedUntil, v.Since = moment(s.EjectedUntil), moment(s.Since)
	for _, c := range s.Checks {
		v.Checks = append(v.Checks, CheckView{c.SubDomain, string(c.Type), c.OK, c.Result, moment(c.Since), moment(c.At), c.Took.Seconds()})
	}
	return v
}

// moment keeps a time that there is none of out of JSON.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func texts(addrs []net.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}

// list keeps null out of JSON.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return slices.Clone(s)
}
