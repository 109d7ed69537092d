#!/bin/sh
# llama.cpp computes what the original framework computes, from the GGUF that snug makes, for every family of models
# that it knows. Where npm cannot fetch llama.cpp, this says so and is skipped.
# usage: llamacpp_families.sh SNUG BUILD_FOLDER
set -eu
build=$2
. tests/e2e/peer.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PEER=$peer node tests/e2e/llamacpp_families.mjs "$1" "$work"
