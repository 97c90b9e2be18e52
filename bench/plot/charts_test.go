package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
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
	if code != 0 || stderr != "" || strings.Contains(stdout, "no ") && strings.Contains(stdout, "\nno ") {
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
		"cost": append(rivals, "Cost of an acquisition under contention", "commands per acquisition",
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
