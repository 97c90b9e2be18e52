package lockbench

import (
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/bench"
)

// rivalsCommand is lockbench rivals, which tells what the figures of the rivals are figures of: it returns the exit
// code.
func rivalsCommand(stdout, stderr io.Writer) int {
	kinds := bench.RivalKinds()
	if len(kinds) == 0 {
		fmt.Fprintln(stderr, "lockbench: there are no rivals here, but in the same command of bench/peers")
		return exitUsage
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, k := range kinds {
		writeRival(stdout, k, info.Deps)
	}
	return exitDone
}

func writeRival(w io.Writer, k bench.RivalKind, deps []*debug.Module) {
	var modules []string
	for _, path := range k.Modules {
		modules = append(modules, withVersion(path, deps))
	}
	line := strings.TrimSpace(k.Name + "  " + strings.Join(modules, ", "))
	fmt.Fprintf(w, "%s\n    %s\n", line, k.Settings)
}

// withVersion is the path alone where the version is not known.
func withVersion(path string, deps []*debug.Module) string {
	i := slices.IndexFunc(deps, func(m *debug.Module) bool { return m.Path == path })
	if i < 0 {
		return path
	}
	m := deps[i]
	if m.Replace != nil {
		m = m.Replace
	}
	return strings.TrimSpace(m.Path + " " + m.Version)
}
