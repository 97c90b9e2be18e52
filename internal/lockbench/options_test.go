package lockbench

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redigolock/redigolock/bench"
)

const secret = "s3cr3t-passw0rd"

func TestUsage(t *testing.T) {
	o := lockbench(context.Background(), nil, "-h")
	if o.code != exitDone || o.stderr != "" {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
	if !strings.HasPrefix(o.stdout, usageText) {
		t.Errorf("-h does not begin with the usage, but %q", o.stdout)
	}
	golden(t, "usage", usageText)
	golden(t, "usage-rivals", strings.TrimPrefix(o.stdout, usageText))
	for line := range strings.Lines(o.stdout) {
		if len([]rune(line)) > 115 {
			t.Errorf("a line is too wide for a terminal: %s", line)
		}
	}
}

// The usage text is written by hand.
func TestUsageListsFlagsThatExist(t *testing.T) {
	values := map[string]string{"url": "redis://h", "workload": "all", "goroutines": "1", "waiters": "2", "locks": "1",
		"pools": "1", "loads": "50", "rates": "1000", "served": "9", "hold": "0s,1ms", "delay": "0.5ms,5ms", "processes": "1",
		"ways": "fair,cohort-mux2", "ttl": "1s", "approaches": "locker,floor-pool8", "hist": "x", "keys": "own",
		"time": "1ms", "count": "1", "out": "x"}
	listed := regexp.MustCompile(`(?m)^  -(\w+) [A-Z]`).FindAllStringSubmatch(usageText, -1)
	if len(listed) != len(values) {
		t.Errorf("%d flags are listed, want %d", len(listed), len(values))
	}
	for _, m := range listed {
		if _, err := parse([]string{"-" + m[1], values[m[1]]}, func(string) string { return "" }); err != nil {
			t.Errorf("-%s: %v", m[1], err)
		}
	}
}

func TestBadFlagIsOneLineAndExitCode2(t *testing.T) {
	for _, args := range [][]string{
		{"-x"},
		{"-url"},
		{"-workload", "locks"},
		{"-workload", ""},
		{"-goroutines", "0"},
		{"-goroutines", "5000"},
		{"-goroutines", "1,two"},
		{"-goroutines", ""},
		{"-waiters", "1"},
		{"-locks", "0"},
		{"-locks", "1000001"},
		{"-locks", ""},
		{"-workload", "keepalive", "-time", "29s"},
		{"-workload", "keepalive", "-ttl", "2s", "-time", "1s"},
		{"-pools", "0"},
		{"-pools", "5000"},
		{"-loads", "0"},
		{"-loads", "201"},
		{"-rates", "0"},
		{"-keys", "cold"},
		{"-workload", "recovery", "-ways", "floor,fair-mux2"},
		{"-workload", "recovery", "-ttl", "99ms"},
		{"-keys", ""},
		{"-keys", "own,hot", "-workload", "load"},
		{"-keys", "hot", "-workload", "load", "-rates", "100", "-ways", "floor"},
		{"-rates", "2000000"},
		{"-served", "0"},
		{"-served", "5000"},
		{"-hold", "-1s"},
		{"-hold", "6s"},
		{"-hold", "0s,1"},
		{"-processes", "0"},
		{"-processes", "65"},
		{"-approaches", ""},
		{"-approaches", "fair"},
		{"-approaches", "floor,,locker"},
		{"-ways", ""},
		{"-ways", "locker"},
		{"-ways", "fair-mux"},
		{"-ways", "fair-mux0"},
		{"-ways", "fair-mux65"},
		{"-ways", "floor-mux1"},
		{"-ttl", "9ms"},
		{"-ttl", "0s"},
		{"-ttl", "25h"},
		{"-ttl", "10.5ms"},
		{"-time", "5"},
		{"-time", "0s"},
		{"-count", "0"},
		{"-count", "-1"},
		{"-count", "many"},
		{"-out", ""},
		{"-hist", ""},
		{"-hist", "x", "-workload", "verbs"},
		{"-resume"},
		{"-url", "http://" + secret + "@h"},
		{"-url", "redis://:" + secret + "@h:port"},
		{"redis://:" + secret + "@h"},
		{"-count", "redis://:" + secret + "@h"},
		{"-time", "redis://:" + secret + "@h"},
	} {
		o := lockbench(context.Background(), nil, args...)
		o.wantLine(t, exitUsage)
		if o.stdout != "" {
			t.Errorf("%q: printed %q", args, o.stdout)
		}
		if strings.Contains(o.stderr, secret) {
			t.Errorf("%q: shows the password: %s", args[0], o.stderr)
		}
	}
}

func TestWorkloadsAreOneListWithoutDoubles(t *testing.T) {
	for in, want := range map[string]string{
		"approaches,contention": "approaches contention",
		"ratios,verbs":          "verbs ratios",
		"all":                   "approaches verbs contention ratios",
		"verbs,all":             "approaches verbs contention ratios",
		"verbs, verbs":          "verbs",
		"keepalive":             "keepalive",
		"keepalive,all":         "approaches verbs contention ratios keepalive",
		"load,mux":              "mux load",
		"recovery,load":         "load recovery",
	} {
		got, err := readWorkloads(in)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

// The default run must be over in 40 s from go run, which compiles first.
func TestDefaultRunTakesAQuarterOfAMinute(t *testing.T) {
	o, err := parse(nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if e := estimateOf(plan(fakeServer(), &o)); e.length < 10*time.Second || e.length > 25*time.Second {
		t.Errorf("the rounds alone take %v", e.length)
	}
}

func TestKeepAliveHasATTLAndATimeOfItsOwn(t *testing.T) {
	for _, tt := range []struct {
		args      []string
		ttl, time time.Duration
	}{
		{nil, 30 * time.Second, 30 * time.Second},
		{[]string{"-ttl", "1m"}, time.Minute, time.Minute},
		{[]string{"-ttl", "1s", "-time", "3s"}, time.Second, 3 * time.Second},
		{[]string{"-time", "90s"}, 30 * time.Second, 90 * time.Second},
	} {
		o, err := parse(append(tt.args, "-workload", "keepalive"), func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		if ttl, p := o.ttlOf("keepalive"), o.pace("keepalive"); ttl != tt.ttl || p.time != tt.time || p.count != 1 {
			t.Errorf("%q: ttl %v, %+v", tt.args, ttl, p)
		}
		if got := o.ttlOf("verbs"); o.ttl == 0 && got != 10*time.Second {
			t.Errorf("%q: verbs have a ttl of %v", tt.args, got)
		}
	}
}

func TestLocksDependOnTheServer(t *testing.T) {
	mini, err := bench.OpenEmbedded(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer mini.Close()
	var o options
	if got := o.locksOn(mini); !slices.Equal(got, []int{1, 1000}) {
		t.Errorf("miniredis: %v", got)
	}
	if got := o.locksOn(fakeServer()); !slices.Equal(got, []int{1, 1000, 10_000}) {
		t.Errorf("redis: %v", got)
	}
	o.locks = []int{7}
	if got := o.locksOn(mini); !slices.Equal(got, []int{7}) {
		t.Errorf("-locks 7: %v", got)
	}
}

func TestGoroutinesAreThoseOfTheWorkload(t *testing.T) {
	for _, tt := range []struct {
		args     []string
		workload string
		want     []int
	}{
		{nil, "approaches", []int{1, 16, 128}},
		{nil, "ratios", []int{1, 16, 128}},
		{nil, "mux", []int{1, 2, 16, 128, 1024}},
		{[]string{"-goroutines", "7"}, "mux", []int{7}},
	} {
		o, err := parse(tt.args, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.goroutinesOf(tt.workload); !slices.Equal(got, tt.want) {
			t.Errorf("%q, %s: %v", tt.args, tt.workload, got)
		}
	}
}

// REDIS_URL of an application's environment may name a server in production: it is measured only if that is said.
func TestREDIS_URLIsMeasuredOnlyWhenAskedFor(t *testing.T) {
	env := func(name string) string { return map[string]string{"REDIS_URL": "redis://env"}[name] }
	if o, err := parse(nil, env); err != nil || o.url != "" || o.fromEnv {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parse([]string{"-url", "env"}, env); err != nil || o.url != "redis://env" || !o.fromEnv {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parse([]string{"-url", "env"}, noEnv); err == nil {
		t.Error("-url env without REDIS_URL measures something else")
	}
	if o, err := parse([]string{"-url", "redis://flag"}, env); err != nil || o.url != "redis://flag" || o.fromEnv {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestPasswordOfTheURLGoesBeforeREDISCLI_AUTH(t *testing.T) {
	for url, want := range map[string]bool{
		"redis://h": false, "redis://bob:@h": false, "redis://:@h": false, "redis://bob:pw@h": true, "redis://:pw@h": true,
		"redis://pw@h": true, "redis-sentinel://h1,h2:1?master=m": false, "redis-sentinel://:pw@h1:1,h2?master=m": true,
		"redis-sentinel://h1?master=a@b&sentinel_password=pw": false,
	} {
		if got := hasPassword(url); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
	for url, want := range map[string]string{
		"redis://h/1": "redis://:p%2Fw@h/1", "redis://bob@h": "redis://bob:p%2Fw@h", "unix:///run/s?db=1": "unix://:p%2Fw@/run/s?db=1",
		"redis-sentinel://bob@h1:1,h2?master=a@b": "redis-sentinel://bob:p%2Fw@h1:1,h2?master=a@b",
	} {
		if got := withPassword(url, "p/w"); got != want {
			t.Errorf("%s with a password is %s, want %s", url, got, want)
		}
	}
}

func TestSettingsAreTheCommandLineWithoutServerAndFiles(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"-url", "redis://:" + secret + "@h", "-count", "3", "--time=5ms", "-out", "x", "-resume", "-hist", "y",
			"-workload", "load"}, "-count 3 -time 5ms -workload load"},
		{[]string{"-out=x", "-url=redis://:" + secret + "@h", "-ways", "fair, cohort", "--"}, "-ways fair, cohort"},
		{[]string{"-ways", "fair,\tcohort\n"}, "-ways fair, cohort"},
	} {
		o, err := parse(tt.args, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		if o.settings != tt.want {
			t.Errorf("%q, want %q", o.settings, tt.want)
		}
	}
}
