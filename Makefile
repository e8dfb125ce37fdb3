# The two commands are `make demo` and `make test`; everything is built by CMake in build/.
BUILD ?= build
PREFIX ?= /usr/local
CMAKE_FLAGS ?=
JOBS ?= $(shell nproc)
DEMO_SEED ?= 0
.DEFAULT_GOAL := all

# The reference is printed from the tables that the program itself uses.
reference: all
	@for list in models layers ops datasets optimizers schedules losses recipes options; do \
	    printf '\n# %s\n\n' $$list; $(BUILD)/adze list $$list; done > $(BUILD)/reference.md; echo $(BUILD)/reference.md

.PHONY: reference all bootstrap configure demo test bench install uninstall check-long fuzz format clean
all: configure
	@cmake --build $(BUILD) -j $(JOBS)

bootstrap:
	@scripts/bootstrap

configure: | bootstrap
	@cmake -S . -B $(BUILD) -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(CMAKE_FLAGS) > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

demo: configure
	@cmake --build $(BUILD) -j $(JOBS) --target adze
	@scripts/demo $(BUILD)/adze $(DEMO_SEED)

test: all
	@cd $(BUILD) && ctest --output-on-failure -j $(JOBS) $(CTEST_FLAGS)

bench: all
	@$(BUILD)/adze bench conv resnet20
	@$(BUILD)/adze bench train lenet5-caffe --batch 128

check-long: all
	@scripts/check-long $(BUILD)

fuzz: bootstrap
	@scripts/fuzz

install: all
	@cmake --install $(BUILD)

uninstall:
	@xargs -r rm -fv < $(BUILD)/install_manifest.txt

format:
	@git ls-files -co --exclude-standard '*.c' '*.h' '*.inc' | xargs clang-format -i

clean:
	@rm -rf $(BUILD)
