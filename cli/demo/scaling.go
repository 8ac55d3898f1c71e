package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

const (
	elasticDomain = "as.elastic.domain"
	elasticHost   = "elastic.example.com"
	elasticMax    = 3
	elasticTarget = 2 // requests in flight per member

	fewConns    = 2 // what two members take with something to spare
	manyConns   = 8 // more than elasticMax members take
	elasticWork = "/?delay=100ms"

	bootWithin  = 20 * time.Second // the first member, from nothing
	growWithin  = 20 * time.Second
	firstAnswer = 5 // answers by which a started member counts as in use
	// shrinkWithin allows for the stable window, the calm after it, and the drain.
	shrinkWithin = 30 * time.Second
)

// scales reports whether this system has the scaling driver "process".
func scales() bool { return runtime.GOOS == "linux" }

// elasticConf is what the configuration says of the elastic service.
const elasticConf = `  elastic:
    hosts: [{{.ElasticHost}}]
    min_app_instances: 0
    max_app_instances: {{.ElasticMax}}
    autoscale:
      target: {{.ElasticTarget}}
      stable_window: 5s
      calm: 5s
      drain: 10s
      driver: {process: {command: {{.WorkerCommand}}, stop_wait: 5s}}
    domains:
      {{.Elastic}}: {}
`

// workerCommand is how the load balancers start a member of the elastic
// domain, as a list in YAML, of which JSON is a part. It ends with the load
// balancer that started it, unlike those of an installation that is to last.
func (t *topology) workerCommand() (string, error) {
	args := []string{filepath.ToSlash(t.exe), "demo", "worker", "--with-parent", "--id", "{id}", "--domain", "{domain}",
		"--sub-domain", "{sub_domain}", "--installation", "demo"}
	for i := range t.balancers {
		args = append(args, "--join", loopback+":"+strconv.Itoa(t.balancers[i].Gossip))
	}
	b, err := json.Marshal(args)
	return string(b), err
}

// printElastic shows what scales.
func (t *topology) printElastic(out io.Writer) {
	if scales() {
		fmt.Fprintf(out, "domain %s, elastic:\n  0 to %d members by its load, %d requests in flight for each, started by %s\n",
			elasticDomain, elasticMax, elasticTarget, t.balancers[0].Name)
	}
}

// shown is a row of the check that is printed later.
type shown struct{ what, expected, seen string }

// scaling is the part of the check that is mostly waiting: it goes on beside
// the others.
type scaling struct {
	cancel context.CancelFunc
	done   chan struct{} // closed at the end; rows and err are set before
	rows   []shown
	err    error
}

// startScaling begins it; nil where nothing scales.
func (k *checks) startScaling(ctx context.Context) *scaling {
	if !scales() || !k.whole {
		return nil
	}
	s := &scaling{done: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(ctx)
	go func() {
		defer close(s.done)
		s.err = s.run(ctx, k.t, k.c)
	}()
	return s
}

// report waits for the end and prints what was seen.
func (k *checks) report(s *scaling) error {
	if s == nil {
		return nil
	}
	<-s.done
	for _, r := range s.rows {
		k.row(r.what, r.expected, r.seen)
	}
	return s.err
}

// stop ends it early.
func (s *scaling) stop() {
	if s != nil {
		s.cancel()
		<-s.done
	}
}

// run shows a start from nothing, a scale-out and a scale-in. A few requests
// go on all the time, none of which may fail.
func (s *scaling) run(ctx context.Context, t *topology, c *client) error {
	b := &t.balancers[0]
	q := question{port: b.HTTP, host: elasticHost, path: elasticWork, within: bootWithin}
	start := time.Now()
	r, err := c.ask(q)
	if err != nil {
		return fmt.Errorf("no answer of a domain without members: %w", err)
	}
	s.row(start, "request starts the first member", elasticDomain+"/worker", where(r))

	few := startLoad(c, q, fewConns)
	defer few.stop()
	many := startLoad(c, q, manyConns)
	defer many.stop()
	start = time.Now()
	seen := fmt.Sprintf("%d members answer, ", elasticMax)
	if err := many.spread(ctx, elasticMax, growWithin); err != nil {
		seen = err.Error() + ", "
	}
	s.row(start, "load grows", fmt.Sprintf("%d members answer, 0 failed", elasticMax), seen+many.stop())

	start = time.Now()
	seen = "a member is stopped, "
	if err := s.shrinks(ctx, c, b); err != nil {
		seen = err.Error() + ", "
	}
	s.row(start, "load falls", "a member is stopped, 0 failed", seen+few.stop())
	return nil
}

func (s *scaling) row(start time.Time, what, expected, seen string) {
	s.rows = append(s.rows, shown{fmt.Sprintf("%s, %.1f s", what, time.Since(start).Seconds()), expected, seen})
}

// shrinks waits until one of the members has drained and is gone.
func (s *scaling) shrinks(ctx context.Context, c *client, b *balancer) error {
	ctx, cancel := context.WithTimeout(ctx, shrinkWithin)
	defer cancel()
	return until(ctx, func() error {
		list, err := c.members(b)
		if err != nil {
			return err
		}
		n := 0
		for _, m := range list {
			if m.Domain == elasticDomain {
				n++
			}
		}
		if n >= elasticMax {
			return fmt.Errorf("%d members after %v", n, shrinkWithin)
		}
		return nil
	})
}

// spread waits until so many members have answered a few requests each.
func (l *load) spread(ctx context.Context, members int, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return until(ctx, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := 0
		for _, answers := range l.byName {
			if answers >= firstAnswer {
				n++
			}
		}
		if n < members {
			return fmt.Errorf("%d members after %v", n, within)
		}
		return nil
	})
}
