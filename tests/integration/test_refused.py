#!/usr/bin/env python3
"""Who is refused, and why: the error of a refused control plane or agent has the whole table of checks, in every language."""
# deadline: 300
import json
import re
import textwrap
import unittest

from devnet import DevnetCase

GO = textwrap.dedent(
    """
    package main

    import (
    	"context"
    	"encoding/json"
    	"errors"
    	"os"

    	ee "github.com/easyenclave/easyenclave/bindings/go"
    )

    func main() {
    	client, err := ee.New(ee.Config{})
    	if err != nil {
    		panic(err)
    	}
    	ctx := context.Background()
    	calls := []func() error{
    		func() error { _, err := client.Balance(ctx); return err },
    		func() error { _, err := client.TransferCredits(ctx, "contractor-id", "$1"); return err },
    		func() error { _, err := client.Connect(ctx, "app-name"); return err },
    		func() error { _, err := client.RunPrivateJob(ctx, ee.JobSpec{Image: "myapp:latest"}); return err },
    	}
    	told := []any{}
    	for _, call := range calls {
    		err := call()
    		var refused *ee.AttestationError
    		if !errors.As(err, &refused) || refused.Attestation == nil {
    			told = append(told, nil)
    			continue
    		}
    		for _, check := range refused.Attestation.Checks {
    			if check.Status == "fail" {
    				told = append(told, []any{refused.Attestation.Node, check.Name, len(refused.Attestation.Checks) > 10})
    			}
    		}
    	}
    	json.NewEncoder(os.Stdout).Encode(told)
    }
    """
)

PYTHON = textwrap.dedent(
    """
    import json, easyenclave as ee
    client = ee.Client()
    told = []
    for call in (client.balance, lambda: client.transfer_credits("contractor-id", "$1"), lambda: client.connect("app-name"), lambda: client.run_private_job("myapp:latest")):
        try:
            call()
            told.append(None)
        except ee.AttestationError as error:
            found = error.attestation
            told.extend([found.node, check.name, len(found.checks) > 10] for check in found.checks if check.status == "fail")
            assert not found.verified and str(found) and found.evidence and error.failed_check
    print(json.dumps(told))
    """
)


class Refused(DevnetCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The network's own policy, but for one value: of every machine, or of the machines of agents (theirs is not the control plane's).
        policy = (cls.net.dir / "policy.toml").read_text()
        cls.control_refused = cls.net.home / "control.toml"
        cls.control_refused.write_text(re.sub('mrtd = ".*"', 'mrtd = "%s"' % ("00" * 48), policy))
        told = cls.net.run(["python3", "-c", "import easyenclave as ee; print(ee.Client().attestation().measurements['rtmr3'])"])
        cls.agent_refused = cls.net.home / "agent.toml"
        cls.agent_refused.write_text(policy.rstrip() + f'\nrtmr3 = "{told.stdout.strip()}"\n')

    def with_policy(self, argv, policy, **kw):
        return self.net.run(["env", f"EE_POLICY={policy}", *argv], **kw)

    def test_python(self):
        result = self.with_policy(["python3", "-c", PYTHON], self.control_refused)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout), [["control plane", "measurement", True]] * 4)
        result = self.with_policy(["python3", "-c", PYTHON], self.agent_refused)
        told = json.loads(result.stdout)
        self.assertEqual(told[:2], [None, None])
        self.assertEqual([(node[:5], check, whole) for node, check, whole in told[2:]], [("node-", "measurement", True)] * 2)

    def test_the_last_sixteen_are_kept(self):
        program = textwrap.dedent(
            """
            import easyenclave as ee
            from easyenclave import _calls, eesdk_raw as raw
            client = ee.Client()
            for i in range(17):
                try:
                    client.balance()
                except ee.AttestationError as error:
                    assert error.attestation is not None
            for number, kept in ((0, False), (1, False), (2, True), (17, True), (18, False)):
                try:
                    verdict = _calls._run(raw.ees_client_refused, (client._handle, number))
                    raw.ee_verdict_free(verdict)
                    assert kept, number
                except raw.RawError as failure:
                    assert not kept and failure.args[0] == -4, (number, failure)
            print("ok")
            """
        )
        result = self.with_policy(["python3", "-c", program], self.control_refused)
        self.assertEqual(result.stdout, "ok\n", result.stderr)

    def test_go(self):
        program = str(self.net.go_program("refused", GO))
        result = self.with_policy([program], self.control_refused)
        self.assertEqual(json.loads(result.stdout), [["control plane", "measurement", True]] * 4, result.stderr)
        result = self.with_policy([program], self.agent_refused)
        told = json.loads(result.stdout)
        self.assertEqual(told[:2], [None, None])
        self.assertEqual([(node[:5], check, whole) for node, check, whole in told[2:]], [("node-", "measurement", True)] * 2)

    def test_the_command_line_shows_the_table(self):
        for args, policy, failed in ((["balance"], self.control_refused, "mrtd"), (["curl", "app-name/"], self.agent_refused, "rtmr3")):
            with self.subTest(args=args):
                result = self.net.ee(*args, env={"EE_POLICY": str(policy)})
                self.assertError(result, "attestation", 6)
                self.assertRegex(result.stderr, rf"(?m)^  FAIL  {failed} ")
                self.assertRegex(result.stderr, r"(?m)^  pass  quote signature ")
                result = self.net.ee("--json", *args, env={"EE_POLICY": str(policy)})
                self.assertEqual(result.returncode, 6)
                told = json.loads(result.stderr)["error"]
                self.assertEqual([c["name"] for c in told["attestation"]["checks"] if c["status"] == "fail"], ["measurement"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
