# The two commands a newcomer needs are `make up` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
BIN := .build/release

.PHONY: help up build test test-documents test-swift test-conformance test-sdk soak bench bench-stores docs-reference format lint clean-cache

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

up: ## install what is missing, build, start the example fleet
	@scripts/install-packages build
	@$(MAKE) --no-print-directory build
	@scripts/up

build: ## release build of every executable
	swift build -c release --static-swift-stdlib --product iii-core
	swift build -c release --static-swift-stdlib --product iii-http
	swift build -c release --static-swift-stdlib --product iii-queue
	swift build -c release --static-swift-stdlib --product iii-stream
	swift build -c release --static-swift-stdlib --product iii-cron
	swift build -c release --static-swift-stdlib --product iii-observability
	swift build -c release --static-swift-stdlib --product hello-worker
	swift build -c release --static-swift-stdlib --product visits-worker
	swift build -c release --static-swift-stdlib --product board-worker

test: ## everything but soak and benchmarks
	@scripts/install-packages build test
	@scripts/test

test-documents: ## what documents and comments say, only; needs no build
	@scripts/install-packages test
	@scripts/test documents

test-swift: ## unit tests only
	@scripts/install-packages build test
	@scripts/test units

test-conformance: ## wire conformance and end to end only, with real processes
	@scripts/install-packages build test
	@scripts/test release conformance

test-sdk: ## the official SDK suites only
	@scripts/install-packages build test
	@scripts/test release sdk

soak: build ## an hour of kills and load, 100 rounds of kills against queues, 50 against streams and a shared Redis, a store of 2 GiB, a client that stalls; stops by itself
	@scripts/install-packages build test
	III_QUEUE_ROUNDS=100 .cache/venv/bin/python -m pytest -q Tests/Conformance/test_queue_crashes.py
	III_ITEMS_ROUNDS=50 .cache/venv/bin/python -m pytest -q Tests/Conformance/test_shared_items_crashes.py
	III_STREAM_ROUNDS=50 .cache/venv/bin/python -m pytest -q Tests/Conformance/test_stream_port.py -k kills
	.cache/venv/bin/python Tests/Conformance/soak_streams.py
	.cache/venv/bin/python Tests/Conformance/soak.py --minutes 60

bench: ## measure against the named peers and print the table of docs/benchmarks.md
	@scripts/install-packages build test bench
	@$(MAKE) --no-print-directory build
	swift build -c release --static-swift-stdlib --product iii-load
	.cache/venv/bin/python benchmarks/run.py
	.cache/venv/bin/python benchmarks/streams.py
	.cache/venv/bin/python benchmarks/cron.py
	.cache/venv/bin/python benchmarks/state.py
	.cache/venv/bin/python benchmarks/embedded.py
	.cache/venv/bin/python benchmarks/fanout.py
	.cache/venv/bin/python benchmarks/queues.py

bench-stores: ## measure the embedded store beside the bare C library, and the Redis client beside redis-benchmark
	@scripts/install-packages build test bench
	benchmarks/stores/run
	benchmarks/stores/run-redis

docs-reference: ## write docs/reference/configuration.md and the graph of modules in ARCHITECTURE.md from the source
	swift build --product iii-core
	.build/debug/iii-core config reference > docs/reference/configuration.md.new
	mv docs/reference/configuration.md.new docs/reference/configuration.md
	scripts/module-graph --write

format: ## format all Swift sources
	swift format -i -r Package.swift Sources Tests examples benchmarks

lint: ## fail on sources that are not formatted
	swift format lint --strict -r Package.swift Sources Tests examples benchmarks

clean-cache: ## remove the Python environments and downloaded SDK suites; they are made anew when needed
	rm -rf .cache
