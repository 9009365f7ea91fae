# One verb per target. Everything is installed into .venv and the node_modules of the clients, once per lock file;
# a second call starts at once.

# A Python >= 3.11 to make .venv with; empty: the first that is found.
PYTHON ?=
# Commands that the tests need beside Python, each as COMMAND or COMMAND:DEBIAN-PACKAGE; missing ones are installed by apt.
TEST_COMMANDS := chromium curl jq node:nodejs npm redis-server nginx promtool:prometheus java:default-jre-headless mvn:maven \
	pg_ctlcluster:postgresql pgbouncer nats-server
# Toolchains that only `make clients-test` needs: without them the Java, Rust and Go clients are not built.
CLIENT_TOOLCHAINS := mvn java cargo go
# How many compilers at once.
CLIENT_JOBS ?= 2
# Servers that the benchmarks measure beside Maru, in the same form. What can't be installed is left out, and said.
BENCH_COMMANDS := gcc node:nodejs npm redis-server nats-server nginx
NCHAN := /usr/lib/nginx/modules/ngx_nchan_module.so
# Processes that share the slower tests, a file each: more than there are cores, since most of what these do is waiting.
TEST_WORKERS ?= 3
# Arguments handed to the benchmark (`make bench ARGS=--help`), or to pytest by clients-test and compose-test.
ARGS ?=
# `make lock UPGRADE=--upgrade` moves to the newest versions that setup.cfg allows; without it the pins stay where they can.
UPGRADE ?=
# For `make jepsen`: how long, which seed (empty: a random one), and the folder for histories and verdicts (empty:
# build/jepsen/<time>).
MINUTES ?= 30
SEED ?=
FOLDER ?=
# Makes the lock files; requirements/uv.txt has its hashes.
UV := uv==0.13.9

VENV := .venv
BIN := $(VENV)/bin
DEMO := clients/js-demo
DEMO_MODULES := $(DEMO)/node_modules/.package-lock.json
CLIENT := clients/js
CLIENT_MODULES := $(CLIENT)/node_modules/.package-lock.json
REACT_APP := $(CLIENT)/examples/react-app
REACT_APP_MODULES := $(REACT_APP)/node_modules/.package-lock.json
OTHERS := tests/clients_of_others
OTHERS_MODULES := $(OTHERS)/js/node_modules/.package-lock.json
OTHERS_BUILT := build/clients_of_others
OTHERS_PROGRAMS := $(OTHERS_BUILT)/java/okhttp-3.12.12/.made $(OTHERS_BUILT)/java/okhttp-4.12.0/.made \
	$(OTHERS_BUILT)/rust/debug/puppet $(OTHERS_BUILT)/go/puppet
NODE_PEER := bench/peers/node
BUN_PEER := bench/peers/bun
PEER_MODULES := $(NODE_PEER)/node_modules/.package-lock.json $(BUN_PEER)/node_modules/.package-lock.json
BROKER := build/kafka/.made
OXIDE_PEER := build/bench/oxide/release/oxide-peer
PLANE := tests/kubernetes/plane
PLANE_BUILT := build/plane
PLANE_PROGRAMS := $(addprefix $(PLANE_BUILT)/,etcd kube-apiserver kube-controller-manager kube-scheduler)
APT := $(if $(filter 0,$(shell id -u)),,sudo )env DEBIAN_FRONTEND=noninteractive apt-get
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet
LOCK := $(COMPILE) setup.cfg $(UPGRADE)

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# One target after the other, but for those that BESIDE starts at once: each one's output is shown whole when it ends,
# all are run to their end, and one that fails makes the whole fail.
BESIDE := $(MAKE) --no-print-directory --jobs --keep-going --output-sync=target AT_ONCE=1
ifndef AT_ONCE
.NOTPARALLEL:
endif
# The tests start hundreds of servers: none should compile Maru again.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help run test clients-test compose-test image-test kind-test cluster-test fuzz check format bench bench-quick jepsen lock digests sbom clean \
	demo client others kafka toolchains commands peers check-code check-coverage check-adapters check-units check-demo check-client test-shared test-waiting

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## serve on 127.0.0.1:8080 with the demo page; settings are MARU_* variables
	@if command -v npm >/dev/null; then $(MAKE) --silent demo; \
	else echo 'serving without the demo page: npm not found'; fi
	@MARU_DEV=$${MARU_DEV:-1} exec $(BIN)/python -m server

