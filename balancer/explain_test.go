package balancer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestForesee: for every policy, what is foreseen is what the next pick does
// where it is certain, else one of those named; and foreseeing changes nothing.
func TestForesee(t *testing.T) {
	f := func(policy Policy, n int, certain bool) {
		t.Helper()
		cfg := example(t)
		cfg.Clusters = cfg.Clusters[:1]
		c := &cfg.Clusters[0]
		c.Balance, c.HashBy = policy, HashBy{What: HashPath}
		members := make([]Member, n)
		for i := range members {
			members[i] = member("shared", string(rune('a'+i/26))+string(rune('a'+i%26)), uint16(1000+i))
			members[i].Weight = 1 + i%3
		}
		r := newRouter(t, cfg, members...)
		rnd := rand.New(rand.NewPCG(7, uint64(n)))
		now := time.Now().UnixNano()
		sure := 0
		for i := range 300 {
			var d Decision
			path := []byte{'/', byte('a' + rnd.IntN(26)), byte('a' + rnd.IntN(26))}
			if reason := r.Table().Route(&Request{Host: []byte("as.test"), Path: path, PublicPort: 80, Now: now}, &d); reason != OK {
				t.Fatal(reason)
			}
			turn := d.Cluster.State.turn.Load()
			choose := func() *Endpoint { return d.View.Pick(now, d.Hash, nil) }
			d.Foresee(now, choose)
			fs := d.Foresee(now, choose)
			if d.Cluster.State.turn.Load() != turn || d.Cluster.State.InFlight.Load() != int64((i+1)/2) {
				t.Fatalf("%s: foreseeing took a turn", policy)
			}
			d.Cluster.Begin(time.Unix(0, now))
			e := d.View.Pick(now, d.Hash, nil)
			switch {
			case fs.Certain && e != fs.Choice:
				t.Fatalf("%s of %d: %s was certain, %s was picked", policy, n, fs.Choice.Address, e.Address)
			case !slices.Contains(fs.Among, e):
				t.Fatalf("%s of %d: %s was picked, which is not among the %d named", policy, n, e.Address, len(fs.Among))
			}
			if fs.Certain {
				sure++
			}
			if list := d.Survey(now); len(list) != n || list[0].Grade != "fit" || list[0].Endpoint == nil {
				t.Fatalf("%s: survey %+v", policy, list)
			}
			e.Begin()
			if i%2 == 1 {
				e.End()
				d.Cluster.End(200)
			}
		}
		if certain && sure != 300 || !certain && sure > 200 {
			t.Errorf("%s of %d: %d of 300 were certain", policy, n, sure)
		}
	}
	f(LeastRequests, 1, true)
	f(RoundRobin, 5, true)
	f(Hash, 5, true)
	f(Hash, 100, true)
	f(Random, 5, false)
	f(PeakEWMA, 5, false)
	f(LeastRequests, 5, false)
	f(LeastRequests, 30, false)
}

// TestSurveyUnfit: who is out says why, and the fittest of the rest is foreseen.
func TestSurveyUnfit(t *testing.T) {
	cfg := example(t)
	cfg.Clusters = cfg.Clusters[:1]
	r := newRouter(t, cfg, member("shared", "a", 1), member("shared", "b", 2), Member{Domain: "shared", ID: "c", Host: "127.0.0.1", HTTPS: 3, Weight: 1})
	if _, err := r.Drain("a", true); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixNano()
	var d Decision
	r.Table().Route(&Request{Host: []byte("as.test"), Path: []byte("/"), PublicPort: 80, Now: now}, &d)
	list := d.Survey(now)
	if list[0].Grade != "out" || list[1].Grade != "fit" || list[2].Endpoint != nil || list[2].Grade != "out" {
		t.Errorf("%+v", list)
	}
	if fs := d.Foresee(now, func() *Endpoint { return d.View.Pick(now, 0, nil) }); !fs.Certain || fs.Choice != list[1].Endpoint {
		t.Errorf("%+v", fs)
	}
}
