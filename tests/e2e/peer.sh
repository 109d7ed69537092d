# For scripts that ask llama.cpp. Sourced with the variable build, the build folder; sets peer to a folder in it where
# node-llama-cpp is installed, whose prebuilt programs hold llama.cpp. Where that cannot be had, says so and ends the
# script as skipped.
version=3.22.1
peer=$build/peer-llamacpp
give_up() { echo "llama.cpp was not asked: $1"; exit 77; }
command -v node >/dev/null && command -v npm >/dev/null || give_up "node and npm are not here"
case $(uname -m) in
x86_64) machine=x64 ;;
aarch64) machine=arm64 ;;
*) give_up "no prebuilt llama.cpp for $(uname -m)" ;;
esac
if [ ! -d "$peer" ]; then
    fresh=$(mktemp -d "$peer-XXXXXX") # scripts may run side by side
    echo '{"private": true}' >"$fresh/package.json"
    timeout 240 npm install --prefix "$fresh" --no-save --ignore-scripts --omit=optional --no-audit --no-fund --silent \
        "node-llama-cpp@$version" "@node-llama-cpp/linux-$machine@$version" >"$fresh/log" 2>&1 </dev/null ||
        { rm -rf "$fresh"; give_up "npm could not fetch node-llama-cpp $version"; }
    if [ -d "$peer" ]; then rm -rf "$fresh"; else mv "$fresh" "$peer"; fi
fi
