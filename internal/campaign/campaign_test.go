package campaign_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

// lay writes a campaign's folder: files of cells, each with the values of its rounds.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "drawn")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// rounds are the lines of a cell: its values, one a round, of each unit.
func rounds(name, unit string, values ...float64) string {
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, "Benchmark%s-2 1 1000 ns/op %v %s\n", name, v, unit)
	}
	return b.String()
}

func open(t *testing.T, files map[string]string) *campaign.Campaign {
	t.Helper()
	c, err := campaign.Open(lay(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render renders a template's text.
func render(t *testing.T, c *campaign.Campaign, text string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.tmpl")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return c.Render("page.tmpl", path)
}

var (
	ten    = []float64{10, 11, 12, 13, 14, 15, 16, 17, 18, 19}
	twenty = []float64{20, 22, 24, 26, 28, 30, 32, 34, 36, 38}
)

// contention has two ways, of which redsync takes twice as much, and a third with a server of its own.
func contention() string {
	return "cpu: x\nsettings: -loads 50,80\n\n" +
		rounds("Contention/server=redis/way=fair/waiters=64", "cmds/acq", ten...) +
		rounds("Contention/server=redis/way=redsync/waiters=64", "cmds/acq", twenty...) +
		rounds("Contention/server=etcd/way=etcd/waiters=64", "acq/s", twenty...)
}

func TestAFolderWithoutRawDataIsRefused(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no raw files":         {"environment.txt": "cpus: 2\n"},
		"raw/empty.txt has no": {"raw/empty.txt": "PASS\n"},
	} {
		if _, err := campaign.Open(lay(t, files)); err == nil || !strings.Contains(err.Error(), "raw/") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewerServersHaveFilesOfTheirOwn(t *testing.T) {
	c := open(t, map[string]string{
		"raw/verbs.txt":              "cpu: x\n\n" + rounds("Verb/server=redis/verb=SetNX", "p50-ns", ten...),
		"raw/newer/redis8-verbs.txt": "cpu: x\n\n" + rounds("Verb/server=redis/verb=SetNX", "p50-ns", twenty...),
	})
	if text, err := render(t, c, `{{median "Verb" "p50-sec" "verb=SetNX"}}`); err == nil || !strings.Contains(err.Error(), "several cells") {
		t.Errorf("%q, %v; the cell is in two files", text, err)
	}
	text, err := render(t, c, `{{use "newer/redis8-verbs.txt"}}{{median "Verb" "p50-sec" "verb=SetNX"}}`)
	if want := "29.0 ns"; err != nil || text != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
}

func TestAPageShowsFiguresAndConditions(t *testing.T) {
	c := open(t, map[string]string{
		"raw/contention.txt": contention(), "environment.txt": "cpus: 2\n",
		"charts/a-light.svg": "<svg/>", "charts/a-dark.svg": "<svg/>",
	})
	for template, want := range map[string]string{
		`{{cell "Contention" "cmds/acq" "way=fair"}}`:                       "14.5 ± 24 %",
		`{{median "Contention" "cmds/acq" "way=fair"}}`:                     "14.5",
		`{{worst "Contention" "cmds/acq" "way=fair"}}`:                      "19",
		`{{perSecond "Contention" "way=fair"}}`:                             "1,000,000",
		`{{ratio "Contention" "cmds/acq" "way=redsync" "way=fair"}}`:        "2.00 (2.00–2.00)",
		`{{ratio "Contention" "sec/op" "way=redsync" "way=fair"}}`:          "~ (1.00–1.00)",
		`{{median "Contention" "cmds/acq" "way=fair" "server~etcd"}}`:       "14.5",
		`{{rounds "Contention" "cmds/acq"}}`:                                "10",
		`{{is "Contention" "waiters=64"}}`:                                  "64",
		`{{list "Contention" "way" | join}}`:                                "fair, redsync, etcd",
		`{{config "cpu" "Contention"}} {{environment "cpus"}} {{name}}`:     "x 2 drawn",
		`{{if has "Contention" "way=polling"}}some{{else}}none{{end}}`:      "none",
		`{{use "contention.txt"}}{{is "Contention" "waiters=64" | number}}`: "64",
		`{{chart "a" "a chart"}}`: "<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"charts/a-dark.svg\">\n" +
			"  <img alt=\"a chart\" src=\"charts/a-light.svg\">\n</picture>\n",
	} {
		if got, err := render(t, c, template); err != nil || got != want {
			t.Errorf("%s is %q, want %q; %v", template, got, want, err)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	files := map[string]string{
		"raw/contention.txt": contention() + rounds("Contention/server=redis/way=few/waiters=64", "cmds/acq", 1, 2, 3, 4, 5),
		"raw/more.txt":       rounds("Contention/server=redis/way=fair/waiters=8", "cmds/acq", ten...) + contention(),
	}
	c := open(t, files)
	for template, want := range map[string]string{
		`{{use "load.txt"}}`: "raw/load.txt is missing",
		`{{cell "Contention" "cmds/acq" "way=redislock"}}`:                         `no cell is Contention with ["way=redislock"]`,
		`{{cell "Contention" "cmds/acq" "way=fair" "waiters=64"}}`:                 "raw/more.txt; say more, or which file",
		`{{use "contention.txt"}}{{cell "Contention" "jain" "way=fair"}}`:          "raw/contention.txt: Contention/server=redis/way=fair/waiters=64 has no jain",
		`{{cell "Contention" "cmds/acq" "way=few"}}`:                               "way=few/waiters=64 has 5 rounds of cmds/acq, at least 10 are wanted",
		`{{least 3}}{{cell "Contention" "cmds/acq" "way=few"}}`:                    "way=few/waiters=64 has an infinite interval of cmds/acq in 5 rounds",
		`{{least 3}}{{ratio "Contention" "cmds/acq" "way=few" "waiters=8"}}`:       "5 rounds of Contention/server=redis/way=few/waiters=64 in raw/contention.txt cannot be paired",
		`{{use "more.txt"}}{{ratio "Contention" "cmds/acq" "way=a" "waiters=8"}}`:  `no cell is Contention with ["way=a"]`,
		`{{is "Contention" "waiters=65"}}`:                                         `no cell is Contention with ["waiters=65"]`,
		`{{list "Contention" "hold"}}`:                                             `no cell is Contention with ["hold=…"]`,
		`{{environment "cpus"}}`:                                                   "environment.txt",
		`{{config "go" "Contention"}}`:                                             `go is ""`,
		`{{chart "a" "a chart"}}`:                                                  "charts/a-light.svg",
		`{{rounds "Contention" "wait"}}`:                                           "no cell is Contention",
		`{{use "contention.txt"}}{{ratio "Contention" "x" "way=etcd" "way=fair"}}`: "Contention/server=etcd/way=etcd/waiters=64 has no x",
	} {
		if got, err := render(t, c, template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %q, %v; want an error with %q", template, got, err, want)
		}
	}
}

func TestRoundsOfTwoFilesAreNotPaired(t *testing.T) {
	c := open(t, map[string]string{
		"raw/a.txt": rounds("Contention/way=fair", "acq/s", ten...), "raw/b.txt": rounds("Contention/way=redsync", "acq/s", ten...),
	})
	_, err := c.CellRatio("Contention", "acq/s", "way=fair", "way=redsync")
	if err == nil || !strings.Contains(err.Error(), "raw/b.txt") {
		t.Error(err)
	}
}

// Those rounds are shorter and closer to each other than those of the approaches alone.
func TestRatiosThatWereMeasuredAsSuchArePreferred(t *testing.T) {
	half := make([]float64, len(ten))
	for i := range half {
		half[i] = 0.5
	}
	c := open(t, map[string]string{"raw/a.txt": rounds("AcquireRelease/approach=a/release=lua/goroutines=1", "x", ten...) +
		rounds("AcquireRelease/approach=b/release=lua/goroutines=1", "x", ten...) +
		rounds("AcquireRelease/approach=c/release=lua/goroutines=1", "x", ten...) +
		rounds("Ratio/of=a/to=b/goroutines=1", "ratio", half...)})
	for _, tt := range []struct {
		a, b string
		want float64
	}{{"a", "b", 0.5}, {"b", "a", 2}, {"a", "c", 1}} {
		q, err := c.CellRatio("AcquireRelease", "sec/op", "approach="+tt.a, "approach="+tt.b, "goroutines=1", "release~lua")
		if err != nil || q.Center != tt.want || !q.Ratio {
			t.Errorf("%s ÷ %s is %+v, %v; want %v", tt.a, tt.b, q, err, tt.want)
		}
	}
}
