//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

const (
	chartWidth = 760
	labelWidth = 110
	barHeight  = 16
	barGap     = 3
	titleSpace = 26
	groupGap   = 12
)

// chart draws the cost of every point as bars, from 0, with a line from the
// least to the most of the rounds. Each point has a scale of its own.
func chart(r *report) string {
	var b strings.Builder
	y := 40
	for _, result := range r.Results {
		y = group(&b, y, result)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
<text x="10" y="22" font-size="14">CPU time of the proxy, less is better (%s, %s)</text>
%s</svg>
`, chartWidth, y+10, r.Time.Format("2006-01-02"), html.EscapeString(r.Machine), b.String())
}

func group(b *strings.Builder, y int, r *result) int {
	most := 0.0
	for i := range r.Proxies {
		most = max(most, noNaN(r.Proxies[i].cost(r.Units).Max))
	}
	if most == 0 {
		return y
	}
	fmt.Fprintf(b, `<text x="10" y="%d" font-weight="bold">(%s) %s, µs per %s</text>`+"\n", y+14, r.Scenario,
		html.EscapeString(r.Name), r.Unit)
	y += titleSpace
	scale := (chartWidth - labelWidth - 90) / most
	for i := range r.Proxies {
		m := &r.Proxies[i]
		cost := m.cost(r.Units)
		if math.IsNaN(cost.Median) {
			continue
		}
		at := func(v float64) float64 { return labelWidth + v*scale }
		middle := y + barHeight/2
		fmt.Fprintf(b, `<text x="10" y="%d">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, y+12,
			html.EscapeString(m.Name), labelWidth, y, cost.Median*scale, barHeight, colour(i))
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="black"/>`, at(cost.Min), middle, at(cost.Max), middle)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%.2f</text>`+"\n", at(cost.Max)+6, y+12, cost.Median)
		y += barHeight + barGap
	}
	return y + groupGap
}

func noNaN(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

func colour(i int) string {
	all := [...]string{"#1f77b4", "#8c8c8c", "#b5b5b5", "#d4d4d4", "#2ca02c", "#ff7f0e"}
	return all[i%len(all)]
}
