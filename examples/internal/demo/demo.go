// Package demo gives the examples a Redis, and one way to print.
package demo

import (
	"flag"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redigolock/redigolock"
)

var url = flag.String("url", "", "where Redis is, such as redis://localhost:6379; empty: in this process")

// Pool parses the flags, and returns a pool that leads to the Redis of -url, or to one in this process.
func Pool() redigolock.Pool {
	flag.Parse()
	if *url == "" {
		server := miniredis.NewMiniRedis()
		server.ClockTTL(true) // else no lock expires
		if err := server.Start(); err != nil {
			log.Fatal(err)
		}
		*url = "redis://" + server.Addr()
	}
	pool, err := redigolock.Open(*url)
	if err != nil {
		log.Fatal(err)
	}
	return pool
}

var (
	start = time.Now()
	line  sync.Mutex
)

// Say prints who does what, after the seconds since the start.
func Say(who, format string, args ...any) {
	line.Lock()
	defer line.Unlock()
	fmt.Printf("%5.2f s  %-6s  %s\n", time.Since(start).Seconds(), who, fmt.Sprintf(format, args...))
}
