// Package standby keeps the peers of one installation in step: what one
// Jetway learned (sessions, ejections, drains, load) the others know a moment
// later, so that whichever of them holds the public address next serves as if
// it had always done so.
//
// Every kind of state is a Source and a Sink, cut into shards. Between each
// pair of peers runs one mutually authenticated TLS connection; a link is the
// protocol on it, a state machine without clock, sockets or goroutines that
// the simulation drives as well. Nothing is queued per peer: a link holds a
// cursor per shard over the changes that the source remembers, and a cursor
// that fell behind what is remembered walks the whole shard instead. So a
// slow peer costs what a dead one does, and no request ever waits.
//
// Conflicts are settled by the stores, newest first (Stamp); stamps are never
// rewritten on the way, and lifetimes travel as time remaining, so that a wrong
// clock can neither end nor prolong what another Jetway learned.
//
// Mesh owns the connections: a goroutine that accepts, one per address that it
// dials, and two per link, all of them ended by Run.
package standby
