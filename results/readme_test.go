package results

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

const readme = "../README.md"

// figures is where a page names the campaign and the template (of readme.md.tmpl) of a table, and the table.
var figures = regexp.MustCompile(`(?s)(<!-- figures: (results/[\w-]+) (\w+) -->\n)(.*?)<!-- end -->\n`)

func TestEveryTableOfTheReadmeIsInTheRawData(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	want, tables, err := tabulate(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if opened := strings.Count(string(text), "<!-- figures:"); tables == 0 || tables != opened {
		t.Fatalf("README.md has %d tables of figures, of %d that begin", tables, opened)
	}
	compare(t, readme, want)
}

// tabulate makes the tables of a page anew.
func tabulate(page string) (want string, tables int, err error) {
	want = figures.ReplaceAllStringFunc(page, func(match string) string {
		m := figures.FindStringSubmatch(match) // the whole, the comment, folder, template, table
		c, failed := campaign.Open(filepath.Join("..", m[2]))
		if failed == nil {
			m[4], failed = c.Render(m[3], "readme.md.tmpl")
		}
		if failed != nil {
			err = failed
		}
		tables++
		return m[1] + m[4] + "<!-- end -->\n"
	})
	return want, tables, err
}

// In the rest of the page there may be these only: the versions of Go, Redis, Valkey, of this, and of the licence.
var noFigures = []string{"1.25", "6.2", "7.2", "1.0", "2.0"}

func TestTheReadmeHasNoOtherFigures(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for _, naked := range campaign.Naked(code.ReplaceAllString(figures.ReplaceAllString(string(text), ""), "")) {
		if !slices.Contains(noFigures, naked) {
			t.Errorf("README.md says %s; have figures computed by readme.md.tmpl", naked)
		}
	}
}

func TestTheReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines >= 150 {
		t.Errorf("README.md has %d lines, under 150 are wanted", lines)
	}
}

// code is what is shown as such.
var code = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`|(?m)^    .*$")

// A link or picture: ](path), src="path", srcset="path".
var link = regexp.MustCompile(`\]\(([^)#\s]+)\)|(?:src|srcset|href)="([^"#]+)"`)

func TestWhatThePagesLinkToExists(t *testing.T) {
	pages := []string{"README.md"}
	for _, pattern := range []string{"../*.md", "../docs/*.md", "*/README.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	for _, dir := range campaigns(t) {
		pages = append(pages, filepath.Join(dir, "report.md"))
		if tables := filepath.Join(dir, "tables.md"); exists(tables) {
			pages = append(pages, tables)
		}
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
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

func TestEveryChartOfACampaignIsOnItsPage(t *testing.T) {
	for _, dir := range campaigns(t) {
		charts, err := filepath.Glob(filepath.Join(dir, "charts", "*.svg"))
		if err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(filepath.Join(dir, "report.md"))
		if err != nil {
			t.Fatal(err)
		}
		tables, _ := os.ReadFile(filepath.Join(dir, "tables.md")) // not all have it
		for _, chart := range charts {
			if !strings.Contains(string(page)+string(tables), `"charts/`+filepath.Base(chart)+`"`) {
				t.Errorf("%s/report.md does not show %s", dir, chart)
			}
		}
	}
}

func TestTheIndexNamesEveryCampaignAndHasNoFigures(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range campaigns(t) {
		if !strings.Contains(string(text), "["+dir+"]("+dir+"/report.md)") {
			t.Errorf("README.md does not link to %s/report.md", dir)
		}
	}
	prose := regexp.MustCompile(`\[20[\w-]+\]\(20[\w./-]+\)`).ReplaceAllString(string(text), "")
	if naked := campaign.Naked(code.ReplaceAllString(prose, "")); len(naked) > 0 {
		t.Errorf("README.md has figures, which belong into the reports: %q", naked)
	}
}
