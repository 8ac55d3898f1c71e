package tenant

import (
	"errors"
	"strings"
)

// Who looks a tenant up by name, as a request that names it would. It may block
// for as long as the directory's deadline. now is in unix nanoseconds.
func (r *Resolver) Who(f *Found, name string, now int64) error {
	name = strings.ToLower(name)
	if !ValidName(name) {
		return errors.New("this is no tenant name; expected letters, digits, dots, hyphens and underscores")
	}
	f.n = uint8(copy(f.name[:], name))
	if f.Facts, f.Outcome = r.lookup(f.Name(), now); f.Outcome == Asking {
		r.Ask(f)
	}
	return nil
}

// PlanOf returns the name of the plan whose limits count for a tenant, "" for
// none.
func (p *Plans) PlanOf(f *Facts) string {
	if p == nil || f.Plan == 0 {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, n := range p.numbers {
		if n == f.Plan {
			return name
		}
	}
	return ""
}
