package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"jetway/admin"
	"jetway/balancer"
	"jetway/balancer/session"
	"jetway/config"
	"jetway/tenant"
)

// tenant is what operators see of one tenant. It may ask the directory.
func (lb *loadBalancer) tenant(_ context.Context, name string) (admin.TenantView, error) {
	t := lb.router.Table()
	var f tenant.Found
	if err := t.Tenants().Who(&f, name, time.Now().UnixNano()); err != nil {
		return admin.TenantView{}, err
	}
	v := admin.TenantView{Name: string(f.Name()), State: f.Outcome.String(), ID: int64(f.ID), Plan: lb.tenants.numbers.PlanOf(&f.Facts)}
	for _, p := range t.Where(&f) {
		route := admin.TenantRoute{Service: p.Host.Service, Host: p.Host.Pattern, SubDomain: p.Host.SubDomain}
		if p.Cluster != nil {
			route.Domain = p.Cluster.Config.Key.Domain
		}
		v.Domains = append(v.Domains, route)
	}
	return v, nil
}

func (lb *loadBalancer) setLogLevel(level string) error {
	before := lb.logging.Level()
	if err := lb.logging.SetLevel(level); err != nil {
		return err
	}
	if before != level {
		lb.log.Info().Str("before", before).Str("now", level).Msg("log level changed")
	}
	return nil
}

// check says what a reload would, and changes nothing.
func (r *reloader) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.current.Load()
	next, err := config.Load(old.File)
	if err != nil {
		return err
	}
	if keys := needRestart(old, next); len(keys) > 0 {
		return fmt.Errorf("%s: %s cannot change while Jetway runs; restart it, or take the change back", next.File, strings.Join(keys, ", "))
	}
	return nil
}

// sessionView counts learned sessions.
func (lb *loadBalancer) sessionView() admin.Sessions {
	st := lb.sessions.store.Stats()
	v := admin.Sessions{Sessions: st.Sessions, Max: st.Max, Tenants: st.Tenants, Learned: st.Learned, Expired: st.Expired,
		Evicted: st.Evicted, Refused: st.Refused, Deleted: st.Deleted, FromPeers: st.Applied}
	for _, u := range lb.router.Table().Upstreams() {
		m := u.Member()
		if n := lb.sessions.store.OfMember(session.MemberID(m.Domain, m.ID)); n > 0 {
			v.Members = append(v.Members, admin.MemberSessions{Domain: m.Domain, Member: m.ID, Sessions: n})
		}
	}
	return v
}

// elasticSource is what can be told and done about the size of domains.
func (lb *loadBalancer) elasticSource() admin.Elastic {
	key := func(domain, sub string) balancer.Key { return balancer.Key{Domain: domain, SubDomain: sub} }
	now := func(domain, sub string, err error) (any, error) {
		for _, s := range lb.scaler.Status() {
			if err == nil && s.Domain == domain && s.SubDomain == sub {
				return s, nil
			}
		}
		return nil, err // without one: a reload took the domain away meanwhile
	}
	return admin.Elastic{
		Status:    func() []any { return anyOf(lb.scaler.Status()) },
		Decisions: func() []any { return anyOf(lb.scaler.Decisions()) },
		Scale: func(domain, sub string, size int) (any, error) {
			return now(domain, sub, lb.scaler.Scale(key(domain, sub), size))
		},
		Release: func(domain, sub string) (any, error) { return now(domain, sub, lb.scaler.Release(key(domain, sub))) },
	}
}

func anyOf[T any](all []T) []any {
	out := make([]any, len(all))
	for i := range all {
		out[i] = all[i]
	}
	return out
}
