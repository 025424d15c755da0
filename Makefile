# A thin face of the CMake presets for people in a hurry. `make help` lists what there is.
JOBS := $(shell nproc)
.DEFAULT_GOAL := build

.PHONY: valgrind help build release demo test lint tsan sim chaos disk fuzz fuzz-afl memory coverage bench bench-peers bench-keep clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## install what is missing, configure, build (build/dev)
	@scripts/setup build test
	@scripts/build dev $(JOBS)

release: ## the same, optimised and hardened (build/release)
	@scripts/setup build test
	@scripts/build release $(JOBS)

demo: ## start a cluster on loopback, run the primes job, clean up
	@scripts/setup build
	@scripts/build release $(JOBS) -DDTQ_TESTS=OFF
	@examples/primes/demo build/release

test: ## build and run all tests, plain and with ASan and UBSan
	@scripts/setup build test lint
	@scripts/test

lint: ## clang-format and clang-tidy over everything
	@scripts/setup build test lint
	@scripts/lint all

tsan: ## tests that have threads (unit, integration, hostile) with ThreadSanitizer
	@scripts/setup build test
	@scripts/build tsan $(JOBS)
	@ctest --preset tsan -LE 'sim|fuzz|install|arch'

valgrind: ## unit tests, stories of the simulation and the real programs under valgrind (takes an hour)
	@scripts/setup build test
	@scripts/build valgrind $(JOBS)
	@scripts/valgrind unit
	@scripts/valgrind programs

sim: ## simulate SEEDS schedules of faults (default 10000)
	@scripts/setup build test
	@scripts/build release $(JOBS)
	@build/release/bin/sim_run --seeds $(or $(SEEDS),10000)
	@build/release/bin/sim_run --seeds $(or $(SEEDS),10000) --restores

chaos: ## kill, stop and cut off the real programs for SECONDS (default 60), as SEED (default 1) says
	@scripts/setup build test
	@scripts/build release $(JOBS)
	@build/release/bin/chaos --seconds=$(or $(SECONDS),60) --seed=$(or $(SEED),1) $(CHAOS)

disk: ## faults of disks: ROUNDS times as many cuts and flips (default 30)
	@scripts/setup build test
	@scripts/build dev $(JOBS)
	@DTQ_DISK_ROUNDS=$(or $(ROUNDS),30) ctest --preset dev -L disk --timeout 3600 --verbose

fuzz: ## run each fuzz target for SECONDS (default 60)
	@scripts/setup build test fuzz
	@scripts/build fuzz $(JOBS)
	@scripts/fuzz $(or $(SECONDS),60)

fuzz-afl: ## the same by AFL++, on what reads files and texts
	@scripts/setup build test fuzz afl
	@AFL_QUIET=1 cmake --preset afl >/dev/null
	@scripts/fuzz-afl $(or $(SECONDS),60)

memory: ## each place of the programs that allocates fails once, in a run of its own
	@scripts/setup build test
	@scripts/build dev $(JOBS)
	@DTQ_MEMORY_ALL=1 ctest --preset dev -L memory --timeout 7200 --verbose

coverage: ## branch coverage of the cores
	@scripts/setup build test coverage
	@scripts/coverage

bench: ## measure beside bare ZeroMQ; make bench-A: one scenario; BENCH="--rounds 9 --calm 30s"
	@scripts/setup build test
	@scripts/build release $(JOBS)
	@build/release/bin/dtq_bench $(BENCH)

bench-peers: ## the same work on Celery, RQ, Redis streams and beanstalkd; PEERS="--only dtq,celery --rounds 9"
	@scripts/setup build test peers
	@scripts/build release $(JOBS)
	@build/release/bin/dtq_bench_peers $(PEERS)

bench-%:
	@scripts/setup build test
	@scripts/build release $(JOBS)
	@build/release/bin/dtq_bench $(BENCH) $*

bench-keep: ## keep what was measured in bench/measured/, and draw the pictures of the documents from it
	@scripts/bench-keep

clean: ## remove everything that was built
	rm -rf build
