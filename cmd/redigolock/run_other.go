//go:build !darwin && !freebsd && !linux

package main

import "context"

const guardName = "guard"

func run(_ context.Context, e *env, _ []string) int {
	return e.fail(usagef("run needs process groups, which this system does not have"))
}

func guardGroup([]string) int { return exitUsage }
