package lockbench

import (
	"fmt"
	"io"
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
	for _, k := range kinds {
		line := strings.TrimSpace(k.Name + "  " + strings.Join(k.Versions(), ", "))
		fmt.Fprintf(stdout, "%s\n    %s\n", line, k.Settings)
	}
	return exitDone
}
