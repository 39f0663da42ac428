#!/bin/sh
# Makes bindings/go/internal/raw from bindings/swig with SWIG. Run after changing a .i file, and commit the result: go build runs no
# generators. With a folder as argument it writes there instead, which is how the test compares. Not for Python (CMake does that).
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../bindings/swig"
out=${1:-../go/internal/raw}
mkdir -p "$out"
swig -go -cgo -package raw -Wall -Werror -I../../sdk/include -outdir "$out" -o "$out/raw_wrap.c" eesdk.i
# SWIG 4.1 makes a string out of a number that was a pointer, which go vet rightly suspects; the string itself is there to be copied.
sed -i 's|^  r := string((\*\[0x7fffffff\]byte)(unsafe.Pointer(p.p))\[:p.n\])$|  r := string([]byte(s))|' "$out/eesdk_raw.go"