test: commands kafka $(VENV)/.test demo client others $(VENV)/.loadtest ## everything: the checks, contract, integration and browser tests
	@$(BESIDE) check-adapters check-units check-coverage check-code check-client check-demo
	@$(BESIDE) test-shared test-waiting
	$(BIN)/python -m pytest tests --ignore=tests/unit -m alone

test-shared:
	$(BIN)/python -m pytest tests --ignore=tests/unit -m 'not alone and not waits' --numprocesses=$(TEST_WORKERS) \
		--dist=loadfile --no-loadscope-reorder

test-waiting:
	$(BIN)/python -m pytest tests --ignore=tests/unit -m waits

clients-test: commands toolchains others $(VENV)/.test ## clients of other people in Java, Rust, Go, JavaScript and Python; builds them, in 6 minutes
	@$(MAKE) --silent $(OTHERS_PROGRAMS)
	CLIENTS_OF_OTHERS=all $(BIN)/python -m pytest $(OTHERS) $(ARGS)

compose-test: $(VENV)/.test demo ## a deployment in containers, with docker or podman-compose, and its tests
	deploy/compose-test.sh $(ARGS)

image-test: $(VENV)/.test ## the image under the chart's security context, by podman; PYTHON_IMAGE, IMAGE: see the script
	deploy/image-test.sh $(ARGS)

kind-test: $(VENV)/.test $(VENV)/.loadtest ## install, load, upgrade and roll back in a kind cluster; needs docker, kind, kubectl, helm
	deploy/kind-test.sh

cluster-test: commands demo $(VENV)/.loadtest $(VENV)/.bench ## upgrades, drains and lost nodes on a real Kubernetes control plane, which is built once, in 10 minutes; needs Go
	@command -v go >/dev/null || { echo 'cluster-test builds a Kubernetes control plane, and did not find go: install Go 1.26 or newer' >&2; exit 1; }
	@$(MAKE) --silent $(PLANE_PROGRAMS)
	CLUSTER_TEST=1 $(BIN)/python -m pytest $(PLANE) $(ARGS)

fuzz: $(VENV)/.test ## search for packets, frames and handshakes that harm the server; FUZZ_S=3600: seconds for each of five searches
	MARU_FUZZ_S=$(or $(FUZZ_S),60) $(BIN)/python -m pytest tests/integration/test_fuzz.py

check: $(VENV)/.test ## lint, format, types, import floors, unit tests with the coverage gate; about a minute
	@$(BESIDE) check-adapters check-units check-coverage check-code

check-code: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/stubtest --mypy-config-file setup.cfg --ignore-missing-stub socketio engineio

check-coverage: $(VENV)/.test
	$(BIN)/coverage run -m pytest tests/unit/domain tests/unit/application
	$(BIN)/coverage report --include='server/domain/*,server/application/*' --fail-under=100

# Two halves, by the time that they take: each process loads only its own.
check-adapters: $(VENV)/.test
	$(BIN)/python -m pytest tests/unit/adapters

check-units: $(VENV)/.test
	$(BIN)/python -m pytest tests/unit --ignore=tests/unit/domain --ignore=tests/unit/application --ignore=tests/unit/adapters

check-demo: demo
	cd $(DEMO) && npm test

check-client: client
	cd $(CLIENT) && npm test

format: $(VENV)/.test ## format the Python code and make the safe fixes
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(VENV)/.test $(VENV)/.bench peers ## the benchmarks beside other servers, into docs/performance.md; under 15 minutes
	$(BIN)/python -m bench $(or $(ARGS),all --page docs/performance.md)

bench-quick: $(VENV)/.test $(VENV)/.bench peers ## a first look at the benchmarks; in a minute and a half
	$(BIN)/python -m bench quick $(ARGS)

jepsen: commands $(VENV)/.test ## faults for MINUTES=30, and a checker of the history; SEED= repeats a schedule, FOLDER= keeps it
	$(BIN)/python -m tests.jepsen --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(FOLDER),--folder $(FOLDER)) $(ARGS)

