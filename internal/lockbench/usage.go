package lockbench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/redigolock/redigolock/bench"
	"github.com/redigolock/redigolock/internal/figures"
	"github.com/redigolock/redigolock/internal/report"
)

const (
	usageHead = `Lockbench measures the locks of redigolock on a Redis or Valkey server.

usage: go run ./cmd/lockbench [flags]
       go run ./cmd/lockbench report [-out report.html] FILE...     (a page from what -out has written)
       cd bench/peers && go run ./cmd/lockbench rivals              (the rivals' versions and settings)

flags:
`
	usageTail = `
files of -out, by go tool benchstat; to compare two, give it -ignore commit,load-average,settings:
  -row /approach,/release -col /goroutines -filter .name:AcquireRelease FILE     apart
  -row /way -col /waiters,/processes -filter ".name:Contention .unit:(acq/s OR jain OR wait-p99-sec)" FILE
  -row /of -col /to,/goroutines -filter .name:Ratio FILE                         ratios

exit codes: 0 done, 1 failed, 2 bad flag, 3 server unreachable, 4 server denies a command, 130 stopped by Ctrl-C

examples:
  go run ./cmd/lockbench
  go run ./cmd/lockbench -url redis://localhost:6379 -time 1s -count 10 -out new.txt && go tool benchstat new.txt
  go run ./cmd/lockbench -url cluster -workload approaches,contention
  go run ./cmd/lockbench -url redis://localhost:6379 -workload contention -waiters 2,512 -hold 0,1ms,10ms
  go run ./cmd/lockbench -url redis://localhost:6379 -workload approaches -delay 0.5ms,5ms
  go run ./cmd/lockbench -url redis://localhost:6379 -workload keepalive -locks 100000 -time 90s
  go run ./cmd/lockbench -url redis://localhost:6379 -workload load -keys hot -rates 2000
  cd bench/peers && go run ./cmd/lockbench -url redis://localhost:6379 -workload contention -ways all
`
)

// writeUsage tells of the rivals only where there are some.
func writeUsage(w io.Writer) {
	fmt.Fprint(w, usageHead)
	fs := (&options{}).flags()
	fs.SetOutput(w)
	fs.PrintDefaults()
	fmt.Fprint(w, "\nworkloads:\n")
	for _, k := range workloads {
		pace := fmt.Sprintf("%d rounds of %v", k.count, k.time)
		if k.time == 0 {
			pace = fmt.Sprintf("%d × the ttl", k.count)
		}
		fmt.Fprintf(w, "  %-12s%s (%s)\n", k.name, strings.ReplaceAll(k.about, "\n", "\n              "), pace)
	}
	fmt.Fprint(w, "\ncolumns:\n")
	for _, m := range figures.Glossary {
		fmt.Fprintf(w, "  %s: %s\n", m.Words, m.Says)
	}
	fmt.Fprint(w, usageTail)
	if len(bench.Rivals()) == 0 {
		return
	}
	waiting := bench.WaitingRivals()
	once := slices.DeleteFunc(bench.Rivals(), func(name string) bool { return slices.Contains(waiting, name) })
	fmt.Fprintf(w, "\nrivals for -approaches and -ways:\n%s\n", indented(waiting))
	if len(once) > 0 {
		fmt.Fprintf(w, "\nrivals for -approaches only, which cannot wait for a lock:\n%s\n", indented(once))
	}
}

func indented(list []string) string {
	return "  " + strings.ReplaceAll(report.Wrap(strings.Join(list, ", "), 100), "\n", "\n  ")
}
