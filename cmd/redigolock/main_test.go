package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestHelpListsVerbsAndExitCodes(t *testing.T) {
	o := call(t, nil, "help")
	o.want(t, exitOK, "75   another holds the lock", "REDISCLI_AUTH")
	for _, v := range verbs() {
		o.want(t, exitOK, "  "+v.name)
		if strings.HasSuffix(v.summary, ".") {
			t.Errorf("the summary of %s ends with a full stop", v.name)
		}
	}
	if call(t, nil, "--help") != o {
		t.Error("--help differs from help")
	}
}

func TestEveryVerbHasAManual(t *testing.T) {
	for _, v := range verbs() {
		o := call(t, nil, "help", v.name)
		o.want(t, exitOK, "Usage: redigolock "+v.name, v.summary)
		if o.stderr != "" {
			t.Errorf("help %s writes to stderr: %s", v.name, o.stderr)
		}
	}
}

func TestWrongCommandLine(t *testing.T) {
	call(t, nil).want(t, exitUsage, "Usage: redigolock VERB")
	call(t, nil, "lok\x1b[2J").want(t, exitUsage, `there is no verb "lok\x1b[2J"`)
	call(t, nil, "help", "lok").want(t, exitUsage, "name of one verb")
}

func TestWhatIsPrintedCannotDriveATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"lock:report":     "lock:report",
		"":                `""`,
		"a b":             `"a b"`,
		`a"b`:             `"a\"b"`,
		"\x1b[2J":         `"\x1b[2J"`,
		"a\u202eb":        `"a\u202eb"`,
		"\xff":            `"\xff"`,
		"\u009b2J":        `"\u009b2J"`,
		"Schlüssel":       "Schlüssel",
		"a\u00a0b":        `"a\u00a0b"`,
		"zwei\nZeilen":    `"zwei\nZeilen"`,
		"back\\slash":     `"back\\slash"`,
		"\u2028":          `"\u2028"`,
		"emoji\U0001f512": "emoji\U0001f512",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	var out bytes.Buffer
	if err := printJSON(&out, "\x1b\u009b\u202e\x7f\U0001f512\xff"); err != nil {
		t.Fatal(err)
	}
	if want := `"\u001b\u009b\u202e\u007f\ud83d\udd12\ufffd"` + "\n"; out.String() != want {
		t.Errorf("%s, want %s", out.String(), want)
	}
	if got, want := printableLine("one\ntwo \x1b[2J \u009b 'x'"), `one; two \x1b[2J \u009b 'x'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
