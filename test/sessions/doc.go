// Package sessions tests from outside how clients stay with their member: with
// real Tomcats that count in the session, over restarts of Jetway, and against
// a tenant that floods.
package sessions
