package lockbench

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/report"
)

const reportUsage = `Lockbench report makes one HTML page, which needs nothing else, from measured figures.

usage: go run ./cmd/lockbench report [flags] FILE...

  FILE          what lockbench -out or go test -bench has written; one page is made from all
  -out FILE     the page (default report.html); what is there is replaced
  -title TEXT   its title (default "Locks compared")
  -h            show this

exit codes: 0 done, 1 failed, 2 bad flag
`

// reportCommand is lockbench report: it returns the exit code.
func reportCommand(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("lockbench report", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	out := fs.String("out", "report.html", "")
	title := fs.String("title", "Locks compared", "")
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, reportUsage)
		return exitDone
	}
	if err == nil {
		err = checkReport(*out, fs.Args())
	}
	if err != nil {
		return complain(stderr, err, "lockbench report -h", exitUsage)
	}
	if err := writeReport(*out, *title, fs.Args()); err != nil {
		fmt.Fprintf(stderr, "lockbench: %s\n", oneLine(strings.TrimPrefix(err.Error(), "figures: ")))
		return exitFailed
	}
	fmt.Fprintln(stdout, *out)
	return exitDone
}

// checkReport keeps the page from taking the place of what it is made from.
func checkReport(out string, files []string) error {
	if out == "" {
		return errors.New("-out: a file's name is needed")
	}
	if len(files) == 0 {
		return errors.New("report needs a FILE that lockbench -out or go test -bench has written")
	}
	page, pageErr := os.Stat(out)
	for _, file := range files {
		if strings.HasPrefix(file, "-") {
			return fmt.Errorf("%s is behind a FILE; flags go before", file)
		}
		if raw, err := os.Stat(file); err == nil && pageErr == nil && os.SameFile(page, raw) {
			return fmt.Errorf("-out: %s is one of the files that the page is made from", out)
		}
	}
	return nil
}

func writeReport(out, title string, files []string) error {
	set, err := figures.Read(files...)
	if err != nil {
		return err
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	var page bytes.Buffer
	if err := report.Write(&page, title, names, set); err != nil {
		return err
	}
	if err := os.WriteFile(out, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}
