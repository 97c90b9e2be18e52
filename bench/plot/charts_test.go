package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var keep = flag.String("charts", "", "`folder` in which to leave the charts of invented data, to look at them")

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// texts are what a reader of a picture reads. They fail the test if the file is not well-formed.
func texts(t *testing.T, path string) []string {
	t.Helper()
	svg, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	inText := false
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				list = append(list, string(token))
			}
		}
	}
}

func plotted(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, failed bytes.Buffer
	code = run(args, &out, &failed)
	return code, out.String(), failed.String()
}

func TestEveryChartIsMadeInBothThemesWithItsLabels(t *testing.T) {
	out := t.TempDir()
	if *keep != "" {
		out = *keep
	}
	code, stdout, stderr := plotted(t, "-out", out, writeSynthetic(t))
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	machine := "Synthetic CPU · redis 7.0.15 · go1.26.8"
	rivals := []string{"redsync", "redislock", "rueidislock"}
	for name, wanted := range map[string][]string{
		"throughput": append(rivals, "Throughput without contention", "goroutines", "1024", "acquire + release per second",
			"150k", "Locker", "Locker, Mux of 1", "redigo by hand", "etcd", "ZooKeeper"),
		"handoff": append(rivals, "Hand-off: from a release until another waiter has the lock", "100 µs", "99.9 %",
			"time of a hand-off", "share of hand-offs that took no longer", "Fair", "Fair with Cohort", "bare notify, no lock"),
		"load-own": append(rivals, "Latency under offered load: a key for each worker", "latency from the arrival",
			"offered load, per second", "median (p50)", "99th percentile (p99)", "1 ms", "Fair"),
		"load-hot":       append(rivals, "Latency under offered load: one hot key"),
		"load-zipf10000": append(rivals, "Latency under offered load: 10,000 keys with a Zipf spread"),
		"fairness": append(rivals, "Fairness: who gets the lock, and after how long", "Jain's index of fairness",
			"wait, 99th percentile", "Fair", "polling Locker", "article: double check", "redislock, exponential", "etcd"),
		"cost": append(rivals, "Cost of an acquisition under contention", "commands per acquisition, those in scripts too",
			"server CPU per acquisition", "waiters of one key", "512", "10 µs", "Fair with Cohort"),
		"keepalive": {"Cost of keeping a lock alive", "client CPU per renewal", "server CPU per renewal", "5 µs", "Locker",
			"a ticker each lock", "redsync", "rueidislock"},
	} {
		for _, theme := range []string{"light", "dark"} {
			got := texts(t, filepath.Join(out, name+"-"+theme+".svg"))
			for _, want := range append(wanted, machine) {
				if !slices.Contains(got, want) {
					t.Errorf("%s-%s.svg does not say %q, but %q", name, theme, want, got)
				}
			}
		}
		if !strings.Contains(stdout, "made "+name+"\n") {
			t.Errorf("%s is not said to be made:\n%s", name, stdout)
		}
	}
}

func TestSameFilesMakeTheSameBytes(t *testing.T) {
	raw := writeSynthetic(t)
	var made []map[string]string
	for range 2 {
		out := t.TempDir()
		if code, _, stderr := plotted(t, "-out", out, raw); code != 0 {
			t.Fatal(stderr)
		}
		made = append(made, contents(t, out))
	}
	if len(made[0]) != 16 {
		t.Errorf("files are %q", sortedKeys(made[0]))
	}
	if !maps.Equal(made[0], made[1]) {
		t.Error("the second time is not as the first")
	}
}

func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(text)
	}
	return files
}

func TestMissingDataIsSaidWithTheReason(t *testing.T) {
	raw, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(raw, "x.txt"), `BenchmarkAcquireRelease/server=redis/approach=locker/release=lua/goroutines=1-2 10 100 ns/op
BenchmarkContention/server=redis/way=fair/waiters=2/processes=1/hold=0s-2 10 100 ns/op
BenchmarkKeepAlive/server=redis/way=locker/locks=10/ttl=1s-2 10 100 ns/op
BenchmarkLoad/server=redis/keys=hot/approach=locker/rate=10-2 10 100 ns/op 5 p50-ns
`)
	code, stdout, stderr := plotted(t, "-out", out, raw)
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{
		"made throughput\n",
		"no handoff: there is no *.hlog\n",
		"no load-own: no *.txt has Load with keys=own\n",
		"no load-hot: Load has no p50-ns or no p99-ns\n",
		"no fairness: Contention has no jain\n",
		"no cost: Contention has neither cmds/acq nor server-cpu-ns/op\n",
		"no keepalive: KeepAlive has no cpu-ns/renewal\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not said:\n%s", want, stdout)
		}
	}
	if files := sortedKeys(contents(t, out)); !slices.Equal(files, []string{"throughput-dark.svg", "throughput-light.svg"}) {
		t.Errorf("files are %q", files)
	}
}

