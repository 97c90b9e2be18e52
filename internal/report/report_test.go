package report_test

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/report"
)

// Lockbench shuffles its cells.
func TestOrderOfTheLinesDoesNotMatter(t *testing.T) {
	head, body, _ := strings.Cut(sampleText(t), "\n\n")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	slices.Reverse(lines)
	reversed := head + "\n\n" + strings.Join(lines, "\n") + "\n"
	if a, b := pageOf(t, "x", sampleText(t)), pageOf(t, "x", reversed); !bytes.Equal(a, b) {
		t.Errorf("the page differs:\n%s\n%s", a, b)
	}
}

func TestTextOfTheFilesStaysText(t *testing.T) {
	const evil = `</style></title>"'><script>alert(1)</script><img/src=x/onerror=alert(2)>{{.}}`
	text := "cpu: " + evil + "\nkey: " + evil + "\n" +
		"BenchmarkAcquireRelease/server=" + evil + "/approach=" + evil + "/goroutines=" + evil + "-2 1 5 ns/op 7 " +
		evil + "\n" +
		"BenchmarkX" + evil + "/" + evil + "=" + evil + "-2 1 5 " + evil + "\n"
	page := pageOf(t, evil, text)
	if strings.Count(string(page), "alert(1)") < 8 {
		t.Errorf("texts are missing:\n%s", page)
	}
	if found := regexp.MustCompile(`(?i)<(script|img)|<style>|</title>`).FindAll(page, -1); len(found) != 2 {
		t.Errorf("tags are %q, want one style and one title:\n%s", found, page)
	}
	if bytes.Contains(page, []byte(`"'>`)) {
		t.Errorf("a text leaves its attribute:\n%s", page)
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	page := string(pageOf(t, "Locks compared", sampleText(t)))
	for _, pattern := range []string{`(?i)\bsrc\s*=`, `href="[^#]`, `(?i)url\(`, `@import`, `https?:`, `<script`, `<link`} {
		if found := regexp.MustCompile(pattern).FindString(page); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	if !strings.Contains(page, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
		t.Error("no policy keeps the browser from fetching")
	}
}

func TestSettingsOfAllFilesAreShownAndTheirDifferencesSaid(t *testing.T) {
	const line = "BenchmarkVerb/server=redis/verb=SetNX-2 1 5 ns/op\n"
	page := string(pageOf(t, "x", "commit: first\ncpu: same\n"+line, "commit: second\ncpu: same\n"+line))
	for _, text := range []string{
		"<dd>first</dd><dd>second</dd>", "<dd>same</dd></div>", "The files differ in commit:", "2 rounds",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("%q is not in\n%s", text, page)
		}
	}
	if page := string(pageOf(t, "x", "commit: first\n"+line)); strings.Contains(page, "The files differ") {
		t.Errorf("one file differs:\n%s", page)
	}
}

func TestFiguresOfMiniredisAreSaidToBeNoRedisFigures(t *testing.T) {
	mini := "BenchmarkVerb/server=miniredis/verb=SetNX-2 1 5 ns/op\n"
	for text, want := range map[string]bool{mini: true, strings.ReplaceAll(mini, "miniredis", "redis"): false} {
		if page := pageOf(t, "x", text); bytes.Contains(page, []byte("miniredis is no Redis")) != want {
			t.Errorf("of %s\n%s", text, page)
		}
	}
}

func TestAPageOfNothingIsAnError(t *testing.T) {
	var b bytes.Buffer
	if err := report.Write(&b, "x", nil, &figures.Set{}); err == nil || b.Len() > 0 {
		t.Errorf("%v, %q", err, b.String())
	}
}

// Two figures in one field would lose one of them.
func TestPartsInAnotherOrderAreAnError(t *testing.T) {
	set := read(t, "BenchmarkVerb/server=redis/verb=SetNX-2 1 5 ns/op\n"+
		"BenchmarkVerb/verb=SetNX/server=redis-2 1 5 ns/op\n")
	var b bytes.Buffer
	err := report.Write(&b, "x", nil, set)
	if err == nil || !strings.Contains(err.Error(), "order of their parts") || b.Len() > 0 {
		t.Errorf("%v, %q", err, b.String())
	}
}
