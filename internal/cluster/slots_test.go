package cluster

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/names"
)

func bulk(s string) []byte { return []byte(s) }

// shardOf is a shard as CLUSTER SHARDS has it.
func shardOf(slots []any, nodes ...[]any) []any {
	list := []any{}
	for _, n := range nodes {
		list = append(list, n)
	}
	return []any{bulk("slots"), slots, bulk("nodes"), list}
}

func nodeOf(role, health string, more ...any) []any {
	return append([]any{bulk("role"), bulk(role), bulk("health"), bulk(health)}, more...)
}

func slotsOf(from, to int64, host any, port int64) []any {
	return []any{from, to, []any{host, port, bulk("id"), []any{}}, []any{bulk("10.9.9.9"), int64(1), bulk("replica")}}
}

// TestMapHosts reads addresses in all the forms that servers give them.
func TestMapHosts(t *testing.T) {
	const asked = "seed.example:7000"
	for name, c := range map[string]struct {
		host any
		want string
	}{
		"NULL host":  {nil, "seed.example:7001"},
		"empty host": {bulk(""), "seed.example:7001"},
		"IPv4":       {bulk("10.0.0.1"), "10.0.0.1:7001"},
		"IPv6":       {bulk("2001:db8::1"), "[2001:db8::1]:7001"},
		"name":       {bulk("n1.example"), "n1.example:7001"},
		"not known":  {bulk("?"), ""},
	} {
		want := []span{{0, 16383, c.want}}
		if c.want == "" {
			want = nil
		}
		var v, w view
		if err := v.ofSlots([]any{slotsOf(0, 16383, c.host, 7001)}, asked); err != nil || fmt.Sprint(v.spans) != fmt.Sprint(want) {
			t.Errorf("%s: SLOTS: %v, %v", name, v, err)
		}
		node := nodeOf("master", "online", bulk("endpoint"), c.host, bulk("port"), int64(7001))
		if err := w.ofShards([]any{shardOf([]any{int64(0), int64(16383)}, node)}, asked); err != nil || fmt.Sprint(w.spans) != fmt.Sprint(want) {
			t.Errorf("%s: SHARDS: %v, %v", name, w, err)
		}
	}
}

// TestShards chooses the master that is well, and the port of TLS where that was asked.
func TestShards(t *testing.T) {
	at := func(host string, port, tls int64) []any {
		return []any{bulk("endpoint"), bulk(host), bulk("port"), port, bulk("tls-port"), tls}
	}
	reply := func() any {
		return []any{
			shardOf([]any{int64(0), int64(5), int64(7), int64(9)}, nodeOf("replica", "online", at("r", 1, 2)...),
				nodeOf("master", "fail", at("dead", 1, 2)...), nodeOf("master", "online", at("m", 7001, 8001)...)),
			shardOf([]any{}, nodeOf("master", "online", at("empty", 7002, 8002)...)),
		}
	}
	for asked, want := range map[string]string{
		"s:7001": "[{0 5 m:7001} {7 9 m:7001}]",
		"s:8002": "[{0 5 m:8001} {7 9 m:8001}]",
	} {
		var v view
		if err := v.ofShards(reply(), asked); err != nil || fmt.Sprint(v.spans) != want || v.slots != 9 {
			t.Errorf("%s: %v, %v", asked, v, err)
		}
	}
}

