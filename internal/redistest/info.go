package redistest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Calls returns how often the server has executed each command, by its name in
// lower case, commands called by scripts included. Asking counts too: one info,
// and one auth if there is a password.
func (s *Server) Calls() (map[string]int64, error) {
	info, err := s.info("commandstats")
	if err != nil {
		return nil, err
	}
	calls := make(map[string]int64)
	for field, v := range info {
		name, ok := strings.CutPrefix(field, "cmdstat_")
		if !ok {
			continue
		}
		first, _, _ := strings.Cut(v, ",")
		n, err := strconv.ParseInt(strings.TrimPrefix(first, "calls="), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("redistest: commandstats of %s: %w", name, err)
		}
		calls[strings.ToLower(name)] = n
	}
	return calls, nil
}

// Reads returns how often the server has read from a client's socket. Its
// growth counts round trips: a pipeline sent at once is one read. The end of a
// connection is a read too, so that the growth from one call to the next
// contains 2 for the asking itself, 3 if there is a password.
func (s *Server) Reads() (int64, error) {
	info, err := s.info("stats")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(info["total_reads_processed"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("redistest: total_reads_processed: %w", err)
	}
	return n, nil
}

// CPU returns the processor time that the server has used.
func (s *Server) CPU() (time.Duration, error) {
	info, err := s.info("cpu")
	if err != nil {
		return 0, err
	}
	user, userErr := time.ParseDuration(info["used_cpu_user"] + "s")
	sys, sysErr := time.ParseDuration(info["used_cpu_sys"] + "s")
	return user + sys, errors.Join(userErr, sysErr)
}

// Version returns the server's name and version, such as "redis 7.0.15" or
// "valkey 9.1.2", or "" if it does not answer.
func (s *Server) Version() string {
	info, err := s.info("server")
	if err != nil {
		return ""
	}
	// Valkey also reports a redis_version, that of the Redis it is compatible to.
	if v := info["valkey_version"]; v != "" {
		return "valkey " + v
	}
	return "redis " + info["redis_version"]
}

// info returns the fields of one section of INFO.
func (s *Server) info(section string) (map[string]string, error) {
	text, err := redis.String(s.Do("INFO", section))
	if err != nil {
		return nil, fmt.Errorf("redistest: INFO %s: %w", section, err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = v
		}
	}
	return fields, nil
}
