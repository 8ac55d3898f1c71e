package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"jetway/admin"
)

const (
	// pauseMost is how long new connections are kept waiting at a time: clients
	// repeat their first packet after a second (RFC 6298, 2.1), so this much
	// and the move itself cost them one repetition.
	pauseMost  = 700 * time.Millisecond
	pauseRest  = 1500 * time.Millisecond
	quietFor   = 40 * time.Millisecond  // without connections: those being made have arrived
	taughtMost = 200 * time.Millisecond // for peers to hear of the last requests
	moveMost   = 3 * time.Second        // for keepalived to move the address
	activeMost = 2 * time.Second        // for the peer to say that it has it
	stayOut    = 3 * time.Second        // before this host is fit for the address again
	ruleTable  = "jetway_handover"
)

// handover gives the address and the clients to a warm peer. Nothing has
// changed where it returns an error.
func (p *peers) handover(ctx context.Context, o admin.HandoverOrder) (r admin.HandoverResult, err error) {
	if !p.handing.CompareAndSwap(false, true) {
		return r, fmt.Errorf("%w: a hand-over is under way", admin.ErrRefused)
	}
	defer p.handing.Store(false)
	start := time.Now()
	if err := p.mayHand(); err != nil {
		return r, err
	}
	drain, wait := p.cfg.HandoverDrain, p.lb.reloader.current.Load().Proxy.Timeouts.Drain
	if o.Drain > 0 {
		drain = time.Duration(o.Drain * float64(time.Second))
	}
	if o.Wait > 0 {
		wait = time.Duration(o.Wait * float64(time.Second))
	}
	p.log.Info().Dur("drain", drain).Msg("hand-over begins")
	p.mesh.Announce()
	p.lb.server.Yield(true)
	defer p.lb.server.Yield(false)
	if !sleep(ctx, drain) {
		return r, ctx.Err()
	}
	r.Pause, r.Cut, r.Remarks, err = p.empty(ctx, wait, o.Force)
	if err == nil {
		err = p.give(&r)
	}
	p.removeRule()
	if err != nil {
		p.log.Error().Err(err).Msg("hand-over failed, the address stays")
		return r, err
	}
	r.Took = time.Since(start).Seconds()
	p.log.Info().Str("peer", r.Peer).Dur("took", time.Since(start)).Int("cut", r.Cut).Msg("address handed over")
	return r, nil
}

// mayHand says why the address cannot be handed over now.
func (p *peers) mayHand() error {
	var why []string
	for _, v := range p.mesh.Peers() {
		switch {
		case !v.Connected:
			why = append(why, fmt.Sprintf("%s is not connected", v.Name))
		case !v.Ready || v.Draining:
			why = append(why, fmt.Sprintf("%s does not serve", v.Name))
		case !v.Warm:
			why = append(why, fmt.Sprintf("%s is not warm", v.Name))
		case !v.SameConfig:
			why = append(why, fmt.Sprintf("%s has another configuration", v.Name))
		case v.Lag >= warmLagSeconds:
			why = append(why, fmt.Sprintf("%s is %.1f s behind", v.Name, v.Lag))
		default:
			return nil
		}
	}
	if len(why) == 0 {
		why = []string{"there is no peer"}
	}
	return fmt.Errorf("%w: nobody can take over: %s", admin.ErrRefused, strings.Join(why, "; "))
}

const warmLagSeconds = 0.5

// empty waits until no client is left, keeping new ones waiting for a moment
// at a time. Where they do not all finish the pause ends, those who waited are
// served, and it tries again until wait is over.
func (p *peers) empty(ctx context.Context, wait time.Duration, force bool) (pause float64, cut int, remarks []string, err error) {
	deadline := time.Now().Add(wait)
	for {
		p.lb.server.EndIdle()
		began := time.Now()
		if how := p.hold(ctx); how != "" && len(remarks) == 0 {
			remarks = append(remarks, how)
		}
		busy, tunnels := p.quiet(ctx, began.Add(pauseMost))
		switch {
		case ctx.Err() != nil:
			p.removeRule()
			return 0, 0, remarks, ctx.Err()
		case busy == 0:
			if tunnels > 0 {
				remarks = append(remarks, fmt.Sprintf("%d upgraded connections end with the move", tunnels))
			}
			return time.Since(began).Seconds(), tunnels, remarks, nil
		case time.Now().After(deadline) && force:
			return time.Since(began).Seconds(), busy + tunnels, append(remarks, fmt.Sprintf("%d connections were still in use after %v", busy, wait)), nil
		}
		p.removeRule()
		p.lb.server.Yield(false)
		p.lb.server.Yield(true)
		if time.Now().After(deadline) {
			why := strings.Join(append([]string{fmt.Sprintf("%d connections were still in use after %v", busy, wait)}, remarks...), "; ")
			return 0, 0, remarks, fmt.Errorf("%w: %s; with --force they are cut off", admin.ErrRefused, why)
		}
		if !sleep(ctx, pauseRest) {
			return 0, 0, remarks, ctx.Err()
		}
	}
}

// quiet waits until there has been no connection but tunnels for a moment, and
// returns how many there are.
func (p *peers) quiet(ctx context.Context, until time.Time) (busy, tunnels int) {
	var since time.Time
	for {
		open, t := p.lb.server.Open()
		busy, tunnels = max(0, open-t), t
		now := time.Now()
		switch {
		case busy > 0:
			since = time.Time{}
		case since.IsZero():
			since = now
		case now.Sub(since) >= quietFor:
			return 0, tunnels
		}
		if now.After(until) || !sleep(ctx, 2*time.Millisecond) {
			return max(1, busy), tunnels
		}
	}
}

