// Package standby tests what happens when one of several load balancers dies,
// hangs or hands over: first over loopback, then in network namespaces of this
// machine with real keepalived and nftables, which needs root. The short form
// repeats each fault a few times; JETWAY_LONG=1 as often as the documentation
// claims.
package standby
