//go:build !race

package harness

// raceEnabled: a plain test builds a plain jetway.
const raceEnabled = false
