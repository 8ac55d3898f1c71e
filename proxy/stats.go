package proxy

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are the counters of the data path; the path itself only adds.
type stats struct {
	inFlight        atomic.Int64
	tunnels         atomic.Int64
	upgrades        atomic.Int64 // tunnels, and requests that ask for one
	accepted        atomic.Uint64
	acceptErrors    atomic.Uint64
	handshakeErrors atomic.Uint64
	panics          atomic.Uint64
	refused         [tooManyOfSource + 1]atomic.Uint64 // connections, by refusal
	faults          [faults]atomic.Uint64
}

// collector turns the counters into metrics when asked.
type collector struct {
	s                                  *Server
	inFlight, open, tunnels            *prometheus.Desc
	accepted, acceptErrors, handshakes *prometheus.Desc
	panics, faults                     *prometheus.Desc
	turnedAway, limit, notAfter        *prometheus.Desc
	logged, unlogged                   *prometheus.Desc
}

// Collector returns the metrics of the data path.
func (s *Server) Collector() prometheus.Collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("jetway_"+name, help, labels, nil)
	}
	return &collector{s: s,
		inFlight:     d("requests_in_flight", "Requests being worked on."),
		open:         d("open_connections", "Client connections."),
		tunnels:      d("tunnels", "Upgraded connections."),
		accepted:     d("connections_total", "Client connections accepted."),
		acceptErrors: d("accept_errors_total", "Failures to accept a client, such as running out of descriptors."),
		handshakes:   d("tls_handshake_errors_total", "Client TLS handshakes that failed."),
		panics:       d("panics_total", "Panics recovered in the data path."),
		turnedAway:   d("connections_refused_total", "Client connections over a limit, by limit.", "limit"),
		limit:        d("connections_limit", "Client connections allowed in all."),
		notAfter:     d("tls_cert_not_after_seconds", "End of a certificate's validity, in unix seconds.", "listener", "cert_file"),
		logged:       d("access_log_lines_total", "Lines of the access log."),
		unlogged:     d("access_log_dropped_total", "Lines of the access log that are lost: it did not take them in time, or failed."),
		faults:       d("refused_total", "Requests that Jetway answered itself or broke off, by reason code.", "reason"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.inFlight, c.open, c.tunnels, c.accepted, c.acceptErrors, c.handshakes, c.panics, c.faults, c.turnedAway, c.limit, c.notAfter,
		c.logged, c.unlogged} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st := &c.s.stats
	gauge(c.inFlight, float64(st.inFlight.Load()))
	gauge(c.open, float64(c.s.conns.len()))
	gauge(c.tunnels, float64(st.tunnels.Load()))
	count(c.accepted, st.accepted.Load())
	count(c.acceptErrors, st.acceptErrors.Load())
	count(c.handshakes, st.handshakeErrors.Load())
	count(c.panics, st.panics.Load())
	count(c.turnedAway, st.refused[tooMany].Load(), "connections")
	count(c.turnedAway, st.refused[tooManyOfSource].Load(), "connections_per_source")
	gauge(c.limit, float64(c.s.settings.Load().connections))
	c.s.eachCertificate(func(listener string, p *certPair) {
		ch <- prometheus.MustNewConstMetric(c.notAfter, prometheus.GaugeValue, float64(p.pair.Leaf.NotAfter.Unix()), listener, p.CertFile)
	})
	log := c.s.journal.Stats()
	count(c.logged, log.Lines)
	count(c.unlogged, log.Dropped)
	for f := noFault + 1; f < faults; f++ {
		count(c.faults, st.faults[f].Load(), f.code())
	}
}
