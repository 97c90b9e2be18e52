// Mutants breaks each promise of the library on purpose, one at a time, and runs the tests that must notice.
//
//	go run ./internal/mutants [-check] [-short] [-sim] [-run REGEXP]
//
// A mutant is a replacement in one declaration, given to the compiler as an overlay: no file of the tree is changed. A mutant that
// survives its tests, or does not compile, makes the exit code 1. With -short only every tenth is run; with -check none, but all are
// type-checked. With -sim the mutants that simulated worlds can find run in those, and a table in Markdown says which promise was seen
// broken, at which seed, and after how long.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	check := flag.Bool("check", false, "run none, but say which mutants would not compile")
	short := flag.Bool("short", false, "run every tenth mutant only")
	inSim := flag.Bool("sim", false, "run mutants in the simulated worlds of internal/sim, not in their tests")
	only := flag.String("run", "", "run the mutants whose name matches this regular expression")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var survived int
	var err error
	switch {
	case *check:
		survived, err = checkAll(ctx, os.Stdout)
	case *inSim:
		survived, err = runInSim(ctx, os.Stdout, *short, *only)
	default:
		survived, err = run(ctx, os.Stdout, *short, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || survived > 0 {
		stop()
		os.Exit(1)
	}
}

// run runs the chosen mutants and reports how many survived.
func run(ctx context.Context, out io.Writer, short bool, only string) (survived int, err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return 0, err
	}
	for i, m := range mutants {
		if !match.MatchString(m.name) || short && i%10 != 0 {
			continue
		}
		start := time.Now()
		missed, output, err := m.run(ctx, root)
		switch {
		case ctx.Err() != nil:
			return survived, ctx.Err()
		case err != nil:
			survived++
			fmt.Fprintf(out, "BROKEN    %-42s %v\n", m.name, err)
		case missed != nil:
			survived++
			fmt.Fprintf(out, "SURVIVED  %-42s %s\n%s\n", m.name, missed.pattern, output)
		default:
			fmt.Fprintf(out, "caught    %-42s by %s (%.1f s)\n", m.name, cmp.Or(m.tests, m.explore), time.Since(start).Seconds())
		}
	}
	return survived, nil
}

// A check is tests of one package that a mutant must fail.
type check struct{ pkg, pattern, timeout string }

// checks are the tests of a mutant, and then its explorations, each alone.
func (m mutant) checks(root string) (all []check) {
	if m.tests != "" {
		pkg, tests := m.where(root)
		all = append(all, check{pkg, "^(" + tests + ")$", "60s"})
	}
	for _, name := range m.explorations() {
		all = append(all, check{filepath.Join(root, "internal", "fairmodel"), "^TestSmallestExplorations$/^" + regexp.QuoteMeta(name) + "$", "300s"})
	}
	return all
}

func (m mutant) explorations() []string {
	return slices.DeleteFunc(strings.Split(m.explore, "|"), func(name string) bool { return name == "" })
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// run compiles the mutated packages and runs the tests; missed is the first check that passed, nil if all failed as is hoped for.
func (m mutant) run(ctx context.Context, root string) (missed *check, output string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	for _, c := range m.checks(root) {
		bin, err := m.build(ctx, root, dir, c.pkg)
		if err != nil {
			return nil, "", err
		}
		test := exec.CommandContext(ctx, bin, "-test.run", c.pattern, "-test.count=1", "-test.timeout="+c.timeout, "-test.v")
		test.Dir = c.pkg
		test.Env = append(os.Environ(), "REDIGOLOCK_REAL=1")
		out, err := test.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return nil, "", ctx.Err()
		case err != nil && !errors.As(err, &exit):
			return nil, "", err
		case !strings.Contains(string(out), "=== RUN"):
			return nil, "", fmt.Errorf("no test has the name %s", c.pattern)
		case err == nil:
			return &c, string(out), nil
		}
	}
	return nil, "", nil
}

// build compiles the tests of a package, with the mutant in the library.
func (m mutant) build(ctx context.Context, root, dir, pkg string) (bin string, err error) {
	overlay, err := m.overlay(root, dir)
	if err != nil {
		return "", err
	}
	bin = filepath.Join(dir, filepath.Base(pkg)+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-o", bin, "-overlay", overlay, ".")
	build.Dir = pkg
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile: %w\n%s", err, out)
	}
	return bin, nil
}

// where is the folder of the tests, and their names.
func (m mutant) where(root string) (pkg, tests string) {
	if room, names, ok := strings.Cut(m.tests, ": "); ok {
		if !strings.HasPrefix(room, "test/") && !strings.HasPrefix(room, "cmd/") {
			room = filepath.Join("internal", room)
		}
		return filepath.Join(root, room), names
	}
	return root, m.tests
}

// overlay writes the mutated file and the compiler's overlay file into dir.
func (m mutant) overlay(root, dir string) (string, error) {
	decls, err := declarations(root)
	if err != nil {
		return "", err
	}
	file, mutated, err := m.mutate(root, decls)
	if err != nil {
		return "", err
	}
	files := map[string]string{filepath.Join(root, file): mutated}
	if strings.HasPrefix(file, "lua") {
		if err := computeDigests(files, filepath.Join(root, "luascript.go")); err != nil {
			return "", err
		}
	}
	replace := make(map[string]string)
	for path, text := range files {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, data, 0o600)
}

// computeDigests has a mutated script go by its own digest: with the constant, a server would not know it however often
// it was sent.
func computeDigests(files map[string]string, luascript string) error {
	if _, ok := files[luascript]; !ok {
		src, err := os.ReadFile(luascript)
		if err != nil {
			return err
		}
		files[luascript] = string(src)
	}
	const constant = "scripts.Digests[name]"
	if !strings.Contains(files[luascript], constant) {
		return fmt.Errorf("%s has no %s", luascript, constant)
	}
	files[luascript] = strings.Replace(files[luascript], constant, "redis.NewScript(keys, src).Hash()", 1)
	return nil
}
