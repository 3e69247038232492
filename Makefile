# SPDX-License-Identifier: Apache-2.0
# `make` alone lists what there is. Options of a session: make run ARGS="--size 1920x1080 --port 9000".

ARGS ?=
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 3600
VENUS_SOAK_SECONDS ?= 300
VK_XML ?= /usr/share/vulkan/registry/vk.xml

PY := .venv/bin/python
MESON := .venv/bin/meson
RUFF := .venv/bin/ruff
# Read when used: set-up may install them.
CLANG = $(firstword $(shell command -v clang || ls /usr/bin/clang-[0-9]* 2>/dev/null | sort -rV) clang)
CLANG_FORMAT = $(firstword $(shell command -v clang-format || ls /usr/bin/clang-format-[0-9]* 2>/dev/null | sort -rV) clang-format)
# Older sanitizers do not stand the address randomisation of newer kernels.
FIXED_ADDRESSES = $(shell setarch -R true 2>/dev/null && echo setarch -R)
C_FILES = $(shell git ls-files 'render_core/*.c' 'render_core/*.h' 'streamer/*.c' 'streamer/*.h' 'tests/*.c' 'tests/*.h' 'bench/*.c')
# meson finds cffi's generator and ninja on PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# $(call meson_test,FOLDER,ENVIRONMENT,OPTIONS): build quietly, then run.
define meson_test
@$(MESON) compile -C $(1) >$(1)/compile.log 2>&1 || { tail -n 40 $(1)/compile.log; exit 1; }
@$(2) $(MESON) test -C $(1) --no-rebuild --print-errorlogs $(3)
endef
ASAN_ENVIRONMENT = ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:allocator_may_return_null=1 \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(FIXED_ADDRESSES)
# The private Mesa, where set-up had to make one: tests of the Venus side want a Vulkan device.
MESA_ENVIRONMENT = $(shell cat build/mesa/env 2>/dev/null)
TSAN_ENVIRONMENT = TSAN_OPTIONS=halt_on_error=1:suppressions=$(CURDIR)/tests/tsan.suppressions $(FIXED_ADDRESSES)

.DEFAULT_GOAL := help
.PHONY: help setup build run test test-c test-quick test-e2e asan tsan fuzz bench bench-peers gpu-check soak soak-venus docs lint format clean

help: ## this list
	@echo 'make TARGET. First: make run'
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## install what is missing: packages, Mesa, QEMU, .venv (seconds when all is there)
	@./setup.sh

build: setup ## compile what changed
	@echo '==> Building'
	@MESONPY_EDITABLE_VERBOSE=1 $(PY) -c 'import render_core'

run: build ## a desktop session on this machine; prints its URL (ARGS="--size 1920x1080 ...")
	@.venv/bin/heliograph desktop $(ARGS)

test: build test-c asan tsan ## all tests
	@echo '==> Tests'
	@$(PY) -m pytest $(PYTEST_ARGS)

test-c: build build/dev/build.ninja ## the C tests
	@echo '==> C tests'
	$(call meson_test,build/dev,$(MESA_ENVIRONMENT))

test-quick: test-c ## what takes less than two minutes: no browser, nothing slow
	@echo '==> Tests without a browser'
	@$(PY) -m pytest -m 'not e2e and not slow' $(PYTEST_ARGS)

test-e2e: build ## the browser tests alone
	@$(PY) -m pytest -m e2e $(PYTEST_ARGS)

asan: setup build/asan/build.ninja ## C tests with the address and undefined-behaviour sanitizers
	@echo '==> C tests with AddressSanitizer and UBSan'
	$(call meson_test,build/asan,$(MESA_ENVIRONMENT) $(ASAN_ENVIRONMENT),--timeout-multiplier 4)

tsan: setup build/tsan/build.ninja ## C tests with the thread sanitizer
	@echo '==> C tests with ThreadSanitizer'
	$(call meson_test,build/tsan,$(TSAN_ENVIRONMENT),--timeout-multiplier 4)

