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
	info, _ := debug.ReadBuildInfo()
	settings := map[string]string{}
	version := "unknown"
	if info != nil {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
	}
	if revision := settings["vcs.revision"]; revision != "" {
		if settings["vcs.modified"] == "true" {
			revision += "-dirty"
		}
		return revision
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return version
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40")
	cmd.Dir = filepath.Dir(file)
	if out, err := cmd.Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	return version
}

func (h host) String() string {
	s := fmt.Sprintf("%s, %d CPUs", h.name, h.cpus)
	if h.cpu != "" {
		s += ", " + h.cpu
	}
	return s
}
