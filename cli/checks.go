package cli

import (
	"slices"

	"jetway/balancer"
)

// checksChanged makes the prober look at the members of a new table. The first
// table is there before the prober is.
func (lb *loadBalancer) checksChanged() {
	if lb.prober != nil {
		lb.prober.Wake()
	}
}

// checked reports whether every member was checked once: a Jetway that just
// started should not have to find out by requests who is alive.
func (lb *loadBalancer) checked() bool {
	return !slices.ContainsFunc(lb.router.Table().Checks(), func(c *balancer.Check) bool { return !c.Made() })
}
