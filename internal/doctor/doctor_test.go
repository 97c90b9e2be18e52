package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/redigolock/redigolock/internal/redistest"
)

// good are the arguments of a server that endangers no lock.
var good = []string{"--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "noeviction"}

func dialTo(addr string, opts ...redis.DialOption) func(context.Context) (redis.Conn, error) {
	return func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, append(opts, redis.DialReadTimeout(5*time.Second))...)
	}
}

// siteOf is the site that a URL with these servers names.
func siteOf(addrs ...string) *Site {
	site := &Site{}
	for _, addr := range addrs {
		site.Servers = append(site.Servers, targetOf(addr))
	}
	return site
}

func targetOf(addr string) Target {
	return Target{addr, dialTo(addr), func(ctx context.Context, addr string) (redis.Conn, error) { return dialTo(addr)(ctx) }}
}

func examine(t *testing.T, site *Site) *Report {
	t.Helper()
	r, err := Examine(t.Context(), site)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// aBusyMachine has these checks find something, rightly.
var aBusyMachine = []string{"slow", "fork"}

// wantFindings complains unless exactly these checks have found something, but for what a busy machine brings about.
func wantFindings(t *testing.T, r *Report, names ...string) {
	t.Helper()
	var found []string
	for _, f := range r.Findings {
		if slices.Contains(aBusyMachine, f.Check) && !slices.Contains(names, f.Check) {
			continue
		}
		found = append(found, f.Check)
		if f.Found == "" || f.Why == "" || f.Mend == "" || f.Server == "" {
			t.Errorf("incomplete: %+v", f)
		}
	}
	slices.Sort(found)
	slices.Sort(names)
	if found = slices.Compact(found); !slices.Equal(found, names) {
		t.Errorf("found %q, want %q: %+v", found, names, r.Findings)
	}
	if len(r.Unchecked) > 0 {
		t.Errorf("not checked: %+v", r.Unchecked)
	}
}

func do(t *testing.T, s *redistest.Server, cmd string, args ...any) any {
	t.Helper()
	reply, err := s.Do(cmd, args...)
	if err != nil {
		t.Fatalf("%s %v: %v", cmd, args, err)
	}
	return reply
}

func set(name string, value any) func(*testing.T, *redistest.Server) {
	return func(t *testing.T, s *redistest.Server) { do(t, s, "CONFIG", "SET", name, value) }
}

// TestOneServer plants what is wrong with one server, each on a good one that it starts, and looks at all checks.
func TestOneServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plant func(*testing.T, *redistest.Server)
		want  []string
	}{
		"good":           {func(*testing.T, *redistest.Server) {}, nil},
		"evicts any key": {set("maxmemory-policy", "allkeys-lru"), []string{"eviction"}},
		"evicts by ttl":  {set("maxmemory-policy", "volatile-ttl"), []string{"eviction"}},
		"no limit, policy": {func(t *testing.T, s *redistest.Server) {
			set("maxmemory", 0)(t, s)
			set("maxmemory-policy", "allkeys-lru")(t, s)
		}, nil},
		"memory":         {fillMemory, []string{"memory"}},
		"nothing saved":  {set("appendonly", "no"), []string{"persistence"}},
		"snapshots only": {func(t *testing.T, s *redistest.Server) { set("appendonly", "no")(t, s); set("save", "3600 1")(t, s) }, []string{"persistence"}},
		"no fsync":       {set("appendfsync", "no"), []string{"fsync"}},
		"snapshot fails": {failSnapshot, []string{"disk"}},
		"no replicas":    {set("min-replicas-to-write", 1), []string{"too-few-replicas"}},
		"timeout":        {set("timeout", 5), []string{"timeout"}},
		"long timeout":   {set("timeout", 300), nil},
		"keepalive":      {set("tcp-keepalive", 0), []string{"tcp-keepalive"}},
		"small pubsub":   {set("client-output-buffer-limit", "pubsub 1000 100 60"), []string{"pubsub-limit"}},
		"endless pubsub": {set("client-output-buffer-limit", "pubsub 0 0 0"), []string{"pubsub-limit"}},
		"clients":        {fillClients, []string{"clients"}},
		"open": {func(t *testing.T, s *redistest.Server) {
			set("bind", "127.0.0.1 -192.0.2.1")(t, s)
			set("protected-mode", "no")(t, s)
		}, []string{"open"}}, // "-": which is not here
		"slow script": {runSlowScript, []string{"slow"}},
		"endless lock": {func(t *testing.T, s *redistest.Server) {
			do(t, s, "SET", "lock:a\x1b", "b7f1c7c2-5f0a-4a8e-9d0e-0123456789ab")
		}, []string{"endless"}},
		"other strings":    {func(t *testing.T, s *redistest.Server) { do(t, s, "SET", "name", "somebody"); do(t, s, "SET", "n", 5) }, nil},
		"lost master":      {loseMaster, []string{"to-replica", "replica-link"}},
		"writable replica": {func(t *testing.T, s *redistest.Server) { loseMaster(t, s); set("replica-read-only", "no")(t, s) }, []string{"to-replica", "replica-link", "writable-replica"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, good...)
			c.plant(t, s)
			wantFindings(t, examine(t, siteOf(s.Addr())), c.want...)
		})
	}
}

