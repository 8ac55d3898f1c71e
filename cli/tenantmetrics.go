package cli

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"jetway/admin"
	"jetway/balancer"
)

// topTenants is how many tenants have series of their own; all others share one.
const topTenants = 20

// tenantMetrics turns what is counted of tenants into metrics when asked.
type tenantMetrics struct {
	lb     *loadBalancer
	series tenantSeries

	up, known, negative, questions, refused, kept, evicted *prometheus.Desc
	told, busy, requests, limited                          *prometheus.Desc
}

func newTenantMetrics(lb *loadBalancer) *tenantMetrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("jetway_"+name, help, labels, nil)
	}
	return &tenantMetrics{lb: lb,
		up:        d("directory_up", "1 if the tenant directory could be asked when it was last tried, or is a file."),
		known:     d("directory_tenants", "Tenants that are known by now."),
		negative:  d("directory_unknown_names", "Names remembered as not being tenants."),
		questions: d("directory_questions_total", "Questions to the tenant directory, by what came of them.", "result"),
		refused:   d("directory_refused_total", "Requests that got no answer from the directory, by reason.", "reason"),
		kept:      d("directory_stale_kept_total", "Refreshes without an answer, so that the last good one stays in use."),
		evicted:   d("directory_evicted_total", "Tenants forgotten because there is no room."),
		told:      d("directory_told_total", "Tenants of which peers told what their directory said."),
		busy:      d("tenants_busy", "Tenants whose limits are being counted."),
		requests:  d("tenant_requests_total", "Requests of the busiest tenants since they are among them, and of all others together.", "tenant", "id"),
		limited:   d("tenant_limited_total", "Requests of tenants over a limit.", "service", "domain", "sub_domain", "limit", "dry_run"),
	}
}

// Describe implements prometheus.Collector.
func (m *tenantMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.up, m.known, m.negative, m.questions, m.refused, m.kept, m.evicted, m.told, m.busy, m.requests, m.limited} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *tenantMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	v := m.lb.tenantView(topTenants)
	up := 0.0
	if v.Up {
		up = 1
	}
	gauge(m.up, up)
	gauge(m.known, float64(v.Known))
	gauge(m.negative, float64(v.UnknownNames))
	for result, n := range v.Questions {
		count(m.questions, n, result)
	}
	for reason, n := range v.Refused {
		count(m.refused, n, reason)
	}
	count(m.kept, v.StaleKept)
	count(m.evicted, v.Evicted)
	count(m.told, v.Told)
	gauge(m.busy, float64(v.Busy))
	own, other := m.series.next(v.Top, v.Others.Requests)
	for i, u := range v.Top {
		count(m.requests, own[i], u.Name, strconv.FormatInt(u.ID, 10))
	}
	count(m.requests, other, "other", "")
	for _, c := range m.lb.router.Table().Clusters() {
		k := c.Config.Key
		for i, limit := range [...]string{balancer.LimitedInFlight: "in_flight", balancer.LimitedRate: "rate", balancer.LimitedBody: "body"} {
			if limit == "" {
				continue
			}
			if i != balancer.LimitedBody {
				count(m.limited, c.State.Limited[i].Load(), c.Config.Service, k.Domain, k.SubDomain, limit, "false")
			}
			count(m.limited, c.State.WouldLimit[i].Load(), c.Config.Service, k.Domain, k.SubDomain, limit, "true")
		}
	}
}

// tenantView is what operators see of tenants.
func (lb *loadBalancer) tenantView(most int) admin.Tenants {
	u := lb.tenants.current()
	v := admin.Tenants{Kind: u.cfg.Kind(), Up: true, Questions: map[string]uint64{}, Refused: map[string]uint64{}, Top: []admin.TenantUse{}}
	if u.list != nil {
		v.Known = u.list.Len()
	}
	if u.cache != nil {
		s := u.cache.Status()
		v.Up, v.Doubted, v.Known, v.UnknownNames = s.Up, s.Doubted, s.Known, s.Unknown
		v.Questions = map[string]uint64{"found": s.Found, "not_found": s.NotFound, "failed": s.Failed}
		v.Refused = map[string]uint64{"down": s.RefusedDown, "busy": s.RefusedBusy, "rate": s.RefusedRate, "timeout": s.WaitedOut}
		v.StaleKept, v.Evicted, v.Told = s.StaleKept, s.Evicted, s.Told
		if e := s.LastError; e != nil {
			at := e.Time.UTC()
			v.LastError, v.LastErrorTime = e.Text, &at
		}
	}
	v.Busy, v.InFlight = lb.tenants.admission.Busy()
	top, other := lb.tenants.admission.Use.Top(most)
	inFlight := lb.tenants.admission.InFlight()
	for _, c := range top {
		v.Top = append(v.Top, admin.TenantUse{Name: c.Name, ID: int64(c.ID), Requests: c.Requests, Refused: c.Refused, InFlight: inFlight[c.ID]})
	}
	v.Others = admin.TenantUse{Name: "other", Requests: other.Requests, Refused: other.Refused}
	return v
}
