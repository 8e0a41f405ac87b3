# Serin. `make help` lists the targets.
SHELL := bash
GO ?= go
PURE := ./internal/judge/... ./internal/split/... ./internal/contract/... ./internal/lightgbm/... ./internal/rollout/... ./internal/spec/...
TOOL := $(GO) tool -modfile=go.tools.mod
.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/serin
	$(GO) build -trimpath -o bin/serin ./cmd/serin

demo: build ## the main job: a good version promoted, bad ones reverted, in under two minutes
	./bin/serin demo

test: ## all tests with the race detector; coverage of the pure packages
	@./.ci/test

lint: ## formatting, vet, golangci-lint, govulncheck, generated files up to date
	@./.ci/lint

generate: build ## docs/cli.md and the other generated files
	$(GO) generate ./...
	./bin/serin docs > docs/cli.md

verify: generate ## fails when a generated file is out of date
	@git diff --exit-code -- docs api || { echo "generated files are out of date: commit what 'make generate' wrote"; exit 1; }

bench: build ## side-by-side benchmarks (takes long; needs root for the peers' packages)
	@./bench/run

clean: ## removes what was built
	rm -rf bin dist coverage.out

.PHONY: help build demo test lint generate verify bench clean
