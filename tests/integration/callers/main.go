// main.go - one call through the Go package, for callers.py, which says what the arguments and the output are.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	ee "github.com/easyenclave/easyenclave/bindings/go"
)

func run(ctx context.Context, argv []string) error {
	vcpus, err := strconv.ParseFloat(argv[2], 64)
	if err != nil {
		return err
	}
	spec := ee.JobSpec{Image: argv[0], Node: argv[1], VCPUs: vcpus, MaxCost: ee.Amount(argv[3]), Stdout: os.Stdout, Stderr: os.Stderr}
	if name := argv[4]; name != "" {
		spec.Env = map[string]string{name: os.Getenv(name)}
	}
	if len(argv) > 5 {
		spec.Command = argv[5:]
	}
	_, err = ee.RunPrivateJob(ctx, spec)
	return err
}

func get(ctx context.Context, name, path string) error {
	app, err := ee.Connect(ctx, name)
	if err != nil {
		return err
	}
	defer app.Close()
	response, err := app.Get(ctx, path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func act(argv []string) error {
	ctx := context.Background()
	switch argv[0] {
	case "balance":
		client, err := ee.Default()
		if err == nil {
			_, err = client.Balance(ctx)
		}
		return err
	case "transfer":
		var options []ee.TransferOption
		if argv[3] != "" {
			options = append(options, ee.IdempotencyKey(argv[3]))
		}
		_, err := ee.TransferCredits(ctx, argv[1], ee.Amount(argv[2]), options...)
		return err
	case "run":
		return run(ctx, argv[1:])
	default:
		return get(ctx, argv[1], argv[2])
	}
}

func main() {
	call := &ee.CallError{Code: "ok"}
	low := &ee.LowBalanceError{}
	if err := act(os.Args[1:]); err != nil && !errors.As(err, &call) {
		call = &ee.CallError{Code: fmt.Sprintf("not a CallError: %T", err), Message: err.Error()}
	} else if err != nil {
		errors.As(err, &low)
	}
	fmt.Printf("== outcome\n%s\n%s\n%s\n%d\n%d\n%s\n", call.Code, call.Message, call.Hint, int64(low.Needed), int64(low.Available), call.Details)
}
