package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"jetway/standby"
)

// TestApplyInterrupted: who interrupts it leaves all load balancers with one
// version, the old one before the first has the new one.
func TestApplyInterrupted(t *testing.T) {
	f := func(at string, want ...string) {
		t.Helper()
		ctx, interrupt := context.WithCancel(context.Background())
		defer interrupt()
		var mu sync.Mutex // guards asked
		var asked []string
		start := func(name string) *applyTarget {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				step := name + " " + path.Base(r.URL.Path)
				io.Copy(io.Discard, r.Body) // only then is it seen when the client leaves
				mu.Lock()
				asked = append(asked, step)
				mu.Unlock()
				if step == at {
					interrupt()
				}
				if step == at && strings.HasSuffix(at, "prepare") {
					<-r.Context().Done() // it is not waited for
					return
				}
				fmt.Fprintf(w, `{"id": %q, "ok": true, "changed": true}`, name)
			}))
			t.Cleanup(s.Close)
			return &applyTarget{client: &client{base: s.URL}}
		}
		a := applying{targets: []*applyTarget{start("a"), start("b")}}
		err := a.run(ctx, false)
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(asked, want) {
			t.Errorf("interrupted at %q: %q, want %q", at, asked, want)
		}
		done := slices.Contains(want, "b commit")
		if done != (err == nil) || !done && !strings.Contains(err.Error(), "interrupted, nothing was changed") {
			t.Errorf("interrupted at %q: %v", at, err)
		}
		for _, target := range a.targets {
			if result := map[bool]string{true: "applied", false: "not changed"}[done]; target.result != result {
				t.Errorf("interrupted at %q: %q, want %q", at, target.result, result)
			}
		}
	}
	f("b prepare", "a prepare", "b prepare", "a rollback")
	f("a commit", "a prepare", "b prepare", "a commit", "b commit")
	f("b commit", "a prepare", "b prepare", "a commit", "b commit")
}

func TestAdminOfPeer(t *testing.T) {
	f := func(address, admin, want, problem string) {
		t.Helper()
		got, err := adminOf(&standby.PeerView{Name: "b", Address: address, Admin: admin, Connected: true})
		if got != want || (err != nil) != (problem != "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Fatalf("admin API %q of a peer at %q is at %q (%v), want %q (%s)", admin, address, got, err, want, problem)
		}
	}
	f("10.0.0.5:7947", "10.0.0.5:9280", "10.0.0.5:9280", "")
	f("10.0.0.5:7947", "0.0.0.0:9280", "10.0.0.5:9280", "")
	f("[fd00::5]:7947", "[::]:9280", "[fd00::5]:9280", "")
	f("127.0.0.1:7947", "127.0.0.1:9281", "127.0.0.1:9281", "") // on one machine
	f("10.0.0.5:7947", "127.0.0.1:9280", "", "only its own machine reaches it")
	f("10.0.0.5:7947", "[::1]:9280", "", "only its own machine reaches it")
	f("10.0.0.5:7947", "", "", "not connected")
}
