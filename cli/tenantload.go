package cli

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"jetway/admin"
	"jetway/standby"
	"jetway/tenant"
)

const (
	// tenantsTold is how many tenants, the busiest, each load balancer tells
	// the others about.
	tenantsTold = 100
	// tenantMark begins what is told of tenants beside what is told of clusters:
	// no domain has such a name.
	tenantMark = "~tenant/"
)

// tellTenants tells what the busiest tenants used here, once a second: nothing
// of it is done for a request.
func (p *peers) tellTenants() {
	top, _ := p.lb.tenants.admission.Use.Top(tenantsTold)
	if len(top) == 0 {
		return
	}
	inFlight := p.lb.tenants.admission.InFlight()
	for i := range top {
		t := &top[i]
		value := binary.AppendUvarint(nil, t.Requests)
		value = binary.AppendUvarint(value, t.Refused)
		value = binary.AppendUvarint(value, uint64(inFlight[t.ID]))
		key := p.lb.node + "/" + tenantMark + strconv.FormatInt(int64(t.ID), 10)
		p.load.Put(key, append(value, t.Name...), keepLoad)
	}
}

// readTenantUse reads what a peer told of a tenant.
func readTenantUse(b []byte) (u admin.TenantUse, ok bool) {
	var numbers [3]uint64
	for i := range numbers {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return u, false
		}
		numbers[i], b = n, b[size:]
	}
	if len(b) > tenant.MaxName || !tenant.ValidName(b) {
		return u, false
	}
	return admin.TenantUse{Name: string(b), Requests: numbers[0], Refused: numbers[1], InFlight: int(min(numbers[2], 1<<31))}, true
}

// tenantsOfPeers returns what the peers that are connected say that tenants
// used there, added up.
func (p *peers) tenantsOfPeers() map[int64]admin.TenantUse {
	type told struct {
		origin string
		id     int64
		use    admin.TenantUse
	}
	var all []told
	p.load.Each(func(key string, value []byte, _ standby.Stamp, origin string) bool {
		text, ok := strings.CutPrefix(strings.TrimPrefix(key, origin+"/"), tenantMark)
		id, err := strconv.ParseInt(text, 10, 64)
		if use, good := readTenantUse(value); ok && err == nil && good && origin != p.lb.node {
			all = append(all, told{origin, id, use})
		}
		return true
	})
	live := map[string]bool{}
	sums := map[int64]admin.TenantUse{}
	for _, t := range all {
		alive, asked := live[t.origin]
		if !asked {
			alive = p.mesh.Live(t.origin)
			live[t.origin] = alive
		}
		if !alive {
			continue
		}
		sum := sums[t.id]
		sum.Name = t.use.Name
		sum.Requests += t.use.Requests
		sum.Refused += t.use.Refused
		sum.InFlight += t.use.InFlight
		sums[t.id] = sum
	}
	return sums
}

// installationTenants is tenantView with what the peers told of the same
// tenants and of those that are busy only there, the busiest of all first.
func (lb *loadBalancer) installationTenants(most int) admin.Tenants {
	v := lb.tenantView(most)
	if lb.peers == nil {
		return v
	}
	v.Installation = true
	others := lb.peers.tenantsOfPeers()
	add := func(t *admin.TenantUse, more admin.TenantUse) {
		t.All = &admin.TenantSum{Requests: t.Requests + more.Requests, Refused: t.Refused + more.Refused, InFlight: t.InFlight + more.InFlight}
	}
	for i := range v.Top {
		t := &v.Top[i]
		add(t, others[t.ID])
		delete(others, t.ID)
	}
	for id, use := range others {
		t := admin.TenantUse{Name: use.Name, ID: id}
		add(&t, use)
		v.Top = append(v.Top, t)
	}
	slices.SortFunc(v.Top, func(a, b admin.TenantUse) int {
		return cmp.Or(cmp.Compare(b.All.Requests, a.All.Requests), cmp.Compare(a.ID, b.ID))
	})
	for _, t := range v.Top[min(most, len(v.Top)):] { // what there is no room for
		v.Others.Requests += t.Requests
		v.Others.Refused += t.Refused
	}
	v.Top = v.Top[:min(most, len(v.Top))]
	return v
}
