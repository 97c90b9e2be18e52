// Package doctor looks for what endangers locks on the servers that keep them. It only asks: it changes nothing.
//
// What it asks is gathered first, server by server (server.go, sentinel.go, rights.go). Each check is then an entry of
// the table in checks.go, which looks at that and sends nothing.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/gomodule/redigo/redis"
)

// A Level says how bad a finding is.
type Level int

const (
	Note    Level = iota + 1 // worth knowing
	Warning                  // costs locks in a fault, or costs time
	Danger                   // a lock can have two holders or none can be had, now or after one fault
)

func (l Level) String() string { return [...]string{"", "note", "warning", "danger"}[l] }

// MarshalText makes it a word in JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// A Finding is what a check has found at a server.
type Finding struct {
	Level  Level  `json:"level"`
	Check  string `json:"check"`
	Server string `json:"server"`
	Found  string `json:"found"`
	Why    string `json:"why"`
	Mend   string `json:"mend"`
}

// Unchecked is a check that could not be done.
type Unchecked struct {
	Check  string `json:"check"`
	Server string `json:"server"`
	Reason string `json:"reason"`
}

// Seen is a server that was asked.
type Seen struct {
	Server  string `json:"server"`
	Role    string `json:"role"`              // master, replica or sentinel
	Version string `json:"version"`           // such as redis 7.0.15
	Release string `json:"release,omitempty"` // how a lock is released there: DELEX, DELIFEQ or script
}

// A Report is what Examine has found: the worst first, then by server.
type Report struct {
	Servers   []Seen      `json:"servers"`
	Findings  []Finding   `json:"findings"`
	Unchecked []Unchecked `json:"unchecked"`
}

// Worst is the level of the worst finding, 0 if there is none.
func (r *Report) Worst() Level {
	if len(r.Findings) == 0 {
		return 0
	}
	return r.Findings[0].Level
}

// A Site is what Examine looks at.
type Site struct {
	Servers []Target // by the URL; several are a quorum, or nodes of a cluster
	Cluster bool     // the URL says redis-cluster
	Groups  []Group  // of Sentinels, one for each URL that says redis-sentinel

	Keys []string        // of locks, with which rights are checked
	Skip map[string]bool // names of checks
}

// A Group is the Sentinels of one URL.
type Group struct {
	Master    string // what they call it
	Sentinels []Target
}

// A Target is a server, and the way to it.
type Target struct {
	Addr string
	Dial func(ctx context.Context) (redis.Conn, error)
	// DialOther connects to a server that this one names: its replica, or a node of its cluster. It has the same login.
	DialOther func(ctx context.Context, addr string) (redis.Conn, error)
}

// Examine asks all servers that it can find from those of the site. It returns an error if none of those can be asked.
func Examine(ctx context.Context, site *Site) (*Report, error) {
	servers, err := site.gather(ctx)
	if err != nil {
		return nil, err
	}
	r := &Report{Servers: []Seen{}, Findings: []Finding{}, Unchecked: []Unchecked{}}
	for _, s := range servers {
		if s.dead == "" {
			r.Servers = append(r.Servers, Seen{s.addr, s.role, s.version(), s.release})
		}
		for _, c := range Checks {
			if c.at(s) && !site.Skip[c.Name] {
				r.add(c, s)
			}
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(b.Level, a.Level) })
	return r, nil
}

// add does one check at one server.
func (r *Report) add(c Check, s *server) {
	if reason, refused := s.refused[c.needs]; refused {
		r.Unchecked = append(r.Unchecked, Unchecked{c.Name, s.addr, reason})
		return
	}
	for _, found := range c.look(s) {
		r.Findings = append(r.Findings, Finding{c.Level, c.Name, s.addr, found, c.Why, c.Mend})
	}
}

// gather asks the servers of the site, and those that they name. It returns an error if it can ask none of the site's.
func (site *Site) gather(ctx context.Context) (servers []*server, err error) {
	todo, seen, answered := slices.Clone(site.Servers), map[string]bool{}, map[string]bool{}
	for n := 0; n < len(todo); n++ {
		t, first := todo[n], n < len(site.Servers)
		if seen[t.Addr] && !first {
			continue
		}
		s, askErr := site.ask(ctx, t)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		id := s.info["run_id"]
		switch {
		case askErr != nil:
			s.dead = reasonOf(askErr).Error()
			err = cmp.Or(err, fmt.Errorf("%s: %w", t.Addr, askErr))
		case id != "" && answered[id] && !(s.quorum && first):
			continue // it has two names
		}
		seen[t.Addr], answered[id], s.first = true, true, first
		servers = append(servers, s)
		for _, addr := range s.others() {
			dial := func(ctx context.Context) (redis.Conn, error) { return t.DialOther(ctx, addr) }
			todo = append(todo, Target{addr, dial, t.DialOther})
		}
	}
	lead := slices.IndexFunc(servers, func(s *server) bool { return s.dead == "" })
	if lead < 0 {
		return nil, err
	}
	servers[lead].lead = true
	for _, s := range servers {
		s.all = servers
	}
	for _, g := range site.Groups {
		servers = append(servers, g.ask(ctx)...)
	}
	return servers, nil
}
