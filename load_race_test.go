//go:build race

package redigolock_test

const raceEnabled = true
