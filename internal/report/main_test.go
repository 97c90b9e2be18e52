package report_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sampleText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "sample.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// read reads texts as if they were files.
func read(t *testing.T, texts ...string) *figures.Set {
	t.Helper()
	var paths []string
	for _, text := range texts {
		path := filepath.Join(t.TempDir(), "raw.txt")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	set, err := figures.Read(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func pageOf(t *testing.T, title string, texts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, title, []string{"sample.txt"}, read(t, texts...)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
