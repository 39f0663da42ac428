module github.com/easyenclave/easyenclave/examples/go/headline

go 1.19

require github.com/easyenclave/easyenclave/bindings/go v0.0.0

replace github.com/easyenclave/easyenclave/bindings/go => ../../../bindings/go
