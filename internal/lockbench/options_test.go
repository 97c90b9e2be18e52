package lockbench

import (
	"context"
	"strings"
	"testing"
)

const secret = "S3cret"

func noEnv(string) string { return "" }

func TestUsageFitsATerminalAndTellsOfRivals(t *testing.T) {
	o := lockbench(context.Background(), nil, "-h")
	if o.code != exitDone || o.stderr != "" {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, text := range []string{"-row /way", "workloads:\n  overview", "columns:\n", "  fairness: ", "report [-out report.html] FILE...",
		"rivals for -approaches and -ways:\n  toy\n", "cannot wait for a lock:\n  toy-client\n"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("%q is not in\n%s", text, o.stdout)
		}
	}
	for line := range strings.Lines(strings.ReplaceAll(o.stdout, "\t", "    ")) {
		if len([]rune(line)) > 121 {
			t.Errorf("a line is too wide for a terminal: %s", line)
		}
	}
}

func TestBadFlagIsOneLineAndExitCode2(t *testing.T) {
	for _, args := range [][]string{
		{"-x"}, {"-url"},
		{"-workload", "locks"}, {"-workload", ""},
		{"-goroutines", "0"}, {"-goroutines", "5000"}, {"-goroutines", "1,two"}, {"-goroutines", ""},
		{"-waiters", "1"}, {"-processes", "0"}, {"-processes", "65"},
		{"-locks", "0"}, {"-locks", "1000001"},
		{"-workload", "keepalive", "-time", "29s"}, {"-workload", "keepalive", "-ttl", "2s", "-time", "1s"},
		{"-workload", "recovery", "-ways", "floor,fair-mux2"}, {"-workload", "recovery", "-ttl", "99ms"},
		{"-rates", "0"}, {"-rates", "2000000"},
		{"-keys", "cold"},
		{"-keys", "hot", "-workload", "load", "-rates", "100", "-ways", "floor"},
		{"-hold", "-1s"}, {"-hold", "6s"}, {"-hold", "0s,1"}, {"-delay", "-1ms"}, {"-delay", "1s"}, {"-delay", "1ms", "-approaches", "toy-client"},
		{"-approaches", ""}, {"-approaches", "polling"}, {"-approaches", "floor,,locker"},
		{"-ways", ""}, {"-ways", "locker"}, {"-ways", "fair-mux"}, {"-ways", "fair-mux0"}, {"-ways", "fair-mux65"}, {"-ways", "floor-mux1"},
		{"-ttl", "9ms"}, {"-ttl", "0s"}, {"-ttl", "25h"}, {"-ttl", "10.5ms"}, {"-time", "5"}, {"-time", "0s"},
		{"-count", "0"}, {"-count", "-1"}, {"-count", "many"},
		{"-url", "cluster", "-workload", "all"}, {"-url", "redis-cluster://h", "-workload", "keepalive"},
		{"-out", ""},
		{"-url", "http://" + secret + "@h"}, {"-url", "redis://:" + secret + "@h:port"}, {"redis://:" + secret + "@h"},
		{"-count", "redis://:" + secret + "@h"}, {"-time", "redis://:" + secret + "@h"}, {"-ways", "redis://:" + secret + "@h"},
	} {
		o := lockbench(context.Background(), nil, args...)
		if o.wantLine(t, exitUsage); t.Failed() {
			t.Fatalf("%q", args)
		}
		if o.stdout != "" || strings.Contains(o.stderr, secret) {
			t.Errorf("%q: printed %q, %q", args[0], o.stdout, o.stderr)
		}
	}
}

func TestWorkloadsHaveNoDoubles(t *testing.T) {
	for in, want := range map[string]string{
		"ratios,verbs": "ratios verbs", "verbs,all": "verbs approaches contention ratios", "verbs, verbs": "verbs",
	} {
		o, err := parse([]string{"-workload", in}, noEnv)
		if err != nil || strings.Join(o.workloads, " ") != want {
			t.Errorf("%s: %v, %v", in, o, err)
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
}

func TestPasswordOfTheURLGoesBeforeREDISCLI_AUTH(t *testing.T) {
	for url, want := range map[string]bool{
		"redis://h": false, "redis://bob:@h": false, "redis://:@h": false, "redis://bob:pw@h": true, "redis://:pw@h": true,
		"redis://pw@h": true, "redis-sentinel://h1,h2:1?master=m": false, "redis-sentinel://:pw@h1:1,h2?master=m": true,
		"redis-sentinel://h1?master=a@b&sentinel_password=pw": false, "redis-cluster://h1,h2": false, "redis-cluster://pw@h1,h2": true,
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

func TestSettingsAreTheFlagsWithoutServerAndFiles(t *testing.T) {
	o, err := parse([]string{"-url", "redis://:" + secret + "@h", "-count", "3", "--time=5ms", "-out", "x",
		"-workload", "load", "-ways", "fair,\tcohort", "-hold", "0,1ms"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if want := "-count 3 -hold 0s,1ms -time 5ms -ways fair,cohort -workload load"; o.settings != want {
		t.Errorf("%q, want %q", o.settings, want)
	}
}
