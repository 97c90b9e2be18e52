// Package report shows measured figures to people who compare locks: as a page, which is one HTML file without scripts and
// without anything outside, and for a terminal. Both have a section for each kind of benchmark, in which rows are the ways to lock.
// Figures are medians with their intervals; what cannot be told apart is said to be so.
package report

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
)

// A page is what the template shows.
type page struct {
	Title    string
	Style    template.CSS
	Files    []string
	Settings []figures.Setting // that a reader looks for
	More     []figures.Setting
	Warnings []string
	Sections []section
}

// Write writes the page. The same figures give the same page. The files are named in it, and may be nil. Nothing is
// written if it fails.
func Write(w io.Writer, title string, files []string, set *figures.Set) error {
	if len(set.Cells) == 0 {
		return errors.New("report: there is no benchmark")
	}
	sections, err := sectionsOf(set, nil)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	p := page{
		Title: title, Style: template.CSS(pageCSS), Files: files,
		Warnings: warningsOf(set), Sections: sections,
	}
	p.Settings, p.More = settingsOf(set)
	if err := pageTemplate.Execute(&b, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// settingsFirst are those that a reader looks for.
var settingsFirst = []string{"server", "redis-version", "cpu", "host", "go", "commit"}

// settingsOf are the configuration lines of all files, and the servers that the names of the benchmarks tell.
func settingsOf(set *figures.Set) (first, more []figures.Setting) {
	for _, name := range settingsFirst {
		values := set.Setting(name)
		if name == "server" {
			values = serversOf(set)
		}
		if len(values) > 0 {
			first = append(first, figures.Setting{Name: name, Values: values})
		}
	}
	for _, s := range set.Settings {
		if !slices.Contains(settingsFirst, s.Name) {
			more = append(more, s)
		}
	}
	return first, more
}

func serversOf(set *figures.Set) []string {
	list := slices.Clone(set.Setting("server"))
	for _, c := range set.Cells {
		if name := c.Key("server"); name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// warningsOf say where figures are less than they seem.
func warningsOf(set *figures.Set) []string {
	var list, differ []string
	for _, name := range []string{"redis-version", "cpu", "host", "go", "commit"} {
		if len(set.Setting(name)) > 1 {
			differ = append(differ, name)
		}
	}
	if len(differ) > 0 {
		list = append(list, fmt.Sprintf("The files differ in %s: not all figures compare. A benchmark that "+
			"several files have is summed up over the rounds of all: to compare two machines or two versions, make a page "+
			"for each.",
			strings.Join(differ, ", ")))
	}
	if slices.Contains(serversOf(set), "miniredis") {
		list = append(list, "miniredis is no Redis: its figures compare the ways to lock with each other, no more. "+
			"It is several times slower, and works inside the client's process.")
	}
	return list
}
