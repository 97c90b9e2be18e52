package lockbench

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const rawLine = "BenchmarkVerb/server=redis/verb=SetNX-2 1 51000 ns/op\n"

// rawFile writes a file into a folder of its own.
func rawFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raw.txt")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func runReport(args ...string) outcome {
	return lockbench(context.Background(), nil, append([]string{"report"}, args...)...)
}

func TestReportIsMadeFromAllFiles(t *testing.T) {
	out := filepath.Join(t.TempDir(), "page.html")
	one := rawFile(t, "commit: first\n"+rawLine)
	two := rawFile(t, "commit: second\n"+strings.ReplaceAll(rawLine, "Verb", "Odd"))
	o := runReport("-out", out, "-title", "Mine & yours", one, two)
	if o.code != exitDone || o.stderr != "" || o.stdout != out+"\n" {
		t.Errorf("exit code %d, %q, %q", o.code, o.stdout, o.stderr)
	}
	page, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"<title>Mine &amp; yours</title>", "first", "second", ">Verbs<", ">Odd<", "51.0", "raw.txt"} {
		if !strings.Contains(string(page), text) {
			t.Errorf("%q is not in\n%s", text, page)
		}
	}
}

func TestReportWithBadFlagsIsOneLineAndExitCode2(t *testing.T) {
	raw := rawFile(t, rawLine)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-x", raw}, "-x"},
		{nil, "FILE"},
		{[]string{"-out", "", raw}, "-out"},
		{[]string{raw, "-out", "page.html"}, "flags go before"},
		{[]string{"-out", raw, raw}, "made from"}, // the figures would be gone
	} {
		runReport(c.args...).wantLine(t, exitUsage, c.says, "lockbench report -h")
	}
	if text, err := os.ReadFile(raw); err != nil || string(text) != rawLine {
		t.Errorf("the raw file is %q, %v", text, err)
	}
}

func TestReportOfFilesThatCannotBeReadSaysWhichAndWritesNothing(t *testing.T) {
	good := rawFile(t, rawLine)
	for name, bad := range map[string]string{
		"missing": filepath.Join(t.TempDir(), "none.txt"),
		"empty":   rawFile(t, ""),
		"other":   rawFile(t, "PASS\nok\n"),
		"torn":    rawFile(t, rawLine+"BenchmarkVerb/server=redis/verb=SetNX-2 1 51\n"),
		"folder":  t.TempDir(),
	} {
		out := filepath.Join(t.TempDir(), "page.html")
		o := runReport("-out", out, good, bad)
		if o.wantLine(t, exitFailed, bad); strings.Contains(o.stderr, "figures:") {
			t.Errorf("%s: %s", name, o.stderr)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: there is a page", name)
		}
	}
	runReport("-out", filepath.Join(t.TempDir(), "none", "page.html"), good).wantLine(t, exitFailed, "-out", "page.html")
}
