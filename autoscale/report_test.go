package autoscale

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const docPage = "../docs/autoscaling.md"

// TestSimulation runs all policies on all traces, checks the goals of our own,
// and wants the table and the chart in the documentation to be what came out.
// go test ./autoscale -run TestSimulation -update-docs writes them.
func TestSimulation(t *testing.T) {
	boots := []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}
	results := map[string]map[time.Duration]outcome{}
	for _, tr := range traces() {
		for _, c := range contenders() {
			name := tr.name + "/" + c.name
			results[name] = map[time.Duration]outcome{}
			for _, boot := range boots {
				t.Run(fmt.Sprintf("%s/%s", name, boot), func(t *testing.T) { results[name][boot] = simulate(t, c, tr, boot) })
			}
		}
	}
	for _, boot := range boots {
		ours := func(trace string) outcome { return results[trace+"/concurrency"][boot] }
		for _, step := range []string{"step", "spike"} {
			if o := ours(step); o.ordered < 0 || o.ordered > 2*time.Second {
				t.Errorf("boot %s: what a %s takes is ordered after %s, want at most 2s", boot, step, o.ordered)
			}
		}
		if o := ours("day"); o.seconds > 1.1*o.oracle {
			t.Errorf("boot %s: a day takes %.1f %% more member-seconds than an oracle, want at most 10 %%", boot, 100*(o.seconds/o.oracle-1))
		}
		if o := ours("noise"); o.reversals != 0 {
			t.Errorf("boot %s: %d reversals on noise", boot, o.reversals)
		}
	}
	for _, mean := range []float64{1, 3.02, 9, 9.8, 9.99, 10.01, 10.2, 40} { // above, below and at the border of a size
		t.Run(fmt.Sprintf("noise around %g", mean), func(t *testing.T) {
			if o := simulate(t, contenders()[0], noise(mean), 5*time.Second); o.reversals != 0 {
				t.Errorf("%d reversals", o.reversals)
			}
		})
	}
	compareDocs(t, resultTable(boots, results))
	compareFile(t, "../docs/autoscaling.svg", chart(results, 30*time.Second))
}

// updateDocs reports whether the flag is given.
func updateDocs() bool {
	f := flag.Lookup("update-docs")
	return f != nil && f.Value.String() == "true"
}

func TestMain(m *testing.M) {
	flag.Bool("update-docs", false, "write what is compared with the documentation")
	flag.Parse()
	os.Exit(m.Run())
}

// compareDocs wants text between the markers of the page.
func compareDocs(t *testing.T, text string) {
	t.Helper()
	page, err := os.ReadFile(docPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- simulation: written by the test of autoscale -->\n", "<!-- end of simulation -->"
	i, j := bytes.Index(page, []byte(begin)), bytes.Index(page, []byte(end))
	if i < 0 || j < i {
		t.Fatalf("%s has no place for the table", docPage)
	}
	fresh := string(page[:i]) + begin + text + string(page[j:])
	if fresh == string(page) {
		return
	}
	if !updateDocs() {
		t.Errorf("the table in %s is not what came out:\n%s", docPage, text)
		return
	}
	if err := os.WriteFile(docPage, []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}

func compareFile(t *testing.T, path, text string) {
	t.Helper()
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return
	}
	if !updateDocs() {
		t.Errorf("%s is not what came out", path)
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// resultTable has a row per trace and policy; what depends on the boot time is
// given for each.
func resultTable(boots []time.Duration, results map[string]map[time.Duration]outcome) string {
	var b strings.Builder
	fmt.Fprint(&b, "| trace | policy | needed size ordered after | member-seconds beside the oracle's | load above target | reversals |\n|---|---|---|---|---|---|\n")
	for _, tr := range traces() {
		for _, c := range contenders() {
			cells := make([][]string, 4)
			for _, boot := range boots {
				o := results[tr.name+"/"+c.name][boot]
				after := "–"
				switch {
				case tr.step > 0 && o.ordered >= 0:
					after = fmt.Sprintf("%.0f s", o.ordered.Seconds())
				case tr.step > 0:
					after = "never"
				}
				for i, cell := range []string{after, fmt.Sprintf("%+.1f %%", 100*(o.seconds/o.oracle-1)), fmt.Sprintf("%.1f %%", 100*o.short), fmt.Sprint(o.reversals)} {
					cells[i] = append(cells[i], cell)
				}
			}
			fmt.Fprintf(&b, "| %s | %s |", tr.name, c.name)
			for _, cell := range cells {
				if len(slices.Compact(slices.Clone(cell))) == 1 {
					cell = cell[:1]
				}
				fmt.Fprintf(&b, " %s |", strings.Join(cell, ", "))
			}
			fmt.Fprintln(&b)
		}
	}
	return b.String()
}

// chart draws the members of all policies over each trace, as SVG.
func chart(results map[string]map[time.Duration]outcome, boot time.Duration) string {
	const width, height, left, gap = 760, 110, 40, 34
	colours := []string{"#c0392b", "#8e44ad", "#2980b9", "#27ae60"}
	list := traces()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n",
		width+2*left, len(list)*(height+gap)+40)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	for i, c := range contenders() {
		fmt.Fprintf(&b, `<rect x="%d" y="8" width="14" height="3" fill="%s"/><text x="%d" y="13">%s</text>`+"\n", left+i*170, colours[i], left+18+i*170, c.name)
	}
	for row, tr := range list {
		top := 30 + row*(height+gap)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s: members ready, boot %s; grey: needed; %s across</text>`+"\n", left, top, tr.name, boot, tr.length)
		n := int(tr.length / (10 * time.Second))
		most := 30.0
		point := func(i int, v float64) string {
			return fmt.Sprintf("%.1f,%.1f ", left+float64(width)*float64(i)/float64(n), float64(top+8+height)-min(v, most)/most*height)
		}
		skip := max(n/400, 1)
		var area strings.Builder
		fmt.Fprint(&area, point(0, 0))
		for i := 0; i < n; i += skip {
			fmt.Fprint(&area, point(i, tr.at(warmUp+time.Duration(i)*10*time.Second)))
		}
		fmt.Fprintf(&b, `<polygon points="%s%s" fill="#dddddd"/>`+"\n", area.String(), point(n, 0))
		for _, v := range []float64{0, 10, 20, 30} {
			y := float64(top+8+height) - v/most*height
			fmt.Fprintf(&b, `<text x="%d" y="%.1f">%.0f</text><line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#eeeeee"/>`+"\n", left-20, y+4, v, left, y, left+width, y)
		}
		for i, c := range contenders() {
			var line strings.Builder
			for k, v := range results[tr.name+"/"+c.name][boot].sizes {
				if k%skip == 0 {
					fmt.Fprint(&line, point(k, float64(v)))
				}
			}
			fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.TrimSpace(line.String()), colours[i])
		}
	}
	fmt.Fprint(&b, "</svg>\n")
	return b.String()
}
