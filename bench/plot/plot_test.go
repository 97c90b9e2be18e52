package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// drawn are the charts of raw files, by their names, and what is said of those that are not drawn.
func drawn(t *testing.T, raw string) (files map[string]string, said string) {
	t.Helper()
	out := t.TempDir()
	var b bytes.Buffer
	if err := makeCharts(raw, out, &b); err != nil {
		t.Fatal(err)
	}
	return read(t, out), b.String()
}

// read are the texts of the files in a folder, by their names.
func read(t *testing.T, folder string) map[string]string {
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

// lay writes raw files.
func lay(t *testing.T, files map[string]string) (raw string) {
	t.Helper()
	raw = t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(raw, name), []byte("cpu: Synthetic CPU\nredis-version: redis 7.0.15\n"+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}

func TestTheChartsOfACampaignAreThoseOfItsRawData(t *testing.T) {
	campaigns, err := filepath.Glob("../../results/20*/charts")
	if err != nil || len(campaigns) == 0 {
		t.Fatalf("there are no charts, %v", err)
	}
	for _, folder := range campaigns {
		got, _ := drawn(t, filepath.Join(filepath.Dir(folder), "raw"))
		if len(got) != 2*len(charts) || runtime.GOARCH == "amd64" && !maps.Equal(got, read(t, folder)) { // others round otherwise
			t.Errorf("%s is not what its raw files give; write it by: go run . ../../results/…/raw ../../results/…/charts", folder)
		}
	}
}

// An interval is infinite below 6 rounds.
func TestTooFewRoundsHaveNoInterval(t *testing.T) {
	const line = "BenchmarkAcquireRelease/server=redis/approach=locker/release=lua/goroutines=1-2 10 100 ns/op\n"
	files, _ := drawn(t, lay(t, map[string]string{"rivals.txt": strings.Repeat(line, 5)}))
	svg := files["throughput-light.svg"]
	if !strings.Contains(svg, ">redis 7.0.15 · Synthetic CPU · medians of 5 rounds · too few for an interval<") {
		t.Errorf("it does not say so:\n%s", svg)
	}
	if strings.Contains(svg, "Inf") || strings.Contains(svg, "NaN") {
		t.Error("a place is not finite")
	}
}

// Of 1000 arrivals 10 or 11 were not served in time: a 99th percentile, and a lower bound of one, which is hollow.
func TestALowerBoundIsHollow(t *testing.T) {
	rings := map[string]int{}
	for unended, served := range map[string]string{"10": "990", "11": "989"} {
		line := "BenchmarkLoad/server=redis/keys=hot/approach=fair/rate=10-2 " + served + " 1 ns/op 9e6 p99-ns " + unended + " unserved " + served +
			"e-2 goodput/s\n"
		files, _ := drawn(t, lay(t, map[string]string{"hot.txt": strings.Repeat(line, 6)}))
		rings[unended] = strings.Count(files["load-hot-light.svg"], "fill:none")
	}
	if rings["11"] != rings["10"]+1 {
		t.Errorf("%v rings are drawn", rings)
	}
}

func TestWhatCannotBeDrawnIsSaid(t *testing.T) {
	_, said := drawn(t, lay(t, map[string]string{
		"rivals.txt": "BenchmarkAcquireRelease/server=redis/approach=locker/release=lua/goroutines=1-2 10 100 ns/op\n",
		"hot.txt":    "BenchmarkLoad/server=redis/keys=hot/approach=fair/rate=10-2 10 100 ns/op 5 p50-ns\n",
	}))
	for _, want := range []string{"made throughput\n", "no keepalive: there is no keepalive.txt\n",
		`no load-hot: hot.txt has no Load with ["p99-sec"] of a way that is drawn`} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	for raw, want := range map[string]string{
		t.TempDir(): "has data for no chart", lay(t, map[string]string{"hot.txt": "BenchmarkLoad/server=redis 10 100\n"}): "hot.txt:3",
	} {
		if err := makeCharts(raw, t.TempDir(), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
