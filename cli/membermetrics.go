package cli

import (
	"github.com/prometheus/client_golang/prometheus"
)

// memberMetrics measure where members come from: names, commands and the
// troubles of gossip.
type memberMetrics struct {
	lb *loadBalancer

	unresolved                           *prometheus.Desc
	execMembers, execRuns, execFailures  *prometheus.Desc
	execGood                             *prometheus.Desc
	stalls, overloads, conflicts, forged *prometheus.Desc
}

func newMemberMetrics(lb *loadBalancer) *memberMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("jetway_"+name, help, labels, nil)
	}
	return &memberMetrics{
		lb:           lb,
		unresolved:   desc("member_names_unresolved", "DNS names of members that could not be resolved when last asked for; their last addresses stay."),
		execMembers:  desc("member_exec_members", "Members in the last good list of a command.", "exec"),
		execRuns:     desc("member_exec_runs_total", "Runs of a command that prints members.", "exec"),
		execFailures: desc("member_exec_failures_total", "Runs of a command that gave no list; the last good one stays.", "exec"),
		execGood:     desc("member_exec_good_timestamp_seconds", "When a command last gave a list.", "exec"),
		stalls:       desc("gossip_stalls_total", "How often this process stood still for 2 s or longer."),
		overloads:    desc("gossip_overloads_total", "How often gossip came faster than it was taken."),
		conflicts:    desc("gossip_name_conflicts_total", "How often two nodes of one name were met."),
		forged:       desc("gossip_forged_total", "Messages of gossip dropped that no honest node sends."),
	}
}

// Describe implements prometheus.Collector.
func (m *memberMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.unresolved, m.execMembers, m.execRuns, m.execFailures, m.execGood, m.stalls, m.overloads, m.conflicts, m.forged} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *memberMetrics) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	send(m.unresolved, prometheus.GaugeValue, float64(len(m.lb.names.Troubles())))
	for _, s := range m.lb.execs.Status() {
		send(m.execMembers, prometheus.GaugeValue, float64(s.Members), s.Name)
		send(m.execRuns, prometheus.CounterValue, float64(s.Runs), s.Name)
		send(m.execFailures, prometheus.CounterValue, float64(s.Failures), s.Name)
		if !s.Good.IsZero() {
			send(m.execGood, prometheus.GaugeValue, float64(s.Good.UnixMilli())/1000, s.Name)
		}
	}
	if m.lb.gossip == nil {
		return
	}
	st := m.lb.gossip.Status()
	send(m.stalls, prometheus.CounterValue, float64(st.Stalls))
	send(m.overloads, prometheus.CounterValue, float64(st.Overloads))
	send(m.conflicts, prometheus.CounterValue, float64(st.Conflicts))
	send(m.forged, prometheus.CounterValue, float64(st.Forged))
}
