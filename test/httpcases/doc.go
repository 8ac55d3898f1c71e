// Package httpcases holds the table of bad and odd HTTP as executable tests:
// what clients and members may send, what Jetway must do with it, and which
// bytes may reach whom. The rule is RFC 9110 and RFC 9112; rows whose number is
// that of the reference table carry its identifier, siblings carry a letter
// behind it or a number that the reference leaves out.
//
// A row is input and the set of right outcomes (row_test.go). It runs over real
// sockets in several forms (forms_test.go) against a bench: one load balancer
// between a raw client and recording members (bench_test.go). After every run
// a canary with a nonce of its own must get its own answer, on the same
// connection where that is open and on a new one; any other request at a
// member is a failure.
//
//	go test ./test/httpcases                       Jetway, every row and form
//	go test ./test/httpcases -run 'Cases/K/K08'    one row
//	go test ./test/httpcases -run Rivals -rivals   the same rows through HAProxy
//	                                               and nginx, side by side
package httpcases
