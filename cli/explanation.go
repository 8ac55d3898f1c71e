package cli

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"jetway/admin"
	"jetway/balancer"
	"jetway/proxy"
	"jetway/tenant"
)

// explain answers a question about this load balancer, running or not.
func (lb *loadBalancer) explain(q admin.Question) (admin.Explanation, error) {
	asked, err := arrival(q)
	if err != nil {
		return admin.Explanation{}, err
	}
	began := time.Now()
	e, err := lb.server.Explain(asked)
	if err != nil {
		return admin.Explanation{}, err
	}
	v := admin.Explanation{Live: lb.ready.Load(), Generation: lb.router.Table().Generation(), Question: q,
		Arrival: admin.ExplainedArrival{Listener: e.Listener, PublicPort: e.PublicPort, TLS: e.TLS, Client: e.Client.String(), Trusted: e.Trusted}}
	if e.Status != 0 {
		v.Answer = &admin.ExplainedAnswer{Status: e.Status, Reason: e.Reason, Text: e.Text}
		if e.Limited != tenant.Admitted {
			v.Answer.RetryAfter = max(int((e.Allowance.Wait+time.Second-1)/time.Second), 1)
		}
	}
	if e.Held > 0 {
		v.Held = &admin.ExplainedWait{Most: e.Held.String(), Before: e.Before}
	}
	d := e.Decision
	h := d.Host
	if h == nil {
		h = e.OutOfReach
	}
	if h == nil {
		return v, nil
	}
	v.Host = &admin.ExplainedHost{Name: e.Host, Pattern: h.Pattern, Service: h.Service, SubDomain: h.SubDomain, OutOfReach: e.OutOfReach != nil}
	if d.Host == nil {
		return v, nil
	}
	v.Tenant = lb.explainedTenant(e, time.Since(began))
	if d.Cluster == nil {
		return v, nil
	}
	explainDomain(&v, e)
	return v, nil
}

// arrival turns the question into one for the proxy. The path stays as it is
// written: what is odd in it is what a request would be judged by.
func arrival(q admin.Question) (proxy.Question, error) {
	p := proxy.Question{Method: q.Method, Target: q.URL, Listener: q.Listener, Client: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if p.Method == "" {
		p.Method = "GET"
	}
	host := ""
	if scheme, rest, absolute := strings.Cut(q.URL, "://"); absolute && !strings.HasPrefix(q.URL, "/") {
		rest, _, _ = strings.Cut(rest, "#")
		host, p.Target = rest, "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			host, p.Target = rest[:i], rest[i:]
		}
		if !strings.HasPrefix(p.Target, "/") {
			p.Target = "/" + p.Target
		}
		p.TLS = strings.EqualFold(scheme, "https")
		if host == "" || !p.TLS && !strings.EqualFold(scheme, "http") {
			return p, fmt.Errorf("cannot explain %q: expected http://HOST/PATH, https://HOST/PATH or /PATH with a Host field", q.URL)
		}
		p.Port = portOf(host, p.TLS)
	}
	hosted := slices.ContainsFunc(q.Fields, func(f [2]string) bool { return strings.EqualFold(f[0], "host") })
	switch {
	case host == "" && !hosted:
		return p, fmt.Errorf("cannot explain %q: it names no host; expected http://HOST/PATH, or a Host field", q.URL)
	case !hosted:
		p.Fields = append(p.Fields, [2]string{"Host", host})
	}
	p.Fields = append(p.Fields, q.Fields...)
	if q.Client != "" {
		var err error
		if p.Client, err = netip.ParseAddr(q.Client); err != nil {
			return p, fmt.Errorf("cannot use client %q: expected an IP address", q.Client)
		}
	}
	return p, nil
}

// portOf returns the port of an authority, or that of the scheme.
func portOf(host string, tls bool) uint16 {
	if _, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			return uint16(n)
		}
	}
	if tls {
		return 443
	}
	return 80
}

