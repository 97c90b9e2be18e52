package results

import (
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

// TestHowFarItGoesIsComputed holds docs/capacity.md against the raw data that it is computed from.
func TestHowFarItGoesIsComputed(t *testing.T) {
	c, err := campaign.Open("2026-11-22-465d239")
	if err != nil {
		t.Fatal(err)
	}
	page, err := c.Render("capacity.md.tmpl", "capacity.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "../docs/capacity.md", page)
	checkMarkdown(t, page)
}
