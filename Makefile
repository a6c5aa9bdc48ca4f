# Gantry. Everything works with Go and make alone; the race detector needs a C compiler besides.

GO       ?= go
TOOL      = $(GO) tool -modfile=.tools/go.mod
FUZZTIME ?= 30s
KILLS    ?= 10
FOR      ?= 1h

# Packages in which goroutines share memory. The others are pure functions: racing them would only take time.
RACY = ./store/... ./processors/... ./views/... ./codecs/registry/... ./cmd/gantry/...

# A revision is stamped where git can name one; a copy of the tree without it, or owned by somebody else, builds too.
VCS := $(if $(shell git rev-parse HEAD 2>/dev/null),auto,false)

.DEFAULT_GOAL := help
.PHONY: help build run test test-race lint format-check format tidy-check check fuzz test-kill bench clean
.PHONY: servers servers-stop servers-wipe test-real test-real-long test-readers simulate chaos soak test-secure vulncheck

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/gantry
	$(GO) build -buildvcs=$(VCS) -o bin/gantry ./cmd/gantry

run: build ## Build, and run gantry dev: INPUT=FILE feeds a file, ARGS='...' passes flags on
	./bin/gantry dev $(if $(INPUT),--input '$(INPUT)') $(ARGS)

test: ## Run every test that needs nothing but Go
	$(GO) test -timeout 20m ./...

test-race: ## Run the tests of the packages with shared memory under the race detector
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $(RACY)

lint: ## Vet, and staticcheck
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

format-check: ## Fail if a file is not formatted
	@files=$$($(TOOL) gofumpt -l .) || exit 1; \
	if [ -n "$$files" ]; then echo "not formatted (make format):"; echo "$$files"; exit 1; fi

format: ## Format every file
	$(TOOL) gofumpt -w .

tidy-check: ## Fail if go.mod or go.sum is not tidy
	$(GO) mod tidy -diff

check: format-check tidy-check lint test test-race ## Everything that CI runs before it starts servers

fuzz: ## Fuzz every target, for FUZZTIME each (30s)
	@for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "== $$name in $$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$(dirname $$file) || exit 1; \
		done; \
	done

test-kill: ## Kill a running pipeline KILLS times (10) and compare the results
	GANTRY_KILLS=$(KILLS) $(GO) test -v -timeout 30m -run Kill ./test

servers: ## Start a real Kafka, schema registry and HDFS on this machine; prints how to reach them
	@test/servers/servers.sh start
	@test/servers/servers.sh env

servers-stop: ## Stop those servers; their data stay
	@test/servers/servers.sh stop

servers-wipe: ## Stop those servers and remove their data
	@test/servers/servers.sh wipe

test-real: ## Run the suites that need those servers (make servers)
	@eval "$$(test/servers/servers.sh env)" && $(GO) test -v -count 1 -timeout 60m ./test/real/...

test-real-long: export GANTRY_LONG = 1
test-real-long: test-real ## The same, with what takes long and CI leaves out

test-readers: ## Let pyarrow, DuckDB and Spark (needs Java) read an archive; on HDFS too where it runs
	@test -x .readers/bin/python || python3 -m venv .readers
	@.readers/bin/pip install -q -r test/readers/requirements.txt
	@if test/servers/servers.sh status 2>/dev/null | grep -q '^namenode: running'; then \
		eval "$$(test/servers/servers.sh env)"; fi; \
	GANTRY_READERS_PYTHON=$(CURDIR)/.readers/bin/python $(GO) test -v -count 1 -timeout 20m ./test/readers

simulate: ## Run SEEDS schedules (10000) of a simulated world, or SEED alone with its story: MASK, STEPS, WITHOUT
	$(GO) test -count 1 -timeout 10h -v ./test/simulate $(if $(SEED),-run 'TestSeed$$$$' -args -seed $(SEED) \
		$(if $(MASK),-mask $(MASK)) $(if $(STEPS),-steps $(STEPS)) $(if $(STAGES),-stages) $(if $(WITHOUT),-without '$(WITHOUT)'), \
		-run TestSchedules -args -seeds $(or $(SEEDS),10000) $(if $(FIRST),-first $(FIRST)))

chaos: ## Kill KILLS times (10) on those servers, and worse: SEED, INSTANCES (3), RATE (1000 a second), KEYED=0
	@eval "$$(test/servers/servers.sh env)" && GANTRY_KILLS=$(KILLS) GANTRY_SEED=$(SEED) \
		GANTRY_INSTANCES=$(INSTANCES) GANTRY_RATE=$(RATE) GANTRY_KEYED=$(KEYED) \
		$(GO) test -v -count 1 -timeout 3h -run '^TestChaos$$' ./test/real

test-secure: ## Start the secured servers, run the suites that need them, and stop them
	@test/servers/secure.sh start
	@eval "$$(test/servers/secure.sh env)" && \
		$(GO) test -v -count 1 -timeout 20m -run 'Secured|Hostile' ./test/real/...; \
		result=$$?; test/servers/secure.sh stop; exit $$result

vulncheck: ## Look for known vulnerabilities; it needs https://vuln.go.dev, or GOVULNDB with a copy of it
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.1.4 $(if $(GOVULNDB),-db $(GOVULNDB)) ./...

soak: ## Run FOR=1h at RATE=5000 readings a second with a kill each minute; wants memory, state and files flat
	@eval "$$(test/servers/servers.sh env)" && GANTRY_SOAK=$(FOR) GANTRY_RATE=$(RATE) GANTRY_SOAK_DIR=$(CURDIR)/.soak \
		$(GO) test -v -count 1 -timeout 0 -run '^TestSoak$$' ./test/real

race: ## Race Kafka Streams and stock goka with N readings (3000000), RUNS times (3): see CONTRIBUTING.md
	@trap 'exit 130' INT TERM; trap 'SERVERS_DIR=.race/servers test/servers/servers.sh wipe' EXIT; \
	GANTRY_RACE=$(or $(N),3000000) GANTRY_RUNS=$(RUNS) GANTRY_RATE=$(RATE) GANTRY_SECONDS=$(SECONDS) \
		GANTRY_PARTS=$(PARTS) GANTRY_CONTENDERS=$(CONTENDERS) \
		$(GO) test -v -count 1 -timeout 0 -run '^TestRace$$' ./test/race

bench: ## Run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

clean: ## Remove what was built; gantry-data stays
	rm -rf bin
