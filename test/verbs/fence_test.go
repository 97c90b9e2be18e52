package verbs

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock"
)

const counterOfK = "{k}:redigolock-fence"

// fence wants a number for the holder of k.
func fence(s *verbSite, c redis.Conn) int64 {
	s.t.Helper()
	n, err := redigolock.Fence(bg, c, "k", "tok")
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestFenceRisesWhateverHappensToTheCounter(t *testing.T) {
	losses := map[string]func(s *verbSite){
		"nothing":                 func(*verbSite) {},
		"FLUSHALL":                func(s *verbSite) { s.do("FLUSHALL") },
		"counter deleted":         func(s *verbSite) { s.do("DEL", counterOfK) },
		"counter from before":     func(s *verbSite) { s.do("SET", counterOfK, 1) },
		"counter with zeros":      func(s *verbSite) { s.do("SET", counterOfK, "0000") },
		"lock by another between": func(s *verbSite) { s.put("k", "tok2", minute) },
		"lock expired between":    func(s *verbSite) { s.do("DEL", "k") },
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for name, lose := range losses {
			c := s.dial()
			s.put("k", "tok", minute)
			last := int64(0)
			for range 20 {
				n := fence(s, c)
				if n <= last || n >= 1<<53 {
					t.Errorf("%s: %d after %d", name, n, last)
				}
				last = n
				lose(s)
				s.put("k", "tok", minute)
			}
		}
	})
}

// The number is the server's time in µs at least, and one more than the last at least: here the clock is behind.
func TestFenceIsOneMoreWhenTheClockIsBehindTheCounter(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.put("k", "tok", minute)
		for _, last := range []int64{1 << 52, 1<<52 + 1, 1<<53 - 2} {
			s.do("SET", counterOfK, last)
			if n := fence(s, s.ctl); n != last+1 {
				t.Errorf("after %d comes %d", last, n)
			}
			if got := s.value(counterOfK); got != strconv.FormatInt(last+1, 10) {
				t.Errorf("the counter is %s, want %d", got, last+1)
			}
		}
		before := time.Now().Add(-time.Minute).UnixMicro()
		s.do("DEL", counterOfK)
		if n := fence(s, s.ctl); n < before || n > time.Now().Add(time.Minute).UnixMicro() {
			t.Errorf("without a counter the number is %d, which is not the server's time in µs", n)
		}
	})
}

func TestFenceCounterIsKeptForSevenDays(t *testing.T) {
	const week = 7 * 24 * time.Hour
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.put("k", "tok", minute)
		fence(s, s.ctl)
		s.wantTTL(counterOfK, week)
		s.do("PERSIST", counterOfK)
		fence(s, s.ctl)
		s.wantTTL(counterOfK, week)
		s.do("PEXPIRE", counterOfK, minute.Milliseconds())
		fence(s, s.ctl)
		s.wantTTL(counterOfK, week)
		s.wantLock("k", "tok", minute)
		s.wantKeys("k", counterOfK)
	})
}

func TestFenceToAStrangerMakesNoCounter(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, token := range []string{"", "tok2", "to", "tokk"} {
			s.do("FLUSHDB")
			if token != "" {
				s.put("k", token, minute)
			}
			n, err := redigolock.Fence(bg, s.ctl, "k", "tok")
			wants(t, err, redigolock.ErrNotHeld)
			if n != 0 || s.do("EXISTS", counterOfK) != int64(0) {
				t.Errorf("with %q in the key: number %d, counter %q", token, n, s.value(counterOfK))
			}
		}
	})
}

func TestFenceOfAHashTaggedKeyStaysInItsSlot(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.put("order:{17}:lock", "tok", minute)
		if _, err := redigolock.Fence(bg, s.ctl, "order:{17}:lock", "tok"); err != nil {
			t.Fatal(err)
		}
		s.wantKeys("order:{17}:lock", "order:{17}:lock:redigolock-fence-t")
	})
}

