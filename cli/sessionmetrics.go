package cli

import (
	"github.com/prometheus/client_golang/prometheus"

	"jetway/balancer"
	"jetway/balancer/session"
)

// sessionMetrics tells how many sessions were learned and what became of them,
// when it is asked. Series are those of clusters: the number of sessions makes
// none.
type sessionMetrics struct {
	store  *session.Store
	router *balancer.Router

	sessions, most, tenants, broken *prometheus.Desc
	ended                           *prometheus.Desc
	learned, fromPeers, refused     *prometheus.Desc
}

func newSessionMetrics(lb *loadBalancer) *sessionMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("jetway_"+name, help, labels, nil)
	}
	return &sessionMetrics{store: lb.sessions.store, router: lb.router,
		sessions:  desc("sticky_entries", "Learned sessions that are kept."),
		most:      desc("sticky_entries_max", "Learned sessions that are kept at most."),
		tenants:   desc("sticky_tenants", "Tenants that have learned sessions."),
		learned:   desc("sticky_learned_total", "Sessions that answers of members began, or bound to another member."),
		fromPeers: desc("sticky_from_peers_total", "Changes of sessions that were taken over from peers."),
		refused:   desc("sticky_refused_total", "Sessions that were not learned for want of room."),
		ended:     desc("sticky_ended_total", "Learned sessions that are no more: expired, deleted by their application, or evicted where there was no room.", "reason"),
		broken:    desc("sticky_broken_total", "Requests whose session had lost its member, in any mode of affinity.", "service", "domain", "sub_domain"),
	}
}

// Describe implements prometheus.Collector.
func (m *sessionMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.sessions, m.most, m.tenants, m.learned, m.fromPeers, m.refused, m.ended, m.broken} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *sessionMetrics) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	st := m.store.Stats()
	send(m.sessions, prometheus.GaugeValue, float64(st.Sessions))
	send(m.most, prometheus.GaugeValue, float64(st.Max))
	send(m.tenants, prometheus.GaugeValue, float64(st.Tenants))
	send(m.learned, prometheus.CounterValue, float64(st.Learned))
	send(m.fromPeers, prometheus.CounterValue, float64(st.Applied))
	send(m.refused, prometheus.CounterValue, float64(st.Refused))
	send(m.ended, prometheus.CounterValue, float64(st.Expired), "expired")
	send(m.ended, prometheus.CounterValue, float64(st.Deleted), "deleted")
	send(m.ended, prometheus.CounterValue, float64(st.Evicted), "evicted")
	for _, c := range m.router.Table().Clusters() {
		if c.Config.Affinity.On() {
			k := c.Config.Key
			send(m.broken, prometheus.CounterValue, float64(c.State.SessionsBroken()), c.Config.Service, k.Domain, k.SubDomain)
		}
	}
}
