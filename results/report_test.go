// Package results holds measured figures; see README.md. Its tests keep what is said of them true to them.
package results

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

var update = flag.Bool("update", false, "write the reports and README's tables instead of comparing them")

// campaigns are the folders of measured figures.
func campaigns(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("20[0-9][0-9]-*")
	if err != nil || len(list) == 0 {
		t.Fatalf("found no campaign, %v", err)
	}
	return list
}

func TestEveryFigureOfAReportIsInItsRawData(t *testing.T) {
	for _, dir := range campaigns(t) {
		t.Run(dir, func(t *testing.T) {
			pages, err := report(dir)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range pages {
				compare(t, filepath.Join(dir, name), want)
				checkMarkdown(t, want)
			}
		})
	}
}

// report renders a campaign's pages: by a template of its own, or by those of all with the words of the campaign.
func report(dir string) (map[string]string, error) {
	c, err := campaign.Open(dir)
	if err != nil {
		return nil, err
	}
	if own := filepath.Join(dir, "report.md.tmpl"); exists(own) {
		page, err := c.Render("report.md.tmpl", own)
		return map[string]string{"report.md": page}, err
	}
	templates := []string{"report.md.tmpl"}
	if words := filepath.Join(dir, "words.md.tmpl"); exists(words) {
		templates = append(templates, words)
	}
	page, err := c.Render("report.md.tmpl", templates...)
	if err != nil {
		return nil, err
	}
	tables, err := c.Render("tables.md.tmpl", "tables.md.tmpl")
	return map[string]string{"report.md": page, "tables.md": tables}, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// compare compares a file with what it is to be, or writes it.
func compare(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: write it by: go test ./results -update", err)
	}
	got, wanted := strings.Split(string(text), "\n"), strings.Split(want, "\n")
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			t.Fatalf("%s:%d says\n%s\nthe raw data say\n%s\nwrite it by: go test ./results -update", path, i+1, got[i], wanted[i])
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
		if (n > 0) != (columns > 0) && line != "" && before != "" {
			t.Errorf("line %d: a table is not between empty lines: %s", i+1, line)
		} else if columns > 0 && n > 0 && n != columns {
			t.Errorf("line %d has %d columns, the table has %d: %s", i+1, n, columns, line)
		}
		before, columns = line, n
	}
}
