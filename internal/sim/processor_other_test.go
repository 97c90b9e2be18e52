//go:build !unix

package sim_test

import "time"

var processBegan = time.Now()

// processorTime is the time since the process began, where nothing better is to be had.
func processorTime() time.Duration { return time.Since(processBegan) }
