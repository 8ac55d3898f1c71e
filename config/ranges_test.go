package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jetway/balancer"
	"jetway/tenant"
)

// TestManyRanges: 100,000 ranges are checked in a moment, overlaps are found
// and gaps shown.
func TestManyRanges(t *testing.T) {
	const each = 50_000
	var even, odd []string
	for i := range each {
		even = append(even, fmt.Sprintf("%d-%d", i*10+1, i*10+4))
		odd = append(odd, fmt.Sprintf("%d-%d", i*10+6, i*10+9))
	}
	conf := func(a, b []string) []byte {
		return fmt.Appendf(nil, smallestWithout+`services: {app: {hosts: [localhost], domains: {a: {tenant_range: "%s"}, b: {tenant_range: "%s"}}}}`,
			strings.Join(a, ","), strings.Join(b, ","))
	}
	start := time.Now()
	c, err := Parse("f", conf(even, odd), nil)
	if err != nil {
		t.Fatalf("%.2000v", err)
	}
	list, err := tenant.NewList([]tenant.Entry{{Name: "t7", ID: 7}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	routing, err := c.Routing(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := balancer.NewRouter(routing, balancer.Options{}); err != nil {
		t.Fatal(err)
	}
	var routes strings.Builder
	if err := c.Routes(&routes); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(routes.String(), "  5                     -> nowhere") {
		t.Errorf("a gap is not shown: %.300s", routes.String())
	}
	took := time.Since(start)
	t.Logf("100,000 ranges checked, routed and printed in %v", took)
	if took > 30*time.Second { // what grows with the square takes minutes
		t.Errorf("it took %v", took)
	}
	odd[each-1] = fmt.Sprintf("%d-%d", (each-1)*10+4, (each-1)*10+9)
	if _, err := Parse("f", conf(even, odd), nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("both hold %d", (each-1)*10+4)) {
		t.Errorf("an overlap of one id gives %.2000v", err)
	} else if len(err.Error()) > 4000 {
		t.Errorf("a problem of %d bytes", len(err.Error()))
	}
	even[7] = "x"
	if _, err := Parse("f", conf(even, odd), nil); err == nil || len(err.Error()) > 4000 {
		t.Errorf("a bad range gives a problem of %d bytes", len(fmt.Sprint(err)))
	}
}

// smallestWithout is a file up to its services.
const smallestWithout = `loadbalancer: {listeners: [{address: ":8280"}]}
`
