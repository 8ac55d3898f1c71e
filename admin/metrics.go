package admin

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"jetway/balancer"
)

// metrics joins everything that is measured in a registry of our own.
func (s *Server) metrics() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	s.registry = registry
	all := append([]prometheus.Collector{collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newSnapshot(s)}, s.src.Collectors...)
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // one bad series must not cost all the others
		MaxRequestsInFlight: 4,
		Timeout:             20 * time.Second,
	}), nil
}

// Metrics returns all that /metrics answers.
func (s *Server) Metrics() prometheus.Collector { return s.registry }

// snapshot turns the routing table and the state of the process into metrics
// when it is asked, so that requests pay nothing for them.
type snapshot struct {
	s *Server

	build, state, reloadOK, reloadTime                     *prometheus.Desc
	memberUp, memberInFlight, memberRequests, memberErrors *prometheus.Desc
	inFlight, requests, retries, duration                  *prometheus.Desc
	queued, queueWait                                      *prometheus.Desc
	memberState, memberEjections, memberUntold             *prometheus.Desc
	gossipNodes, gossipSpread, gossipHealth                *prometheus.Desc
	gossipRestarts, rejected                               *prometheus.Desc
	panics, refused, asked                                 *prometheus.Desc
}

func newSnapshot(s *Server) *snapshot {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("jetway_"+name, help, labels, nil)
	}
	cluster := []string{"service", "domain", "sub_domain"}
	return &snapshot{
		s:               s,
		build:           desc("build_info", "Always 1; the program in its labels.", "version", "commit", "go_version"),
		state:           desc("ready", "1 if this Jetway takes requests: its members are known and it is not draining."),
		reloadOK:        desc("config_last_reload_success", "1 if the newest attempt to load the configuration worked."),
		reloadTime:      desc("config_last_reload_timestamp_seconds", "When the configuration was last loaded or tried."),
		memberUp:        desc("member_up", "1 if the member gets requests: not suspect, ejected or draining.", "domain", "member"),
		memberInFlight:  desc("member_in_flight", "Requests that the member is working on.", "domain", "member"),
		memberRequests:  desc("member_requests_total", "Requests given to the member.", "domain", "member"),
		memberErrors:    desc("member_failures_total", "Requests that the member refused or broke off.", "domain", "member"),
		inFlight:        desc("cluster_in_flight", "Requests in flight of a domain and sub-domain.", cluster...),
		requests:        desc("requests_total", `Answers to clients by class of status, of requests that a domain took; "none": the client was gone. What was refused before is in jetway_refused_total.`, append(cluster, "code_class")...),
		duration:        desc("request_duration_seconds", "How long requests took, from the head's first byte to the last one for the client; without upgraded connections.", cluster...),
		memberState:     desc("member_state", "1 for the state that the member is in.", "domain", "member", "state"),
		memberEjections: desc("member_ejections_total", "How often the member was ejected by own evidence.", "domain", "member", "reason"),
		memberUntold:    desc("members_without_series", "Members beyond those that have series of their own."),
		retries:         desc("retries_total", "Requests that were to be repeated on another member, by what came of it.", append(cluster, "outcome")...),
		queued:          desc("queue_length", "Requests that wait for a member of an elastic domain.", cluster...),
		queueWait:       desc("queue_wait_seconds", "How long requests waited for a member of an elastic domain, in vain or not.", cluster...),
		gossipNodes:     desc("gossip_members", "Nodes in the gossip pool by state, this one and other load balancers included.", "state"),
		gossipSpread:    desc("gossip_convergence_seconds", "How long the last news took to nearly all other nodes of the pool; 0: not measured yet, or there are none."),
		gossipHealth:    desc("gossip_health_score", "How far this node's view of the pool is off; 0 is best."),
		gossipRestarts:  desc("gossip_restarts_total", "How often gossip had to be started again."),
		rejected:        desc("members_rejected", "Who claims to be a member and is left out."),
		panics:          desc("admin_panics_total", "Admin requests that ended in a panic."),
		refused:         desc("admin_connections_refused_total", "Admin connections over the limit."),
		asked:           desc("admin_requests_total", "Admin requests that changed something or were turned down.", "outcome"),
	}
}

