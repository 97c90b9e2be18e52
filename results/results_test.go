// Package results holds measured figures; see README.md. Its tests keep what is said of them true to them.
package results

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
	"github.com/redigolock/redigolock/internal/figures"
)

var update = flag.Bool("update", false, "write the pages and README's tables instead of comparing them")

// campaigns are the folders of measured figures.
func campaigns(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("20[0-9][0-9]-*")
	if err != nil || len(list) == 0 {
		t.Fatalf("found no campaign, %v", err)
	}
	return list
}

// newest is the folder of the last campaign of all ways: of those that have no questions, and so no page, of their own.
func newest(t *testing.T) string {
	t.Helper()
	dir, date := "", ""
	for _, folder := range campaigns(t) {
		if exists(filepath.Join(folder, "report.md.tmpl")) {
			continue
		}
		if d, err := openCampaign(t, folder).Setting("date"); err != nil {
			t.Fatal(err)
		} else if d > date {
			dir, date = folder, d
		}
	}
	if dir == "" {
		t.Fatal("there is no campaign of all ways")
	}
	return dir
}

func openCampaign(t *testing.T, dir string) *campaign.Campaign {
	t.Helper()
	c, err := campaign.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryFigureOfAPageIsInItsRawData(t *testing.T) {
	for _, dir := range campaigns(t) {
		t.Run(dir, func(t *testing.T) {
			template := filepath.Join(dir, "report.md.tmpl")
			if !exists(template) {
				template = "report.md.tmpl"
			}
			page, err := openCampaign(t, dir).Render("report.md.tmpl", template)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join(dir, "report.md"), page)
		})
	}
}

// The costs and limits of docs/capacity.md are arithmetic from the newest campaign.
func TestHowFarItGoesIsComputed(t *testing.T) {
	page, err := openCampaign(t, newest(t)).Render("capacity.md.tmpl", "capacity.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "../docs/capacity.md", page)
}

// compare compares a page with what it is to be, or writes it.
func compare(t *testing.T, path, want string) {
	t.Helper()
	checkMarkdown(t, want)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, wanted := strings.Split(read(t, path), "\n"), strings.Split(want, "\n")
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			t.Fatalf("%s:%d says\n%s\nthe raw data say\n%s\nwrite it by: make report", path, i+1, got[i], wanted[i])
		}
	}
	if len(got) != len(wanted) {
		t.Errorf("%s has %d lines, the raw data make %d", path, len(got), len(wanted))
	}
}

// checkMarkdown looks for what would not be shown as it is meant: a table that text touches, or whose lines have
// different numbers of columns; two empty lines; a figure that is none.
func checkMarkdown(t *testing.T, page string) {
	t.Helper()
	if bad := regexp.MustCompile(`NaN|Inf|<nil>|%!|no value|\n\n\n`).FindString(page); bad != "" {
		t.Errorf("the page has %q", bad)
	}
	before, columns := "", 0
	for i, line := range strings.Split(page, "\n") {
		n := 0
		if strings.HasPrefix(line, "|") {
			n = strings.Count(line, " |")
		}
		touches := line != "" && before != "" && !strings.HasPrefix(before, "<!--")
		if (n > 0) != (columns > 0) && touches {
			t.Errorf("line %d: a table is not between empty lines: %s", i+1, line)
		} else if columns > 0 && n > 0 && n != columns {
			t.Errorf("line %d has %d columns, the table has %d: %s", i+1, n, columns, line)
		}
		before, columns = line, n
	}
}

const readme = "../README.md"

// quoted is where README.md names the template (of readme.md.tmpl) of a table, and the table.
var quoted = regexp.MustCompile(`(?s)(<!-- figures: (\w+) -->\n)(.*?)<!-- end -->\n`)

func TestEveryTableOfTheReadmeIsInTheRawData(t *testing.T) {
	text, dir, tables := read(t, readme), newest(t), 0
	c := openCampaign(t, dir)
	want := quoted.ReplaceAllStringFunc(text, func(match string) string {
		m := quoted.FindStringSubmatch(match) // the whole, the comment, template, table
		table, err := c.Render(m[2], "readme.md.tmpl")
		if err != nil {
			t.Error(err)
		}
		tables++
		return m[1] + strings.ReplaceAll(table, `"charts/`, `"results/`+dir+`/charts/`) + "<!-- end -->\n"
	})
	want = regexp.MustCompile(`results/20[\w-]+/report\.md`).ReplaceAllString(want, "results/"+dir+"/report.md")
	if opened := strings.Count(text, "<!-- figures:"); tables == 0 || tables != opened || t.Failed() {
		t.Fatalf("README.md has %d tables of figures, of %d that begin", tables, opened)
	}
	compare(t, readme, want)
}

