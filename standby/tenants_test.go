package standby

import (
	"testing"
	"time"

	"jetway/tenant"
)

// TestTenantRecords: answers are read as they were written, and what is none
// is an error.
func TestTenantRecords(t *testing.T) {
	f := func(a tenant.Answer) {
		t.Helper()
		r := &reader{b: appendTenant(nil, &a)}
		if got := readTenant(r); got != a || !r.done() {
			t.Errorf("%+v is read as %+v", a, got)
		}
	}
	f(tenant.Answer{Entry: tenant.Entry{Name: "acme.com", ID: 42, Plan: "gold", Inactive: true}, Left: 90 * time.Second})
	f(tenant.Answer{Entry: tenant.Entry{Name: "gone.com"}, Removed: true})
	k := Tenants(&tenant.Answers{})
	good := appendTenant(nil, &tenant.Answer{Entry: tenant.Entry{Name: "acme.com", ID: 42}})
	if _, err := k.Apply(0, 1, good); err != nil {
		t.Error(err)
	}
	for n := range good {
		if _, err := k.Apply(0, 1, good[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a record", n, len(good))
		}
	}
	if _, err := k.Apply(0, 1, append(good, 0)); err == nil {
		t.Error("a byte too many is taken")
	}
	if _, err := k.Apply(0, batchRecords+1, good); err == nil {
		t.Error("more records than a frame may hold are taken")
	}
	b := NewBatch()
	if _, more := k.Walk(0, 0, b); more || b.Count() != 0 {
		t.Error("without a directory that is asked there is something to walk")
	}
}
