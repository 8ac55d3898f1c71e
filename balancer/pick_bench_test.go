package balancer

import (
	"fmt"
	"testing"
)

// BenchmarkPickAlone is the choice, on as many cores as -cpu says.
func BenchmarkPickAlone(b *testing.B) {
	for _, policy := range []Policy{LeastRequests, RoundRobin, Random, PeakEWMA, Hash} {
		for _, n := range []int{3, 16, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				v := benchView(b, policy, n)
				b.RunParallel(func(pb *testing.PB) {
					for k := uint64(1); pb.Next(); k++ {
						v.Pick(1, mix(k)|1, nil)
					}
				})
			})
		}
	}
}

// BenchmarkPickServe is the choice and what a request counts at its member.
func BenchmarkPickServe(b *testing.B) {
	for _, policy := range []Policy{LeastRequests, RoundRobin, Random, PeakEWMA, Hash} {
		for _, n := range []int{3, 16, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				v := benchView(b, policy, n)
				b.RunParallel(func(pb *testing.PB) {
					for k := uint64(1); pb.Next(); k++ {
						e := v.Pick(1, mix(k)|1, nil)
						e.Begin()
						e.End()
					}
				})
			})
		}
	}
}

func benchView(b *testing.B, policy Policy, n int) *View {
	cfg := example(b)
	cfg.Clusters[0].Balance = policy
	b.ReportAllocs()
	v := view(b, newRouter(b, cfg, workers(n)...), "as.test")
	for i, e := range v.Endpoints() {
		e.Upstream.observe(1, int64(i)*1e6)
	}
	return v
}