fuzz: setup build/fuzz/build.ninja ## fuzz what reads guests' bytes, FUZZ_SECONDS=60 a target
	@$(MESON) compile -C build/fuzz >build/fuzz/compile.log 2>&1 || { tail -n 40 build/fuzz/compile.log; exit 1; }
	@for target in $$(find build/fuzz/tests -maxdepth 3 -type f -name 'fuzz_*' -perm -u+x); do \
		name=$$(basename $$target); echo "==> $$name, $(FUZZ_SECONDS) s"; \
		mkdir -p build/fuzz/found/$$name; corpus=tests/fuzz/corpus/$${name#fuzz_}; \
		$(FIXED_ADDRESSES) $$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
			-artifact_prefix=build/fuzz/found/$$name- build/fuzz/found/$$name $$( [ -d $$corpus ] && echo $$corpus ) \
			>build/fuzz/$$name.log 2>&1 || { tail -n 60 build/fuzz/$$name.log; exit 1; }; \
		grep -E 'DONE|executed_units' build/fuzz/$$name.log; \
	done

bench: build ## measure latency, rates and cost, beside those of peers that are here; writes build/bench
	@$(PY) -m bench $(ARGS)

bench-peers: build ## fetch the products that `make bench` compares ours with; each may be missing
	@$(PY) -m bench.peers install

gpu-check: build ## convert, handoff and Venus guests on this machine's GPU, with times
	@$(PY) -m bench.gpu_check $(ARGS)
	@$(PY) -m bench.gpu_check_venus $(ARGS)

soak: build ## a session for SOAK_SECONDS=3600, then soak-venus: nothing may grow
	@$(PY) -m bench.soak --seconds $(SOAK_SECONDS) $(ARGS)
	@$(PY) -m bench.venus_soak --seconds $(VENUS_SOAK_SECONDS)

soak-venus: build ## 8 Vulkan clients that come, die and talk nonsense, for VENUS_SOAK_SECONDS=300
	@$(PY) -m bench.venus_soak --seconds $(VENUS_SOAK_SECONDS) $(ARGS)

docs: setup ## renew the generated tables of docs/protocol/venus.md
	@$(PY) render_core/protocol/generate.py --registry $(VK_XML) --docs docs/protocol/venus.md

lint: setup ## ruff, mypy, clang-format
	@$(RUFF) check . && $(RUFF) format --check . && .venv/bin/mypy streamer guest_agent render_core tests bench
	@if command -v $(CLANG_FORMAT) >/dev/null; then $(CLANG_FORMAT) --dry-run -Werror $(C_FILES); fi

format: setup ## ruff format, clang-format
	@$(RUFF) check --fix . ; $(RUFF) format .
	@$(CLANG_FORMAT) -i $(C_FILES)

clean: ## remove build folders; .venv, the private Mesa and QEMU stay
	@find build -mindepth 1 -maxdepth 1 ! -name mesa ! -name qemu ! -name vm -exec rm -rf {} + 2>/dev/null || true
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache

build/dev/build.ninja: | setup
	@$(MESON) setup build/dev -Dtests=true -Dpython=false >build/dev.log || { tail -n 30 build/dev.log; exit 1; }

build/asan/build.ninja: | setup
	@CC=$(CLANG) $(MESON) setup build/asan -Dtests=true -Dpython=false -Db_sanitize=address,undefined -Db_lundef=false \
		>build/asan.log || { tail -n 30 build/asan.log; exit 1; }

build/tsan/build.ninja: | setup
	@CC=$(CLANG) $(MESON) setup build/tsan -Dtests=true -Dpython=false -Db_sanitize=thread -Db_lundef=false \
		>build/tsan.log || { tail -n 30 build/tsan.log; exit 1; }

build/fuzz/build.ninja: | setup
	@CC=$(CLANG) $(MESON) setup build/fuzz -Dfuzz=true -Dtests=false -Dpython=false -Db_sanitize=address,undefined -Db_lundef=false \
		-Dc_args=-fsanitize=fuzzer-no-link \
		>build/fuzz.log || { tail -n 30 build/fuzz.log; exit 1; }