func fillMemory(t *testing.T, s *redistest.Server) {
	info, _ := redis.String(do(t, s, "INFO", "memory"), nil)
	used, err := strconv.Atoi(fields(info)["used_memory"])
	if err != nil {
		t.Fatal(err)
	}
	set("maxmemory", used+used/50)(t, s)
}

func failSnapshot(t *testing.T, s *redistest.Server) {
	if err := os.Mkdir(filepath.Join(s.Dir(), "dump.rdb"), 0o700); err != nil {
		t.Fatal(err)
	}
	set("save", "3600 1")(t, s)
	until(t, func() bool {
		_, _ = s.Do("BGSAVE") // refused while the log is rewritten
		info, _ := redis.String(do(t, s, "INFO", "persistence"), nil)
		return fields(info)["rdb_last_bgsave_status"] == "err"
	})
}

func fillClients(t *testing.T, s *redistest.Server) {
	set("maxclients", 3)(t, s)
	for range 2 {
		c, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Do("PING"); err != nil {
			t.Fatal(err)
		}
	}
}

func runSlowScript(t *testing.T, s *redistest.Server) {
	do(t, s, "EVAL", "local t = redis.call('TIME'); local from = t[1] * 1000000 + t[2] "+
		"repeat t = redis.call('TIME') until t[1] * 1000000 + t[2] - from > 150000", 0)
}

func loseMaster(t *testing.T, s *redistest.Server) {
	host, port, _ := strings.Cut(redistest.ClosedAddr, ":")
	do(t, s, "REPLICAOF", host, port)
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come")
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, good...)
	p := redistest.NewProxy(t, s.Addr())
	for offset, want := range map[time.Duration][]string{
		-time.Hour: {"clock"}, -10 * time.Second: {"clock"}, 0: nil, time.Minute: {"clock"},
	} {
		p.Rule(func(r redistest.Request) redistest.Action {
			if r.Name != "TIME" {
				return redistest.Pass()
			}
			sec := strconv.FormatInt(time.Now().Add(offset).Unix(), 10)
			return redistest.Reply(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$6\r\n500000\r\n", len(sec), sec))
		})
		wantFindings(t, examine(t, siteOf(p.Addr())), want...)
	}
}

