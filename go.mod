module github.com/redigolock/redigolock

go 1.25.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/gomodule/redigo v1.9.3
	github.com/google/uuid v1.6.0
	go.uber.org/goleak v1.3.0
	golang.org/x/perf v0.0.0-20250909190841-7e13e04d9366
	pgregory.net/rapid v1.3.0
)

require (
	github.com/aclements/go-moremath v0.0.0-20210112150236-f10218a38794 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
)

tool golang.org/x/perf/cmd/benchstat
