package cli

import (
	"jetway/balancer"
	"jetway/balancer/session"
)

// sessionTable returns the table of learned sessions of a router, nil where it
// has none.
func sessionTable(r *balancer.Router) *session.Store {
	if s, ok := any(r).(interface{ Sessions() *session.Store }); ok {
		return s.Sessions()
	}
	return nil
}
