// The three calls in Go: run a private job, pay a contractor, reach a private app. Start a network with `ee devnet up` first.
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

	simulated := ""
	if result.Attestation.Simulated {
		simulated = " (simulated TDX)"
	}
	fmt.Printf("attested  node %s%s\n", result.Node, simulated)
	metered := fmt.Sprintf("%.3f vCPU-s at %v/vCPU-h", result.Receipt.VCPUSeconds, result.Receipt.PerVCPUHour)
	fmt.Printf("job       exit %d, cost %v (%s), printed: %s", result.ExitCode, result.Cost, metered, result.Stdout)
	fmt.Printf("paid      $200.00 to contractor-id\n")
	fmt.Printf("app-name  HTTP %d %s", response.StatusCode, body)
}
