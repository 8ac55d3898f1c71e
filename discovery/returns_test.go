package discovery

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/serf/serf"
)

// TestReturns: who was gone is in the list again once it answers, and stays
// what it was as long as it does not.
func TestReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ghost atomic.Bool // answers
		asked := make(chan string, 1000)
		marked := make(chan struct{}, 1000)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		r := newReturns(func(n serf.Member) bool {
			asked <- n.Name
			time.Sleep(time.Millisecond)
			return n.Name == "there" || ghost.Load()
		}, func() { marked <- struct{}{} })
		see := func(want string, nodes ...serf.Member) {
			t.Helper()
			got := ""
			for _, n := range r.filter(ctx, slices.Clone(nodes), time.Now()) {
				got += fmt.Sprintf("%s %s ", n.Name, n.Status)
			}
			if got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		}
		node := func(name string, s serf.MemberStatus) serf.Member { return serf.Member{Name: name, Status: s} }
		alive, failed, left := serf.StatusAlive, serf.StatusFailed, serf.StatusLeft
		see("new alive there alive ghost alive ", node("new", alive), node("there", alive), node("ghost", alive)) // the first time there is nothing to prove
		see("there left ghost failed ", node("there", left), node("ghost", failed))
		see("there left ghost failed ", node("there", alive), node("ghost", alive))
		see("there left ghost failed ", node("there", alive), node("ghost", alive)) // being asked
		if n := len(asked); n > 2 {
			t.Fatalf("asked %d times at once", n)
		}
		<-marked
		synctest.Wait()
		see("there alive ghost failed ", node("there", alive), node("ghost", alive))
		for began := time.Now(); time.Since(began) < proofMost-time.Second; time.Sleep(proofPause) {
			see("there alive ghost failed ", node("there", alive), node("ghost", alive))
		}
		if n := len(asked); n < 100 {
			t.Errorf("asked %d times in all", n)
		}
		time.Sleep(2 * time.Second) // gossip still has it: there must be a way to it that is not ours
		see("there alive ghost alive ", node("there", alive), node("ghost", alive))
		see("there alive ghost left ", node("there", alive), node("ghost", left))
		see("there alive ghost left ", node("there", alive), node("ghost", alive)) // from the beginning
		see("there alive ghost left ", node("there", alive), node("ghost", failed))
		see("there alive ghost left ", node("there", alive), node("ghost", failed))
		see("there alive ghost left ", node("there", alive), node("ghost", alive))
		synctest.Wait()
		ghost.Store(true)
		time.Sleep(time.Second)
		see("there alive ghost alive ", node("there", alive), node("ghost", alive))
		if r.asked != 0 {
			t.Errorf("%d are still asked", r.asked)
		}
		var many []serf.Member
		for i := range 3 * nodesMax {
			many = append(many, node(fmt.Sprint("n", i), left))
		}
		r.filter(ctx, many, time.Now())
		if n := len(r.gone); n > 2*nodesMax {
			t.Errorf("%d are remembered", n)
		}
		stop()
	})
}
