#!/usr/bin/env python3
"""Go's jobs when something ends them: the context, the job's own limit, an image without the command. Kinds, causes and what came so far."""
# deadline: 300
import json
import textwrap
import unittest

from devnet import DevnetCase, wait_for

GO = textwrap.dedent(
    """
    package main

    import (
    	"context"
    	"encoding/json"
    	"errors"
    	"fmt"
    	"os"
    	"time"

    	ee "github.com/easyenclave/easyenclave/bindings/go"
    )

    type told struct {
    	Code, Type, Stdout string
    	Deadline, Canceled bool
    	Message            string
    	HasResult          bool
    	Seconds            float64
    }

    func tell(since time.Time, result *ee.JobResult, err error) told {
    	out := told{Type: fmt.Sprintf("%T", err), Seconds: time.Since(since).Seconds(),
    		Deadline: errors.Is(err, context.DeadlineExceeded), Canceled: errors.Is(err, context.Canceled)}
    	var call *ee.CallError
    	if errors.As(err, &call) {
    		out.Code, out.Message = call.Code, call.Message
    	}
    	var failed *ee.JobFailedError
    	if errors.As(err, &failed) {
    		result = failed.Result
    	}
    	if result != nil {
    		out.HasResult, out.Stdout = true, string(result.Stdout)
    	}
    	return out
    }

    // up cancels once the job has said that it is up.
    type up struct{ cancel context.CancelFunc }

    func (u up) Write(b []byte) (int, error) {
    	u.cancel()
    	return len(b), nil
    }

    func main() {
    	client, err := ee.New(ee.Config{})
    	if err != nil {
    		panic(err)
    	}
    	defer client.Close()
    	slow := []string{"sh", "-c", "echo up; sleep 60"}
    	stubborn := []string{"sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done"}
    	run := func(ctx context.Context, spec ee.JobSpec) told {
    		spec.Image = "myapp:latest"
    		since := time.Now()
    		result, err := client.RunPrivateJob(ctx, spec)
    		return tell(since, result, err)
    	}
    	found := map[string]told{}
    	for name, command := range map[string][]string{"cancel": slow, "stubborn": stubborn} {
    		ctx, cancel := context.WithCancel(context.Background())
    		found[name] = run(ctx, ee.JobSpec{Command: command, Stdout: up{cancel}})
    	}
    	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
    	found["deadline"] = run(ctx, ee.JobSpec{Command: slow})
    	cancel()
    	ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
    	found["too early"] = run(ctx, ee.JobSpec{Command: slow})
    	cancel()
    	found["own limit"] = run(context.Background(), ee.JobSpec{Command: slow, Timeout: 2 * time.Second})
    	found["no command"] = run(context.Background(), ee.JobSpec{Command: []string{"/no/such"}})
    	found["fine"] = run(context.Background(), ee.JobSpec{Command: []string{"echo", "up"}})
    	json.NewEncoder(os.Stdout).Encode(found)
    }
    """
)


class GoJobs(DevnetCase):
    def test_what_ends_a_job(self):
        result = self.net.run([self.net.go_program("jobs", GO)], timeout=200)
        self.assertEqual(result.returncode, 0, result.stderr)
        found = json.loads(result.stdout)
        failed, call = "*easyenclave.JobFailedError", "*easyenclave.CallError"
        for name, code, kind, deadline, canceled, has_result in (
            ("cancel", "cancelled", failed, False, True, True), ("stubborn", "cancelled", failed, False, True, True), ("deadline", "timeout", failed, True, False, True),
            ("too early", "timeout", call, True, False, False), ("own limit", "job_timeout", failed, False, False, True), ("no command", "command_not_found", call, False, False, False),
            ("fine", "", "<nil>", False, False, True)):
            with self.subTest(name=name, found=found[name]):
                got = found[name]
                self.assertEqual((got["Code"], got["Type"], got["Deadline"], got["Canceled"], got["HasResult"]), (code, kind, deadline, canceled, has_result))
                self.assertEqual(got["Stdout"], "up\n" if has_result else "")
                self.assertLess(got["Seconds"], 30)
        self.assertEqual(found["deadline"]["Message"], "the job was cancelled: context deadline exceeded")
        self.assertEqual(found["too early"]["Message"], "the call was left before an answer came: context deadline exceeded")

        def settled():
            jobs = self.net.json("jobs")["items"]
            return self.net.balance()[1] == sum(job["charged"]["micros"] for job in jobs) and all(job["state"] in ("done", "failed") for job in jobs)

        wait_for("every job has ended and given back what it did not use", settled)


if __name__ == "__main__":
    unittest.main(verbosity=2)
