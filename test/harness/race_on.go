//go:build race

package harness

// raceEnabled: a race-enabled test builds a race-enabled jetway.
const raceEnabled = true
