package cli

import (
	"github.com/prometheus/client_golang/prometheus"

	"jetway/autoscale"
	"jetway/balancer"
	"jetway/balancer/session"
	"jetway/config"
)

// newScaler joins the scaler to what it sees and changes: the routing table,
// the other load balancers, and the requests that wait.
func (lb *loadBalancer) newScaler(cfg *config.Config) (err error) {
	fleet := &autoscale.RouterFleet{Router: lb.router, Settled: lb.ready.Load, Sessions: lb.boundTo,
		Doubts: []func() string{lb.doubtGossip, lb.doubtDirectory}}
	opts := autoscale.Options{Fleet: fleet, Log: lb.log}
	if lb.peers != nil {
		opts.Peers = newScalingPeers(lb.peers)
	}
	if lb.scaler, err = autoscale.New(cfg.Autoscale, opts); err != nil {
		return err
	}
	lb.server.Wake(lb.scaler.Wake)
	lb.reloader.scaling = lb.scaler.Prepare
	return nil
}

// boundTo counts the learned sessions of a member.
func (lb *loadBalancer) boundTo(domain, id string) int {
	return lb.sessions.store.OfMember(session.MemberID(domain, id))
}

// doubtGossip says why there may be members that are not seen.
func (lb *loadBalancer) doubtGossip() string {
	if lb.gossip == nil {
		return ""
	}
	s := lb.gossip.Status()
	switch alone := len(lb.reloader.current.Load().Gossip.Join) == 0; {
	case s.Since.IsZero():
		return "gossip is down"
	case !s.Joined && !alone:
		return "gossip has lost everybody"
	}
	return ""
}

// doubtDirectory says why there may be load that is not seen: requests whose
// tenant cannot be asked for are refused.
func (lb *loadBalancer) doubtDirectory() string {
	if c := lb.tenants.current().cache; c != nil && !c.Status().Up {
		return "the tenant directory cannot be asked"
	}
	return ""
}

// scalingMetrics turns the state of the scaler into metrics when asked.
type scalingMetrics struct {
	scaler                         *autoscale.Scaler
	members, demand, alarm, refuse *prometheus.Desc
	ordered, failed, decided       *prometheus.Desc
	router                         *balancer.Router
}

func newScalingMetrics(s *autoscale.Scaler, r *balancer.Router) *scalingMetrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("jetway_autoscale_"+name, help, labels, nil)
	}
	return &scalingMetrics{scaler: s, router: r,
		members: d("members", "Members of an elastic cluster: ready, booting, stopping, lost, and wanted.", "domain", "sub_domain", "state"),
		demand:  d("demand", "Mean requests in flight of the last second, held and refused ones included, of all load balancers.", "domain", "sub_domain"),
		refuse:  d("refused_total", "Requests for which no member came, here.", "domain", "sub_domain"),
		alarm:   d("alarm", "1 if nothing is ordered any more because starts failed.", "domain", "sub_domain"),
		ordered: d("orders_total", "Members ordered to start or stop.", "action"),
		decided: d("decisions_total", "Decisions, those to do nothing included.", "domain", "sub_domain", "action"),
		failed:  d("failures_total", "Members ordered that did not join in time, or could not be started."),
	}
}

// Describe implements prometheus.Collector.
func (m *scalingMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.members, m.demand, m.refuse, m.alarm, m.ordered, m.failed, m.decided} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *scalingMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, s := range m.scaler.Status() {
		for state, n := range map[string]int{"ready": s.Ready, "booting": s.Booting, "stopping": s.Stopping, "lost": len(s.Lost), "wanted": s.Want} {
			gauge(m.members, float64(n), s.Domain, s.SubDomain, state)
		}
		gauge(m.demand, s.Demand, s.Domain, s.SubDomain)
		alarm := 0.0
		if s.Alarm {
			alarm = 1
		}
		gauge(m.alarm, alarm, s.Domain, s.SubDomain)
	}
	for _, c := range m.router.Table().Clusters() {
		if k := c.Config.Key; c.Config.Elastic {
			count(m.refuse, c.State.Signals.Refused.Load(), k.Domain, k.SubDomain)
		}
	}
	for _, d := range m.scaler.Decided() {
		count(m.decided, d.Times, d.Domain, d.SubDomain, string(d.Action))
	}
	c := m.scaler.Counts()
	count(m.ordered, c.Started, "start")
	count(m.ordered, c.Stopped, "stop")
	count(m.failed, c.Failed)
}