func TestFenceWithASpoiltCounterIsConflict(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, spoilt := range []string{"", "x", "-1", "1.5", "1e3", "0x10", " 1", "1 ", "1\n", "nan", "inf",
			"9007199254740991", "9007199254740992", "18446744073709551616", strings.Repeat("9", 400)} {
			s.put("k", "tok", minute)
			s.put(counterOfK, spoilt, minute)
			n, err := redigolock.Fence(bg, s.ctl, "k", "tok")
			wants(t, err, redigolock.ErrConflict)
			if n != 0 {
				t.Errorf("counter %.30q: number %d", spoilt, n)
			}
			s.wantLock(counterOfK, spoilt, minute)
		}
		s.do("DEL", counterOfK)
		s.do("RPUSH", counterOfK, 1)
		_, err := redigolock.Fence(bg, s.ctl, "k", "tok")
		wants(t, err, redigolock.ErrConflict)
	})
}

func TestFenceRepliesThatAreNoNumberAreErrors(t *testing.T) {
	for _, reply := range []any{[]byte(""), []byte("x"), []byte("1.5"), []byte("-3"), []byte("0"),
		[]byte("99999999999999999999"), int64(5), []any{[]byte("1")}} {
		n, err := redigolock.Fence(bg, &scriptedConn{Replies: []any{reply}}, "k", "tok")
		if err == nil || n != 0 {
			t.Errorf("reply %q: %d, %v", reply, n, err)
		}
	}
}

func TestGuardLetsOnlyTheNewestPass(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, tc := range []struct {
			seen  string
			fence int64
			after string // "": refused
		}{
			{"", 1, "1"}, {"", 1<<53 - 1, "9007199254740991"}, // the first
			{"5", 5, "5"}, {"5", 6, "6"}, {"5", 4, ""}, {"5", 1, ""},
			{"9", 10, "10"}, {"10", 9, ""}, {"99", 100, "100"}, {"100", 99, ""}, // as numbers, not as text
			{"9007199254740990", 1<<53 - 1, "9007199254740991"}, {"9007199254740991", 1<<53 - 2, ""},
			{"9007199254740992", 1<<53 - 1, ""}, {"9007199254740993", 1<<53 - 1, ""},
			{"0", 1, "1"}, {"05", 5, "5"}, {"06", 5, ""},
		} {
			for _, way := range []string{"Guard", "GuardDo"} {
				s.do("FLUSHDB")
				if tc.seen != "" {
					s.do("SET", "guard", tc.seen)
				}
				var err error
				if way == "Guard" {
					err = redigolock.Guard(bg, s.ctl, "guard", tc.fence)
				} else {
					_, err = redigolock.GuardDo(bg, s.ctl, "guard", tc.fence, "SET", "resource", "v")
				}
				want := tc.after
				if want == "" {
					wants(t, err, redigolock.ErrFenced)
					wantsNot(t, err, redigolock.ErrConflict, redigolock.ErrNotHeld)
					want = tc.seen
				} else if err != nil {
					t.Errorf("%s of %d after %q: %v", way, tc.fence, tc.seen, err)
				}
				if got := s.value("guard"); got != want {
					t.Errorf("%s of %d after %q: the guard is %q, want %q", way, tc.fence, tc.seen, got, want)
				}
				if written := s.value("resource") == "v"; written != (way == "GuardDo" && tc.after != "") {
					t.Errorf("%s of %d after %q: written %v", way, tc.fence, tc.seen, written)
				}
			}
		}
	})
}

func TestGuardThatIsNoNumberIsConflict(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for _, spoilt := range []string{"", "x", "-1", "1.5", "1e3", "0x10", " 1", "1\n", "nan", "inf",
			strings.Repeat("9", 17)} {
			s.do("SET", "guard", spoilt)
			wants(t, redigolock.Guard(bg, s.ctl, "guard", 1<<53-1), redigolock.ErrConflict)
			_, err := redigolock.GuardDo(bg, s.ctl, "guard", 1<<53-1, "SET", "resource", "v")
			wants(t, err, redigolock.ErrConflict)
			if got := s.value("guard"); got != spoilt {
				t.Errorf("the guard %q became %q", spoilt, got)
			}
		}
		s.do("DEL", "guard")
		s.do("RPUSH", "guard", 1)
		wants(t, redigolock.Guard(bg, s.ctl, "guard", 1), redigolock.ErrConflict)
		_, err := redigolock.GuardDo(bg, s.ctl, "guard", 1, "SET", "resource", "v")
		wants(t, err, redigolock.ErrConflict)
		s.wantKeys("guard")
	})
}

