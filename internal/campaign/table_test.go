package campaign_test

import (
	"strings"
	"testing"
)

func TestATableShowsWhatWasMeasured(t *testing.T) {
	c := open(t, map[string]string{"raw/contention.txt": contention()})
	for template, want := range map[string]string{
		`{{table "way" "Contention" (every "way" "fair") (columns (col "commands" "cmds/acq") (better "way=fair" (col "fair is better" "cmds/acq"))) "server~redis"}}`: `
| way | commands | fair is better |
| --- | --: | --: |
| ¸fair¸ | 14.5 ± 24 % | – |
| ¸redsync¸ | 29 ± 24 % | 2.00 (2.00–2.00) |
`,
		`{{table "" "Contention" (rivals "way" "redsync") (columns (plain (col "time" "sec/op")) (maybe (largest (col "commands" "cmds/acq"))) (col "rate" "acq/s")) "server~redis"}}`: `
|  | time | commands | rate |
| --- | --: | --: | --: |
| ¸redsync¸ | 1.00 µs | 38 | – |
| ¸etcd¸ | 1.00 µs | – | 29 ± 24 % |
`,
		`{{table "waiters" "Contention" (values "waiters" (list "Contention" "waiters")) (by "way" "cmds/acq" "fair" "redsync" "etcd?")}}`: "",
		`{{table "" "Contention" (rows (row "ours, 64" "way=fair" "waiters=64")) (by "waiters" "cmds/acq" "64")}}`: `
|  | 64 |
| --- | --: |
| ours, 64 | 14.5 ± 24 % |
`,
	} {
		got, err := render(t, c, template)
		if want == "" { // the last column has nothing in it
			if err == nil || !strings.Contains(err.Error(), `no row of Contention`) {
				t.Errorf("%s: %q, %v", template, got, err)
			}
			continue
		}
		if want = strings.ReplaceAll(want[1:], "¸", "`"); err != nil || got != want {
			t.Errorf("%s is\n%s\nwant\n%s\n%v", template, got, want, err)
		}
	}
}

func TestATableLacksNothingUnsaid(t *testing.T) {
	c := open(t, map[string]string{"raw/contention.txt": contention()})
	for template, want := range map[string]string{
		`{{table "" "Contention" (only "way" "fair" "redislock") (columns (col "c" "cmds/acq"))}}`:                    "way=redislock",
		`{{table "" "Contention" (every "way" "redislock") (columns (col "c" "cmds/acq"))}}`:                          "way=redislock",
		`{{table "" "Contention" (only "way" "fair" "etcd") (columns (col "c" "cmds/acq"))}}`:                         "way=etcd/waiters=64 has no cmds/acq",
		`{{table "" "Contention" (only "way" "fair") (columns (better "way=x" (col "c" "cmds/acq")))}}`:               "way=x",
		`{{table "" "Contention" (every "way" "fair") (columns (col "c" "cmds/acq") (maybe (col "d" "cmds/accq")))}}`: `has anything in the column "d"`,
		`{{table "" "Contention" (rows (row "with 63" "way=fair")) (by "waiters" "cmds/acq" "64")}}`:                  `the label "with 63" has 63`,
		`{{table "of 63" "Contention" (only "way" "fair") (by "waiters" "cmds/acq" "64")}}`:                           `the label "of 63" has 63`,
	} {
		if got, err := render(t, c, template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %q, %v; want an error with %q", template, got, err, want)
		}
	}
}

// A rival that barges may hand nothing over in a short round.
func TestATableSaysInHowManyRoundsThereWasAFigure(t *testing.T) {
	c := open(t, map[string]string{"raw/contention.txt": contention() +
		rounds("Contention/server=redis/way=barger/waiters=64", "cmds/acq", ten...) +
		rounds("Contention/server=redis/way=barger/waiters=64", "sent/acq", ten...)})
	got, err := render(t, c, `{{table "" "Contention" (every "way" "barger")`+
		` (columns (col "time" "sec/op") (col "c" "cmds/acq") (better "way=fair" (col "r" "cmds/acq"))) "server=redis"}}`)
	if want := "| `barger` | 1.00 µs | in 10 of 20 rounds | in 10 of 20 rounds |\n"; err != nil || !strings.Contains(got, want) {
		t.Errorf("%v, it has no %q: %s", err, want, got)
	}
	got, err = render(t, c, `{{table "" "Contention" (only "way" "barger") (columns (col "c" "cmds/acq"))}}`)
	if want := "way=barger/waiters=64 has cmds/acq in 10 of its 20 rounds"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%q, %v", got, err)
	}
}
