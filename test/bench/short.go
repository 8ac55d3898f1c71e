//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// regression is how much more CPU time per request than HAProxy fails -short.
const regression = 1.25

var errRegression = errors.New("gross regression")

// short measures (a) and (g) quickly. What else the machine does disturbs so
// few seconds, so a bad ratio has to show twice.
func (b *bench) short(ctx context.Context, w io.Writer, r *report) error {
	point := plain()[0]
	point.Latency = false
	got := math.NaN()
	for range 2 {
		result, err := b.run(ctx, &point)
		if err != nil {
			return err
		}
		result.table(w)
		r.Results = append(r.Results, result)
		own, rival := result.of("jetway"), result.of("haproxy")
		if own == nil || rival == nil || len(rival.Closed) == 0 {
			fmt.Fprintln(w, "\nNo comparison: HAProxy is not installed or its runs are void.")
			got = math.NaN()
			break
		}
		if len(own.Closed) == 0 {
			got = math.Inf(1)
			continue
		}
		if got = ratio(own, rival, 1, 1); got <= regression {
			break
		}
	}
	b.rounds = 1
	memory, err := b.memory(ctx, true)
	if err != nil {
		return err
	}
	memory.table(w)
	r.Memory = memory
	fmt.Fprintf(w, "\nCPU time per request: %.2f of HAProxy's; more than %.2f fails.\n", got, regression)
	if got > regression {
		return fmt.Errorf("%w: CPU time per request is %.2f of HAProxy's", errRegression, got)
	}
	return nil
}
