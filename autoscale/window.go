package autoscale

import "time"

// area remembers the integral of a quantity over time for as long as somebody
// asks for means of it.
type area struct {
	span   time.Duration // how far back
	points []point       // ascending
	sum    float64       // up to the newest
}

type point struct {
	at  time.Time
	sum float64 // value x seconds up to at
}

// pointsMax bounds the memory of an area; more readings are merged.
const pointsMax = 8192

// add notes that the mean value was v for the time d up to now.
func (a *area) add(now time.Time, v float64, d time.Duration) {
	if len(a.points) == 0 {
		a.points = append(a.points, point{now.Add(-d), a.sum})
	}
	a.sum += v * d.Seconds()
	if last := &a.points[len(a.points)-1]; len(a.points) > 1 && now.Sub(last.at) <= 0 || len(a.points) >= pointsMax {
		last.at, last.sum = now, a.sum
	} else {
		a.points = append(a.points, point{now, a.sum})
	}
	old := 0 // the last point at or before the beginning of the span stays: means begin there
	for old+1 < len(a.points) && !a.points[old+1].at.After(now.Add(-a.span)) {
		old++
	}
	a.points = a.points[:copy(a.points, a.points[old:])]
}

// mean returns the mean over the last d, or over what there is of it.
func (a *area) mean(d time.Duration) float64 {
	n := len(a.points)
	if n < 2 {
		return 0
	}
	last := a.points[n-1]
	from := last.at.Add(-d)
	i := n - 2
	for i > 0 && a.points[i].at.After(from) {
		i--
	}
	p := a.points[i]
	if p.at.Before(from) { // somewhere between two points
		next := a.points[i+1]
		share := from.Sub(p.at).Seconds() / next.at.Sub(p.at).Seconds()
		p = point{from, p.sum + share*(next.sum-p.sum)}
	}
	if t := last.at.Sub(p.at).Seconds(); t > 0 {
		return max((last.sum-p.sum)/t, 0)
	}
	return 0
}

// extreme remembers the largest of the numbers of the last span, or with least
// the smallest, in order of time: each is there only until a better one comes,
// so there are never more than different numbers.
type extreme struct {
	span  time.Duration
	least bool
	list  []dated
	since time.Time // of the first number
}

type dated struct {
	at time.Time
	n  int
}

func (e *extreme) add(now time.Time, n int) {
	if e.since.IsZero() {
		e.since = now
	}
	for len(e.list) > 0 && (e.list[len(e.list)-1].n == n || e.list[len(e.list)-1].n < n != e.least) {
		e.list = e.list[:len(e.list)-1]
	}
	e.list = append(e.list, dated{now, n})
	old := 0
	for e.list[old].at.Before(now.Add(-e.span)) {
		old++
	}
	e.list = e.list[:copy(e.list, e.list[old:])]
}

// value returns the extreme; add was called before.
func (e *extreme) value() int { return e.list[0].n }

// full reports whether the numbers cover the whole span.
func (e *extreme) full(now time.Time) bool { return !e.since.IsZero() && now.Sub(e.since) >= e.span }
