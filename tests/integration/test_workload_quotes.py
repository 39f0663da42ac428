#!/usr/bin/env python3
"""Threat Q10: a workload that wants a quote. It reaches nothing that makes one, whatever it says is output, and the code that makes statements
is nowhere near it. That a statement of purpose app is none of an agent's is in test_impostors.py."""
# deadline: 300
# needs: build/dev
import pathlib
import re
import socket
import subprocess
import unittest

import test_impostors
import wire
from devnet import ROOT, wait_for

OBJECTS = test_impostors.LIARS.parent

# What lies around for a process: below $ROOT, and in /proc. busybox, so that the same runs in the sample image and outside.
REACH = r"""
busybox cut -d" " -f3 /proc/self/mounts | busybox sed "s/^/filesystem /"
busybox find $ROOT -xdev -type s 2>/dev/null | busybox sed "s/^/socket /"
busybox find $ROOT -xdev \( -name "*tsm*" -o -name "*tdx*" -o -name "node-?.json" \) 2>/dev/null | busybox grep -v ^/proc/ | busybox sed "s/^/file /"
busybox tail -n +2 /proc/net/unix | busybox sed "s/^/unix /"
busybox tail -n +2 /proc/net/tcp | busybox sed "s/^/tcp /"
for fd in /proc/self/fd/*; do at=$(busybox readlink $fd) && echo fd ${at%%:*}; done
busybox env | busybox grep ^EE_ | busybox sed "s/^/env /"
busybox ls -A /sys | busybox sed "s/^/sys /"
for at in /sys/kernel/config/tsm/report/x /sys/kernel/config/tsm/report /proc/self/root/../sys/kernel/config; do busybox mkdir $at 2>/dev/null && echo made $at; done
echo end
"""

# The same frames as an agent is asked with, in every form that a stream may have: a CHALLENGE for evidence, one for health, EVIDENCE.
FRAMES = [
    wire.HEADER.pack(1, kind, wire.CRITICAL, stream, len(payload)) + payload
    for payload in (wire.pack({1: asks_for, 2: b"\x77" * 32, 5: True, 6: bytes(32)}) for asks_for in (1, 2, 3))
    for kind in (wire.CHALLENGE, wire.EVIDENCE)
    for stream in (0, 1)
]
OCTAL = "".join(f"\\{byte:03o}" for byte in b"".join(FRAMES))