// A user who may do what doctor asks for, and only a part of what locks need.
func TestRights(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, good...)
	asUser := func(rules ...any) *Site {
		do(t, s, "ACL", append([]any{"SETUSER", "app", "reset", "on", ">secret", "resetchannels"}, rules...)...)
		site := siteOf(s.Addr())
		site.Servers[0].Dial = dialTo(s.Addr(), redis.DialUsername("app"), redis.DialPassword("secret"))
		return site
	}
	asks := []any{ // what docs/operations.md lists, and rights to lock
		"~app:*", "+info", "+config|get", "+time", "+slowlog|get", "+command|info", "+client|list", "+acl|getuser", "+acl|whoami",
		"+acl|dryrun", "+scan", "+pttl", "+getrange", "+llen",
		"+ping", "+set", "+get", "+pexpire", "+del", "+eval", "+evalsha",
	}
	site := asUser(asks...)
	if r := examine(t, site); len(r.Findings) > 0 || len(r.Unchecked) != 4 || !strings.Contains(r.Unchecked[0].Reason, "name the key") {
		t.Errorf("%+v", r)
	}
	site.Keys = []string{"app:{x}"}
	wantFindings(t, examine(t, site), "rights-fair", "rights-replicas") // +time is there
	site.Keys = []string{"other"}
	wantFindings(t, examine(t, site), "rights", "rights-fair", "rights-fence", "rights-replicas")

	site = asUser(append(asks, "-pexpire", "&redigolock:*", "+@list", "+@hash", "+publish", "+pubsub", "+subscribe", "+unsubscribe", "+wait")...)
	site.Keys = []string{"app:{x}"}
	r := examine(t, site)
	wantFindings(t, r, "rights", "rights-fair")
	if found := r.Findings[0].Found; r.Worst() != Danger || !strings.Contains(found, "PEXPIRE") || strings.Contains(found, "SET,") {
		t.Errorf("%+v", r.Findings)
	}

	r = examine(t, asUser("+info", "~*")) // and nothing else
	if len(r.Findings) != 0 {
		t.Errorf("%+v", r.Findings)
	}
	var names []string
	for _, u := range r.Unchecked {
		names = append(names, u.Check)
	}
	for _, c := range Checks {
		if c.needs != "" && c.needs != "cluster" && !slices.Contains(names, c.Name) && c.Name != "writable-replica" {
			t.Errorf("%s counts as checked", c.Name)
		}
	}
}

// The commands are those of the manual.
func TestRightsAreThoseOfTheManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/rights.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, commands := range rights {
		for _, c := range commands {
			known[strings.ToLower(strings.Fields(c)[0])] = true
		}
	}
	of := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		for _, row := range []string{"\tACL SETUSER", "| `NewPool`", "| `Locker.Replicas`", "| `Locker.Fair`", "| `Fence`"} {
			if !strings.HasPrefix(line, row) {
				continue
			}
			for _, m := range regexp.MustCompile(`\+([a-z]+)`).FindAllStringSubmatch(line, -1) {
				of[m[1]] = true
			}
		}
	}
	if !maps.Equal(known, of) {
		t.Errorf("checked: %v; in docs/rights.md: %v", slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(of)))
	}
}

