# A thin face of the Meson build: everything real is in meson.build, tools/ and tests/.
BUILD ?= build
JOBS ?= $(shell nproc)

.PHONY: all setup demo test install clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja:
	meson setup $(BUILD) --buildtype=release -Dtests=false -Dbench=false

# What is missing, by apt; asks for nothing when everything is there.
setup:
	tools/setup.sh

# Installs what is missing, builds, and does the main job on the model that ships in models/tiny.
demo: setup
	$(MAKE) --no-print-directory all
	tools/demo.sh $(BUILD)/src/cli/snug $(BUILD)/demo

test:
	tools/setup.sh --tests
	tests/run.sh

# DESTDIR is honoured. Without it the loader has to learn of the new library.
install: all
	meson install -C $(BUILD) --no-rebuild
	test -n "$(DESTDIR)" || ldconfig

clean:
	rm -rf $(BUILD) build-test build-arm build-arm-root build-asan build-tsan build-clang
