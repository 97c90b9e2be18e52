package inspect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/fault"
	"github.com/redigolock/redigolock/internal/names"
	"github.com/redigolock/redigolock/internal/wire"
)

// A Scan goes through the keys of one server, a page at a time, so that neither a command nor this process has all of
// them to deal with. It sends SCAN, PTTL, GETRANGE and LLEN only, and no script.
type Scan struct {
	Pattern string // as SCAN has it; "": all keys
	All     bool   // also strings that have a lock's TTL, and a value that does not look like a token
	Endless bool   // instead: tokens of this library, on keys without TTL
	Pages   int    // ends after so many; 0: after the last

	// Found is told of each lock; of its queue it knows the length only. The server may name a key twice, when its
	// table grows or shrinks meanwhile. An error ends the scan.
	Found func(Lock) error
}

const (
	pageSize   = 500            // keys that one SCAN looks at: well below a millisecond of the server's time
	longestTTL = 24 * time.Hour // of a lock
	maxToken   = 128 + len("|") + 36 + len(names.LeftSuffix)
)

// Run goes through the keys of the server that c leads to. It reports whether it has seen all.
func (s *Scan) Run(ctx context.Context, c redis.Conn) (all bool, err error) {
	pattern := s.Pattern
	if pattern == "" {
		pattern = "*"
	}
	cursor := "0"
	for n := 1; ; n++ {
		var keys []string
		if cursor, keys, err = nextPage(ctx, c, cursor, pattern); err != nil {
			return false, err
		}
		if err := s.page(ctx, c, keys); err != nil {
			return false, err
		}
		if cursor == "0" || n == s.Pages {
			return cursor == "0", nil
		}
	}
}

func nextPage(ctx context.Context, c redis.Conn, cursor, pattern string) (next string, keys []string, err error) {
	replies, err := ask(ctx, c, []wire.Request{{Cmd: "SCAN", Args: []any{cursor, "MATCH", pattern, "COUNT", pageSize, "TYPE", "string"}}})
	if err != nil {
		return "", nil, err
	}
	list, err := redis.Values(replies[0], nil)
	if err == nil {
		_, err = redis.Scan(list, &next, &keys)
	}
	if err != nil {
		return "", nil, fmt.Errorf("scan: %w", err)
	}
	return next, keys, nil
}

// page tells of the locks among the keys.
func (s *Scan) page(ctx context.Context, c redis.Conn, keys []string) error {
	locks, err := s.withTTL(ctx, c, keys)
	if err == nil {
		locks, err = s.withToken(ctx, c, locks)
	}
	if err == nil {
		err = countWaiting(ctx, c, locks)
	}
	for i := 0; i < len(locks) && err == nil; i++ {
		err = s.Found(locks[i])
	}
	return err
}

func (s *Scan) withTTL(ctx context.Context, c redis.Conn, keys []string) (locks []Lock, err error) {
	reqs := make([]wire.Request, len(keys))
	for i, key := range keys {
		reqs[i] = wire.Request{Cmd: "PTTL", Args: []any{key}}
	}
	replies, err := ask(ctx, c, reqs)
	for i, reply := range replies {
		ms, refused := redis.Int64(reply, nil)
		left := time.Duration(ms) * time.Millisecond
		isLease := ms > 0 && left <= longestTTL
		if refused == nil && !names.IsSibling(keys[i]) && (isLease && !s.Endless || ms == -1 && s.Endless) {
			locks = append(locks, Lock{Key: keys[i], Held: isLease, Left: Millis(max(left, 0))})
		}
	}
	return locks, err
}

func (s *Scan) withToken(ctx context.Context, c redis.Conn, locks []Lock) (found []Lock, err error) {
	reqs := make([]wire.Request, len(locks))
	for i, l := range locks {
		reqs[i] = wire.Request{Cmd: "GETRANGE", Args: []any{l.Key, 0, maxToken}} // what is longer is no token of ours
	}
	replies, err := ask(ctx, c, reqs)
	for i, reply := range replies {
		token, refused := redis.String(reply, nil)
		switch {
		case refused != nil || token == "" || !s.wants(token):
			continue
		case len(token) > maxToken:
			locks[i].Holder = "?"
		default:
			locks[i].Holder = names.Holder(token)
		}
		found = append(found, locks[i])
	}
	return found, err
}

// countWaiting reads the lengths of the queues, as far as there are any and the user may.
func countWaiting(ctx context.Context, c redis.Conn, locks []Lock) error {
	reqs := make([]wire.Request, len(locks))
	for i, l := range locks {
		queue, _ := names.Sibling(l.Key, names.Queue)
		reqs[i] = wire.Request{Cmd: "LLEN", Args: []any{queue}}
	}
	replies, err := ask(ctx, c, reqs)
	for i, reply := range replies {
		locks[i].Waiting, _ = redis.Int(reply, nil)
	}
	if lacksRight(err) {
		return nil
	}
	return err
}

// ask sends the requests and returns their replies, all of them also if there is an error because the user lacks a
// right. Other refusals are for the caller to see: a key may have gone to another node, or have become another type.
func ask(ctx context.Context, c redis.Conn, reqs []wire.Request) ([]any, error) {
	if len(reqs) == 0 {
		return nil, nil
	}
	replies := make([]any, len(reqs))
	if res := wire.Exchange(ctx, c, reqs, replies); res.Err != nil {
		return nil, fmt.Errorf("%s: %w", strings.ToLower(reqs[0].Cmd), res.Err)
	}
	for i, reply := range replies {
		if no, _ := reply.(redis.Error); lacksRight(no) {
			return replies, fmt.Errorf("%s: %w", strings.ToLower(reqs[i].Cmd), no)
		}
	}
	return replies, nil
}

func lacksRight(err error) bool {
	var no redis.Error
	return errors.As(err, &no) && fault.Word(no) == "NOPERM"
}

// wants reports whether a value is what the scan looks for. Tokens of other libraries are 20 to 64 characters of hex or base64.
func (s *Scan) wants(value string) bool {
	switch {
	case s.All || names.IsToken(value):
		return true
	case s.Endless:
		return false
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
	return len(value) >= 20 && len(value) <= 64 && strings.Trim(value, alphabet) == ""
}

// Masters returns the addresses of the masters that have slots, as the node of a cluster at addr tells them.
func Masters(ctx context.Context, c redis.Conn, addr string) (masters []string, err error) {
	replies, err := ask(ctx, c, []wire.Request{{Cmd: "CLUSTER", Args: []any{"SLOTS"}}})
	if err != nil {
		return nil, err
	}
	ranges, err := redis.Values(replies[0], nil)
	for _, r := range ranges {
		var node []any
		var host string
		var port int
		list, badErr := redis.Values(r, nil)
		if badErr == nil {
			_, badErr = redis.Scan(list, new(int), new(int), &node)
		}
		if badErr == nil {
			_, badErr = redis.Scan(node, &host, &port)
		}
		if badErr != nil {
			return nil, fmt.Errorf("cluster slots: %w", badErr)
		}
		if host == "" { // the host that was asked
			host, _, _ = net.SplitHostPort(addr)
		}
		if at := net.JoinHostPort(host, strconv.Itoa(port)); !slices.Contains(masters, at) {
			masters = append(masters, at)
		}
	}
	return masters, err
}
