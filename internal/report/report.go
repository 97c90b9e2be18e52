// Package report makes a page from measured figures: one HTML file without scripts and without anything outside, for
// people who compare locks on their own machine. It has a section for each kind of benchmark, in which rows are the
// ways to lock. Figures are medians with their intervals; what cannot be told apart is said to be so.
package report

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"

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
	Settings []figures.Setting
	Warnings []string
	Sections []section
	Compared bool // there are marks to explain
	Ratios   bool
}

// Write writes the page. The same figures give the same page. The files are named in it, and may be nil. Nothing is
// written if it fails.
func Write(w io.Writer, title string, files []string, set *figures.Set) error {
	if len(set.Cells) == 0 {
		return errors.New("report: there is no benchmark")
	}
	sections, err := sectionsOf(set)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	p := page{
		Title: title, Style: template.CSS(pageCSS), Files: files,
		Settings: settingsOf(set), Warnings: warningsOf(set), Sections: sections,
	}
	for _, c := range set.Cells {
		l := layoutOf(c.Kind)
		p.Ratios = p.Ratios || l.around1
		p.Compared = p.Compared || !l.around1 && !l.apart
	}
	if err := pageTemplate.Execute(&b, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}
