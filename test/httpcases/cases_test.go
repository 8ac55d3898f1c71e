package httpcases

import (
	"cmp"
	"sync"
	"testing"
)

// TestCases runs every row in every form that it has.
func TestCases(t *testing.T) { runGroups(t, groups(), startBench) }

func runGroups(t *testing.T, groups []group, start func(*testing.T, limits) *bench) {
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, roomy())
			for i := range g.rows {
				if !g.rows[i].slow {
					t.Run(g.rows[i].id, func(t *testing.T) { b.runForms(t, &g.rows[i]) })
				}
			}
		})
	}
}

// TestSlowCases runs the rows that must wait for a deadline, all at once and
// each on a bench of its own.
func TestSlowCases(t *testing.T) { runSlow(t, groups(), startBench) }

func runSlow(t *testing.T, groups []group, start func(*testing.T, limits) *bench) {
	if testing.Short() {
		t.Skip("rows that wait for deadlines")
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, g := range groups {
		for i := range g.rows {
			r := &g.rows[i]
			if !r.slow {
				continue
			}
			wg.Go(func() {
				t.Run(g.name+"/"+r.id, func(t *testing.T) {
					start(t, tightTotal(cmp.Or(r.total, "0s"))).runForms(t, r)
				})
			})
		}
	}
}

func (b *bench) runForms(t *testing.T, r *row) {
	for _, f := range forms() {
		if !r.has(f) {
			continue
		}
		t.Run(f.String(), func(t *testing.T) {
			s := b.run(r, f)
			if err := b.judge(r, f, s); err != nil {
				t.Errorf("%s: %v", r.what, err)
			}
		})
	}
}

// TestTable checks the table itself.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	rows, runs := 0, 0
	for _, g := range groups() {
		for i := range g.rows {
			r := &g.rows[i]
			if seen[r.id] {
				t.Errorf("row %s stands twice", r.id)
			}
			seen[r.id] = true
			if len(r.want) == 0 || (r.in == "" && len(r.steps) == 0 && r.play == nil) || r.what == "" {
				t.Errorf("row %s is not whole", r.id)
			}
			rows++
			for _, f := range forms() {
				if r.has(f) {
					runs++
				}
			}
		}
	}
	t.Logf("%d rows, %d runs", rows, runs)
}
