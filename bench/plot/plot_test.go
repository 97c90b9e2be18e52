package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var keep = flag.String("charts", "", "`folder` in which to leave the charts of invented data, to look at them")

func plotted(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, failed bytes.Buffer
	code = run(args, &out, &failed)
	return code, out.String(), failed.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// drawn are the files that are made of raw files, by their names.
func drawn(t *testing.T, raw map[string]string) map[string]string {
	t.Helper()
	folder, out := t.TempDir(), t.TempDir()
	if *keep != "" {
		out = *keep
	}
	for name, text := range raw {
		write(t, filepath.Join(folder, name), text)
	}
	if code, stdout, stderr := plotted(t, "-out", out, folder); code != 0 || stderr != "" {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	paths, err := filepath.Glob(filepath.Join(out, "*"))
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

const head = "cpu: Synthetic CPU\nredis-version: redis 7.0.15\n"

// invented is a campaign that has data for every chart, of all ways. None of its numbers was measured.
func invented(rounds int) map[string]string {
	files := map[string]string{}
	add := func(file, format string, args ...any) {
		if files[file] == "" {
			files[file] = head
		}
		files[file] += "Benchmark" + fmt.Sprintf(format, args...) + "\n"
	}
	for round := range rounds {
		for i, w := range ways {
			stray := float64(i+1) * (1 + float64(round)/100)
			for _, n := range []int{1, 16, 128} {
				add("rivals.txt", "AcquireRelease/server=redis/approach=%s/release=lua/goroutines=%d-2 10 %v ns/op", w.name, n, 1e5/float64(n)*stray)
			}
			add("contention-rivals.txt", "Contention/server=redis/way=%s/waiters=64/processes=4/hold=0s-2 10 9 ns/op %v jain %v wait-p99-ns 0 wait-beyond",
				w.name, 1/float64(i+1), 2e6*stray)
			for _, rate := range []int{5000, 12000, 20000} {
				add("hot.txt", "Load/server=redis/keys=hot/approach=%s/rate=%d-2 990 9 ns/op %v p99-ns 0 unserved 990 goodput/s", w.name, rate,
					float64(rate)*30*stray)
			}
			for _, n := range []int{1000, 10000} {
				add("keepalive.txt", "KeepAlive/server=redis/way=%s/locks=%d/ttl=4s-2 10 9 ns/op %v cpu-ns/renewal %v server-cpu-ns/renewal", w.name, n,
					1e3*stray, 2e3*stray)
			}
		}
	}
	return files
}

// texts are what a reader of a picture reads. They fail the test if it is not well-formed.
func texts(t *testing.T, svg string) (list []string) {
	t.Helper()
	inText := false
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatal(err)
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

func TestEveryChartIsMadeInBothThemesWithItsLabels(t *testing.T) {
	files := drawn(t, invented(10))
	if again := drawn(t, invented(10)); !maps.Equal(files, again) || len(files) != 2*len(charts) {
		t.Errorf("the second time is not as the first, or there are %d files", len(files))
	}
	for name, wanted := range map[string][]string{
		"throughput": {"Locks that nobody else wants", "goroutines, each with a key of its own", "16", "128", "redigo by hand", "Locker over a Mux"},
		"fairness":   {"64 waiters of one key in 4 processes", "1 ms", "10 ms", "Locker that polls", "ZooKeeper"},
		"load-hot":   {"Latency under load on one hot key", "5k", "12k", "20k", "10 ms", "Fair with Cohort"},
		"keepalive": {"Cost of keeping a lock alive", "for each renewal, of 10k locks due together", "client’s CPU",
			"a ticker for each lock", "rueidislock", "10 µs"},
	} {
		for _, theme := range []theme{light, dark} {
			got := texts(t, files[name+"-"+theme.name+".svg"])
			wanted := append(slices.Clone(wanted), "redis 7.0.15 · Synthetic CPU · medians of 10 rounds · intervals at 95 %", "rueidislock")
			for _, want := range wanted {
				if !slices.Contains(got, want) {
					t.Errorf("%s, %s: does not say %q, but %q", name, theme.name, want, got)
				}
			}
		}
	}
	if got := texts(t, files["fairness-light.svg"]); slices.Contains(got, "redigo by hand") {
		t.Error("what is no lock is among those that wait for one")
	}
}

// A box is a text's place on the page, from the left and the bottom, in points.
type box struct {
	text                   string
	left, right, low, high float64
}

var (
	turned  = regexp.MustCompile(`(?s)<g transform="rotate.*?</g>`)
	textBox = regexp.MustCompile(`<text x="([-0-9.e]+)" y="([-0-9.e]+)" transform="scale\(1, -1\)" textLength="([0-9.e]+)" ` +
		`lengthAdjust="spacingAndGlyphs" style="font-family:'Liberation Sans',Arial,Helvetica,sans-serif;` +
		`[^"]*font-size:([0-9.]+)px[^"]*">([^<]*)</text>`)
)

// boxes are those of all horizontal texts.
func boxes(t *testing.T, svg string) (list []box) {
	t.Helper()
	if all, known := strings.Count(svg, "<text "), len(textBox.FindAllString(svg, -1)); all != known || all == 0 {
		t.Fatalf("%d of %d texts have the form that looks the same everywhere", known, all)
	}
	for _, m := range textBox.FindAllStringSubmatch(turned.ReplaceAllString(svg, ""), -1) {
		var n [4]float64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseFloat(m[i+1], 64); err != nil {
				t.Fatal(err)
			}
		}
		base := -n[1]
		list = append(list, box{html.UnescapeString(m[5]), n[0], n[0] + n[2], base, base + 0.7*n[3]})
	}
	return list
}

func (b box) over(o box) bool {
	return b.left < o.right && o.left < b.right && b.low < o.high && o.low < b.high
}

func TestNoTextIsOverAnotherOrOutsideOfThePage(t *testing.T) {
	for name, svg := range drawn(t, invented(10)) {
		list := boxes(t, svg)
		for i, b := range list {
			if b.left < 0 || b.right > width || b.low < 0 {
				t.Errorf("%s: %+v is outside of the page", name, b)
			}
			for _, o := range list[:i] {
				if b.over(o) {
					t.Errorf("%s: %+v is over %+v", name, b, o)
				}
			}
		}
	}
}

// An interval is infinite below 6 rounds.
func TestTooFewRoundsHaveNoInterval(t *testing.T) {
	for name, svg := range drawn(t, invented(5)) {
		if !slices.Contains(texts(t, svg), "redis 7.0.15 · Synthetic CPU · medians of 5 rounds · too few for an interval") {
			t.Errorf("%s says %q", name, texts(t, svg))
		}
		if strings.Contains(svg, "Inf") || strings.Contains(svg, "NaN") {
			t.Errorf("%s: a place is not finite", name)
		}
	}
}

// Of 1000 arrivals 10 or 11 were not served in time: a 99th percentile, and a lower bound of one, which is hollow.
func TestALowerBoundIsHollow(t *testing.T) {
	rings := map[string]int{}
	for _, unended := range []string{"10", "11"} {
		served := map[string]string{"10": "990", "11": "989"}[unended]
		line := "BenchmarkLoad/server=redis/keys=hot/approach=fair/rate=10-2 " + served + " 1 ns/op 9e6 p99-ns " + unended + " unserved " + served +
			"e-2 goodput/s\n"
		svg := drawn(t, map[string]string{"hot.txt": head + strings.Repeat(line, 6)})["load-hot-light.svg"]
		rings[unended] = strings.Count(svg, "fill:none")
	}
	if rings["11"] != rings["10"]+1 {
		t.Errorf("%v rings are drawn", rings)
	}
}

func TestWhatCannotBeDrawnIsSaid(t *testing.T) {
	raw := t.TempDir()
	write(t, filepath.Join(raw, "rivals.txt"), "BenchmarkAcquireRelease/server=redis/approach=locker/release=lua/goroutines=1-2 10 100 ns/op\n")
	write(t, filepath.Join(raw, "hot.txt"), "BenchmarkLoad/server=redis/keys=hot/approach=fair/rate=10-2 10 100 ns/op 5 p50-ns\n")
	code, stdout, stderr := plotted(t, raw+"/")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"made throughput\n", "no keepalive: there is no keepalive.txt\n",
		`no load-hot: hot.txt has no Load with ["p99-sec"] of a way that is drawn`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not said:\n%s", want, stdout)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(raw), "charts", "throughput-dark.svg")); err != nil {
		t.Error(err)
	}
	none, torn := t.TempDir(), t.TempDir()
	write(t, filepath.Join(torn, "hot.txt"), "BenchmarkLoad/server=redis 10 100\n")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "usage: plot"}, {[]string{"a", "b"}, 2, "usage: plot"}, {[]string{"-colour", "a"}, 2, "not defined: -colour"},
		{[]string{none}, 1, "has data for no chart"}, {[]string{torn}, 1, "hot.txt:1"},
	} {
		if code, _, stderr := plotted(t, c.args...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: exit code %d, %q; want %d, %q", c.args, code, stderr, c.code, c.says)
		}
	}
}
