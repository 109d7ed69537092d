#!/bin/sh
# Unpacks what building snug for 64-bit ARM needs, from the same mirror as everything else, into a folder: the C library
# and the -dev packages that tools/setup.sh names, with what they need. Nothing is installed: the system's packages and
# its list of architectures stay as they are, and root is not needed.
# usage: arm_root.sh ROOT. Writes ROOT/cross.ini for `meson setup --cross-file`; tests run through qemu-aarch64.
#
# Fails where the mirror has no arm64, as Ubuntu's main one.
set -eu
[ $# -eq 1 ] || { echo "usage: arm_root.sh ROOT" >&2; exit 1; }
mkdir -p "$1/apt/lists/partial" "$1/apt/archives/partial"
root=$(cd "$1" && pwd)
packages=$("$(dirname "$0")/setup.sh" --libraries)

# An apt of its own, which thinks that nothing is installed: it fetches every package that is needed, and only fetches.
: >"$root/apt/status"
cat >"$root/apt/apt.conf" <<END
Dir::State "$root/apt";
Dir::State::status "$root/apt/status";
Dir::Cache "$root/apt";
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
Acquire::Languages "none";
END
export APT_CONFIG="$root/apt/apt.conf"
apt-get -qq update </dev/null || echo "arm_root: apt-get update failed in part; trying with what came" >&2
# shellcheck disable=SC2086 # one word a package
apt-get -qq --download-only install $packages </dev/null ||
    { echo "arm_root: the package mirror has no arm64 libraries" >&2; exit 1; }
unset APT_CONFIG

# Libraries and headers only: -dev packages also name programs for building, which would not run here.
for deb in "$root"/apt/archives/*.deb; do
    case ${deb##*/} in
        libperl*) ;;
        lib* | linux-libc-dev* | zlib1g*) dpkg-deb -x "$deb" "$root" ;;
    esac
done
rm -r "$root/apt"
# Debian 13 has /lib as a link that no package brings; links from the top of the file system are to stay inside.
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
find "$root" -type l -lname '/*' | while read -r link; do
    to=$(readlink "$link")
    [ ! -e "$root$to" ] || ln -sfn "$root$to" "$link"
done

libdir=$root/usr/lib/aarch64-linux-gnu
cat >"$root/cross.ini" <<END
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '$root']

[built-in options]
c_args = ['--sysroot=$root']
c_link_args = ['--sysroot=$root']

[properties]
sys_root = '$root'
pkg_config_libdir = '$libdir/pkgconfig'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
END
