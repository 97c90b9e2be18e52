package main

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const tag = "Contention/server=redis/way=fair/waiters=64/processes=4/hold=0s"

func histogramLine(t *testing.T, name string, values ...int64) string {
	t.Helper()
	h := hdrhistogram.New(1, int64(1e11), 3)
	h.SetTag(name)
	for _, v := range values {
		if err := h.RecordValue(v); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	if err := hdrhistogram.NewHistogramLogWriter(&b).OutputIntervalHistogram(h); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHistogramsOfOneTagInAFileAreMergedAndAreNanoseconds(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "a.hlog"), histogramLine(t, tag, 1000, 1000)+
		histogramLine(t, "Other/way=fair", 1)+histogramLine(t, tag, 9000))
	write(t, filepath.Join(folder, "b.hlog"), histogramLine(t, tag, 1))
	files, err := readLogs(folder)
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	logs := files[0]
	if len(logs) != 2 || logs[0].histogram.TotalCount() != 3 || logs[0].Key("waiters") != "64" || logs[1].Kind != "Other" {
		t.Fatalf("logs are %+v", logs)
	}
	curve := logs[0].curve("fair")
	if last := curve.points[len(curve.points)-1]; math.Abs(last.x-9e-6) > 1e-8 || math.Abs(last.y-3) > 1e-9 {
		t.Errorf("99.9 %% is at %v", last)
	}
	if got := curve.median(); math.Abs(got-1e-6) > 1e-9 {
		t.Errorf("the median is %v s", got)
	}
}

func TestLogThatCannotBeReadIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":          {"", "has no histogram"},
		"only a comment": {"#[Histogram log format version 1.3]\n", "has no histogram"},
		"no tag":         {histogramLine(t, "", 1), "has no tag"},
		"torn":           {histogramLine(t, tag, 1)[:120] + "\n", "x.hlog"},
	} {
		folder := t.TempDir()
		write(t, filepath.Join(folder, "x.hlog"), c.text)
		if _, err := readLogs(folder); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
