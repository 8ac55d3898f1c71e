//go:build !linux

package proxy

import (
	"context"
	"time"
)

// lot would keep idle connections without a goroutine each; here they keep it.
type lot struct{}

func newLot(func(*clientConn)) *lot { return nil }

func (*lot) park(*clientConn, time.Time) bool { return false }

func (*lot) run(ctx context.Context) { <-ctx.Done() }

func (*lot) wakeIf(func(*clientConn) bool) {}
