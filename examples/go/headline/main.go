// The three calls of easyenclave, and what came of them. Runs as it is beside a devnet (`ee devnet up`).
package main

import (
	"context"
	"fmt"
	"io"
	"log"

	ee "github.com/easyenclave/easyenclave/bindings/go"
)

func main() {
	ctx := context.Background()

	result, err := ee.RunPrivateJob(ctx, ee.JobSpec{Image: "myapp:latest", Env: map[string]string{"SECRET": "value"}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := ee.TransferCredits(ctx, "contractor-id", "$200"); err != nil {
		log.Fatal(err)
	}
	client, err := ee.Connect(ctx, "app-name")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	response, err := client.Get(ctx, "/api/private")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(result)
	fmt.Println(response.StatusCode, string(body))
}
