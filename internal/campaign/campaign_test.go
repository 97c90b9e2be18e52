package campaign_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// barger has handed over in half of its rounds; few has five rounds.
func odd() string {
	return rounds("Contention/server=redis/way=barger/waiters=64", "cmds/acq", ten...) +
		rounds("Contention/server=redis/way=barger/waiters=64", "sent/acq", ten...) +
		rounds("Contention/server=redis/way=few/waiters=64", "cmds/acq", 1, 2, 3, 4, 5)
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

func TestAPageShowsFiguresAndConditions(t *testing.T) {
	var load strings.Builder
	for _, rate := range []string{"20000", "900"} {
		load.WriteString(rounds("Load/keys=hot/approach=fair/rate="+rate, "goodput/s", slices.Repeat([]float64{880}, 10)...))
	}
	var ratios strings.Builder
	for _, of := range []string{"redsync", "floor-copy", "setnx", "setnx-copy", "setnx-get", "setnx-verified", "script", "locker-script", "locker-mux1"} {
		ratios.WriteString(rounds("Ratio/of="+of+"/to=floor", "ratio", slices.Repeat([]float64{1}, 10)...))
	}
	c := open(t, map[string]string{
		"raw/contention.txt": contention(), "raw/odd.txt": odd(), "raw/load.txt": load.String(), "raw/ratios.txt": ratios.String(), "environment.txt": "cpus: 2\n",
		"raw/newer/redis8.txt": rounds("Contention/server=redis/way=fair/waiters=64", "cmds/acq", twenty...),
		"charts/a-light.svg":   "<svg/>", "charts/a-dark.svg": "<svg/>",
		"failover.txt": "Other:\nway median\nkill 1ms\n\nNext:\nway  kind  median  n\nkill pool  2.8ms  10\n\nkill mux 7ms 8\n",
		"before.txt": rounds("Contention/server=redis/way=fair/waiters=64", "cmds/acq", twenty...) +
			rounds("Contention/server=redis/way=redsync/waiters=64", "cmds/acq", twenty...) + rounds("Contention/way=gone", "cmds/acq", ten...),
	})
	for template, want := range map[string]string{
		`{{cell "Contention way=fair" "cmds/acq"}}`:                                                           "14.5 ± 24 %",
		`{{cell "Contention way=fair file=newer/redis8" "cmds/acq"}}`:                                         "29 ± 24 %",
		`{{(cell "Contention way=fair" "cmds/acq").Median}}`:                                                  "14.5",
		`{{(cell "Contention way=fair" "cmds/acq").Worst}}`:                                                   "19",
		`{{(cell "Contention way=fair" "sec/op").Within 30}}`:                                                 "30,000,000",
		`{{cell "Contention way=fair server~etcd hold=" "cmds/acq"}}`:                                         "14.5 ± 24 %",
		`{{cell "Contention way=few" "cmds/acq"}}`:                                                            "3", // too few rounds for an interval
		`{{ratio "Contention" "cmds/acq" "way=redsync" "way=fair"}}`:                                          "2.00 (2.00–2.00)",
		`{{ratio "Contention" "sec/op" "way=redsync" "way=fair"}}`:                                            "~ (1.00–1.00)",
		`{{setting "rounds" "Contention"}} {{setting "rounds" "Contention way=fair"}}`:                        "5 to 20 10",
		`{{setting "waiters" "Contention"}} {{setting "rate" "Load"}}`:                                        "64 900, 20,000",
		`{{setting "way" "Contention file=contention"}} {{setting "ops" "Contention"}}`:                       "etcd, fair, redsync 1",
		`{{setting "cpu" "Contention file=contention"}} {{setting "cpus"}} {{setting "campaign"}}`:            "x 2 drawn",
		`{{if has "Contention way=polling"}}some{{else}}none{{end}}`:                                          "none",
		`{{asked "at least" 11 (cell "Contention way=fair" "cmds/acq")}}`:                                     "at least 11 | 14.5 ± 24 % | yes",
		`{{asked "at least" 18.5 (cell "Contention way=fair" "cmds/acq")}}`:                                   "at least 18.5 | 14.5 ± 24 % | no",
		`{{asked "at most" 14 (cell "Contention way=fair" "cmds/acq")}}`:                                      "at most 14 | 14.5 ± 24 % | open: the interval contains what was asked",
		`{{asked "at most" 3e-6 (cell "Contention way=fair" "sec/op")}}`:                                      "at most 3 µs | 1.00 µs | yes",
		`{{asked "at most" 9 (cell "Contention way=few" "cmds/acq")}}`:                                        "at most 9 | 3 | open: too few rounds",
		`{{asked "at most" 0.80 (ratio "Contention" "sec/op" "way=fair" "way=redsync")}}`:                     "at most 0.8 | 1.00 (1.00–1.00) | no",
		`{{losses "Contention file=contention hold=" "way=redsync" "cmds/acq"}}`:                              "", // fair is no rival
		`{{losses "Contention file=contention hold=" "way=fair" "cmds/acq;sent/acq"}}`:                        "",
		`{{table "Contention file=contention" "way: fair *" "cmds/acq;plain sec/op"}}`:                        "| way | commands | time over operations |\n| --- | --: | --: |\n| `Fair` | 14.5 ± 24 % | 1.00 µs |\n| `etcd` | – | 1.00 µs |\n| redsync, short pauses | 29 ± 24 % | 1.00 µs |\n",
		`{{table "Contention file=odd" "way: few rivals" "worst cmds/acq waiters=64"}}`:                       "| way | commands, 64 waiters |\n| --- | --: |\n| `few` | 5 |\n| `barger` | in 10 of 20 rounds |\n",
		`{{table "Ratio" "of: rivals" "plain ratio"}}`:                                                        "| of | time |\n| --- | --: |\n| `redsync` | 1.00 |\n",
		`{{table "Load" "approach: fair" "plain goodput/s rate=*"}}`:                                          "| approach | served/s, at 900/s | served/s, at 20,000/s |\n| --- | --: | --: |\n| `Fair` | 880 | 880 |\n",
		`{{table "Contention" "way/waiters: fair/64" "plain cmds/acq"}}`:                                      "| way, waiters | commands |\n| --- | --: |\n| `Fair`, 64 | 14.5 |\n",
		`{{changes "before.txt" "cmds/acq"}}`:                                                                 "| `Contention/server=redis/way=fair/waiters=64` | commands | 29 ± 24 % | 14.5 ± 24 % | 0.500× |\n| `Contention/server=redis/way=redsync/waiters=64` | commands | 29 ± 24 % | 29 ± 24 % | ~ |\n| `Contention/way=gone` | commands | 14.5 ± 24 % | – | – |\n",
		`{{quoted "failover.txt" "Next:" "kill pool" "median"}} {{quoted "failover.txt" "Next:" "kill" "n"}}`: "2.80 ms 10",
		`{{chart "a" "a chart"}}`: "<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"charts/a-dark.svg\">\n" +
			"  <img alt=\"a chart\" src=\"charts/a-light.svg\">\n</picture>\n",
	} {
		if got, err := render(t, c, template); err != nil || got != want {
			t.Errorf("%s is\n%s\nwant\n%s\n%v", template, got, want, err)
		}
	}
}

// More is better of some units: fewer is then the loss.
func TestALossIsToldByTheUnit(t *testing.T) {
	for unit, want := range map[string]string{
		"acq/s":    "| Contention, hold 1ms | `Fair` | redsync, short pauses | locks/s | 0.500 (0.500–0.500) |\n",
		"cmds/acq": "", "sent/acq": "",
	} {
		c := open(t, map[string]string{"raw/contention.txt": rounds("Contention/way=fair/hold=1ms", unit, ten...) +
			rounds("Contention/way=redsync/hold=1ms", unit, twenty...)})
		if got, err := render(t, c, `{{losses "Contention hold=1ms" "way=fair" "`+unit+`"}}`); err != nil || got != want {
			t.Errorf("%s: %q, want %q; %v", unit, got, want, err)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	c := open(t, map[string]string{
		"raw/contention.txt": contention(), "raw/odd.txt": odd(),
		"raw/more.txt": rounds("Contention/server=redis/way=fair/waiters=8", "cmds/acq", ten...) + contention(),
	})
	for template, want := range map[string]string{
		`{{cell "Contention way=redislock" "cmds/acq"}}`:                   "no cell is Contention way=redislock",
		`{{cell "Contention way=fair waiters=64" "cmds/acq"}}`:             "in more; say more, or file=NAME",
		`{{cell "Contention way=fair file=contention" "jain"}}`:            "Contention/server=redis/way=fair/waiters=64 in contention has no jain",
		`{{cell "Contention way=barger" "cmds/acq"}}`:                      "way=barger/waiters=64 has cmds/acq in 10 of its 20 rounds",
		`{{ratio "Contention" "cmds/acq" "way=few" "way=fair waiters=8"}}`: "in odd cannot be paired",
		`{{setting "cpus"}}`:                                                          "environment.txt",
		`{{setting "go" "Contention"}}`:                                               "has no go",
		`{{setting "waiters" "Contention waiters=65"}}`:                               "no cell is",
		`{{chart "a" "a chart"}}`:                                                     "charts/a-light.svg",
		`{{asked "about" 10 (cell "Contention way=few" "cmds/acq")}}`:                 "it is at least, or at most",
		`{{table "Contention file=contention" "way: fair redislock" "cmds/acq"}}`:     "way=redislock",
		`{{table "Contention file=contention" "way: fair" "cmds/acq;jain hold=1ms"}}`: "has jain hold=1ms",
		`{{table "Contention file=contention" "way: fair" ""}}`:                       "has no unit",
		`{{table "Contention" "fair" "cmds/acq"}}`:                                    "are no KEY: VALUE",
		`{{changes "before.txt" "acq/s"}}`:                                            "before.txt",
		`{{quoted "raw/odd.txt" "Next:" "kill mux" "median"}}`:                        `has no median of "kill mux"`,
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
	_, err := c.Ratio("Contention", "acq/s", "way=fair", "way=redsync")
	if err == nil || !strings.Contains(err.Error(), "in b") {
		t.Error(err)
	}
}

func TestFiguresAreToldFromNames(t *testing.T) {
	for text, want := range map[string][]string{
		"p99, p99.9 and locker-mux1 on zipf10000": nil, "raw/keepalive-10s.txt": nil, "SET NX PX, UTF-8": nil, "two of them": nil,
		"it takes 5.5 µs": {"5.5"}, "48,500 a second": {"48", "500"}, "3× faster": {"3"}, "a/4": {"4"}, "64 waiters": {"64"},
		"50%": {"50"}, "(12)": {"12"}, "-3": {"3"},
	} {
		if got := campaign.Naked(text); !slices.Equal(got, want) {
			t.Errorf("%q has %q, want %q", text, got, want)
		}
	}
}

func TestATemplateHasNoFiguresOfItsOwn(t *testing.T) {
	c := open(t, map[string]string{"raw/contention.txt": contention()})
	for _, template := range []string{
		"It takes 5 µs.", `{{if has "Contention"}}5{{end}}`, `{{range "Contention"}}5{{end}}`,
		`{{with setting "campaign"}}{{else}}5{{end}}`, `{{define "other"}}5{{end}}`, `{{"5"}}`, `{{5}}`, `{{print 5}}`, `{{printf "5"}}`,
		`{{"5" | print}}`, `{{$x := "5"}}{{$x}}`, `{{("5")}}`, `{{or "5" "6"}}`, `{{len "five"}}`, `{{.}}`, `{{(print 5).Median}}`, `{{setting "campaign" | printf "5"}}`,
	} {
		if got, err := render(t, c, template); err == nil ||
			!strings.Contains(err.Error(), "figures of its own") && !strings.Contains(err.Error(), "need not be from the raw data") {
			t.Errorf("%s is %q, %v", template, got, err)
		}
	}
}