lock: $(BIN)/uv ## write requirements/*.txt from setup.cfg; UPGRADE=--upgrade takes the newest versions
	$(LOCK) --output-file requirements/run.txt
	$(LOCK) --extra postgres --extra kafka --extra nats --constraint requirements/run.txt --output-file requirements/engines.txt
	$(LOCK) --extra test --extra check --constraint requirements/run.txt --output-file requirements/test.txt
	$(LOCK) --extra loadtest --constraint requirements/test.txt --output-file requirements/loadtest.txt
	$(LOCK) --extra bench --constraint requirements/test.txt --output-file requirements/bench.txt
	$(LOCK) --extra sbom --constraint requirements/test.txt --output-file requirements/sbom.txt
	echo '$(UV)' | $(COMPILE) --output-file requirements/uv.txt -

digests: ## pin the images of Dockerfile, compose and deploy/ to their present digests; needs a registry, and skopeo or docker
	deploy/pin-images.sh

sbom: $(VENV)/.sbom ## what is installed, as CycloneDX files in build/sbom: the server's lock, and the demo page's packages
	@mkdir -p build/sbom
	$(BIN)/cyclonedx-py requirements --output-reproducible --output-file build/sbom/server.json requirements/run.txt
	cd $(DEMO) && npm sbom --package-lock-only --omit dev --sbom-format cyclonedx > ../../build/sbom/demo.json

clean: ## remove what was built, installed and cached
	rm -rf $(VENV) $(DEMO)/node_modules $(CLIENT)/node_modules $(CLIENT)/types $(REACT_APP)/node_modules $(REACT_APP)/dist $(OTHERS)/js/node_modules $(NODE_PEER)/node_modules $(BUN_PEER)/node_modules build dist *.egg-info clients/*/build clients/*/*.egg-info .coverage .coverage.* htmlcov \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The installed locks. Versions in run.txt and test.txt agree, so the order of the two does not matter.
$(VENV)/.%: requirements/%.txt | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

$(BIN)/uv: requirements/uv.txt | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

# Debian's Python comes without venv: the first Python that has it wins, else its venv is installed.
$(VENV)/pyvenv.cfg:
	@set -eu; python=; fits='import sys; sys.exit(sys.version_info < (3, 11))'; \
	for name in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
		"$$name" -c "$$fits" 2>/dev/null || continue; \
		"$$name" -c 'import ensurepip, venv' 2>/dev/null && { python=$$name; break; }; \
		python=$${python:-$$name}; \
	done; \
	[ -n "$$python" ] || { echo 'no Python >= 3.11 found: install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
		package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		echo "$$python has no venv: installing $$package"; \
		{ $(APT) update -qq && $(APT) install -y -qq --no-install-recommends "$$package"; } || \
			{ echo "could not install $$package: install it by hand, then call make again" >&2; exit 1; }; \
	}; \
	"$$python" -m venv $(VENV)

demo: ## bring the demo page's packages
	@command -v npm >/dev/null || { echo 'npm not found: install nodejs and npm' >&2; exit 1; }
	@$(MAKE) --silent $(DEMO_MODULES)

$(DEMO_MODULES): $(DEMO)/package-lock.json
	cd $(DEMO) && npm ci --no-audit --no-fund
	@touch $@

client:
	@command -v npm >/dev/null || { echo 'npm not found: install nodejs and npm' >&2; exit 1; }
	@$(MAKE) --silent $(CLIENT_MODULES) $(REACT_APP_MODULES)

$(CLIENT_MODULES): $(CLIENT)/package-lock.json
	cd $(CLIENT) && npm ci --no-audit --no-fund
	@touch $@

$(REACT_APP_MODULES): $(REACT_APP)/package-lock.json
	cd $(REACT_APP) && npm ci --no-audit --no-fund
	@touch $@

others:
	@command -v npm >/dev/null || { echo 'npm not found: install nodejs and npm' >&2; exit 1; }
	@$(MAKE) --silent $(OTHERS_MODULES)

$(OTHERS_MODULES): $(OTHERS)/js/package-lock.json
	cd $(OTHERS)/js && npm ci --no-audit --no-fund
	@touch $@

kafka: commands
	@$(MAKE) --silent $(BROKER)

# The jars of a Kafka broker, of pinned versions: 44 MB, in a few seconds, once.
$(BROKER): tests/harness/kafka_broker/pom.xml
	rm -rf $(@D)
	mvn --batch-mode --quiet --strict-checksums --file $< dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory=$(abspath $(@D))
	@touch $@

