# Everything a newcomer needs: a virtual environment of its own for each purpose, made on first use.
PYTHON ?= python3
PORT   ?= 8080
DEMO   := .venv/demo
DEV    := .venv/dev
NATIVE := CMakeLists.txt $(wildcard native/*.cpp native/*.h native/*.ipp)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo serve check test test-clients docs bench bench-late bench-serve sanitize clean help

help:            ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ \t/'

demo: $(DEMO)/installed  ## Install podium and rank the guide's documents
	@$(DEMO)/bin/podium demo

serve: $(DEMO)/installed  ## Serve the bundled model, and a page to try it on, at http://127.0.0.1:8080 (make serve PORT=8081)
	@test -e $(DEMO)/serve || { $(DEMO)/bin/python -m pip install --quiet --editable '.[serve]' && touch $(DEMO)/serve; }
	@$(DEMO)/bin/podium serve --port $(PORT)

check: $(DEV)/installed  ## Lint, format and types
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

test: $(DEV)/installed  ## Run every test, the notebook and the docstrings' examples included
	$(DEV)/bin/pytest -n auto

test-clients: $(DEV)/installed tests/clients/javascript/node_modules/installed  ## Ask podium serve with the real clients of the APIs that it speaks
	@for list in frameworks newest; do \
		cmp -s tests/clients/$$list.txt .venv/$$list/installed || { $(PYTHON) -m venv .venv/$$list && \
			.venv/$$list/bin/python -m pip install --quiet --requirement tests/clients/$$list.txt && \
			cp tests/clients/$$list.txt .venv/$$list/installed; } || exit 1; \
		PODIUM_PYTHON=$(CURDIR)/$(DEV)/bin/python PODIUM_CLIENTS=$$list .venv/$$list/bin/python -m pytest \
			-c tests/clients/pytest.ini --ignore tests/clients/test_javascript.py tests/clients || exit 1; \
	done
	$(DEV)/bin/pytest -c tests/clients/pytest.ini tests/clients/test_javascript.py

tests/clients/javascript/node_modules/installed: tests/clients/javascript/package.json
	@command -v npm >/dev/null || { apt-get update -q && apt-get install -qy nodejs npm; }
	npm install --prefix tests/clients/javascript --no-package-lock --no-fund --no-audit
	@touch $@

docs: $(DEV)/installed  ## Write the generated parts of the README and run the notebook again
	$(DEV)/bin/python docs/make.py

bench:           ## Measure speed beside other libraries (installs them, each in an environment of its own)
	$(PYTHON) bench/run.py

bench-serve:     ## Measure podium serve beside the same work offline
	$(PYTHON) bench/serve.py

bench-late: $(DEV)/installed  ## Measure rankings with stored encodings
	$(DEV)/bin/python bench/late.py
	$(DEV)/bin/python bench/late_run.py

sanitize:        ## Run the native core's tests under the compiler's sanitizers
	native/sanitize.sh address
	native/sanitize.sh undefined
	native/sanitize.sh thread

clean:           ## Remove what make made
	rm -rf .venv .bench .sanitize tests/clients/javascript/node_modules

$(DEMO)/installed: pyproject.toml $(NATIVE)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --editable .
	@touch $@

$(DEV)/installed: pyproject.toml $(NATIVE)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(DEV)/bin/python -m pip install --quiet --editable . --group dev
	@touch $@
