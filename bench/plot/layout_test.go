package main

import (
	"fmt"
	"html"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A box is a text's place on the page, from the left and the bottom, in points.
type box struct {
	text                   string
	left, right, low, high float64
}

var textBox = regexp.MustCompile(`<text x="([-0-9.e]+)" y="([-0-9.e]+)" transform="scale\(1, -1\)" textLength="([0-9.e]+)" ` +
	`lengthAdjust="spacingAndGlyphs" style="font-family:'Liberation Sans',Arial,Helvetica,sans-serif;` +
	`[^"]*font-size:([0-9.]+)px[^"]*">([^<]*)</text>`)

// boxes are those of all horizontal texts.
func boxes(t *testing.T, svg string) []box {
	t.Helper()
	if all, known := strings.Count(svg, "<text "), len(textBox.FindAllString(svg, -1)); all != known || all == 0 {
		t.Fatalf("%d of %d texts have the form that looks the same everywhere", known, all)
	}
	turned := regexp.MustCompile(`(?s)<g transform="rotate.*?</g>`)
	var list []box
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
	out := t.TempDir()
	if code, _, stderr := plotted(t, "-out", out, writeSynthetic(t)); code != 0 {
		t.Fatal(stderr)
	}
	for name, svg := range contents(t, out) {
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

func TestLabelsKeepTheirDistanceAndTheirOrder(t *testing.T) {
	for _, wanted := range [][]vg.Length{
		{50}, {50, 50}, {10, 10, 10, 10}, {100, 100, 99, 98}, {0, 40, 41, 42, 100}, {30, 70, 31, 69}, {-20, 130},
		{5, 15, 25, 35, 45, 55, 65, 75, 85, 95}, {}, {99, 99, 88, 77, 66},
	} {
		got := spread(wanted, 10, 0, 100)
		order := make([]int, len(wanted))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int { return cmpFloat(float64(wanted[i]), float64(wanted[j])) })
		for k, i := range order {
			if got[i] < -1e-9 || got[i] > 100+1e-9 {
				t.Errorf("%v: %v is outside", wanted, got)
			}
			if k > 0 && got[i]-got[order[k-1]] < 10-1e-9 {
				t.Errorf("%v: %v has two too near, or in another order", wanted, got)
			}
		}
	}
	if got := fmt.Sprint(spread([]vg.Length{50, 50, 90}, 10, 0, 100)); got != "[45 55 90]" {
		t.Errorf("two share their middle, and the third stays: %s", got)
	}
	if got := fmt.Sprint(spread([]vg.Length{50, 50, 56}, 10, 0, 100)); got != "[42 52 62]" {
		t.Errorf("the middle of three is that of all: %s", got)
	}
	if got := spread([]vg.Length{5, 5, 5}, 10, 0, 15); got[2]-got[1] != 10 || got[1]-got[0] != 10 {
		t.Errorf("without room they stay apart: %v", got)
	}
}

func TestTicksAreReadable(t *testing.T) {
	labels := func(list []string) string { return strings.Join(list, "|") }
	for want, low := range map[string][2]float64{
		"10 µs|100 µs|1 ms|10 ms|100 ms":      {8e-6, 0.2},
		"100 ns|200 ns|500 ns|1 µs|2 µs|5 µs": {90e-9, 9e-6},
		"500 ms|700 ms|1 s|2 s":               {0.5, 2.5},
		"50 µs|70 µs|100 µs|200 µs|300 µs":    {45e-6, 340e-6},
	} {
		var got []string
		for _, tick := range logTicks(low[0], low[1], duration) {
			if tick.Label != "" {
				got = append(got, tick.Label)
			}
		}
		if labels(got) != want {
			t.Errorf("%v: %s, want %s", low, labels(got), want)
		}
	}
	for want, high := range map[string]float64{
		"0|50k|100k|150k|200k": 210000, "0|0.25|0.5|0.75|1": 1.03, "0|1|2|3": 3.9, "0|1M|2M|3M": 3.4e6, "0|200|400|600|800": 999,
	} {
		var got []string
		for _, tick := range linearTicks(0, high, number) {
			got = append(got, tick.Label)
		}
		if labels(got) != want {
			t.Errorf("to %v: %s, want %s", high, labels(got), want)
		}
	}
}

func TestIntervalsThatAreInfiniteAreNotDrawn(t *testing.T) {
	for rounds, wanted := range map[int]bool{5: false, 6: true} {
		raw, out := t.TempDir(), t.TempDir()
		var b strings.Builder
		for i := range rounds {
			fmt.Fprintf(&b, "BenchmarkAcquireRelease/server=redis/approach=locker/release=lua/goroutines=1-2 10 %d ns/op\n", 100+i)
		}
		write(t, filepath.Join(raw, "x.txt"), b.String())
		if code, _, stderr := plotted(t, "-out", out, raw); code != 0 {
			t.Fatal(stderr)
		}
		svg := contents(t, out)["throughput-light.svg"]
		if !strings.Contains(svg, ">0</text>") {
			t.Error("the axis of a throughput does not begin at zero")
		}
		if strings.Contains(svg, "Inf") || strings.Contains(svg, "NaN") {
			t.Errorf("%d rounds: a place is not finite", rounds)
		}
		if got := strings.Contains(svg, "stroke:#0072B2;stroke-width:0.9"); got != wanted {
			t.Errorf("%d rounds: interval drawn is %v", rounds, got)
		}
	}
}

func TestTextsHaveTheWidthThatTheyWereLaidOutWith(t *testing.T) {
	ch := &chart{title: "A title", subtitle: []string{"A & subtitle"}, body: func(draw.Canvas, theme) {}}
	svg, err := ch.svg(light)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boxes(t, string(svg)) {
		want := style(titleSize, true, light).Width("A title")
		if b.text != "A title" {
			want = faint(subtitleSize, light).Width("A & subtitle")
		}
		if got := b.right - b.left; math.Abs(got-want.Points()) > 0.01 {
			t.Errorf("%q is %v wide, want %v", b.text, got, want)
		}
	}
}

func TestRowsAreInTheOrderOfTheirValues(t *testing.T) {
	raw, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(raw, "x.txt"), `BenchmarkContention/server=redis/way=redsync/waiters=8-2 10 1 ns/op 0.5 jain 9 wait-p99-ns
BenchmarkContention/server=redis/way=redislock/waiters=8-2 10 1 ns/op 0.3 jain
BenchmarkContention/server=redis/way=fair/waiters=8-2 10 1 ns/op 0.9 jain 5 wait-p99-ns
BenchmarkKeepAlive/server=redis/way=redsync/locks=8/ttl=1s-2 10 1 ns/op 9 cpu-ns/renewal
BenchmarkKeepAlive/server=redis/way=locker/locks=8/ttl=1s-2 10 1 ns/op 2 cpu-ns/renewal
`)
	if code, _, stderr := plotted(t, "-out", out, raw); code != 0 {
		t.Fatal(stderr)
	}
	for name, want := range map[string][]string{
		"fairness-dark.svg":  {"Fair", "redsync", "redislock", "not measured"},
		"keepalive-dark.svg": {"Locker", "2 ns", "redsync", "9 ns"},
	} {
		var got []string
		list := boxes(t, contents(t, out)[name])
		slices.SortStableFunc(list, func(a, b box) int {
			if math.Abs(a.low-b.low) < rowHeight/2 {
				return cmpFloat(a.left, b.left)
			}
			return cmpFloat(b.low, a.low)
		})
		for _, b := range list {
			if slices.Contains(want, b.text) {
				got = append(got, b.text)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: from above %q, want %q", name, got, want)
		}
	}
}

// A leader from the only point of a line would cross the panel like a limit.
func TestASinglePointHasNoLeaderToItsLabel(t *testing.T) {
	leaders := func(points ...point) int {
		ch := &chart{title: "x", height: linesHeight, body: panels{list: []panel{{
			x: axis{format: number}, y: axis{format: number}, lines: []line{{name: "etcd", points: points}},
		}}}.draw}
		svg, err := ch.svg(light)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(svg), "stroke-dasharray:1,2")
	}
	if one, two := leaders(point{x: 1, y: 1}), leaders(point{x: 1, y: 1}, point{x: 2, y: 2}); one != 0 || two != 1 {
		t.Errorf("%d leaders from one point, %d from two", one, two)
	}
}
