package campaign_test

import (
	"slices"
	"strings"
	"testing"
)

func TestWhatWasAskedIsJudgedByTheInterval(t *testing.T) {
	c := open(t, map[string]string{"raw/contention.txt": contention()}) // fair: 14.5, from 11 to 18
	for template, want := range map[string]string{
		`{{asked "at least" 11 (cell "Contention" "cmds/acq" "way=fair")}}`:                           "at least 11 | 14.5 ± 24 % | yes",
		`{{asked "at least" 18.5 (cell "Contention" "cmds/acq" "way=fair")}}`:                         "at least 18.5 | 14.5 ± 24 % | no",
		`{{asked "at least" 14 (cell "Contention" "cmds/acq" "way=fair")}}`:                           "at least 14 | 14.5 ± 24 % | open: the interval contains what was asked",
		`{{asked "at most" 18 (cell "Contention" "cmds/acq" "way=fair")}}`:                            "at most 18 | 14.5 ± 24 % | yes",
		`{{asked "at most" 10 (cell "Contention" "cmds/acq" "way=fair")}}`:                            "at most 10 | 14.5 ± 24 % | no",
		`{{asked "at most" 3e-6 (cell "Contention" "sec/op" "way=fair")}}`:                            "at most 3 µs | 1.00 µs | yes",
		`{{asked "at most" 0.80 (ratio "Contention" "sec/op" "way=fair" "way=redsync")}}`:             "at most 0.8 | 1.00 (1.00–1.00) | no",
		`{{losses "here" "Contention" "way=redsync" (every "way") (columns (col "c" "cmds/acq"))}}`:   "| here | `redsync` | `fair` | c | 0.500 (0.500–0.500) |\n",
		`{{losses "here" "Contention" "way=fair" (every "way") (columns (col "c" "cmds/acq"))}}`:      "",
		`{{losses "here" "Contention" "way=fair" (rivals "way") (columns (col "time" "sec/op"))}}`:    "",
		`{{losses "here" "Contention" "way=etcd" (rivals "way") (columns (col "rate" "acq/s")) -}} x`: "x",
	} {
		if got, err := render(t, c, template); err != nil || got != want {
			t.Errorf("%s is %q, want %q; %v", template, got, want, err)
		}
	}
	for template, want := range map[string]string{
		`{{asked "about" 10 (cell "Contention" "cmds/acq" "way=fair")}}`:                          "it is at least, or at most",
		`{{losses "here" "Contention" "way=fair" (rivals "way") (columns (col "rate" "acq/s"))}}`: "has no acq/s",
		`{{losses "at 5" "Contention" "way=fair" (rivals "way") (columns (col "c" "cmds/acq"))}}`: "at 5",
	} {
		if got, err := render(t, c, template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %q, %v; want an error with %q", template, got, err, want)
		}
	}
}

// More is better of some units: fewer is then the loss.
func TestALossIsToldByTheUnit(t *testing.T) {
	c := open(t, map[string]string{"raw/contention.txt": rounds("Contention/way=fair", "acq/s", ten...) +
		rounds("Contention/way=redsync", "acq/s", twenty...)})
	got, err := render(t, c, `{{losses "" "Contention" "way=fair" (rivals "way") (columns (col "rate" "acq/s"))}}`)
	if want := "|  | `fair` | `redsync` | rate | 0.500 (0.500–0.500) |\n"; err != nil || got != want {
		t.Errorf("%q, want %q; %v", got, want, err)
	}
}

// What was served at most may be at a rate that is beyond it.
func TestTheRateOfAShareIsFoundByWhatWasServed(t *testing.T) {
	served := map[string]float64{"2000": 2000, "5000": 5000, "8000": 8000, "9500": 9500, "20000": 10_000, "40000": 7000}
	var text strings.Builder
	for rate, goodput := range served {
		text.WriteString(rounds("Load/keys=hot/approach=fair/rate="+rate, "goodput/s", slices.Repeat([]float64{goodput}, 10)...))
		text.WriteString(rounds("Load/keys=hot/approach=redsync/rate="+rate, "goodput/s", slices.Repeat([]float64{1}, 10)...))
		text.WriteString(rounds("Load/keys=own/approach=fair/rate=1"+rate, "goodput/s", slices.Repeat([]float64{1e6}, 10)...))
		text.WriteString(rounds("Load/keys=hot/approach=fair/rate="+rate+"/hold=1ms", "goodput/s", slices.Repeat([]float64{1e6}, 10)...))
	}
	c := open(t, map[string]string{"raw/load.txt": text.String()})
	template := `{{$rate := share 0.84 "approach=fair" "keys=hot" "hold="}}{{is "Load" (where "rate" $rate) | number}}` +
		` is {{shareOf $rate "approach=fair" "keys=hot" "hold="}}`
	if got, err := render(t, c, template); err != nil || got != "8,000 is 80 % of what ours served at most" {
		t.Errorf("%q, %v", got, err)
	}
	for own, want := range map[string]string{ // served of 1,000,000 at the highest rate
		"950000": "80 % of the highest rate offered, at which ours was not saturated",
		"949999": "84 % of what ours served at most",
	} {
		c := open(t, map[string]string{"raw/load.txt": strings.Repeat("BenchmarkLoad/keys=own/approach=fair/rate=800000-2 1 1 ns/op 8e5 goodput/s\n"+
			"BenchmarkLoad/keys=own/approach=fair/rate=1000000-2 1 1 ns/op "+own+" goodput/s\n", 10)})
		if got, err := render(t, c, `{{shareOf "800000" "approach=fair" "keys=own"}}`); err != nil || got != want {
			t.Errorf("with %s served: %q, %v; want %q", own, got, err, want)
		}
	}
	for _, bad := range []string{
		`{{$rate := share 0.8 "approach=polling" "keys=hot"}}`, `{{shareOf "17" "approach=fair" "keys=hot" "hold="}}`,
		`{{$rate := share 0.8 "approach=fair" "keys=hot"}}`, // two cells for each rate
	} {
		if got, err := render(t, c, bad); err == nil || !strings.Contains(err.Error(), "Load") {
			t.Errorf("%s: %q, %v", bad, got, err)
		}
	}
}
