package redistest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// StartValkey is [Start] with the Valkey 9 that fetch-newer.sh has fetched.
// Where it has not, the test is skipped, or fails with REDIGOLOCK_NEWER=1.
func StartValkey(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return startNewer(tb, "valkey", args)
}

// StartRedis8 is [Start] with the Redis 8 that fetch-newer.sh has fetched.
// Where it has not, the test is skipped, or fails with REDIGOLOCK_NEWER=1.
func StartRedis8(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return startNewer(tb, "redis8", args)
}

func startNewer(tb testing.TB, name string, args []string) *Server {
	tb.Helper()
	s, err := RunBinary(newer(tb, name), args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// newer is the command of a newer server. Where there is none, it ends the test.
func newer(tb testing.TB, name string) []string {
	tb.Helper()
	argv, err := newerCommand(name)
	if errors.Is(err, fs.ErrNotExist) && !isSet("REDIGOLOCK_NEWER") {
		tb.Skipf("%v; run internal/redistest/fetch-newer.sh", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return argv
}

// newerCommand reads the command that fetch-newer.sh wrote, a word a line.
func newerCommand(name string) ([]string, error) {
	dir := os.Getenv("REDIGOLOCK_SERVERS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			// No home, hence no cache: the same as an empty one.
			return nil, fmt.Errorf("redistest: no %s: %w: %w", name, fs.ErrNotExist, err)
		}
		dir = filepath.Join(cache, "redigolock", "servers")
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("redistest: no %s: %w", name, err)
	}
	argv := strings.Split(strings.TrimSpace(string(text)), "\n")
	if argv[0] == "" {
		return nil, fmt.Errorf("redistest: %s in %s is empty", name, dir)
	}
	return argv, nil
}

// UseNewer has all servers of the test be those that fetch-newer.sh has fetched: valkey, or redis8. The test must not be parallel. Where
// they are not there, it is skipped, or fails with REDIGOLOCK_NEWER=1.
func UseNewer(tb testing.TB, name string) {
	tb.Helper()
	argv := newer(tb, name)
	for i, word := range argv {
		argv[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	script := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec "+strings.Join(argv, " ")+" \"$@\"\n"), 0o700); err != nil {
		tb.Fatal(err)
	}
	tb.Setenv("REDIGOLOCK_SERVER", script)
}
