package main

import (
	"image/color"
	"math"
	"slices"
	"testing"
)

func TestEveryWayLooksDifferent(t *testing.T) {
	waiting := []string{"fair", "cohort", "polling", "notify", "redsync", "redislock", "rueidislock", "etcd", "zookeeper",
		"goredis-setnx", "fair-mux1", "cohort-mux1", "redislock-exp", "redsync-goredis", "valkeylock", "article-verified",
		"article-setnx", "article-script", "article-redlock", "redsync-default", "redsync-pool16", "redislock-linear100"}
	type look struct {
		hue  hue
		dash dash
		mark mark
	}
	looks, curves, labels := map[look]string{}, map[look]string{}, map[string]string{}
	for _, w := range ways {
		l, curve := look{w.hue, w.dash, w.mark}, look{w.hue, w.dash, 0}
		if other := looks[l] + labels[w.label]; other != "" {
			t.Errorf("%s looks as %s, or is called so", w.name, other)
		}
		looks[l], labels[w.label] = w.name, w.name
		if slices.Contains(waiting, w.name) {
			if other := curves[curve]; other != "" {
				t.Errorf("the curve of %s looks as that of %s", w.name, other)
			}
			curves[curve] = w.name
		}
		if ours := w.hue == blue || w.hue == vermillion; ours != w.ours {
			t.Errorf("%s: ours alone are blue or vermillion", w.name)
		}
	}
	if len(curves) != len(waiting) {
		t.Errorf("%d of %d ways of waiting are in the table", len(curves), len(waiting))
	}
}

func TestUnknownWaysAreShownUnderTheirNames(t *testing.T) {
	if w := wayOf("newlock"); w.label != "newlock" || w.ours {
		t.Errorf("%+v", w)
	}
	if w := wayOf("floor-pool64"); w.label != "by hand, pool of 64" || w.hue != neutral {
		t.Errorf("%+v", w)
	}
	if rank("newlock") <= rank("script") {
		t.Error("an unknown way is drawn before one of the table")
	}
}

// luminance is the relative luminance of WCAG 2.
func luminance(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	part := func(v uint32) float64 {
		s := float64(v) / 0xFFFF
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*part(r) + 0.7152*part(g) + 0.0722*part(b)
}

func contrast(a, b color.Color) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestColoursAreSeenOnTheirPage(t *testing.T) {
	for _, theme := range []theme{light, dark} {
		if got := contrast(theme.text, theme.background); got < 7 {
			t.Errorf("%s: text has a contrast of %.1f", theme.name, got)
		}
		if got := contrast(theme.faint, theme.background); got < 4.5 {
			t.Errorf("%s: faint text has a contrast of %.1f", theme.name, got)
		}
		for hue := neutral; hue <= yellow; hue++ {
			// Orange and sky blue have 2.2 on white: they are lines with marks and names, not text.
			if got := contrast(theme.colours[hue], theme.background); got < 2.2 {
				t.Errorf("%s: colour %d has a contrast of %.1f", theme.name, hue, got)
			}
		}
	}
}
