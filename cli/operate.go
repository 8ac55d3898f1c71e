package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"jetway/admin"
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
