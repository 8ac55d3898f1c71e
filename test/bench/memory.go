//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	idleConns   = 10_000
	activeConns = 2_000
	// memoryRounds bounds the rounds: memory varies less than time does.
	memoryRounds = 3
	// settle is how long a proxy is left alone before its memory is read.
	settle = 3 * time.Second
)

// holding is what a process that holds connections is told.
type holding struct {
	load
	Active bool // a request is under way on each
}

// runHold opens connections, sends one request on each, says so and keeps
// them until standard input ends.
func runHold(h holding) error {
	request := h.request(0)
	conns := make([]net.Conn, h.Conns)
	buf := make([]byte, 64<<10)
	for i := range conns {
		c, err := h.connect()
		if err != nil {
			return fmt.Errorf("cannot open connection %d: %w", i, err)
		}
		conns[i] = c
		if _, err := c.Write(request); err != nil {
			return fmt.Errorf("cannot use connection %d: %w", i, err)
		}
		if h.Active {
			continue
		}
		if err := h.answer(c, buf); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(len(conns)); err != nil {
		return fmt.Errorf("cannot report: %w", err)
	}
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// footprint is the memory of one proxy in one round, in bytes.
type footprint struct {
	Idle      float64 // of the process, just started
	PerIdle   float64 // connection that had one request and waits
	PerTLS    float64 // likewise, with TLS
	PerActive float64 // connection whose request a member holds
	Failed    string
}

// memoryResult is scenario (g).
type memoryResult struct {
	Idle, Active int // connections
	Proxies      []memoryOf
}

type memoryOf struct {
	Name   string
	Rounds []footprint
}

// memory measures scenario (g): for each figure a fresh process.
func (b *bench) memory(ctx context.Context, short bool) (*memoryResult, error) {
	r := &memoryResult{Idle: min(idleConns, (descriptors()-400)/2), Active: min(activeConns, (descriptors()-400)/4)}
	members, ports, err := startMembers(ctx, b.loadCore, 3)
	if err != nil {
		return nil, err
	}
	defer members.stop()
	r.Proxies = make([]memoryOf, len(b.kinds))
	for round := range min(b.rounds, memoryRounds) {
		for i, k := range b.kinds {
			r.Proxies[i].Name = k.Name
			f := b.footprint(ctx, k, ports, r, short)
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			r.Proxies[i].Rounds = append(r.Proxies[i].Rounds, f)
			b.say("g, round %d, %s: idle %.1f MB, per idle connection %.2f KB, with TLS %.2f KB, per active connection %.2f KB %s",
				round+1, k.Name, f.Idle/1e6, f.PerIdle/1e3, f.PerTLS/1e3, f.PerActive/1e3, f.Failed)
		}
	}
	return r, nil
}

func (b *bench) footprint(ctx context.Context, k *kind, members []int, r *memoryResult, short bool) (f footprint) {
	idle := newPoint("g", "idle")
	idle.Load.Conns = r.Idle
	active := idle
	active.Load.Conns, active.Load.Path = r.Active, "/hold"
	secured := idle
	secured.Load.TLS = tlsKeep
	var err error
	if f.Idle, f.PerIdle, err = b.hold(ctx, k, members, &idle, false); err != nil {
		f.Failed = err.Error()
		return f
	}
	if short {
		return f
	}
	if _, f.PerActive, err = b.hold(ctx, k, members, &active, true); err != nil {
		f.Failed = err.Error()
		return f
	}
	if _, f.PerTLS, err = b.hold(ctx, k, members, &secured, false); err != nil {
		f.Failed = err.Error()
	}
	return f
}

// hold starts a proxy, opens connections to it and reads its memory before
// and after.
func (b *bench) hold(ctx context.Context, k *kind, members []int, pt *point, active bool) (before, each float64, err error) {
	p, err := b.begin(ctx, pt, k, members)
	if err != nil {
		return 0, 0, err
	}
	defer p.proc.stop()
	time.Sleep(settle / 3)
	before = float64(resident(p.proc.pid()))
	l := pt.Load
	l.Target = p.addr()
	holder, from, err := self(b.loadCore, roleHold, holding{l, active})
	if err != nil {
		return 0, 0, err
	}
	defer holder.stop()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var opened int
	if err := hear(ctx, holder, from, &opened); err != nil {
		return 0, 0, fmt.Errorf("cannot hold connections: %w", err)
	}
	time.Sleep(settle)
	return before, (float64(resident(p.proc.pid())) - before) / float64(opened), nil
}