// The guard is a part of the resource, and must be kept as long as the resource is.
func TestGuardHasNoTTL(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		for n := int64(1); n < 3; n++ {
			if err := redigolock.Guard(bg, s.ctl, "guard", n); err != nil {
				t.Error(err)
			}
			if left := s.pttl("guard"); left != -time.Millisecond {
				t.Errorf("the guard's PTTL is %v", left)
			}
		}
	})
}

func TestGuardDoReturnsTheReplyOfTheCommand(t *testing.T) {
	many := make([]any, 1000)
	for i := range many {
		many[i] = i
	}
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.do("HSET", "hash", "a", "1")
		for i, tc := range []struct {
			cmd, key string
			args     []any
			want     any
		}{
			{"SET", "string", []any{"v"}, "OK"},
			{"GET", "string", nil, []byte("v")},
			{"get", "string", nil, []byte("v")},
			{"GET", "absent", nil, nil},
			{"APPEND", "string", []any{[]byte("\x00\r\n\xff")}, int64(5)},
			{"GET", "string", nil, []byte("v\x00\r\n\xff")},
			{"SET", "string", []any{"w", "NX"}, nil},
			{"INCRBY", "number", []any{-3}, int64(-3)},
			{"RPUSH", "list", many, int64(1000)},
			{"LRANGE", "list", []any{0, 1}, []any{[]byte("0"), []byte("1")}},
			{"LRANGE", "absent", []any{0, -1}, []any{}},
			{"HMGET", "hash", []any{"none", "a"}, []any{nil, []byte("1")}},
			{"SET", "empty", []any{""}, "OK"},
			{"GET", "empty", nil, []byte("")},
			{"EXISTS", "absent", nil, int64(0)},
		} {
			reply, err := redigolock.GuardDo(bg, s.ctl, "guard", int64(i+1), tc.cmd, tc.key, tc.args...)
			if err != nil || !reflect.DeepEqual(reply, tc.want) {
				t.Errorf("%s %s: %q, %v, want %q", tc.cmd, tc.key, reply, err, tc.want)
			}
		}
	})
}

func TestGuardDoOfAFailingCommandRaisesTheGuardAllTheSame(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.do("SET", "string", "v")
		for i, tc := range []struct {
			cmd  string
			args []any
		}{
			{"RPUSH", []any{"x"}}, {"INCR", nil}, {"NOSUCHCOMMAND", nil}, {"SET", nil}, {"LPUSH", []any{"a"}},
		} {
			n := int64(i + 1)
			reply, err := redigolock.GuardDo(bg, s.ctl, "guard", n, tc.cmd, "string", tc.args...)
			if err == nil || reply != nil {
				t.Errorf("%s: %v, %v", tc.cmd, reply, err)
			}
			wantsNot(t, err, redigolock.ErrFenced, redigolock.ErrUnknown, redigolock.ErrNotHeld)
			if got := s.value("guard"); got != fmt.Sprint(n) {
				t.Errorf("%s: the guard is %q, want %d", tc.cmd, got, n)
			}
			if s.value("string") != "v" {
				t.Errorf("%s changed the string to %q", tc.cmd, s.value("string"))
			}
		}
	})
}

// The scenario that fencing is for: a holder stalls past its lease and writes late.
func TestStaleHolderIsFencedOff(t *testing.T) {
	onEachServer(t, func(t *testing.T, s *verbSite) {
		s.put("k", "tok", minute)
		stale := fence(s, s.ctl)
		s.put("k", "tok2", minute)
		s.do("DEL", counterOfK)
		newer, err := redigolock.Fence(bg, s.ctl, "k", "tok2")
		if err != nil || newer <= stale {
			t.Fatalf("%d after %d, %v", newer, stale, err)
		}
		if _, err := redigolock.GuardDo(bg, s.ctl, "guard", newer, "SET", "resource", "new"); err != nil {
			t.Fatal(err)
		}
		_, err = redigolock.GuardDo(bg, s.ctl, "guard", stale, "SET", "resource", "old")
		wants(t, err, redigolock.ErrFenced)
		_, err = redigolock.GuardDo(bg, s.ctl, "guard", stale, "GET", "resource")
		wants(t, err, redigolock.ErrFenced)
		if got := s.value("resource"); got != "new" {
			t.Errorf("the resource is %q", got)
		}
		if _, err := redigolock.GuardDo(bg, s.ctl, "guard", newer, "GET", "resource"); err != nil {
			t.Errorf("the same number passes any number of times: %v", err)
		}
	})
}
