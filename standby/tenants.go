package standby

import (
	"encoding/binary"
	"fmt"
	"time"

	"jetway/tenant"
)

// Tenants returns the kind of what directories said of tenants. A peer's answer
// is worth less than an own one, and what is known differs by what was asked,
// so there is nothing that should be equal everywhere: the digest is always the
// same. What a link loses comes with the next answer, or the next connection.
func Tenants(answers *tenant.Answers) Kind {
	t := tenants{answers}
	return Kind{ID: KindTenants, Name: "tenants", Source: t, Sink: t}
}

type tenants struct{ *tenant.Answers }

const (
	// tenantMax bounds an encoded answer: flags, id, time left, name and plan.
	tenantMax = 1 + 2*binary.MaxVarintLen64 + 2*(1+textMax)

	flagInactive = 1 << 1
	// freshMax is the longest that an answer can be fresh.
	freshMax = 30 * 24 * time.Hour
)

// Shards implements Source.
func (t tenants) Shards() int { return 1 }

// Digest implements Sink.
func (t tenants) Digest(int) (sum, sequence uint64) { return 0, t.Sequence() }

// Changes implements Source.
func (t tenants) Changes(_ int, after uint64, b *Batch) (upTo uint64, ok bool) {
	list, upTo, ok := t.Answers.Changes(after, b.room(tenantMax), nil)
	b.tenants(list)
	return upTo, ok
}

// Walk implements Source.
func (t tenants) Walk(_ int, from uint64, b *Batch) (next uint64, more bool) {
	room := b.room(tenantMax)
	if room == 0 {
		return from, true
	}
	list, next, more := t.Answers.Walk(from, room, nil)
	b.tenants(list)
	return next, more
}

// tenants appends answers that room said would fit.
func (b *Batch) tenants(list []tenant.Answer) {
	for i := range list {
		b.buf = appendTenant(b.buf, &list[i])
	}
	b.count += len(list)
}

func appendTenant(p []byte, a *tenant.Answer) []byte {
	flags := uint8(0)
	if a.Removed {
		flags |= flagDeleted
	}
	if a.Inactive {
		flags |= flagInactive
	}
	w := writer{append(p, flags)}
	w.b = binary.AppendUvarint(w.b, uint64(max(0, a.ID)))
	w.b = binary.AppendUvarint(w.b, uint64(max(0, a.Left.Milliseconds())))
	w.text(a.Name)
	w.text(a.Plan)
	return w.b
}

func readTenant(r *reader) (a tenant.Answer) {
	flags := r.u8()
	a.Removed, a.Inactive = flags&flagDeleted != 0, flags&flagInactive != 0
	a.ID = tenant.ID(min(r.uvarint(), 1<<62)) // what is no id the cache refuses
	a.Left = time.Duration(min(r.uvarint(), uint64(freshMax.Milliseconds()))) * time.Millisecond
	a.Name, a.Plan = r.text(), r.text()
	return a
}

// Apply implements Sink.
func (t tenants) Apply(_ int, n int, records []byte) (changed int, err error) {
	if n > batchRecords {
		return 0, fmt.Errorf("cannot take %d tenants at once: %w", n, errRecord)
	}
	r := &reader{b: records}
	list := make([]tenant.Answer, 0, n)
	for range n {
		list = append(list, readTenant(r))
	}
	if !r.done() {
		return 0, fmt.Errorf("cannot read %d tenants: %w", n, errRecord)
	}
	return t.Answers.Apply(list), nil
}