// explainedTenant tells whose request it is and how that is known.
func (lb *loadBalancer) explainedTenant(e *proxy.Explanation, took time.Duration) *admin.ExplainedTenant {
	f, k := &e.Decision.Tenant, e.Knowledge
	t := &admin.ExplainedTenant{Name: string(f.Name()), Outcome: f.Outcome.String(), Rule: e.Decision.How(), Kept: k.Kept, Told: k.Told}
	if f.Outcome == tenant.Known || f.Outcome == tenant.Inactive {
		t.ID = int64(f.ID)
	}
	if f.Outcome == tenant.None || f.Outcome == tenant.Super || t.Name == "" {
		return t
	}
	u := lb.tenants.current()
	if t.From = u.cfg.Kind(); u.cfg.File != "" {
		t.From += " " + u.cfg.File
		t.Age = time.Since(u.read).Round(time.Second).String()
	}
	if k.Asked && k.Age >= 0 {
		t.Age, t.AskedBy = k.Age.Round(time.Millisecond).String(), k.Age <= took
	}
	t.Refresh = k.Asked && !k.Fresh
	return t
}

func explainDomain(v *admin.Explanation, e *proxy.Explanation) {
	d := e.Decision
	c := d.Cluster.Config
	v.Domain = &admin.ExplainedDomain{Name: c.Key.Domain, SubDomain: c.Key.SubDomain, Range: "*", Balance: string(c.Balance)}
	if i := tenant.Search(c.Ranges.Spans(), d.Tenant.ID); d.Tenant.Outcome == tenant.Known && i >= 0 {
		v.Domain.Range = c.Ranges.Spans()[i].String()
	}
	if d.View != nil {
		v.Domain.LowerWins = d.View.LowerWins()
	}
	if l := e.Limits; l != (tenant.Limits{}) {
		v.Limits = &admin.ExplainedLimits{Rate: l.Rate, Burst: l.Depth(), InFlight: l.InFlight, Body: l.Body, DryRun: c.DryRun,
			Verdict: [...]string{"admitted", "in_flight", "rate"}[e.Limited]}
	}
	if e.Affinity != "" {
		v.Session = &admin.ExplainedSession{Mode: string(e.Affinity), Verdict: e.Session.String()}
		if e.Bound != nil {
			v.Session.Member = e.Bound.Upstream.Member().ID
		}
	}
	for i := range e.Candidates {
		v.Candidates = append(v.Candidates, explainedCandidate(&e.Candidates[i], e))
	}
	if len(e.Head) > 0 {
		v.Head = strings.Split(strings.TrimRight(string(e.Head), "\r\n"), "\r\n")
	}
	f := e.Foresight
	if f.Choice == nil {
		return
	}
	v.Choice = &admin.ExplainedChoice{ID: f.Choice.Upstream.Member().ID, Address: f.Choice.Address, TLS: f.Choice.TLS,
		Why: whyChosen(e), Certain: f.Certain}
	if !f.Certain {
		for _, a := range f.Among {
			v.Choice.Among = append(v.Choice.Among, a.Upstream.Member().ID)
		}
	}
}

func explainedCandidate(c *balancer.Candidate, e *proxy.Explanation) admin.ExplainedCandidate {
	s := c.Upstream.Status(e.Now.UnixNano())
	v := admin.ExplainedCandidate{ID: s.Member.ID, State: s.State, Grade: c.Grade, InFlight: s.InFlight, Weight: s.Weight,
		Chosen: c.Endpoint != nil && c.Endpoint == e.Foresight.Choice}
	if !math.IsNaN(c.Score) && !math.IsInf(c.Score, 0) {
		v.Score = &c.Score
	}
	if c.Endpoint == nil {
		v.Reason = "it has no port for this listener"
		return v
	}
	v.Address, v.TLS = c.Endpoint.Address, c.Endpoint.TLS
	switch {
	case s.State != balancer.StateUp:
		v.Reason = s.Reason
	case s.Share < 1:
		v.Reason = fmt.Sprintf("slow start: %.0f%% of its share", 100*s.Share)
	}
	return v
}

// whyChosen says in words how the choice came about.
func whyChosen(e *proxy.Explanation) string {
	f, c := e.Foresight, e.Decision.Cluster.Config
	switch {
	case e.Bound != nil && f.Choice == e.Bound:
		return "its session is there"
	case e.Spread:
		return "by the hash of what names its session"
	case len(e.Candidates) == 1:
		return "the only member"
	case f.Certain && c.Balance == balancer.RoundRobin:
		return "its turn is next"
	case f.Certain && c.Balance == balancer.Hash && e.Decision.Hash != 0:
		return "by the hash of the " + string(c.HashBy.What)
	case f.Certain:
		return "the best of the fittest"
	}
	return "by chance among equals"
}