func TestSkip(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t) // saves nothing
	site := siteOf(s.Addr())
	site.Skip = map[string]bool{"persistence": true}
	wantFindings(t, examine(t, site))
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	if _, err := Examine(t.Context(), siteOf(redistest.ClosedAddr)); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Examine(ctx, siteOf(redistest.ClosedAddr)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	w := redistest.StartWatched(t, redistest.WatchedConfig{Replicas: 1, DownAfter: time.Minute, Args: good})
	master := w.Servers[0]
	site := siteOf(master.Addr())
	wantFindings(t, examine(t, site), "min-replicas", "watched")
	set("min-replicas-to-write", 1)(t, master)

	groupOf := func(sentinels ...*redistest.Server) Group {
		g := Group{Master: redistest.MasterName}
		for _, s := range sentinels {
			g.Sentinels = append(g.Sentinels, targetOf(s.Addr()))
		}
		return g
	}
	site.Groups = []Group{groupOf(w.Sentinels...)}
	r := examine(t, site)
	wantFindings(t, r)
	if len(r.Servers) != 5 || r.Servers[1].Role != "replica" || r.Servers[2].Role != "sentinel" {
		t.Errorf("%+v", r.Servers)
	}
	set("maxmemory-policy", "allkeys-lfu")(t, w.Servers[1]) // the replica may be promoted
	wantFindings(t, examine(t, site), "eviction")
	set("maxmemory-policy", "noeviction")(t, w.Servers[1])

	first := w.Sentinels[0]
	do(t, first, "SENTINEL", "SET", redistest.MasterName, "quorum", 4)
	wantFindings(t, examine(t, site), "sentinel-quorum")
	do(t, first, "SENTINEL", "SET", redistest.MasterName, "quorum", 2)

	other := redistest.StartWatched(t, redistest.WatchedConfig{Replicas: 1, Sentinels: 1, DownAfter: time.Minute, Args: good})
	lone := other.Sentinels[0]
	site.Groups = []Group{groupOf(append(slices.Clone(w.Sentinels), lone)...)}
	wantFindings(t, examine(t, site), "sentinel-master", "sentinel-count")
	site.Groups = []Group{groupOf(lone), groupOf(w.Sentinels...)} // of two members of a quorum
	wantFindings(t, examine(t, site), "sentinel-count")
	other.Servers[1].Kill()
	site.Groups = []Group{groupOf(lone)}
	until(t, func() bool { // it forgets the replica when the master does
		do(t, other.Sentinels[0], "SENTINEL", "RESET", redistest.MasterName)
		return slices.ContainsFunc(examine(t, site).Findings, func(f Finding) bool { return f.Check == "sentinel-replicas" })
	})

	w.Sentinels[1].Kill()
	site.Groups = []Group{groupOf(first, w.Sentinels[1])}
	wantFindings(t, examine(t, site), "unreachable")
	w.Servers[1].Kill()
	until(t, func() bool {
		return slices.ContainsFunc(examine(t, siteOf(master.Addr())).Findings, func(f Finding) bool { return f.Check == "too-few-replicas" })
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterConfig{Masters: 3, Replicas: 1, Args: append(slices.Clone(good), "--min-replicas-to-write", "1")})
	first := c.Servers[0]
	wantFindings(t, examine(t, siteOf(first.Addr())), "cluster-url")
	site := siteOf(first.Addr())
	site.Cluster = true
	if r := examine(t, site); len(r.Servers) != 6 {
		t.Errorf("%+v", r.Servers)
	} else {
		wantFindings(t, r)
	}
	if err := c.BeginMigration(0, first, c.Servers[1]); err != nil {
		t.Fatal(err)
	}
	wantFindings(t, examine(t, site), "cluster-migration")
	if err := c.EndMigration(0, first, c.Servers[1]); err != nil {
		t.Fatal(err)
	}
	set("min-replicas-to-write", 0)(t, c.Servers[1])
	c.Servers[4].Kill()
	until(t, func() bool {
		r := examine(t, site)
		return slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.Found, c.Servers[4].Addr()+" is down") }) &&
			slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Found == "master "+c.Servers[1].Addr()+" has no replica" })
	})
	c.Servers[1].Kill()
	until(t, func() bool {
		return slices.ContainsFunc(examine(t, site).Findings, func(f Finding) bool { return f.Check == "cluster-state" })
	})
	alone := siteOf(redistest.Start(t, good...).Addr())
	alone.Cluster = true
	wantFindings(t, examine(t, alone), "cluster-url")
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	s := redistest.StartMany(t, 3, append(slices.Clone(good), "--repl-diskless-sync-delay", "0")...)
	wantFindings(t, examine(t, siteOf(s[0].Addr(), s[1].Addr(), s[2].Addr())))
	wantFindings(t, examine(t, siteOf(s[0].Addr(), s[1].Addr())), "quorum-size")
	p := redistest.NewProxy(t, s[0].Addr())
	wantFindings(t, examine(t, siteOf(s[0].Addr(), s[1].Addr(), p.Addr())), "quorum-independent")
	set("min-replicas-to-write", 1)(t, s[0])
	host, port, _ := strings.Cut(s[0].Addr(), ":")
	do(t, s[2], "REPLICAOF", host, port)
	until(t, func() bool {
		info, _ := redis.String(do(t, s[0], "INFO", "replication"), nil)
		return fields(info)["min_slaves_good_slaves"] == "1" && strings.Contains(info, "state=online")
	})
	wantFindings(t, examine(t, siteOf(s[0].Addr(), s[1].Addr(), s[2].Addr())), "quorum-independent")
	s[1].Kill()
	wantFindings(t, examine(t, siteOf(s[1].Addr(), s[0].Addr(), s[2].Addr())), "quorum-independent", "unreachable")
	wantFindings(t, examine(t, siteOf(s[1].Addr(), s[0].Addr())), "quorum-size", "unreachable")
}

