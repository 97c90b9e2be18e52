//go:build !race

package fairmodel_test

const raceEnabled = false