func TestBadMaps(t *testing.T) {
	for name, reply := range map[string]any{
		"no list":       "OK",
		"nil":           nil,
		"no range":      []any{int64(1)},
		"backwards":     []any{slotsOf(5, 4, bulk("a"), 1)},
		"beyond":        []any{slotsOf(0, 16384, bulk("a"), 1)},
		"negative":      []any{slotsOf(-1, 4, bulk("a"), 1)},
		"two nodes":     []any{slotsOf(0, 4, bulk("a"), 1), slotsOf(4, 5, bulk("b"), 1)},
		"no port":       []any{slotsOf(0, 4, bulk("a"), 0)},
		"a long host":   []any{slotsOf(0, 4, bulk(strings.Repeat("x", 256)), 1)},
		"a host's line": []any{slotsOf(0, 4, bulk("a\r\nb"), 1)},
		"a number":      []any{slotsOf(0, 4, int64(5), 1)},
	} {
		var v view
		if err := v.ofSlots(reply, "s:1"); !errors.Is(err, errMap) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	const asked = "[::1]:7000"
	for reply, want := range map[string]redirect{
		"MOVED 3999 127.0.0.1:6381":          {false, 3999, "127.0.0.1:6381"},
		"ASK 0 n1.example:1":                 {true, 0, "n1.example:1"},
		"MOVED 3300 :17632":                  {false, 3300, "[::1]:17632"},
		"MOVED 1 2001:db8::1:6379":           {false, 1, "[2001:db8::1]:6379"},
		"MOVED 1 [2001:db8::1]:6379":         {false, 1, "[2001:db8::1]:6379"},
		"MOVED 1 a:6379 and what is to come": {false, 1, "a:6379"},
	} {
		if r, ok := redirectOf(redis.Error(reply), asked); !ok || r != want {
			t.Errorf("%s: %v, %v", reply, r, ok)
		}
	}
	for _, reply := range []string{"", "MOVED", "MOVED 1", "MOVED x a:1", "MOVED 16384 a:1", "MOVED -1 a:1", "MOVED 1 a", "MOVED 1 a:",
		"MOVED 1 a:0", "MOVED 1 a:65536", "MOVED 1 ?:6379", "ERR MOVED 1 a:1", "MOVED 1  a:1", "MOVED 1 a@b:1"} {
		if r, ok := redirectOf(redis.Error(reply), asked); ok {
			t.Errorf("%q: %v", reply, r)
		}
	}
	if _, ok := redirectOf("MOVED 1 a:1", asked); ok {
		t.Error("a value of that text is no redirect")
	}
}

// FuzzMaps reads hostile replies to CLUSTER SLOTS and SHARDS, from their bytes on the wire.
func FuzzMaps(f *testing.F) {
	f.Add("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n*0\r\n", "127.0.0.1:7000")
	f.Add("*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$-1\r\n:7000\r\n", "a:1")
	f.Add("*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:9\r\n$5\r\nnodes\r\n*1\r\n*6\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$8\r\nendpoint\r\n$0\r\n\r\n$4\r\nport\r\n:7\r\n", "[::1]:7")
	f.Add("-MOVED 5 :7\r\n", "a:1")
	f.Fuzz(func(t *testing.T, wire, asked string) {
		if len(wire) > 4096 {
			return
		}
		reply, ok := value(&wire, 8)
		if !ok {
			return
		}
		var v, w view
		if v.ofSlots(reply, asked) == nil {
			checkView(t, &v)
		}
		if w.ofShards(reply, asked) == nil {
			checkView(t, &w)
		}
		if r, ok := redirectOf(reply, asked); ok {
			checkAddr(t, r.addr)
			if r.slot < 0 || r.slot >= names.Slots {
				t.Fatal(r)
			}
		}
	})
}

func checkView(t *testing.T, v *view) {
	var owner [names.Slots]string
	n := 0
	for _, s := range v.spans {
		checkAddr(t, s.addr)
		for i := s.from; i <= s.to; i++ {
			if owner[i] != "" {
				t.Fatalf("slot %d: %v", i, v.spans)
			}
			owner[i] = s.addr
			n++
		}
	}
	if n != v.slots {
		t.Fatalf("%d slots, not %d", v.slots, n)
	}
}

func checkAddr(t *testing.T, addr string) {
	host, port, err := net.SplitHostPort(addr)
	n, bad := strconv.Atoi(port)
	if err != nil || host == "" || bad != nil || n < 1 || n > 65535 || strings.ContainsAny(addr, "\r\n \x00/@") {
		t.Fatalf("address %q", addr)
	}
}

// value reads one reply as redigo does, with lists no deeper than that.
func value(wire *string, depth int) (any, bool) {
	line, rest, ok := strings.Cut(*wire, "\r\n")
	if !ok || line == "" || depth == 0 {
		return nil, false
	}
	*wire = rest
	n, err := strconv.ParseInt(line[1:], 10, 64)
	switch line[0] {
	case '+':
		return line[1:], true
	case '-':
		return redis.Error(line[1:]), true
	case ':':
		return n, err == nil
	case '$':
		if n < 0 {
			return nil, err == nil
		}
		if err != nil || n+2 > int64(len(rest)) {
			return nil, false
		}
		*wire = rest[n+2:]
		return []byte(rest[:n]), true
	case '*':
		if n < 0 {
			return nil, err == nil
		}
		if err != nil || n > int64(len(rest)) {
			return nil, false
		}
		list := make([]any, n)
		for i := range list {
			if list[i], ok = value(wire, depth-1); !ok {
				return nil, false
			}
		}
		return list, true
	}
	return nil, false
}
