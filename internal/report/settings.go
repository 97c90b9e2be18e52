package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/internal/figures"
)

// settingsFirst are those that a reader looks for; the others come behind, in the order of the files.
var settingsFirst = []string{"server", "redis-version", "cpu", "host", "go", "commit"}

// settingsOf are the configuration lines of all files, and the servers that the names of the benchmarks tell.
func settingsOf(set *figures.Set) []figures.Setting {
	var list []figures.Setting
	for _, name := range settingsFirst {
		values := set.Setting(name)
		if name == "server" {
			values = serversOf(set)
		}
		if len(values) > 0 {
			list = append(list, figures.Setting{Name: name, Values: values})
		}
	}
	for _, s := range set.Settings {
		if !slices.Contains(settingsFirst, s.Name) {
			list = append(list, s)
		}
	}
	return list
}

func serversOf(set *figures.Set) []string {
	list := slices.Clone(set.Setting("server"))
	for _, c := range set.Cells {
		if name := c.Key("server"); name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// warningsOf say where figures are less than they seem.
func warningsOf(set *figures.Set) []string {
	var list, differ []string
	for _, name := range []string{"redis-version", "cpu", "host", "go", "commit"} {
		if len(set.Setting(name)) > 1 {
			differ = append(differ, name)
		}
	}
	if len(differ) > 0 {
		list = append(list, fmt.Sprintf("The files differ in %s: not all figures compare. A benchmark that "+
			"several files have is summed up over the rounds of all: to compare two machines or two versions, make a page "+
			"for each.",
			strings.Join(differ, ", ")))
	}
	if slices.Contains(serversOf(set), "miniredis") {
		list = append(list, "miniredis is no Redis: its figures compare the ways to lock with each other, no more. "+
			"It is several times slower, and works inside the client's process.")
	}
	return list
}
