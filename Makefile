# test     all tests but those below, with the race detector, on a redis-server; installs what is missing
# more     what test leaves out: 200 seeds of the simulated worlds, tests that count bytes,
#          what takes a minute to compile (etcd's client, SQLite, fuzzing),
#          servers and a browser that must be installed (etcd, ZooKeeper, Chromium, PostgreSQL, Valkey 9, Redis 8)
# lint     gofmt, vet, staticcheck, go fix, go mod tidy, luacheck, mutants that would not compile; changes nothing, but installs luacheck where it is missing
# bench    go test -bench over the approaches, on miniredis and redis-server
# results  measures a new campaign of all ways beside all rivals, into a folder of results/ (half an hour)
# report   writes the pages of results/, docs/capacity.md and README's tables from the newest campaign, and names each sentence that no longer holds
# long     what takes long: all mutants, the model of the fair queue at length, the long forms of some tests, all tests
#          twenty times over, and ten times beside busy loops and standstills

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FLAGS       ?=

# The nested modules for users.
USERS        = redigolockprom redigolockotel examples

# Where fetch-newer.sh puts newer servers.
SERVERS     ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/redigolock/servers

# Tests that ask for many, of which the race detector sees a tenth.
MANY         = FIPSOnly|TestCrowd|TenThousand|NoStorm|ManyKeys|OneEndForEach

# By default each test binary, and each process that one starts, sleeps for a second before it ends.
export GORACE ?= atexit_sleep_ms=50

.PHONY: test more lint bench results report long

test:
	REDIGOLOCK_REAL=1 scripts/install.sh
# Packages mostly wait: four at a time fill two processors. All are compiled with the race detector, so that what they have in common is
# compiled once; go vet is for lint.
	REDIGOLOCK_REAL=1 CGO_ENABLED=1 $(GO) test -race -vet=off -p 4 $(FLAGS) ./...
	$(GO) test -vet=off -short ./internal/fairmodel
	cd bench/peers && REDIGOLOCK_REAL=1 CGO_ENABLED=1 $(GO) test -race -vet=off -tags noetcd $(FLAGS) ./...
	@for d in bench/plot $(USERS); do echo "test $$d"; (cd $$d && CGO_ENABLED=1 $(GO) test -race -vet=off $(FLAGS) $$($(GO) list ./... | grep -v /fenced)) || exit 1; done

more:
	scripts/install.sh peers chromium postgres
	[ -e $(SERVERS)/valkey ] || internal/redistest/fetch-newer.sh $(SERVERS)
	REDIGOLOCK_REAL=1 $(GO) test -run 'FairCycles|Allocations|FailoverUnderLoad|QuorumOfRealServers|ClusterLosesMaster|ClusterRemovesNode|ClusterFailoverLosesLock|$(MANY)' . ./test/cluster ./test/servers
	$(GO) test ./internal/sim -run TestSeeds -seeds 200
	REDIGOLOCK_REAL=1 $(GO) test -run '^$$' -bench . -benchtime 1x . ./locktest ./test/verbs ./internal/fairdriver
	REDIGOLOCK_REAL=1 REDIGOLOCK_CHROMIUM=1 $(GO) test ./internal/report
	REDIGOLOCK_REAL=1 REDIGOLOCK_NEWER=1 REDIGOLOCK_SERVERS=$(SERVERS) CGO_ENABLED=1 $(GO) test -race \
		-run 'Native|FairScripts|Inspect|EveryWayToAcquireAndRelease|Newer|Verify' . ./bench ./internal/doctor ./internal/redistest ./test/servers
# -count=1: go test does not see that a variable is set which a package reads while it is initialised.
	cd bench/peers && REDIGOLOCK_REAL=1 REDIGOLOCK_PEERS=1 CGO_ENABLED=1 $(GO) test -race -count=1 ./...
	cd examples && REDIGOLOCK_POSTGRES=1 CGO_ENABLED=1 $(GO) test -race ./fenced
	$(GO) test -run '^$$' -fuzz FuzzMaps -fuzztime 10s ./internal/cluster

lint:
	@big=$$(git ls-files -z 2>/dev/null | xargs -0 -r stat -c '%s %n' 2>/dev/null | awk '$$1 > 1000000 {print $$2}'); \
		[ -z "$$big" ] || { echo "larger than a megabyte, a binary? $$big"; exit 1; }
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { echo "not gofmt-ed: $$bad"; exit 1; }
	@for d in . bench/peers bench/plot $(USERS); do \
		echo "vet, staticcheck $$d"; (cd $$d && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...) || exit 1; \
	done
	@for d in . bench/peers bench/plot $(USERS); do \
		out=$$(cd $$d && $(GO) fix -diff ./...); [ -z "$$out" ] || { echo "in $$d:"; echo "$$out"; exit 1; }; \
	done
	@for d in . bench/plot $(USERS); do (cd $$d && $(GO) mod tidy -diff) || exit 1; done
# A test of redsync imports a module that not every proxy has. Without it -e goes on, and go.sum may lack it.
	@out=$$(cd bench/peers && $(GO) mod tidy -diff -e 2>/dev/null); case "$$out" in *"tidy/go.mod"*) \
		echo "go mod tidy -e in bench/peers:"; echo "$$out"; exit 1;; esac
	scripts/install.sh luacheck
	scripts/luacheck.sh
	scripts/importer.sh
	$(GO) run ./internal/mutants -check

bench:
	scripts/install.sh
	$(GO) test -run '^$$' -bench . ./bench/

results:
	scripts/results.sh

report:
# The first pass writes. Some of its tests look at pages that others have yet to write: the second says what does not hold.
	$(GO) test ./results -update >/dev/null || true
	$(GO) test -count=1 ./results

long:
	REDIGOLOCK_REAL=1 scripts/install.sh
	$(GO) run ./internal/mutants
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 CGO_ENABLED=1 $(GO) test -race -timeout 20m -run 'Chaos|StoppedServer|FairCrowd|FairDead|FailoverUnderLoad' . ./test/...
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 $(GO) test -timeout 20m -run FairCycles .
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 $(GO) test -timeout 20m -run Million ./internal/inspect
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 $(GO) test -timeout 20m -run '^TestCluster' ./test/cluster
	$(GO) test -run '^$$' -fuzz FuzzMaps -fuzztime 1h -timeout 0 ./internal/cluster
	REDIGOLOCK_REAL=1 REDIGOLOCK_LONG=1 $(GO) test -timeout 30m -parallel 8 -run 'Fault|StaleWrite' ./bench
	REDIGOLOCK_LONG=1 $(GO) test -timeout 2h ./internal/fairmodel
	REDIGOLOCK_REAL=1 CGO_ENABLED=1 $(GO) test -race -count=20 -timeout 60m $(FLAGS) ./...
	REDIGOLOCK_REAL=1 scripts/stalled.sh -n 10
