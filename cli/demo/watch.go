package demo

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// watchEvery is how often the first load balancer is asked who is there.
const watchEvery = 200 * time.Millisecond

// watch prints what changes until ctx ends: processes that end, and what the
// first load balancer thinks of the members.
func watch(ctx context.Context, t *topology, ps *processes, c *client, out io.Writer) {
	b := &t.balancers[0]
	fmt.Fprintf(out, "changes as %s sees them, until Ctrl-C:\n", b.Name)
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "  %s  %s\n", time.Now().Format("15:04:05.0"), fmt.Sprintf(format, args...))
	}
	seen, ended, unreachable := map[string]memberState{}, map[*process]bool{}, false
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for _, p := range ps.ends() {
			if !ended[p] {
				ended[p] = true
				say("process %s (pid %d) ended", p.name, p.cmd.Process.Pid)
			}
		}
		list, err := c.members(b)
		if (err != nil) != unreachable {
			unreachable = err != nil
			say("%s", map[bool]string{true: "cannot reach " + b.Name, false: b.Name + " answers"}[unreachable])
		}
		if err == nil {
			now := make(map[string]memberState, len(list))
			for _, m := range list {
				now[m.Domain+" "+m.ID] = m
			}
			for _, line := range changes(seen, now) {
				say("%s", line)
			}
			seen = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// changes says what differs between two lists of members, in order of name.
func changes(before, now map[string]memberState) []string {
	all := maps.Clone(before)
	maps.Copy(all, now)
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		was, there := before[key]
		is, here := now[key]
		what := fmt.Sprintf("%s of %s/%s", all[key].ID, all[key].Domain, strings.Join(all[key].SubDomains, ","))
		switch {
		case !there:
			lines = append(lines, fmt.Sprintf("+ %s at %s:%d, %s", what, is.Host, is.HTTP, is.State))
		case !here:
			lines = append(lines, fmt.Sprintf("- %s", what))
		case was.State != is.State:
			lines = append(lines, fmt.Sprintf("~ %s: %s -> %s", what, was.State, is.State))
		}
	}
	return lines
}
