# Serin. `make help` lists the targets.
SHELL := bash
GO ?= go
PURE := ./internal/judge/... ./internal/split/... ./internal/contract/... ./internal/lightgbm/... ./internal/rollout/... ./internal/spec/... ./internal/report/...
TOOL := $(GO) tool -modfile=go.tools.mod
# Only a KUBECONFIG given to make itself counts: one in the environment may well point at production.
E2E_OWN := $(if $(filter command line,$(origin KUBECONFIG)),SERIN_E2E_KUBECONFIG=$(KUBECONFIG) SERIN_E2E_GATEWAY=$(GATEWAY) SERIN_E2E_REGISTRY=$(REGISTRY))
.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/serin; static and stripped, as `serin image` packs it
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o bin/serin ./cmd/serin

demo: build ## the main job: a good version promoted, bad ones reverted, in under two minutes
	./bin/serin demo

test: ## all tests with the race detector; coverage of the pure packages
	@./.ci/test

lint: ## formatting, vet, linters, generated files up to date
	@./.ci/lint

vuln: ## known vulnerabilities (needs https://vuln.go.dev, or VULNDB=file:///FOLDER with a copy)
	@VULNDB="$(VULNDB)" ./.ci/vuln

generate: build ## docs/cli.md, docs/api-reference.md, deep copies, CRDs: everything that is generated
	./bin/serin docs > docs/cli.md
	$(TOOL) controller-gen object paths=./api/... crd:maxDescLen=200 output:crd:dir=charts/serin/crds paths=./api/...
	$(GO) run ./internal/gendoc > docs/api-reference.md

verify: generate ## fails when a generated file is out of date
	@git diff --exit-code -- docs api charts || { echo "generated files are out of date: commit what 'make generate' wrote"; exit 1; }

bench: ## 200 kills of `serin serve` under load (bench/kill); the other folders of bench/ have a README with their command
	SERIN_KILLS=$${SERIN_KILLS:-200} $(GO) test -race -count=1 -timeout 60m -v -run TestPromise6KillingServeLosesNothing ./internal/cli
	@echo "side by side with others, each with a README:"; ls -d bench/*/

e2e: ## tests on a real Kubernetes with Istio (root; the first build takes long). A cluster of yours: KUBECONFIG=… GATEWAY=http://… REGISTRY=host:port
	@$(E2E_OWN) ./.ci/e2e

azure-cli: ## commands of az, kubelogin, trivy and Terraform's azurerm, judged by the real ones (fetches 0.5 GB once, some minutes)
	cd test/azure && SERIN_AZURE_CLI=1 $(GO) test -count=1 -v -run 'TestAzureCLI|TestAzurerm|TestKubelogin|TestTrivy' .

cluster-up: ## a test cluster that stays, so that `make e2e` starts at once
	cd test/cluster && $(GO) run ./cmd/cluster up

cluster-down: ## ends it
	cd test/cluster && $(GO) run ./cmd/cluster down

clean: ## removes what was built
	rm -rf bin dist coverage.out

.PHONY: help build demo test lint vuln generate verify bench e2e azure-cli cluster-up cluster-down clean
