package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gonum.org/v1/plot/vg/draw"
)

// A chart is what is drawn, without its colours.
type chart struct {
	title    string
	subtitle []string // lines: what was measured, and on what
	notes    []string // sentences under the chart
	height   float64  // of the body, in points
	body     func(draw.Canvas, theme)
}

// An absence says why there is no chart.
type absence string

func (a absence) Error() string { return string(a) }

// A maker makes the chart of a name from a campaign, or says by an absence why it cannot.
type maker struct {
	name string
	make func(*campaign) (*chart, error)
}

func makers(c *campaign) []maker {
	list := []maker{{"throughput", throughput}, {"handoff", handoff}}
	for _, keys := range c.loadKeys() {
		list = append(list, maker{"load-" + keys, func(c *campaign) (*chart, error) { return load(c, keys) }})
	}
	return append(list, maker{"fairness", fairness}, maker{"cost", cost}, maker{"keepalive", keepAlive})
}

// makeCharts makes the charts that the raw files have data for, and says on w which those are.
func makeCharts(raw, out string, w io.Writer) error {
	c, err := readCampaign(raw)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	made := 0
	for _, m := range makers(c) {
		ch, err := m.make(c)
		var none absence
		switch {
		case errors.As(err, &none):
			fmt.Fprintf(w, "no %s: %v\n", m.name, none)
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if err := ch.write(out, m.name); err != nil {
			return err
		}
		fmt.Fprintf(w, "made %s\n", m.name)
		for _, note := range ch.notes {
			fmt.Fprintf(w, "\t%s\n", note)
		}
		made++
	}
	if made == 0 {
		return fmt.Errorf("%s has data for no chart", raw)
	}
	return nil
}

func (ch *chart) write(folder, name string) error {
	for _, t := range []theme{light, dark} {
		svg, err := ch.svg(t)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, name+"-"+t.name+".svg"), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}
