package proxy

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"jetway/balancer"
)

// What requests tell of members. Faults of the client, and of Jetway itself,
// are no evidence.

// unreachable judges a connection that could not be made.
func (x *exchange) unreachable(e *balancer.Endpoint, err error) fault {
	v, now := x.decision.View, time.Now().UnixNano()
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded):
		v.Unreachable(e, x.attempted, now, "a connection timed out")
		return connectTimeout
	case errors.Is(err, errHandshake):
		v.Broke(e, x.attempted, now, err.Error())
	case errors.Is(err, syscall.ECONNREFUSED):
		v.Unreachable(e, x.attempted, now, "a connection was refused")
	default:
		v.Unreachable(e, x.attempted, now, err.Error())
	}
	return connectFailed
}

// broke judges an attempt that ended with f after the connection was made. A
// kept connection that ends before it brought anything is none: the member may
// close those when it likes, and that crossed the request.
func (x *exchange) broke(e *balancer.Endpoint, f fault, stale bool) {
	switch {
	case f != memberBroke && f != memberInvalid && f != responseTimeout:
	case x.gone.Load() || x.pumped != nil && x.pumpFault != noFault:
	case f == memberBroke && stale && !x.heard:
	default:
		x.decision.View.Broke(e, x.attempted, time.Now().UnixNano(), f.code())
	}
}

// answered notes the head of an answer to what was sent at from.
func (x *exchange) answered(e *balancer.Endpoint, from time.Time) {
	took := int64(x.outcome.ResponseTime)
	x.decision.View.Answered(e, x.resp.status, took, from.UnixNano()+took)
}

// completed notes an answer that came whole.
func (x *exchange) completed(e *balancer.Endpoint) {
	x.decision.View.Completed(e, x.resp.status, x.attempted, x.tick.UnixNano())
}