// Describe implements prometheus.Collector.
func (c *snapshot) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.build, c.state, c.reloadOK, c.reloadTime, c.memberUp, c.memberInFlight,
		c.memberRequests, c.memberErrors, c.inFlight, c.requests, c.retries, c.duration, c.queued, c.queueWait,
		c.memberState, c.memberEjections, c.memberUntold, c.gossipNodes, c.gossipSpread, c.gossipHealth, c.gossipRestarts, c.rejected,
		c.panics, c.refused, c.asked} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *snapshot) Collect(ch chan<- prometheus.Metric) {
	src := &c.s.src
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { send(ch, d, prometheus.GaugeValue, v, labels) }
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		send(ch, d, prometheus.CounterValue, float64(v), labels)
	}
	state, _ := src.State()
	reload := src.LastReload()
	gauge(c.build, 1, src.Build.Version, src.Build.Commit, src.Build.Go)
	gauge(c.state, truth(state == Ready))
	gauge(c.reloadOK, truth(reload.OK))
	gauge(c.reloadTime, float64(reload.Time.UnixMilli())/1000)
	st := &c.s.stats
	count(c.panics, st.panics.Load())
	count(c.refused, st.turnedAway.Load())
	count(c.asked, st.changes.Load(), "changed")
	count(c.asked, st.refused.Load(), "refused")
	count(c.asked, st.unauthorized.Load(), "unauthorized")
	count(c.asked, st.limited.Load(), "limited")
	if g := c.s.gossip(); g != nil {
		for state, n := range g.Nodes {
			gauge(c.gossipNodes, float64(n), state)
		}
		gauge(c.gossipSpread, g.ConvergenceSeconds)
		gauge(c.gossipHealth, float64(g.Health))
		count(c.gossipRestarts, uint64(g.Restarts))
	}
	gauge(c.rejected, float64(len(src.Rejected())))
	t := src.Router.Table()
	for _, cl := range t.Clusters() {
		k := cl.Config.Key
		gauge(c.inFlight, float64(cl.State.InFlight.Load()), cl.Config.Service, k.Domain, k.SubDomain)
		for i, outcome := range [...]string{balancer.RetryServed: "served", balancer.RetryFailed: "failed", balancer.RetryNoBudget: "no_budget"} {
			count(c.retries, cl.State.Repeats[i].Load(), cl.Config.Service, k.Domain, k.SubDomain, outcome)
		}
		ch <- histogram(c.duration, &cl.State.Latency, cl.Config.Service, k.Domain, k.SubDomain)
		if cl.Config.Elastic {
			gauge(c.queued, float64(cl.State.Signals.Held()), cl.Config.Service, k.Domain, k.SubDomain)
			ch <- histogram(c.queueWait, &cl.State.Waits, cl.Config.Service, k.Domain, k.SubDomain)
		}
		for i, class := range classes() {
			count(c.requests, cl.State.Responses[i].Load(), cl.Config.Service, k.Domain, k.SubDomain, class)
		}
	}
	members := t.Upstreams()
	gauge(c.memberUntold, float64(max(len(members)-membersMax, 0)))
	for _, m := range byName(members[:min(len(members), membersMax)]) {
		gauge(c.memberState, 1, m.domain, m.id, m.state)
		count(c.memberEjections, m.ejections.Unreachable, m.domain, m.id, "unreachable")
		count(c.memberEjections, m.ejections.Failing, m.domain, m.id, "failing")
		gauge(c.memberUp, truth(m.up), m.domain, m.id)
		gauge(c.memberInFlight, float64(m.inFlight), m.domain, m.id)
		count(c.memberRequests, m.requests, m.domain, m.id)
		count(c.memberErrors, m.failures, m.domain, m.id)
	}
}

type memberSum struct {
	domain, id         string
	up                 bool
	inFlight           int64
	requests, failures uint64
	ejections          balancer.Ejections
	state              string // the best of several
}

// membersMax bounds the members with series of their own: who announces itself
// must not be able to make the answer endless.
const membersMax = 2000

// histogram makes one of what a cluster counted.
func histogram(d *prometheus.Desc, l *balancer.Latency, labels ...string) prometheus.Metric {
	upTo, all, sum := l.Counts()
	buckets := make(map[float64]uint64, len(upTo))
	for i, bound := range balancer.LatencyBounds() {
		buckets[bound.Seconds()] = upTo[i]
	}
	m, err := prometheus.NewConstHistogram(d, all, sum.Seconds(), buckets, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(d, err)
	}
	return m
}

// byName adds up members that announce the same domain and id from several
// addresses, because a series may appear only once.
func byName(upstreams []*balancer.Upstream) []memberSum {
	now := time.Now().UnixNano()
	var sums []memberSum
	at := make(map[[2]string]int, len(upstreams))
	for _, u := range upstreams {
		s := u.Status(now)
		key := [2]string{utf8(s.Member.Domain), utf8(s.Member.ID)}
		i, ok := at[key]
		if !ok {
			i = len(sums)
			at[key] = i
			sums = append(sums, memberSum{domain: key[0], id: key[1]})
		}
		m := &sums[i]
		m.up = m.up || s.State == "up"
		m.inFlight += s.InFlight
		m.requests += s.Requests
		m.failures += s.Failures
		m.ejections.Unreachable += s.Ejections.Unreachable
		m.ejections.Failing += s.Ejections.Failing
		if m.state == "" || s.State == "up" {
			m.state = s.State
		}
	}
	return sums
}

// utf8 makes text of what a member calls itself: the format needs it.
func utf8(s string) string { return strings.ToValidUTF8(s, "?") }

func send(ch chan<- prometheus.Metric, d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) {
	m, err := prometheus.NewConstMetric(d, kind, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	ch <- m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
