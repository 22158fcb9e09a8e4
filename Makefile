PYTHON ?= python3
BIN := .venv/bin
KAFKA := deploy/kafka
JAVA := java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError -cp '$(KAFKA)/jars/*'
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -q
COPY := rm -rf $(KAFKA)/jars && mvn -q -B -C -f $(KAFKA)/pom.xml dependency:copy-dependencies

.venv/.complete: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . && touch $@

setup: .venv/.complete  ## the environment from requirements.lock
run: setup              ## the whole product in one process on embedded parts
	@exec $(BIN)/dragoman run
demo: setup             ## customers, agents and outages played in a minute; every promise checked
	@$(BIN)/dragoman demo
test: setup             ## every test but the faults; what this machine lacks is skipped, with a line how to get it
	$(BIN)/python -m pytest -rs -p no:schemathesis -m 'not faults and not alone and not image and not demo' -n 4 --dist worksteal
	$(BIN)/python -m pytest -rs -m alone
image: setup            ## the container image's own steps without an engine: wheelhouse, installation, its services as processes
	$(BIN)/python -m pytest -rs -m image
faults: setup           ## processes and the broker are killed under load; broken builds must be found out
	$(BIN)/python -m pytest -rs -m faults
faults-long: setup      ## the same, each kill twenty times
	DRAGOMAN_FAULT_ROUNDS=20 DRAGOMAN_DATABASE_AWAY=100 $(BIN)/python -m pytest -rs -m faults --timeout 14400
bench: setup            ## figures as ratios: a table, and JSON lines in bench/results/
	$(BIN)/python -m bench
lint: setup             ## style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: setup            ## mypy, strict
	$(BIN)/mypy
lock:                   ## both locks anew, for every Python from 3.11 and every platform; the image's has no extras
	$(COMPILE) --all-extras -o requirements.lock
	$(COMPILE) --constraints requirements.lock -o deploy/requirements.lock

kafka: kafka-jars       ## one broker on 127.0.0.1:9092, its data in .kafka/; Ctrl-C ends it
	$(JAVA) kafka.tools.StorageTool format --ignore-formatted --cluster-id=dragoman-local --config=$(KAFKA)/server.properties
	exec $(JAVA) kafka.Kafka $(KAFKA)/server.properties
kafka-jars: $(KAFKA)/jars/.complete  ## the broker's jars, checked against jars.sha256
$(KAFKA)/jars/.complete: $(KAFKA)/pom.xml $(KAFKA)/jars.sha256
	$(COPY) && cd $(KAFKA)/jars && sha256sum --quiet --check ../jars.sha256 && touch .complete
kafka-lock:             ## jars.sha256 anew, after a change of pom.xml: review it before you commit
	$(COPY) && cd $(KAFKA)/jars && sha256sum *.jar > ../jars.sha256

.PHONY: setup run demo test image faults faults-long bench lint types lock kafka kafka-jars kafka-lock
