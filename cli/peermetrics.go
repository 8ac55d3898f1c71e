package cli

import (
	"github.com/prometheus/client_golang/prometheus"

	"jetway/standby"
)

// peerMetrics tells how well this Jetway keeps in step, when it is asked.
type peerMetrics struct {
	p    *peers
	mesh *standby.Mesh

	warm, acting, up, active, config, behindConfig, lag, lagFrom, missing, walking, divergent *prometheus.Desc
	records, bytes, changed, walks, repairs, gaps, behind                                     *prometheus.Desc
	refused, ahead, inFlight                                                                  *prometheus.Desc
}

func newPeerMetrics(p *peers) *peerMetrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("jetway_"+name, help, labels, nil)
	}
	return &peerMetrics{p: p, mesh: p.mesh,
		warm:         d("standby_warm", "1 if this Jetway knows what its peers know."),
		acting:       d("standby_acting", "1 if this Jetway does what must happen once per installation."),
		up:           d("peer_up", "1 if the peer is connected.", "peer"),
		active:       d("peer_active", "1 if the peer holds the virtual address.", "peer"),
		config:       d("peer_same_config", "1 if the configuration of the peer is the same.", "peer"),
		behindConfig: d("standby_config_behind", "1 if a peer that is connected has a newer configuration."),
		lag:          d("standby_lag_seconds", "How late the peer learns from this Jetway.", "peer"),
		lagFrom:      d("standby_lag_from_seconds", "How late this Jetway learns from the peer.", "peer"),
		missing:      d("peer_missing_shards", "Shards of the peer that were not copied yet.", "peer"),
		walking:      d("peer_walking_shards", "Shards that the peer is being taught whole.", "peer"),
		divergent:    d("standby_divergent_shards", "Shards whose contents differed at the last look.", "peer"),
		records:      d("peer_records_total", "Records exchanged with the peer.", "peer", "direction"),
		bytes:        d("peer_bytes_total", "Bytes exchanged with the peer.", "peer", "direction"),
		changed:      d("peer_changed_total", "Records of the peer that were news, by kind.", "peer", "kind"),
		walks:        d("peer_walks_total", "Shards that the peer was taught whole.", "peer"),
		repairs:      d("peer_repairs_total", "Shards that were asked for again because their contents differed.", "peer"),
		gaps:         d("peer_gaps_total", "Times that changes of the peer did not join.", "peer"),
		behind:       d("peer_behind_total", "Times that the peer was further behind than changes are remembered.", "peer"),
		refused:      d("peer_refused_total", "Connections of peers that were refused, by reason.", "reason"),
		ahead:        d("peer_clock_ahead_total", "Stamps seen that were far ahead of our time: some clock is wrong."),
		inFlight:     d("installation_in_flight", "Requests in flight of a domain and sub-domain at this Jetway and all peers that are connected.", "domain", "sub_domain"),
	}
}

func (p *peerMetrics) all() []*prometheus.Desc {
	return []*prometheus.Desc{p.warm, p.acting, p.up, p.active, p.config, p.behindConfig, p.lag, p.lagFrom, p.missing, p.walking, p.divergent,
		p.records, p.bytes, p.changed, p.walks, p.repairs, p.gaps, p.behind, p.refused, p.ahead, p.inFlight}
}

// Describe implements prometheus.Collector.
func (p *peerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range p.all() {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p *peerMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	one := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	warm, _ := p.mesh.Warm()
	gauge(p.warm, one(warm))
	gauge(p.acting, one(p.mesh.Acting()))
	all := p.mesh.Peers()
	gauge(p.behindConfig, one(behind(all) != ""))
	for _, v := range all {
		gauge(p.up, one(v.Connected), v.Node)
		gauge(p.active, one(v.Active), v.Node)
		gauge(p.config, one(v.SameConfig), v.Node)
		gauge(p.lag, v.Lag, v.Node)
		gauge(p.lagFrom, v.LagFrom, v.Node)
		gauge(p.missing, float64(v.Missing), v.Node)
		gauge(p.walking, float64(v.Walking), v.Node)
		gauge(p.divergent, float64(v.Divergence), v.Node)
		c := v.Counts
		count(p.records, c.RecordsIn, v.Node, "in")
		count(p.records, c.RecordsOut, v.Node, "out")
		count(p.bytes, c.BytesIn, v.Node, "in")
		count(p.bytes, c.BytesOut, v.Node, "out")
		for kind := standby.KindSessions; int(kind) < len(c.News); kind++ {
			count(p.changed, c.News[kind], v.Node, kind.String())
		}
		count(p.walks, c.Walks, v.Node)
		count(p.repairs, c.Repairs, v.Node)
		count(p.gaps, c.Gaps, v.Node)
		count(p.behind, c.Behind, v.Node)
	}
	for reason, n := range p.mesh.Refused() {
		count(p.refused, n, reason)
	}
	count(p.ahead, p.mesh.ClockAhead())
	for key, n := range p.p.everybodysLoad() {
		gauge(p.inFlight, float64(n), key.Domain, key.SubDomain)
	}
}
