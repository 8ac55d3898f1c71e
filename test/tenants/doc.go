// Package tenants tests tenants from outside: all directories with real
// databases and services behind them while these misbehave, floods of unknown
// names, and limits.
package tenants