// give lets the address go and waits until it has.
func (p *peers) give(r *admin.HandoverResult) error {
	for deadline := time.Now().Add(taughtMost); !p.mesh.Taught() && time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
	}
	p.given.Store(true)
	if err := writeTrack(p.track, trackOut); err != nil { // guard would do so in a moment
		r.Remarks = append(r.Remarks, fmt.Sprintf("cannot write the track file: %v", err))
	}
	if !p.awaitAddress(moveMost) {
		p.given.Store(false)
		writeTrack(p.track, trackFit) // guard repairs it if this fails
		return fmt.Errorf("this host still has %s after %v: is keepalived running with the configuration of \"jetway keepalived\"?", p.cfg.VirtualAddress, moveMost)
	}
	p.lookForAddress()
	for deadline := time.Now().Add(activeMost); r.Peer == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, v := range p.mesh.Peers() {
			if v.Active {
				r.Peer = v.Name
			}
		}
	}
	time.AfterFunc(stayOut, func() { p.given.Store(false) })
	return nil
}

// hold keeps new connections waiting until removeRule, and says what is not
// as it should be. Without the right to change nftables the queues of the
// listening sockets do it, not as well.
func (p *peers) hold(ctx context.Context) (remark string) {
	err := p.addRule(ctx)
	if err == nil {
		return ""
	}
	if failed := p.lb.server.HoldNew(p.cfg.VirtualAddress.Addr()); failed != nil {
		return fmt.Sprintf("new connections could not be kept waiting, some may be reset: %v; %v", err, failed)
	}
	return fmt.Sprintf("new connections were kept waiting by full queues of the listening sockets, where some may be reset, as nftables could not be changed: %v", err)
}

// rulePorts are the ports on which clients reach the virtual address.
func (p *peers) rulePorts() []string {
	var ports []string
	for _, a := range p.lb.server.Addresses() {
		ap, err := netip.ParseAddrPort(a.String())
		if err != nil || !ap.Addr().IsUnspecified() && ap.Addr().Unmap() != p.cfg.VirtualAddress.Addr() {
			continue
		}
		if port := fmt.Sprint(ap.Port()); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// addRule drops the packets that would open connections to the address.
func (p *peers) addRule(ctx context.Context) error {
	ports := p.rulePorts()
	if !p.cfg.VirtualAddress.IsValid() || len(ports) == 0 {
		return errors.New("no listener has the virtual address")
	}
	family := "ip"
	if p.cfg.VirtualAddress.Addr().Is6() {
		family = "ip6"
	}
	return nft(ctx, fmt.Sprintf(`table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain input {
		type filter hook input priority -150; policy accept;
		%[2]s daddr %[3]s tcp dport { %[4]s } tcp flags & (fin|syn|rst|ack) == syn counter drop
	}
}
`, ruleTable, family, p.cfg.VirtualAddress.Addr(), strings.Join(ports, ", ")))
}

// removeRule takes back what hold did, or did before a crash.
func (p *peers) removeRule() {
	p.lb.server.AdmitNew()
	if !p.cfg.VirtualAddress.IsValid() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	nft(ctx, fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n", ruleTable)) // without the right to it there is none
}

// nft runs commands of nftables.
func nft(ctx context.Context, script string) error {
	path, err := exec.LookPath("nft")
	if err != nil {
		path = "/usr/sbin/nft"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, path, "-f", "-")
	c.Stdin = strings.NewReader(script)
	out, err := c.CombinedOutput()
	if err != nil {
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		return fmt.Errorf("nft: %w %s", err, line)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// health is what "jetway health", guard and keepalived go by.
func (lb *loadBalancer) health() admin.Health {
	state, reason := lb.state()
	h := admin.Health{OK: state == admin.Ready, Reason: reason, State: state, Warm: true, Acting: true, InFlight: lb.server.InFlight()}
	for _, a := range lb.server.Addresses() {
		h.Listeners = append(h.Listeners, a.String())
	}
	if len(h.Listeners) == 0 {
		h.OK, h.Reason = false, "not listening"
	}
	if lb.peers == nil {
		return h
	}
	p := lb.peers
	h.Standby, h.Active, h.Told = true, p.active.Load() == activeYes, p.active.Load() != activeUnknown
	h.Warm, h.Cold = p.mesh.Warm()
	h.Acting, h.Handing = p.mesh.Acting(), p.handing.Load()
	all := p.mesh.Peers()
	h.Behind = behind(all)
	for _, v := range all {
		if v.Connected {
			h.Peers++
			h.Lag = max(h.Lag, v.LagFrom)
			h.Divergence += v.Divergence
		}
	}
	if p.given.Load() && h.OK {
		h.OK, h.Reason = false, "handed over"
	}
	return h
}

// standbySource is what the admin API has of the peers.
func (lb *loadBalancer) standbySource() admin.Standby {
	s := admin.Standby{Health: lb.health}
	if lb.peers == nil {
		return s
	}
	p := lb.peers
	s.Differ = func() []string { return differing(p.mesh.Peers()) }
	s.Peers = func() []any {
		var list []any
		for _, v := range p.mesh.Peers() {
			list = append(list, v)
		}
		return list
	}
	s.Notify = p.notify
	s.Handover = p.handover
	return s
}

// notify takes keepalived's word for who has the address. Only the interfaces
// say more.
func (p *peers) notify(state string) error {
	switch strings.ToUpper(state) {
	case "MASTER":
		p.setActive(true)
	case "BACKUP", "FAULT", "STOP", "DELETED":
		p.setActive(false)
	default:
		return fmt.Errorf("state %q is unknown; expected MASTER, BACKUP, FAULT or STOP", state)
	}
	return nil
}
