package cli

import (
	"github.com/prometheus/client_golang/prometheus"

	"jetway/discovery/probe"
)

// checkMetrics measure the health checks.
type checkMetrics struct {
	prober       *probe.Prober
	checks, late *prometheus.Desc
}

func newCheckMetrics(p *probe.Prober) *checkMetrics {
	return &checkMetrics{
		prober: p,
		checks: prometheus.NewDesc("jetway_checks_total", "Health checks of members: good, bad, and skipped because the member was answering requests.", []string{"result"}, nil),
		late:   prometheus.NewDesc("jetway_checks_late_total", "Health checks that had to wait because too many others were under way.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *checkMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.checks
	ch <- m.late
}

// Collect implements prometheus.Collector.
func (m *checkMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.prober.Stats()
	for result, n := range map[string]uint64{"good": s.Made - min(s.Made, s.Bad), "bad": s.Bad, "skipped": s.Skipped} {
		ch <- prometheus.MustNewConstMetric(m.checks, prometheus.CounterValue, float64(n), result)
	}
	ch <- prometheus.MustNewConstMetric(m.late, prometheus.CounterValue, float64(s.Late))
}
