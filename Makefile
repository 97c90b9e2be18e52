# test     everything, with the race detector, on real servers; installs what is missing, but for etcd and ZooKeeper
# lint     gofmt, staticcheck, go fix, go mod tidy; changes nothing
# bench    go test -bench over the approaches, on miniredis and redis-server
# results  measures what results/ holds anew, beside all rivals (an hour and a half)
# long     what takes long: all mutants, the long forms of some tests, all tests twenty times over

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FLAGS       ?=

.PHONY: test lint bench results long

test:
	REDIGOLOCK_REAL=1 scripts/install.sh
	$(GO) vet ./...
	REDIGOLOCK_REAL=1 CGO_ENABLED=1 $(GO) test -race $(FLAGS) ./...
	$(GO) test ./internal/fairmodel
	cd bench/peers && $(GO) vet ./... && REDIGOLOCK_REAL=1 CGO_ENABLED=1 $(GO) test -race $(FLAGS) ./...
	cd bench/plot && $(GO) vet ./... && $(GO) test ./...

lint:
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { echo "not gofmt-ed: $$bad"; exit 1; }
	$(GO) run $(STATICCHECK) ./...
	cd bench/peers && $(GO) run $(STATICCHECK) ./...
	cd bench/plot && $(GO) run $(STATICCHECK) ./...
	@for d in . bench/peers bench/plot; do \
		out=$$(cd $$d && $(GO) fix -diff ./...); [ -z "$$out" ] || { echo "in $$d:"; echo "$$out"; exit 1; }; \
	done
	$(GO) mod tidy -diff
	cd bench/plot && $(GO) mod tidy -diff
# A test of redsync imports a module that not every proxy has. Without it -e goes on, and go.sum may lack it.
	@out=$$(cd bench/peers && $(GO) mod tidy -diff -e 2>/dev/null); case "$$out" in *"tidy/go.mod"*) \
		echo "go mod tidy -e in bench/peers:"; echo "$$out"; exit 1;; esac
	scripts/importer.sh

bench:
	scripts/install.sh
	$(GO) test -run '^$$' -bench . ./bench/

results:
	scripts/results.sh

long:
	REDIGOLOCK_REAL=1 scripts/install.sh
	$(GO) run ./internal/mutants
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 CGO_ENABLED=1 $(GO) test -race -timeout 20m -run 'Chaos|StoppedServer|FairCrowd' .
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 $(GO) test -timeout 20m -run FairCycles .
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 $(GO) test -timeout 30m -parallel 8 -run 'Fault|StaleWrite|HeldLocks' ./bench
	REDIGOLOCK_LONG=1 $(GO) test -timeout 30m ./internal/fairmodel
	REDIGOLOCK_REAL=1 CGO_ENABLED=1 $(GO) test -race -count=20 -timeout 60m $(FLAGS) ./...