func TestWhatAChartLeavesOutIsWrittenUnderIt(t *testing.T) {
	raw, out := t.TempDir(), t.TempDir()
	var b strings.Builder
	for i := range maxLines + 2 {
		line := fmt.Sprintf("/server=redis/approach=rival%02d/release=lua/goroutines=1-2 10 100 ns/op\n", i)
		b.WriteString(strings.Repeat("BenchmarkAcquireRelease"+line, 6))
	}
	for _, line := range []string{
		"/server=redis/approach=rival00/release=tx/goroutines=1-2 10 100 ns/op\n",
		"/server=redis/approach=rival00/release=lua/goroutines=256-2 10 100 ns/op\n",
		"/server=valkey/approach=rival00/release=lua/goroutines=1-2 10 100 ns/op\n",
	} {
		b.WriteString("BenchmarkAcquireRelease" + line)
	}
	write(t, filepath.Join(raw, "x.txt"), b.String())
	code, stdout, stderr := plotted(t, "-out", out, raw)
	if code != 0 {
		t.Fatal(stderr)
	}
	drawn := strings.Join(texts(t, filepath.Join(out, "throughput-light.svg")), " ")
	for _, want := range []string{
		"Not drawn, but in the tables: rival09; rival10.",
		"Released by script; other releases are in the tables.",
		"What has fewer than 6 rounds is in the tables.",
		"This is on redis; what was measured on valkey is in the tables.",
		"the raw data does not say the server's version",
	} {
		if !strings.Contains(drawn, want) {
			t.Errorf("%q is not written: %s", want, drawn)
		}
		if !strings.Contains(stdout, want) && !strings.HasPrefix(want, "the raw") {
			t.Errorf("%q is not said: %s", want, stdout)
		}
	}
	if strings.Contains(drawn, " 256 ") {
		t.Errorf("a cell of one round is drawn: %s", drawn)
	}
}

func TestOlderFilesAreUnderstood(t *testing.T) {
	raw, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(raw, "x.txt"),
		`BenchmarkContention/server=redis/approach=locker/waiters=8/hold=0s-2 10 1 ns/op 0.5 jain 5 cmds/acq 6e+08 longest-ns
BenchmarkLoad/server=redis/approach=locker-mux1/rate=10-2 10 1 ns/op 5 p50-ns 9 p99-ns 2 goodput/s
`)
	if code, _, stderr := plotted(t, "-out", out, raw); code != 0 {
		t.Fatal(stderr)
	}
	for name, wanted := range map[string][]string{
		"fairness": {"polling Locker", "longest wait", "Medians of 1 rounds, too few for an interval."},
		"cost":     {"polling Locker", "Waiters of one key, hold 0s. Lower is better."},
		"load-own": {"Locker, Mux of 1"},
	} {
		drawn := strings.Join(texts(t, filepath.Join(out, name+"-light.svg")), "|")
		for _, want := range wanted {
			if !strings.Contains(drawn, want) {
				t.Errorf("%s does not say %q: %s", name, want, drawn)
			}
		}
	}
}

// Of load.txt the closed loop is left out where there is another file, and told where there is none.
func TestTheClosedLoopOfAnOpenOneIsNotDrawn(t *testing.T) {
	raw := t.TempDir()
	const closed = "BenchmarkAcquireRelease/server=redis/approach=locker/release=lua/goroutines=256-2 10 100 ns/op\n"
	write(t, filepath.Join(raw, "load.txt"), closed+"BenchmarkLoad/server=redis/keys=own/approach=locker/rate=10-2 1 1 ns/op\n")
	for _, want := range []string{"256", "16"} {
		c, err := readCampaign(raw)
		if err != nil {
			t.Fatal(err)
		}
		if list := c.find("AcquireRelease"); len(list) != 1 || list[0].Key("goroutines") != want {
			t.Errorf("found %d cells, want that of %s goroutines", len(list), want)
		}
		write(t, filepath.Join(raw, "rivals.txt"), strings.Replace(closed, "256", "16", 1))
	}
}

func TestALowerBoundIsHollowAndExplained(t *testing.T) {
	for unended, want := range map[string][2]bool{"10": {false, false}, "11": {true, false}, "501": {true, true}} {
		raw := t.TempDir()
		ended := map[string]string{"10": "990", "11": "989", "501": "499"}[unended]
		write(t, filepath.Join(raw, "x.txt"), strings.Repeat("BenchmarkLoad/server=redis/keys=hot/approach=fair/rate=10-2 "+ended+
			" 1 ns/op 5 p50-ns 9 p99-ns "+unended+" unserved "+ended+"e-2 goodput/s\nBenchmarkContention/server=redis/way=fair/waiters=8/processes=1/hold=0s-2 "+
			ended+" 1 ns/op 1 jain 9 wait-p99-ns 0.0"+unended+" wait-beyond\n", 6))
		c, err := readCampaign(raw)
		if err != nil {
			t.Fatal(err)
		}
		p50, err50 := latency(latencyCells(c), "p50-sec")
		p99, err99 := latency(latencyCells(c), "p99-sec")
		if err := errors.Join(err50, err99); err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{p99[0].points[0].hollow, p50[0].points[0].hollow}; got != want {
			t.Errorf("with %s of 1000: p99 and p50 are hollow: %v, want %v", unended, got, want)
		}
		for name, make := range map[string]func(*campaign) (*chart, error){
			"fairness": fairness, "load": func(c *campaign) (*chart, error) { return load(c, "hot") },
		} {
			if ch, err := make(c); err != nil || slices.Contains(ch.notes, lowerBound) != want[0] {
				t.Errorf("with %s of 1000: %s has the notes %q, %v", unended, name, ch.notes, err)
			}
		}
	}
}

func latencyCells(c *campaign) []cell {
	cells, _ := cellsOf(c.find("Load"))
	return cells
}
