module github.com/easyenclave/easyenclave/bindings/go

go 1.19