class Workload(test_impostors.Impostors):
    def job(self, script, node="node-a", **env):
        result = self.net.ee("run", "--node", node, *[word for key in env for word in ("-e", key)], "myapp:latest", "--", "sh", "-c", script, env=env, text=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_Q10_a_job_reaches_nothing_that_makes_quotes(self):
        seen = self.job(REACH, ROOT="/").decode().splitlines()
        self.assertEqual(seen.pop(), "end")
        self.assertFalse({"configfs", "sysfs", "securityfs", "debugfs", "cgroup", "cgroup2"} & {line.split()[1] for line in seen if line.startswith("filesystem")}, seen)
        self.assertEqual({line for line in seen if not line.startswith("filesystem")}, {"fd pipe"})
        # The search can find: outside there are the machines, a socket of somebody, and more.
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.folder / "agent.sock"))
            env = {**self.net.env, "ROOT": str(self.net.home), "EE_X": "1"}
            found = subprocess.run(["busybox", "sh", "-c", REACH], env=env, capture_output=True, text=True, timeout=60).stdout
        for line in (f"socket {self.folder}/agent.sock", f"file {self.net.dir}/machines/node-a.json", "env EE_X=1", "filesystem sysfs", "sys kernel"):
            self.assertIn(f"{line}\n", found)
        self.assertRegex(found, "\nunix .*\ntcp ")

    def statements(self, name):
        """(purpose of each statement, report data of each, report data of each quote) that a program made since the test began."""
        made = re.findall(r"event=statement.made purpose=(\d+) report_data=(\w+)\n", self.log(name))
        return [int(purpose) for purpose, _ in made], {data for _, data in made}, set(re.findall(r"event=quote.made purpose=0 report_data=(\w+)\n", self.log(name)))

    def test_Q10_what_a_workload_says_is_output(self):
        """Frames as they ask an agent for its proof, from a job's standard output and from an app's port: callers get them, and that is all."""
        self.lie("node-b", "nothing")
        purposes, _, quoted = self.statements("node-b")
        self.assertEqual((sorted(set(purposes)), len(quoted)), ([1, 3], 2))  # its certificate and its registration
        said = self.job(f"printf '{OCTAL}'; printf '{OCTAL}' >&2", "node-b")
        self.assertEqual(said, b"".join(FRAMES))
        self.assertEqual(self.statements("node-b")[0][len(purposes) :], [4])  # its caller's question
        self.net.json("apps", "deploy", "asks", "myapp:latest", "--node", "node-b", "--port", "8080", "--", "sh", "-c", f"while true; do printf '{OCTAL}' | busybox nc -l -p 8080; done")
        calls = []

        def call():
            calls.append(self.net.ee("--json", "curl", "asks/", text=False))
            return b"app_unavailable" not in calls[-1].stderr

        wait_for("it is reached", call, 40)
        self.assertNotEqual(calls[-1].returncode, 0)  # no HTTP
        purposes, stated, quoted = self.statements("node-b")
        self.assertEqual(set(purposes), {1, 3, 4})  # 3 again for the app that began
        self.assertEqual((purposes.count(1), purposes.count(4) <= 1 + len(calls)), (1, True))
        self.assertLessEqual(quoted, stated)  # nothing but statements was quoted
        self.assertEqual(self.net.ee("apps", "stop", "asks").returncode, 0)


class Code(unittest.TestCase):
    """Who can make a statement or a quote at all: by what each object asks its linker for."""

    MAKERS = {
        "eei_report_data": {"attest/appraise.c", "ratls/prover.c"},  # compares; makes
        "eei_statement_encode": {"ratls/prover.c"},
        "simtdx_quote": {"common/quote_source.c"},
        "quote_source_quoter": {"common/trust.c", "controlplane/main.c"},
        "eei_prover_quote": {"net/link.c", "ratls/channel.c", "agent/attest.c", "controlplane/tunnels.c"},
        "eei_prover_session": {"ratls/channel.c", "controlplane/api.c", "controlplane/tunnels.c"},
    }

    def test_Q10_who_makes_statements(self):
        objects = [path for part in ("sdk", "server") for path in (OBJECTS / part / "CMakeFiles").rglob("*.c.o")]
        listed = subprocess.run(["nm", "-A", "-u", "--format=posix", *objects], capture_output=True, text=True, check=True).stdout
        asked = {}
        for path, symbol in re.findall(r"^(\S+)\.o: (\w+) U", listed, re.M):
            asked.setdefault(symbol, set()).add("/".join(pathlib.Path(path).parts[-2:]))
        self.assertEqual({symbol: asked.get(symbol) for symbol in self.MAKERS}, self.MAKERS)
        # Beside the linker: the pointer that a quoter is.
        called = {str(path.relative_to(ROOT)) for part in ("sdk", "server") for path in (ROOT / part).rglob("*.c") if re.search(r"(?:\.|->)quote\(", path.read_text())}
        self.assertEqual(called, {"sdk/src/ratls/prover.c"})

    def test_Q10_no_public_function_makes_evidence(self):
        """Programs over the library only ever say which report data they expect."""
        symbols = (ROOT / "packaging/symbols.txt").read_text().split()
        self.assertEqual([s for s in symbols if re.search("prove|statement|report_data|evidence_make|extend|quoter", s)], [])
        headers = "\n".join(path.read_text() for path in sorted((ROOT / "sdk/include/eesdk").glob("*.h")))
        self.assertEqual(set(re.findall(r"\w*report_data\w*(?=[;,)])", headers)), {"expected_report_data"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
