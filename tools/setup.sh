#!/bin/sh
# Installs with apt what building snug needs and is missing; with --tests also what only the tests need.
# Prints what it installs, uses sudo only when it must, and does nothing at all when everything is there.
# --libraries installs nothing: it prints the packages that are libraries, one a line.
#
# The names hold in Debian 12 and 13 and in Ubuntu 24.04 (several are in its component universe, which is on by
# default). pkgconf is the package behind pkg-config; libc6-dev is named because recommended packages are left out.
set -eu

build_packages="gcc libc6-dev binutils meson ninja-build pkgconf libjansson-dev libpcre2-dev libutf8proc-dev \
libhwloc-dev libsnappy-dev libzstd-dev zlib1g-dev liblz4-dev libbrotli-dev"
# cmocka: the unit tests. OpenSSL: checksums of what reference tokenizers gave. qemu-user: the kernels on emulated
# processors, an old one and a foreign one. clang, clang-tidy and cppcheck: what gcc does not warn about.
test_packages="libcmocka-dev libssl-dev qemu-user clang clang-tidy cppcheck"
[ "$(uname -m)" = aarch64 ] || test_packages="$test_packages gcc-aarch64-linux-gnu"

fail() {
    echo "setup: $*" >&2
    exit 1
}

packages=$build_packages
case "${1-}" in
    "") ;;
    --tests) packages="$packages $test_packages" ;;
    --libraries)
        # shellcheck disable=SC2086 # one word a package
        printf '%s\n' $build_packages $test_packages | grep -e '-dev$'
        exit
        ;;
    *) fail "unknown argument '$1'; use no argument, --tests or --libraries" ;;
esac

command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 ||
    fail "this system has no apt; install these libraries and tools by hand, then run meson: $packages"

missing=
for package in $packages; do
    case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)" in
        "install ok installed") ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
        fail "missing packages, and neither root nor sudo to install them; as root run: apt-get install$missing"
    as_root=sudo
fi

echo "setup: installing with apt:$missing"
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
# Lists may be absent or stale on a fresh machine; a mirror that fails here may still have the packages in its cache.
apt update || echo "setup: apt-get update failed; trying with the package lists that are here" >&2
# shellcheck disable=SC2086 # one word a package
apt install --no-install-recommends $missing ||
    fail "apt could not install$missing; see its message above, then run 'make' again"