// What no server here can be made to say.
func TestOldServerAndSlowFork(t *testing.T) {
	s := &server{role: "master", config: map[string]string{}, info: map[string]string{"redis_version": "6.0.16", "latest_fork_usec": "250000"}}
	var found []string
	for _, c := range Checks {
		if (c.Name == "version" || c.Name == "fork") && c.at(s) {
			found = append(found, c.look(s)...)
		}
	}
	if len(found) != 2 || found[0] != "it is redis 6.0.16" {
		t.Errorf("%q", found)
	}
	s.info["maxmemory"], s.info["maxmemory_policy"] = "1000", "volatile-lrm" // Redis 8.6
	if i := slices.IndexFunc(Checks, func(c Check) bool { return c.Name == "eviction" }); len(Checks[i].look(s)) != 1 {
		t.Error("it does not know the newest policy")
	}
	for version, isOld := range map[string]bool{"6.2.0": false, "7.0.15": false, "6.1.9": true, "5.0": true, "10.0": false, "255.255.255": false, "": false} {
		if older(version, "6.2") != isOld {
			t.Errorf("%s: %v", version, !isOld)
		}
	}
}

func TestNewerServers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, ...string) *redistest.Server{"DELIFEQ": redistest.StartValkey, "script": redistest.StartRedis8} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := examine(t, siteOf(start(t, good...).Addr()))
			wantFindings(t, r)
			if r.Servers[0].Release != name {
				t.Errorf("%+v", r.Servers)
			}
		})
	}
}

// Nothing that it sends changes anything: the server counts no change of its data, and no refusal of its settings.
func TestItChangesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, good...)
	do(t, s, "SET", "lock:a", "b7f1c7c2-5f0a-4a8e-9d0e-0123456789ab")
	do(t, s, "SET", "lock:b", "b7f1c7c2-5f0a-4a8e-9d0e-0123456789ab", "PX", 60000)
	p := redistest.NewProxy(t, s.Addr())
	examine(t, siteOf(p.Addr()))
	allowed := map[string]bool{
		"INFO ALL": true, "CONFIG GET": true, "TIME": true, "SLOWLOG GET": true, "COMMAND INFO": true, "CLIENT LIST": true,
		"ACL GETUSER": true, "ACL WHOAMI": true, "ACL DRYRUN": true, "SCAN": true, "PTTL": true, "GETRANGE": true, "LLEN": true,
	}
	for _, r := range p.Requests() {
		name := r.Name
		if sub := name + " "; len(r.Args) > 0 && (allowed[sub+strings.ToUpper(r.Args[0])] || name == "CONFIG" || name == "ACL" || name == "CLIENT") {
			name = sub + strings.ToUpper(r.Args[0])
		}
		if !allowed[name] {
			t.Errorf("it sends %s %q", r.Name, r.Args)
		}
	}
}

// The table in the manual is that of the code.
func TestManualHasTheChecks(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "| check | level | looks at | why | what mends it |\n| --- | --- | --- | --- | --- |\n")
	table, _, _ := strings.Cut(section, "\n\n")
	var want []string
	for _, c := range Checks {
		want = append(want, fmt.Sprintf("| `%s` | %v | %s | %s | %s |", c.Name, c.Level, c.Asks, c.Why, c.Mend))
	}
	if want := strings.Join(want, "\n"); table != want {
		t.Errorf("docs/operations.md should have\n%s", want)
	}
}
