package campaign_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/campaign"
)

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
		"It takes 5 µs.", `{{if has "Contention"}}5{{end}}`, `{{range list "Contention" "way"}}5{{end}}`, `{{with name}}{{else}}5{{end}}`,
		`{{define "other"}}5{{end}}`, `{{"5"}}`, `{{5}}`, `{{print 5}}`, `{{printf "5"}}`, `{{"5" | print}}`, `{{$x := "5"}}{{$x}}`,
		`{{where "5" "5"}}`, `{{number "5"}}`, `{{"5" | number}}`, `{{("5")}}`, `{{or "5" "6"}}`, `{{len "five"}}`, `{{.}}`,
	} {
		if got, err := render(t, c, template); err == nil ||
			!strings.Contains(err.Error(), "figures of its own") && !strings.Contains(err.Error(), "need not be from the raw data") {
			t.Errorf("%s is %q, %v", template, got, err)
		}
	}
}
