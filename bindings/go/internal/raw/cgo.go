// Package raw is libeesdk as SWIG sees it: eesdk_raw.go and raw_wrap.c are made by tools/gen_go.sh from bindings/swig.
//
// Handles are freed by the wrapper; errors are made and read by it; bytes are borrowed for a call and copied out. Nobody else uses it.
package raw

// #cgo pkg-config: eesdk
// #cgo CFLAGS: -D_GNU_SOURCE
import "C"