// In the rest of the page there may be these only: the versions of Go, Redis, Valkey, of this, and of the licence.
var noFigures = []string{"1.25", "6.2", "7.0", "7.2", "1.0", "2.0"}

// code is what is shown as such, and where links lead.
var code = regexp.MustCompile("(?s:```.*?```)|`[^`\n]*`|(?m:^    .*$)|\\]\\([^)\\s]*\\)")

func TestOtherPagesHaveNoFigures(t *testing.T) {
	folder := regexp.MustCompile(`\[20[\w-]+\]\(20[\w./-]+\)`)
	_, rest, _ := strings.Cut(read(t, "../doc.go"), "# Which lock for what\n")
	manual, _, ended := strings.Cut(rest, "\n# ")
	if !ended {
		t.Error("doc.go does not say which lock is for what")
	}
	for name, text := range map[string]string{
		"README.md":         quoted.ReplaceAllString(read(t, readme), ""),
		"results/README.md": folder.ReplaceAllString(read(t, "README.md"), ""),
		"doc.go":            manual,
	} {
		for _, naked := range campaign.Naked(code.ReplaceAllString(text, "")) {
			if name != "README.md" || !slices.Contains(noFigures, naked) {
				t.Errorf("%s says %s; have figures computed by readme.md.tmpl, or in a report", name, naked)
			}
		}
	}
}

func TestTheReadmeIsShort(t *testing.T) {
	if lines := strings.Count(read(t, readme), "\n"); lines >= 150 {
		t.Errorf("README.md has %d lines, under 150 are wanted", lines)
	}
}

// A link or picture: ](path), src="path", srcset="path".
var link = regexp.MustCompile(`\]\(([^)#\s]+)\)|(?:src|srcset|href)="([^"#]+)"`)

func TestWhatThePagesLinkToExists(t *testing.T) {
	pages := []string{"README.md"}
	for _, pattern := range []string{"../*.md", "../docs/*.md", "*/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			path := m[1] + m[2]
			if strings.Contains(path, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), path)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// allWays is the index's row of the campaign of all ways.
var allWays = regexp.MustCompile(`(?m)^\| \[[\w-]+\]\([\w-]+/report\.md\) \| all ways`)

func TestTheIndexNamesEveryCampaignAndItsPageShowsEveryChart(t *testing.T) {
	dir := newest(t)
	compare(t, "README.md", allWays.ReplaceAllLiteralString(read(t, "README.md"), "| ["+dir+"]("+dir+"/report.md) | all ways"))
	for _, other := range campaigns(t) {
		if !exists(filepath.Join(other, "report.md.tmpl")) && other != dir {
			t.Errorf("results/%s replaces results/%s: git rm -r the latter", dir, other)
		} else if !strings.Contains(read(t, "README.md"), "["+other+"]("+other+"/report.md)") {
			t.Errorf("README.md does not link to %s/report.md", other)
		}
		charts, err := filepath.Glob(filepath.Join(other, "charts", "*.svg"))
		if err != nil {
			t.Fatal(err)
		}
		page := read(t, filepath.Join(other, "report.md"))
		for _, chart := range charts {
			if !strings.Contains(page, `"charts/`+filepath.Base(chart)+`"`) {
				t.Errorf("%s/report.md does not show %s", other, chart)
			}
		}
	}
}

// The words of the manual are those of the tables.
func TestTheManualHasTheWords(t *testing.T) {
	var words strings.Builder
	words.WriteString("| word | what it means |\n| --- | --- |\n")
	for _, m := range figures.Glossary {
		fmt.Fprintf(&words, "| %s | %s |\n", m.Words, m.Says)
	}
	var ways strings.Builder
	ways.WriteString("| name | called | what it does |\n| --- | --- | --- |\n")
	for _, w := range figures.Ways {
		name := "`" + w.Name + "`"
		if w.Does == "" { // its words say it, or a rival's settings
			continue
		}
		if w.Kind != "" {
			name += " (" + figures.KindOf(w.Kind).Title + ")"
		}
		fmt.Fprintf(&ways, "| %s | %s | %s |\n", name, w.Words, w.Does)
	}
	const manual = "../docs/benchmarks.md"
	text := read(t, manual)
	for _, table := range []string{words.String(), ways.String()} {
		before, rest, _ := strings.Cut(text, "\n| "+strings.Fields(table)[1]+" |")
		_, after, _ := strings.Cut(rest, "\n\n")
		text = before + "\n" + table + "\n" + after
	}
	compare(t, manual, text)
}

// The page of the quorum's figures has the table that BenchmarkQuorum wrote.
func TestQuorumPageHasItsTable(t *testing.T) {
	if table := read(t, "quorum/table.md"); !strings.Contains(read(t, "quorum/README.md"), strings.TrimSpace(table)) {
		t.Error("results/quorum/README.md does not have table.md: copy it")
	}
}
