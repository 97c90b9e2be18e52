package lockbench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A host is what figures depend on beside the server.
type host struct {
	name, cpu, goVersion, goos, goarch, commit string
	kernel, load                               string // "" where they are not easy to know
	cpus, procs                                int
}

func thisHost(ctx context.Context) host {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return host{
		name: name, cpu: cpuName(), commit: commit(ctx), kernel: procFile("sys/kernel/osrelease"), load: loadAverage(),
		goVersion: runtime.Version(), goos: runtime.GOOS, goarch: runtime.GOARCH,
		cpus: runtime.NumCPU(), procs: runtime.GOMAXPROCS(0),
	}
}

// cpuName is "" where it is not easy to know.
func cpuName() string {
	for line := range strings.Lines(procFile("cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// loadAverage is that of the last 1, 5 and 15 minutes.
func loadAverage() string {
	fields := strings.Fields(procFile("loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// procFile is "" where there is none.
func procFile(name string) string {
	text, err := os.ReadFile("/proc/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// commit is what this program was built from. go run does not put it in, so git is asked at the source.
func commit(ctx context.Context) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	var revision, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision != "" {
		return revision + dirty
	}
	if described := gitDescribe(ctx); described != "" {
		return described
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "unknown"
}

func gitDescribe(ctx context.Context) string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40")
	cmd.Dir = filepath.Dir(file)
	out, err := cmd.Output()
	if err != nil {
		return ""
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
