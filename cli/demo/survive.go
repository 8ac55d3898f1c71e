package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	sessions  = 200
	peersWait = 10 * time.Second
)

// survive begins sessions and drains a worker at the first load balancer,
// kills that, and looks what the other one knows.
func (k *checks) survive(ctx context.Context) error {
	a, b := &k.t.balancers[0], &k.t.balancers[1]
	ctx, cancel := context.WithTimeout(ctx, peersWait)
	defer cancel()
	if err := until(ctx, func() error { return k.c.inStep(b) }); err != nil {
		return err
	}
	before, err := k.c.learned(b)
	if err != nil {
		return err
	}
	members := make(map[string]string, sessions)
	for range sessions {
		r, err := k.c.ask(question{port: a.HTTP, host: workerHost, path: "/?login"})
		if err != nil {
			return fmt.Errorf("cannot begin a session: %w", err)
		}
		members[r.login] = r.Name
	}
	drained := k.t.members[1].name
	if err := k.c.change(a, drained, "drain"); err != nil {
		return err
	}
	if err := until(ctx, func() error { // what it learned in the last milliseconds may die with it
		n, err := k.c.learned(b)
		if err == nil && n < before+sessions {
			err = fmt.Errorf("%s has learned only %d of %d sessions", b.Name, n-before, sessions)
		}
		if state, told := k.c.state(b, drained); err == nil && told == nil && state != "draining" {
			err = fmt.Errorf("%s has not heard that %s is drained", b.Name, drained)
		}
		return err
	}); err != nil {
		return err
	}
	if err := k.ps.signal(a.Name, os.Kill); err != nil {
		return err
	}
	if err := k.ps.wait(a.Name, stopWithin); err != nil {
		return err
	}
	stay := 0
	for session, name := range members {
		r, err := k.c.ask(question{port: b.HTTP, host: workerHost, path: "/", session: session})
		if err == nil && r.status == fasthttp.StatusOK && r.Name == name {
			stay++
		}
	}
	k.row(fmt.Sprintf("%s killed, its clients ask %s", a.Name, b.Name), fmt.Sprintf("%d of %d sessions stay", sessions, sessions),
		fmt.Sprintf("%d of %d sessions stay", stay, len(members)))
	state, err := k.c.state(b, drained)
	if err != nil {
		return err
	}
	k.row(drained+", drained at "+a.Name, "draining at "+b.Name, state+" at "+b.Name)
	return nil
}

// inStep reports whether a load balancer has a peer and knows what that knows.
func (c *client) inStep(b *balancer) error {
	body, err := c.admin(b, "/api/v1/health")
	if err != nil {
		return err
	}
	var h struct {
		Warm  bool   `json:"warm"`
		Cold  string `json:"cold"`
		Peers int    `json:"peers"`
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return fmt.Errorf("cannot read the health of %s: %w", b.Name, err)
	}
	if h.Peers == 0 || !h.Warm {
		return fmt.Errorf("%s is not in step with its peer: %d peers, %s", b.Name, h.Peers, h.Cold)
	}
	return nil
}

// learned returns how many sessions a load balancer has heard of from its peer.
func (c *client) learned(b *balancer) (int, error) {
	body, err := c.admin(b, "/metrics")
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "jetway_peer_changed_total{") && strings.Contains(line, `kind="sessions"`) {
			f := strings.Fields(line)
			value, err := strconv.ParseFloat(f[len(f)-1], 64)
			if err != nil {
				return 0, fmt.Errorf("cannot read the metrics of %s: %w", b.Name, err)
			}
			n += int(value)
		}
	}
	return n, nil
}

func (c *client) admin(b *balancer, path string) ([]byte, error) {
	status, body, err := c.plain.GetTimeout(nil, "http://"+net.JoinHostPort(loopback, strconv.Itoa(b.Admin))+path, askWithin)
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s: %w", b.Name, err)
	}
	if status != fasthttp.StatusOK {
		return nil, fmt.Errorf("cannot ask %s: it answers %d", b.Name, status)
	}
	return body, nil
}