toolchains:
	@missing=; for command in $(CLIENT_TOOLCHAINS); do command -v "$$command" >/dev/null || missing="$$missing $$command"; done; \
	[ -z "$$missing" ] || { echo "clients-test builds clients, and did not find:$$missing. Install what is missing" >&2; exit 1; }

# Both compile the same classes, which fit either OkHttp.
$(OTHERS_BUILT)/java/okhttp-%/.made: $(OTHERS)/java/pom.xml $(OTHERS)/java/src/main/java/Puppet.java
	rm -rf $(@D)
	mvn --batch-mode --quiet --strict-checksums --file $< compiler:compile dependency:copy-dependencies \
		-Dokhttp.version=$* -DoutputDirectory=$(abspath $(@D))
	@touch $@

$(OTHERS_BUILT)/rust/debug/puppet: $(OTHERS)/rust/Cargo.lock $(OTHERS)/rust/src/main.rs
	cargo build --locked --quiet --jobs $(CLIENT_JOBS) --manifest-path $(OTHERS)/rust/Cargo.toml --target-dir $(OTHERS_BUILT)/rust
	@touch $@

$(OTHERS_BUILT)/go/puppet: $(OTHERS)/go/go.sum $(OTHERS)/go/main.go
	go build -C $(OTHERS)/go -mod=readonly -p $(CLIENT_JOBS) -o $(abspath $@) .

# The programs say which Kubernetes they are, as its own build lets them.
$(PLANE_BUILT)/kube-%: $(PLANE)/go/go.sum
	@echo 'building kube-$*'
	version=$$(go list -C $(PLANE)/go -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes) && \
	at=k8s.io/component-base/version && \
	CGO_ENABLED=0 go build -C $(PLANE)/go -mod=readonly -trimpath -o $(abspath $@) \
		-ldflags "-s -w -X $$at.gitVersion=$$version -X $$at.gitMajor=1 -X $$at.gitMinor=$$(echo $$version | cut -d. -f2)" \
		k8s.io/kubernetes/cmd/kube-$*

$(PLANE_BUILT)/etcd: $(PLANE)/go/go.sum
	@echo 'building etcd'
	CGO_ENABLED=0 go build -C $(PLANE)/go -mod=readonly -trimpath -ldflags '-s -w' -o $(abspath $@) go.etcd.io/etcd/server/v3

commands:
	@set -eu; PATH="$$PATH:/usr/sbin"; packages=; for entry in $(TEST_COMMANDS); do \
		command -v "$${entry%%:*}" >/dev/null || packages="$$packages $${entry##*:}"; \
	done; \
	[ -n "$$packages" ] || exit 0; \
	command -v apt-get >/dev/null || { echo "the tests need$$packages: install them" >&2; exit 1; }; \
	echo "installing$$packages"; \
	$(APT) update -qq && $(APT) install -y -qq --no-install-recommends $$packages

peers:
	@set -u; PATH="$$PATH:/usr/sbin"; packages=; for entry in $(BENCH_COMMANDS); do \
		command -v "$${entry%%:*}" >/dev/null || packages="$$packages $${entry##*:}"; \
	done; \
	[ -e $(NCHAN) ] || packages="$$packages libnginx-mod-nchan"; \
	[ -z "$$packages" ] || { echo "installing$$packages"; \
		{ $(APT) update -qq && $(APT) install -y -qq --no-install-recommends $$packages; } || \
		echo "could not install$$packages: what needs them is left out"; }
	@! command -v npm >/dev/null || $(MAKE) --silent --keep-going $(PEER_MODULES) || \
		echo 'could not install npm packages: what needs them is left out'
	@! command -v cargo >/dev/null || $(MAKE) --silent $(OXIDE_PEER) || echo 'could not build socketioxide: it is left out'

# What Bun runs brings Bun with it.
bench/peers/%/node_modules/.package-lock.json: bench/peers/%/package-lock.json
	cd bench/peers/$* && npm ci --no-audit --no-fund
	@touch $@

$(OXIDE_PEER): bench/peers/oxide/Cargo.lock bench/peers/oxide/src/main.rs
	cargo build --release --locked --quiet --manifest-path bench/peers/oxide/Cargo.toml --target-dir build/bench/oxide
	@touch $@
