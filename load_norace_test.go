//go:build !race

package redigolock_test

const raceEnabled = false
