package lockbench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A host is what figures depend on beside the server.
type host struct {
	name, goVersion, goos, goarch, commit string
	cpu, kernel, load                     string // "" where /proc does not tell
	cpus, procs                           int
}

var modelName = regexp.MustCompile(`(?m)^model name\s*: (.*)$`)

func thisHost(ctx context.Context) host {
	h := host{
		name: "unknown", commit: commit(ctx), goVersion: runtime.Version(), goos: runtime.GOOS, goarch: runtime.GOARCH,
		cpus: runtime.NumCPU(), procs: runtime.GOMAXPROCS(0),
		kernel: proc("sys/kernel/osrelease"),
	}
	if name, err := os.Hostname(); err == nil {
		h.name = name
	}
	if found := modelName.FindStringSubmatch(proc("cpuinfo")); found != nil {
		h.cpu = found[1]
	}
	fields := strings.Fields(proc("loadavg"))
	h.load = strings.Join(fields[:min(3, len(fields))], " ") // of the last 1, 5 and 15 minutes
	return h
}

// proc is "" where there is none.
func proc(name string) string {
	text, _ := os.ReadFile("/proc/" + name)
	return strings.TrimSpace(string(text))
}

// commit is what this program was built from. go run does not put it in, so git is asked at the source.
func commit(ctx context.Context) string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version // which has the commit, and says if more was changed
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40")
	cmd.Dir = filepath.Dir(file)
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func (h host) String() string {
	s := fmt.Sprintf("%s, %d CPUs", h.name, h.cpus)
	if h.cpu != "" {
		s += ", " + h.cpu
	}
	return s
}
