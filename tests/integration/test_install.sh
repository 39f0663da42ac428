#!/bin/sh
# test_install.sh - a user finds the library by pkg-config and by CMake, in the build tree and installed. Not for what the library does.
# Run by tools/run_tests.py after the release build.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build=${EE_BUILD_DIR:?set by tools/run_tests.py}
prefix=$work/prefix

cat >"$work/main.c" <<'C'
#include <eesdk/eesdk.h>
#include <stdio.h>
int main(void) { return ee_status_exit_code(EE_OK) == 0 && printf("%s\n", ee_version()) > 1 ? 0 : 1; }
C
cat >"$work/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.22)
project(consumer C)
find_package(eesdk 0.1 REQUIRED)
add_executable(consumer main.c)
target_link_libraries(consumer PRIVATE eesdk::eesdk)
CMAKE

unset LD_LIBRARY_PATH # what is linked finds its library by itself

by_pkg_config() { # name, folder of eesdk.pc
    # shellcheck disable=SC2046 # flags are words
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$work/main.c" -o "$work/$1" \
        $(PKG_CONFIG_PATH="$2" pkg-config --cflags --libs eesdk)
    "$work/$1" >"$work/$1.out"
    version=$(PKG_CONFIG_PATH="$2" pkg-config --modversion eesdk)
    [ "$(cat "$work/$1.out")" = "$version" ] || { echo "$1: library says $(cat "$work/$1.out"), eesdk.pc says $version"; exit 1; }
    echo "$1: $version"
}

by_cmake() { # name, CMAKE_PREFIX_PATH
    if ! { cmake -G Ninja -S "$work" -B "$work/$1" -DCMAKE_PREFIX_PATH="$2" -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF &&
        cmake --build "$work/$1"; } >"$work/$1.log" 2>&1; then
        cat "$work/$1.log"
        exit 1
    fi
    "$work/$1/consumer"
    echo "$1: found and runs"
}

by_pkg_config build-pkg-config "$build/lib/pkgconfig"
by_cmake build-cmake "$build"

cmake --install "$build" --prefix "$prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
pc=$(find "$prefix" -name eesdk.pc)
by_pkg_config installed-pkg-config "$(dirname "$pc")"
by_cmake installed-cmake "$prefix"

# Installed files stand alone: none points back into the source or build tree.
if grep -rlF -e "$build" "$prefix" --include='*.pc' --include='*.cmake' --include='*.h'; then
    echo "installed files name the build tree"
    exit 1
fi
for program in ee ee-controlplane ee-agent ee-uptime ee-shim; do
    [ ! -x "$build/bin/$program" ] || [ -x "$prefix/bin/$program" ] || { echo "$program is built but not installed"; exit 1; }
done
[ ! -x "$prefix/bin/ee" ] || "$prefix/bin/ee" --version || { echo "installed ee does not run"; exit 1; }

# A packager's prefix: the loader looks there anyway, and packages carry no rpath.
cmake -G Ninja -S "$EE_SOURCE_DIR" -B "$work/usr" -DCMAKE_INSTALL_PREFIX=/usr -DEE_TESTS=OFF -DEE_SERVER=OFF -DEE_PYTHON=OFF >"$work/usr.log" || { cat "$work/usr.log"; exit 1; }
grep -q '^Libs:.*rpath' "$build/install/eesdk.pc"
! grep -q rpath "$work/usr/install/eesdk.pc" || { echo "the .pc file for /usr has an rpath"; exit 1; }
