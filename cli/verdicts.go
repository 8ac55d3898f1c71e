package cli

import (
	"github.com/rs/zerolog"

	"jetway/balancer"
)

// logVerdicts returns what logs changes of what is thought of members. What
// members say themselves, and operators, is logged where it comes in.
func logVerdicts(log zerolog.Logger) func(balancer.Transition) {
	return func(t balancer.Transition) {
		e, what := log.Info(), ""
		switch t.State {
		case balancer.StateEjected:
			e, what = log.Warn(), "member ejected"
		case balancer.StateDown:
			e, what = log.Warn(), "member is down"
		case balancer.StateUp:
			if t.Before != balancer.StateEjected && t.Before != balancer.StateDown {
				return
			}
			what = "member is back"
		default:
			return
		}
		e = e.Str("domain", t.Member.Domain).Str("member", t.Member.ID).Str("host", t.Member.Host).Str("reason", t.Reason)
		if t.For > 0 {
			e = e.Dur("for", t.For)
		}
		e.Msg(what)
	}
}
