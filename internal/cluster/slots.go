package cluster

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redigolock/redigolock/internal/names"
)

// A span is a range of slots that a node serves, with its ends.
type span struct {
	from, to int
	addr     string
}

// A view is what one node says of the cluster.
type view struct {
	spans []span
	slots int   // how many are in spans
	epoch int64 // its current epoch; 0: it does not say
	down  bool  // the node says that the cluster is down, as one does that was cut off from most others
}

// better reports whether v is to be believed rather than w.
func (v *view) better(w *view) bool {
	switch {
	case v.down != w.down:
		return w.down
	case v.epoch != w.epoch:
		return v.epoch > w.epoch
	}
	return v.slots > w.slots
}

var errMap = errors.New("cluster: the node's map of slots cannot be read")

func badMap(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMap, fmt.Sprintf(format, args...))
}

// add takes a span into the view. seen has the slots that are in it already.
func (v *view) add(seen *[names.Slots]bool, from, to any, addr string) error {
	first, ok1 := from.(int64)
	last, ok2 := to.(int64)
	if !ok1 || !ok2 || first < 0 || last < first || last >= names.Slots {
		return badMap("a range of slots is none")
	}
	for i := first; i <= last; i++ {
		if seen[i] {
			return badMap("slot %d has two nodes", i)
		}
		seen[i] = true
	}
	if addr != "" {
		v.spans = append(v.spans, span{int(first), int(last), addr})
		v.slots += int(last-first) + 1
	}
	return nil
}

// ofSlots reads a reply to CLUSTER SLOTS of the node at asked. A node whose host is not known has no slots.
func (v *view) ofSlots(reply any, asked string) error {
	list, ok := reply.([]any)
	if !ok {
		return badMap("CLUSTER SLOTS is no list")
	}
	var seen [names.Slots]bool
	for _, r := range list {
		r, _ := r.([]any)
		if len(r) < 3 {
			return badMap("a range of slots has no node")
		}
		node, _ := r[2].([]any)
		if len(node) < 2 {
			return badMap("a node has no address")
		}
		addr, err := address(node[0], node[1], asked)
		if err == nil {
			err = v.add(&seen, r[0], r[1], addr)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ofShards reads a reply to CLUSTER SHARDS of the node at asked. Where nodes have two ports, that for TLS is meant if the one that
// was asked is such.
func (v *view) ofShards(reply any, asked string) error {
	list, ok := reply.([]any)
	if !ok {
		return badMap("CLUSTER SHARDS is no list")
	}
	type shard struct{ slots, nodes []any }
	var shards []shard
	_, port, _ := net.SplitHostPort(asked)
	byTLS := false
	for _, s := range list {
		f := fields(s)
		one := shard{}
		one.slots, _ = f["slots"].([]any)
		one.nodes, _ = f["nodes"].([]any)
		if len(one.slots)%2 != 0 {
			return badMap("a range of slots has no end")
		}
		for i := range one.nodes {
			node := fields(one.nodes[i])
			one.nodes[i] = node
			if n, ok := node["tls-port"].(int64); ok && strconv.FormatInt(n, 10) == port {
				byTLS = true
			}
		}
		shards = append(shards, one)
	}
	var seen [names.Slots]bool
	for _, s := range shards {
		if len(s.slots) == 0 {
			continue
		}
		addr, err := masterOf(s.nodes, byTLS, asked)
		for i := 0; i < len(s.slots) && err == nil; i += 2 {
			err = v.add(&seen, s.slots[i], s.slots[i+1], addr)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// masterOf is the address of the master among the nodes of a shard, "" if there is none. One that has failed is none if there is
// another.
func masterOf(nodes []any, byTLS bool, asked string) (master string, err error) {
	for _, n := range nodes {
		node, _ := n.(map[string]any)
		if text(node["role"]) != "master" || master != "" && text(node["health"]) != "online" {
			continue
		}
		port := node["port"]
		if tls, ok := node["tls-port"]; ok && (byTLS || port == nil) {
			port = tls
		}
		host := node["endpoint"]
		if ip, ok := node["ip"]; ok && text(host) == "?" {
			host = ip
		}
		if master, err = address(host, port, asked); err != nil {
			return "", err
		}
	}
	return master, nil
}

// fields is a list of names and values.
func fields(list any) map[string]any {
	values, _ := list.([]any)
	m := make(map[string]any, len(values)/2)
	for i := 0; i+1 < len(values); i += 2 {
		m[text(values[i])] = values[i+1]
	}
	return m
}

func text(v any) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case string:
		return v
	}
	return ""
}

// address is host:port of a node, "" if its host is not known. NULL and the empty host are that of the node that was asked.
func address(host, port any, asked string) (string, error) {
	n, ok := port.(int64)
	if !ok || n < 1 || n > 65535 {
		return "", badMap("a node has no port")
	}
	name := text(host)
	switch {
	case name == "?":
		return "", nil
	case name == "" && host != nil && !isText(host):
		return "", badMap("a node's host is none")
	}
	return join(name, strconv.FormatInt(n, 10), asked)
}

func isText(v any) bool {
	switch v.(type) {
	case []byte, string:
		return true
	}
	return false
}

// join is host:port, with the host that was asked if it is empty.
func join(host, port, asked string) (string, error) {
	if host == "" {
		host, _, _ = net.SplitHostPort(asked)
	}
	if host == "" || len(host) > 255 || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("[]/@,", r) }) {
		return "", badMap("a node's host is none")
	}
	return net.JoinHostPort(host, port), nil
}

// A redirect is what a node says that does not serve the slot: MOVED, or ASK, which holds for one command.
type redirect struct {
	ask  bool
	slot int
	addr string
}

// redirectOf reads an error reply of the node at asked. It is ok if that is a redirect to a node whose address is known.
func redirectOf(reply any, asked string) (r redirect, ok bool) {
	err, isError := reply.(error)
	if !isError {
		return r, false
	}
	words := strings.Split(err.Error(), " ")
	if len(words) < 3 || words[0] != "MOVED" && words[0] != "ASK" {
		return r, false
	}
	slot, bad := strconv.Atoi(words[1])
	i := strings.LastIndexByte(words[2], ':') // an IPv6 address stands there without brackets
	if bad != nil || slot < 0 || slot >= names.Slots || i < 0 || words[2][:i] == "?" {
		return r, false
	}
	if port, err := strconv.ParseUint(words[2][i+1:], 10, 16); err != nil || port == 0 {
		return r, false
	}
	host := strings.TrimSuffix(strings.TrimPrefix(words[2][:i], "["), "]")
	addr, bad := join(host, words[2][i+1:], asked)
	return redirect{words[0] == "ASK", slot, addr}, bad == nil
}
