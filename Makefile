# Common tasks. Each has its own virtual environment, which is created when it is first used.
PYTHON ?= python3
PORT   ?= 8080
DEMO   := .venv/demo
DEV    := .venv/dev
SITE   := .venv/site
# Without a C++ compiler, podium is installed without its native core, and its models need ONNX Runtime.
ONNX    = $(1)/bin/python -c 'import podium._native' 2>/dev/null || $(1)/bin/python -m pip install --quiet --editable '.[onnx]'
NATIVE := CMakeLists.txt $(wildcard native/*.cpp native/*.h native/*.ipp)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo serve check test test-clients test-ray test-wheel test-arm test-container docs site bench bench-goals bench-decoders bench-late bench-serve sanitize clean help

help:            ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ \t/'

demo: $(DEMO)/installed  ## Install podium and run its demo
	@$(DEMO)/bin/podium demo

serve: $(DEMO)/installed  ## Start the HTTP server and its demo page with the bundled model at http://127.0.0.1:8080 (make serve PORT=8081)
	@test -e $(DEMO)/serve || { $(DEMO)/bin/python -m pip install --quiet --editable '.[serve]' && touch $(DEMO)/serve; }
	@$(DEMO)/bin/podium serve --port $(PORT)

check: $(DEV)/installed  ## Run the linter, the format check and the type checker
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

# Many tests wait, so there are two processes per core.
test: $(DEV)/installed  ## Run all tests, including the notebook and the examples in docstrings
	$(DEV)/bin/pytest -n $$($(DEV)/bin/python -c 'import os; print(2 * (os.cpu_count() or 1))')

test-clients: $(DEV)/installed tests/clients/javascript/node_modules/installed  ## Test podium serve with the official clients of the APIs that it implements
	@for list in frameworks newest; do \
		cmp -s tests/clients/$$list.txt .venv/$$list/installed || { $(PYTHON) -m venv .venv/$$list && \
			.venv/$$list/bin/python -m pip install --quiet --requirement tests/clients/$$list.txt && \
			cp tests/clients/$$list.txt .venv/$$list/installed; } || exit 1; \
		PODIUM_PYTHON=$(CURDIR)/$(DEV)/bin/python PODIUM_CLIENTS=$$list .venv/$$list/bin/python -m pytest \
			-c tests/clients/pytest.ini --ignore tests/clients/test_javascript.py tests/clients || exit 1; \
	done
	$(DEV)/bin/pytest -c tests/clients/pytest.ini tests/clients/test_javascript.py

test-ray:        ## Test podium batch on a Ray cluster of three nodes, which loses its driver and a node
	@cmp -s tests/ray/requirements.txt .venv/ray/installed || { $(PYTHON) -m venv .venv/ray && \
		.venv/ray/bin/python -m pip install --quiet --editable . --requirement tests/ray/requirements.txt && \
		cp tests/ray/requirements.txt .venv/ray/installed; }
	.venv/ray/bin/python -m pytest -c tests/ray/pytest.ini tests/ray

test-wheel:      ## Build the wheel of this platform, and run the tests with it where there is no compiler
	native/test_wheel.sh $(TESTS)

test-arm: $(DEV)/installed  ## Cross-compile the native core for 64-bit ARM, and run its tests under an emulator
	PYTHON_X86=$(CURDIR)/$(DEV)/bin/python native/test_arm.sh

test-container:  ## Check the container, Compose, Kubernetes and workflow files, and run the container if there is a Docker daemon
	deploy/test.sh

tests/clients/javascript/node_modules/installed: tests/clients/javascript/package.json
	@command -v npm >/dev/null || { apt-get update -q && apt-get install -qy nodejs npm; }
	npm install --prefix tests/clients/javascript --no-package-lock --no-fund --no-audit
	@touch $@

docs: $(DEV)/installed  ## Regenerate the generated parts of the README, the pages and the notebook
	$(DEV)/bin/python docs/make.py

site: $(SITE)/installed  ## Build the site of the documentation in .site, and fail if a link is dead
	@$(SITE)/bin/zensical build --clean --strict
	@! grep -rlE '(<(script|img|iframe)[^>]* src|<link rel="(stylesheet|icon|preload)"[^>]* href)="(https?:)?//' .site --include='*.html' || { echo "these pages load files of other hosts"; exit 1; }

bench:           ## Compare the speed with other libraries, each installed in a separate environment
	$(PYTHON) bench/run.py

bench-serve:     ## Compare the speed of podium serve with the same work without a server
	$(PYTHON) bench/serve.py

bench-late: $(DEV)/installed  ## Measure the speed of ranking with stored encodings
	$(DEV)/bin/python bench/late.py
	$(DEV)/bin/python bench/late_run.py

bench-goals: $(DEV)/installed  ## Measure the share of the int8 peak, and short requests on all cores
	$(DEV)/bin/python bench/goals.py

bench-decoders: $(DEV)/installed  ## Compare the speed of a decoder with llama.cpp and sentence-transformers
	$(DEV)/bin/python bench/decoders.py

sanitize:        ## Run the tests of the native core with the address, undefined-behaviour and thread sanitizers
	native/sanitize.sh address
	native/sanitize.sh undefined
	native/sanitize.sh thread

clean:           ## Delete everything that these targets created
	rm -rf .venv .bench .sanitize .site .cache .wheel .arm tests/clients/javascript/node_modules

$(DEMO)/installed: pyproject.toml $(NATIVE)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --editable .
	@$(call ONNX,$(DEMO))
	@touch $@

$(SITE)/installed: docs/requirements.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --requirement docs/requirements.txt
	@touch $@

$(DEV)/installed: pyproject.toml $(NATIVE)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(DEV)/bin/python -m pip install --quiet --editable . --group dev
	@touch $@
