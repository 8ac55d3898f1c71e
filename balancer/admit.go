package balancer

import (
	"time"

	"jetway/tenant"
)

// Indexes of ClusterState.Limited and WouldLimit.
const (
	LimitedInFlight = int(tenant.OverInFlight)
	LimitedRate     = int(tenant.OverRate)
	LimitedBody     = LimitedRate + 1
)

// Admit counts a routed request of a tenant in, by what its cluster and its
// plan allow. Anything but Admitted is a refusal, which d.Allowance explains.
// An admitted request must be followed by Release.
func (t *Table) Admit(d *Decision, now int64) tenant.Verdict {
	c := d.Cluster
	d.ticket, d.BodyLimit = tenant.Ticket{}, c.Config.BodyLimit
	if d.Tenant.Outcome != tenant.Known {
		return tenant.Admitted
	}
	limits := t.limits(d)
	d.BodyLimit = limits.Body
	var v tenant.Verdict
	v, d.Allowance = t.admission.Enter(&d.ticket, c.Config.Service, d.Tenant.ID, &limits, c.Config.DryRun, now)
	t.admission.Use.Count(d.Tenant.ID, d.Tenant.Name(), v != tenant.Admitted)
	switch {
	case v == tenant.Admitted:
	case c.Config.DryRun:
		c.State.WouldLimit[v].Add(1)
		v = tenant.Admitted
	default:
		c.State.Limited[v].Add(1)
	}
	return v
}

// limits are what the tenant may take, by its cluster and its plan.
func (t *Table) limits(d *Decision) tenant.Limits {
	limits := d.Cluster.Config.TenantLimits
	limits.Body = d.Cluster.Config.BodyLimit
	if t.tenants.HasPlans() {
		limits = t.tenants.Limits(&d.Tenant, limits)
	}
	return limits
}

// Release counts out what Admit counted in.
func (t *Table) Release(d *Decision) {
	if d.ticket.Counted() {
		t.admission.Leave(&d.ticket, time.Now().UnixNano())
	}
}

// BodyTooLarge reports whether a body of n bytes is over the limit of a
// request that was admitted. In a dry run it counts once and says no.
func (d *Decision) BodyTooLarge(n int64) bool {
	if d.BodyLimit <= 0 || n <= d.BodyLimit {
		return false
	}
	if d.Cluster.Config.DryRun {
		d.Cluster.State.WouldLimit[LimitedBody].Add(1)
		d.BodyLimit = 0
		return false
	}
	return true
}
