// Package traffic holds the tests of Jetway in motion: many requests at once,
// long ones, and ends that leave, break or stall. Jetway runs as a built binary
// between raw clients and members of the test process.
//
//	TestCanary      200 connections of random traffic against members that
//	                misbehave at random; every request has a nonce of its own, and
//	                a ledger knows who may see what (ledger_test.go)
//	TestStream…     server-sent events, uploads in pieces, large bodies, back-pressure
//	TestClientGone  the member is let go when its client leaves
//	TestTunnel…     WebSocket-like connections
//	TestRetry…      attempts and the retry budget, counted at the members
//	TestIdle…       members that close kept connections at the worst moment
//	TestStalled…, TestEarly…  what these found in proxy/
//
// Environment: JETWAY_TRAFFIC is how long the canary runs (3s), JETWAY_SEED
// repeats its choices, JETWAY_TRAFFIC_MIB is the size of large bodies (64).
package traffic
