package cli

import (
	"fmt"
	"github.com/prometheus/client_golang/prometheus"
	"time"

	"jetway/admin"
	"jetway/config"
)

// sources is what the admin API sees of the load balancer.
func (lb *loadBalancer) sources(cfg *config.Config) admin.Sources {
	s := admin.Sources{
		Router:      lb.router,
		Name:        cfg.Name,
		Started:     lb.started,
		Build:       thisBuild(),
		State:       lb.state,
		Config:      lb.configView,
		LastReload:  func() admin.Reload { return *lb.reloader.result.Load() },
		Reload:      func() error { return lb.reloader.reload("admin API") },
		InFlight:    lb.server.InFlight,
		Listeners:   lb.server.Addresses,
		Gossip:      lb.gossipView,
		GossipKeys:  lb.gossipKeys,
		Rejected:    lb.rejected,
		Troubles:    lb.troubles,
		Tenants:     lb.installationTenants,
		Tenant:      lb.tenant,
		Events:      lb.logging.events,
		LogLevel:    lb.logging.Level,
		SetLogLevel: func(level string) error { return lb.setLogLevel(level) },
		CheckReload: lb.reloader.check,
		Applying:    admin.Applying{Prepare: lb.reloader.prepareFile, Commit: lb.reloader.commitFile, Rollback: lb.reloader.rollbackFile},
		Sessions:    lb.sessionView,
		FindSession: lb.findSession,
		SumSessions: lb.countSessions,
		Elastic:     lb.elasticSource(),
		Collectors:  []prometheus.Collector{lb.server.Collector(), newTenantMetrics(lb), newMemberMetrics(lb), newSessionMetrics(lb), newCheckMetrics(lb.prober), newScalingMetrics(lb.scaler, lb.router), lb.panics},
		Standby:     lb.standbySource(),
		Explain:     lb.explain,
		Known:       lb.tenants.writeKnown,
	}
	if lb.peers != nil {
		s.Collectors = append(s.Collectors, newPeerMetrics(lb.peers))
	}
	return s
}

func (lb *loadBalancer) configView() admin.ConfigView {
	cfg := lb.reloader.current.Load()
	v := admin.ConfigView{File: cfg.File, Version: configVersion(cfg), YAML: string(cfg.Print())}
	for _, w := range cfg.Warnings {
		v.Warnings = append(v.Warnings, w.String())
	}
	return v
}

func (lb *loadBalancer) gossipView() *admin.Gossip {
	if lb.gossip == nil {
		return nil
	}
	s := lb.gossip.Status()
	v := &admin.Gossip{Node: lb.node, Address: s.Address, Joined: s.Joined, Encrypted: s.Encrypted, Health: s.HealthScore, ConvergenceSeconds: s.Convergence.Seconds(),
		Nodes: map[string]int{"alive": s.Alive, "failed": s.Failed, "left": s.Left}, Restarts: s.Restarts, LastError: s.LastError,
		Stalls: s.Stalls, Overloads: s.Overloads, Conflicts: s.Conflicts, Forged: s.Forged, Trouble: s.Trouble}
	if !s.TroubleAt.IsZero() {
		v.TroubleAt = &s.TroubleAt
	}
	return v
}

// troubles says what operators should look after.
func (lb *loadBalancer) troubles() []string {
	lines := lb.server.Troubles(time.Now())
	for _, s := range lb.execs.Status() {
		if s.Error == "" {
			continue
		}
		last := "there was none before"
		if !s.Good.IsZero() {
			last = fmt.Sprintf("that of %s stays, with %d members", s.Good.UTC().Format(time.RFC3339), s.Members)
		}
		lines = append(lines, fmt.Sprintf("membership.exec %q gives no list, %s: %s", s.Name, last, s.Error))
	}
	return lines
}

// rejected lists who is left out, by gossip and by the merge of all sources.
func (lb *loadBalancer) rejected() []admin.Rejected {
	found := lb.members.Rejected()
	if lb.gossip != nil {
		found = append(lb.gossip.Rejected(), found...)
	}
	out := make([]admin.Rejected, len(found))
	for i, r := range found {
		out[i] = admin.Rejected{Name: r.Node, Address: r.Address, Reason: r.Reason, Since: r.Since}
	}
	return out
}
