package cli

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"jetway/admin"
	"jetway/tenant"
)

// TestTenantSeries: whoever is busiest at a time, no counter of those told again
// runs backwards unless the tenant was forgotten meanwhile, that of the others
// never does, and all together are the requests there were.
func TestTenantSeries(t *testing.T) {
	a := tenant.NewAdmission()
	r := rand.New(rand.NewPCG(1, 2))
	var s tenantSeries
	var otherBefore, sent, ended uint64
	before := map[int64]uint64{}
	for round := range 300 {
		for range r.IntN(3000) {
			n := tenant.ID(r.ExpFloat64() * 200)
			a.Use.Count((n+tenant.ID(round*7))%5000, []byte(fmt.Sprint("t", n)), false)
			sent++
		}
		top, others := a.Use.Top(20)
		v := make([]admin.TenantUse, len(top))
		for i, c := range top {
			v[i] = admin.TenantUse{ID: int64(c.ID), Requests: c.Requests}
		}
		own, other := s.next(v, others.Requests)
		if other < otherBefore {
			t.Fatalf("round %d: others run backwards from %d to %d", round, otherBefore, other)
		}
		otherBefore = other
		now, sum := map[int64]uint64{}, other
		for i, u := range v {
			now[u.ID] = own[i]
			sum += own[i]
		}
		for id, n := range before {
			// What is no more, or began anew, was counted all the same.
			if m, ok := now[id]; !ok || m < n {
				ended += n
			}
		}
		if sum+ended != sent {
			t.Fatalf("round %d: %d in all, expected %d", round, sum+ended, sent)
		}
		before = now
	}
	if ended == 0 {
		t.Error("the busiest were always the same ones: nothing was tested")
	}
}
