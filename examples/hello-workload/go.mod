module github.com/easyenclave/easyenclave/examples/hello-workload

go 1.19
