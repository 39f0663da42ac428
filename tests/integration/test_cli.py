#!/usr/bin/env python3
"""`ee` as a citizen of a shell: pipes that end, names that are whole, hints that exist, words for people and JSON for programs."""
# deadline: 500
import base64
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import termios
import threading
import time
import fcntl
import unittest

from devnet import BIN, BUILD, ROOT, Devnet, DevnetCase, OwnDevnet, environment, wait_for


class Cli(DevnetCase):
    def shell(self, line, timeout=60, env=None):
        return subprocess.run(["bash", "-c", line], env={**self.net.env, **(env or {})}, capture_output=True, text=True, timeout=timeout, cwd=self.net.home)

    def terminal(self, *args, columns=80):
        """What a terminal of that width shows of a command that goes well."""
        status, shown = self.net.terminal(*args, columns=columns)
        self.assertEqual(status, 0, shown)
        return shown

    # ---- 1: output that nobody reads

    def test_a_closed_pipe_ends_and_unlocks_the_job(self):
        before = self.net.balance()
        result = self.shell("ee run myapp:latest --timeout 10m -- yes | head -1; echo ${PIPESTATUS[0]}", timeout=30)
        self.assertEqual(result.stdout.split(), ["y", "141"], result.stderr)
        job = self.net.json("jobs")["items"][0]
        self.assertEqual(job["reason"], "cancelled")
        available, locked = self.net.balance()
        self.assertEqual(locked, before[1])
        self.assertLess(before[0] - available, 1000)  # of the 5,000 micros locked for ten minutes

    def test_a_closed_stderr_pipe_ends_the_job(self):
        result = self.shell("ee -q run myapp:latest -- sh -c 'yes >&2' 2>&1 >/dev/null | head -1; echo ${PIPESTATUS[0]}", timeout=30)
        self.assertEqual(result.stdout.split(), ["y", "141"])

    def test_a_full_disk_is_an_error(self):
        for line in ("ee run myapp:latest -- echo hi", "ee nodes", "ee --version", "ee help", "ee --json balance", "ee curl app-name/api/private", "ee devnet logs control"):
            with self.subTest(line=line):
                result = self.shell(f"{line} >/dev/full")
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn("standard output could not be written: No space left on device", result.stderr)
        self.assertEqual(self.shell("ee --version >&-").returncode, 1)

    def test_a_payment_whose_output_is_lost_is_told_all_the_same(self):
        for line, told in (("ee transfer contractor-id '$0.01' --key lost-1", "key lost-1"), ("ee credits buy '$0.01' --reference lost-2", "reference lost-2")):
            with self.subTest(line=line):
                result = self.shell(f"{line} >/dev/full")
                self.assertEqual(result.returncode, 1)
                self.assertRegex(result.stderr, rf"made all the same: \w+  \$0\.01 to [\w-]+  {told}\n")
                self.assertIn("replayed", self.shell(line).stdout)
                error = json.loads(self.shell(f"{line} --json >/dev/full").stderr)["error"]
                self.assertIn(told, error["hint"])
                self.assertEqual(error["details"]["idempotency_key"], told.split()[1])
                reader, writer = os.pipe()
                os.close(reader)
                unread = subprocess.run(["bash", "-c", line], env=self.net.env, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
                os.close(writer)
                self.assertEqual(unread.returncode, 141)
                self.assertIn(told, unread.stderr)

    # ---- environments: whole values, names that are names, and no value in a message

    def env_of(self, *args, file=None, **kw):
        """What the job's environment is, name by name, beside what the image sets."""
        path = self.net.home / "job.env"
        if file is not None:
            path.write_bytes(file)
        result = self.net.ee("run", *(["--env-file", str(path)] if file is not None else []), *args, "myapp:latest", "--", "sh", "-c", "cat /proc/self/environ", text=False, **kw)
        self.assertEqual(result.returncode, 0, result.stderr)
        found = (item.split(b"=", 1) for item in result.stdout.split(b"\0") if item)
        return {name.decode(): value for name, value in found if name.decode() not in ("PATH", "HOME", "HOSTNAME", "PWD", "SHLVL", "OLDPWD", "_")}

    def test_L3_a_long_line_of_an_env_file_is_one_value(self):
        for length in (8186, 8187, 8188, 131_044):
            with self.subTest(length=length):
                secret = b"A" * length + b"LEAKEDPARTOFTHESECRET=="
                self.assertEqual(self.env_of(file=b"KEY=" + secret), {"KEY": secret})

    def test_env_files_as_people_write_them(self):
        text = b"# a comment\n\nA=1\r\nB=two words \nC=a\rb\nD=x=y\nE=\n#F=no\nG=last line has no end"
        self.assertEqual(self.env_of(file=text), {"A": b"1", "B": b"two words ", "C": b"a\rb", "D": b"x=y", "E": b"", "G": b"last line has no end"})

    def test_L2_what_is_no_env_is_refused_and_not_shown(self):
        wrong = self.net.home / "wrong.env"
        for text, where in ((b"export A=hunter2\n", ":1"), (b"A=1\nC =hunter2\n", ":2"), (b"A B=hunter2", ":1"), (b"\n1A=hunter2", ":2"), (b"=hunter2", ":1"), (b"hunter2", ":1"), (b"A-hunter2=1", ":1"),
                            (b" A=hunter2", ":1"), (b"A=1\nB=hunter2\0hunter2\n", ":2"), (b"\0hunter2", ":1"), (b"A\0B=hunter2", ":1"), (b"A=" + b"hunter2" * 700_000, "4194304 bytes")):
            with self.subTest(text=text[:40]):
                wrong.write_bytes(text)
                result = self.net.ee("run", "--env-file", str(wrong), "myapp:latest")
                self.assertError(result, "invalid", 2)
                self.assertIn(where, result.stderr)
                self.assertNotIn("hunter2", result.stderr)
        wrong.write_bytes(b"KEY=" + b"hunter2" * 20_000)  # more than Linux hands to a program in one piece
        result = self.net.ee("run", "--env-file", str(wrong), "myapp:latest")
        self.assertError(result, "limit", 2)
        self.assertNotIn("hunter2", result.stderr)
        nul, large = self.net.home / "nul", self.net.home / "large"
        nul.write_bytes(b"hunter2\0hunter2")
        large.write_bytes(b"hunter2" * 150_000)
        for given in (f"A=@{nul}", f"A=@{large}", "=hunter2", "export A=hunter2", "A =hunter2", "1=hunter2", "A-B=hunter2"):
            with self.subTest(given=given):
                result = self.net.ee("run", "-e", given, "myapp:latest")
                self.assertError(result, "invalid", 2)
                self.assertNotIn("hunter2", result.stderr)
        result = self.net.ee("run", "-e", "A=-", "myapp:latest", input=b"hunter2\0hunter2", text=False)
        self.assertEqual(result.returncode, 2)
        self.assertNotIn(b"hunter2", result.stderr)
        self.assertEqual(self.env_of("-e", "A=-", input=b"hunter2\n"), {"A": b"hunter2\n"})
        nul.write_bytes(b"line\n")
        self.assertEqual(self.env_of("-e", f"A=@{nul}"), {"A": b"line\n"})

    # ---- 2: verbs take what they know

    def test_words_that_mean_nothing_are_refused(self):
        for line in ("devnet down --bogus", "devnet down now", "devnet status extra", "devnet env a b", "devnet logs a b", "devnet logs --bogus", "devnet up --port x", "devnet up --registry-port 65536", "devnet up --port=", "devnet bogus", "nodes ls extra", "nodes show", "nodes show node-a extra", "nodes --bogus", "apps ls x", "apps show", "apps show a b", "apps stop --bogus", "apps bogus x", "jobs ls x", "jobs show", "jobs cancel a b", "jobs bogus", "config bogus", "config show x", "balance x", "balance --bogus", "forward app-name 80x", "forward app-name --bogus", "verify", "verify app-name --offline", "help run x", "bogus"):
            with self.subTest(line=line):
                self.assertError(self.net.ee(*line.split()), "invalid", 2)
        self.assertTrue(self.net.json("devnet", "status")["healthy"])

    # ---- 3: evidence files

    def test_evidence_is_judged_by_the_policy_of_the_configured_network(self):
        evidence = str(self.net.home / "e.json")
        self.assertEqual(self.net.ee("verify", "app-name", "--export", evidence).returncode, 0)
        policy = self.net.dir / "policy.toml"
        nowhere = {"XDG_RUNTIME_DIR": "/nonexistent"}
        for args, env, code in (
            ([], {}, 0),
            (["--offline"], {}, 0),
            (["--policy", str(policy)], nowhere, 0),
            ([], {**nowhere, "EE_POLICY": str(policy)}, 0),
            ([], nowhere, 6),  # no network is configured: production, which trusts Intel's root alone
            (["--policy", "production"], {}, 6),
            (["--policy", "/nonexistent.toml"], {}, 2),
        ):
            with self.subTest(args=args, env=env):
                result = self.net.ee("verify", evidence, *args, env=env)
                self.assertEqual(result.returncode, code, result.stdout + result.stderr)

    def test_what_is_no_evidence_is_said_in_one_line(self):
        empty, torn = self.net.home / "empty.json", self.net.home / "torn.json"
        empty.write_text("{}")
        torn.write_text('{"kind": "easyenclave evi')
        for path in (empty, torn, "/etc/passwd", "/dev/null"):
            with self.subTest(path=path):
                result = self.net.ee("verify", str(path))
                self.assertEqual(result.returncode, 6, result.stderr)
                self.assertIn("ee: attestation: evidence_file: ", result.stderr)
        self.assertError(self.net.ee("verify", "/"), "io", 2)
        self.assertError(self.net.ee("verify", "./missing.json"), "not_found", 2)

    # ---- 4: names are whole

    def test_a_long_name_names_nothing(self):
        long = "app-name" + "x" * 60
        self.assertEqual(len(long[:63]), 63)
        for args in (["curl", f"{long}/"], ["apps", "show", long], ["apps", "stop", long], ["nodes", "show", long], ["forward", long], ["verify", long], ["jobs", "show", long], ["apps", "deploy", long, "myapp:latest", "--port", "80"]):
            with self.subTest(args=args):
                result = self.net.ee(*args)
                self.assertError(result, "invalid", 2)
                self.assertIn("68 bytes", result.stderr)
        for name in ("", "a?b", "a%2fb", "a b", "a\nb"):
            with self.subTest(name=name):
                self.assertError(self.net.ee("apps", "show", name), "invalid", 2)
        self.assertError(self.net.ee("apps", "show", "../nodes"), "invalid", 2)

    # ---- 5: hints name what there is

    def test_hints_name_commands_that_exist(self):
        commands = {c["name"]: c for c in self.net.json("help")["commands"]}
        sources = sorted((ROOT / "server/cli").glob("*.c")) + [ROOT / "server/controlplane/routing.c", ROOT / "server/controlplane/ledger.c"]
        found = 0
        for source in sources:
            text = re.sub(r'"\s*\n\s*"', "", source.read_text())
            for hint in re.findall(r"`ee ([a-z][^`]*)`", text):
                words = hint.split("%")[0].split()
                with self.subTest(source=source.name, hint=hint):
                    found += 1
                    self.assertIn(words[0], {*commands, "help"})
                    for word in words[1:]:
                        if words[0] != "help" and re.fullmatch(r"--?[a-z-]+|[a-z]+", word):
                            about = commands[words[0]]
                            self.assertIn(word, about["help"] + about["arguments"])
        self.assertGreater(found, 10)

    def test_advice_on_another_registry_is_not_of_the_devnet(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        result = self.net.ee("run", f"127.0.0.1:{port}/library/busybox")
        self.assertError(result, "connect", 125)
        self.assertIn(f"127.0.0.1:{port} cannot be reached", result.stderr)
        self.assertIn("\n  check the registry in the image's name", result.stderr)
        self.assertNotIn("ee devnet", result.stderr)

    def test_advice_on_money_is_in_the_words_of_who_asks(self):
        result = self.net.ee("run", "--vcpus", "4", "--timeout", "24h", "--max-cost", "$0.01", "myapp:latest")
        self.assertIn("\n  raise --max-cost, or lower --timeout or --vcpus\n", result.stderr)
        self.assertIn("\n  add credits with `ee credits buy`", self.net.ee("transfer", "contractor-id", "$999999").stderr)
        code = 'import easyenclave\ntry:\n    easyenclave.transfer_credits("contractor-id", "$999999")\nexcept easyenclave.LowBalanceError as e:\n    print(e.hint)'
        self.assertRegex(self.net.run(["python3", "-c", code]).stdout, "^add credits(,|$)")

    def test_nodes_explain(self):
        result = self.net.ee("nodes", "--explain")
        self.assertEqual(result.returncode, 0, result.stderr)
        for node in self.net.json("nodes", "--explain")["items"]:
            line = next(l for l in result.stdout.splitlines() if l.startswith(node["node"]))
            self.assertIn(node["state"], line)
            self.assertIn(" / ", line)
            self.assertIn("eligible", line)

    # ---- 7: words for people, JSON for programs

    def test_objects_are_fields_for_people(self):
        for args, words in ((["apps", "show", "app-name"], ["state", "running"]), (["nodes", "show", "node-a"], ["price_per_vcpu_hour", "$0.04"]), (["config", "show"], ["url", "devnet file"])):
            with self.subTest(args=args):
                result = self.net.ee(*args)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertNotIn("{", result.stdout)
                for word in words:
                    self.assertIn(word, result.stdout)
                self.assertIsInstance(self.net.json(*args), dict)

    def test_units_are_for_programs(self):
        shown, told = self.net.ee("nodes", "show", "node-a").stdout, self.net.json("nodes", "show", "node-a")
        self.assertEqual(re.findall(r"^((?:trust|vcpus|vcpus_used|memory|memory_used)) +(\S+)$", shown, re.M),
                         [("trust", "0.5"), ("vcpus", "8"), ("vcpus_used", "0"), ("memory", "8G"), ("memory_used", "0")])
        self.assertEqual((told["trust_ppm"], told["vcpus_milli"], told["memory_bytes"]), (500000, 8000, 8 << 30))

    def test_help_fits_where_it_is_read(self):
        commands = [c["name"] for c in self.net.json("help")["commands"]]
        for args in (["help"], *(["help", name] for name in commands)):
            for columns in (40, 80, None):
                with self.subTest(args=args, columns=columns):
                    text = self.net.ee(*args).stdout if columns is None else self.terminal(*args, columns=columns).decode().replace("\r", "")
                    for line in text.splitlines():
                        if len(line) > (columns or 100):  # a word stays whole
                            self.assertEqual(len(line.split()), 1, line)

    def test_everything_has_json(self):
        self.assertIn("version", self.net.json("--version"))
        self.assertEqual(self.net.json("help", "run")["name"], "run")
        self.assertEqual({c["name"] for c in self.net.json("--help")["commands"]}, {c["name"] for c in self.net.json("help")["commands"]})
        self.assertEqual(self.net.json("run", "--help")["name"], "run")
        logs = self.net.json("devnet", "logs")["items"]
        self.assertEqual(len(logs), 6)
        self.assertEqual([l["name"] for l in self.net.json("devnet", "logs", "control")["items"]], ["control"])
        for args in (["bogus"], ["balance", "--profile"], ["devnet", "logs", "nobody"], ["nodes", "show", "no-node"], []):
            with self.subTest(args=args):
                result = self.net.ee("--json", *args)
                self.assertNotEqual(result.returncode, 0)
                self.assertIn("code", json.loads(result.stderr)["error"])

    # ---- 8: amounts

    def test_a_negative_amount_is_an_amount(self):
        for amount in ("-1", "-$5", "-.5"):
            self.assertError(self.net.ee("transfer", "contractor-id", amount), "invalid_amount", 2)

    # ---- 9: global flags

    def test_times_sizes_and_vcpus(self):
        """As the library reads them, whole, and no number of another kind."""
        for args in (("--timeout", "90"), ("--timeout", "1h30m"), ("--timeout", "1.5h"), ("--memory", "64m"), ("--memory", "0.5G"), ("--vcpus", "0.5")):
            with self.subTest(args=args):
                self.assertEqual(self.net.ee("run", "--quote", *args, "myapp:latest").returncode, 0)
        for verb in (("run", "--quote", "myapp:latest"), ("apps", "deploy", "my-site", "myapp:latest", "--port", "80")):
            for option, value in (("--memory", "5 M"), ("--memory", "0"), ("--memory", "1e3M"), ("--vcpus", "0x1"), ("--vcpus", "1e3"), ("--vcpus", "0"), ("--vcpus", "inf"), ("--vcpus", "1.2.3")):
                with self.subTest(verb=verb, option=option, value=value):
                    result = self.net.ee(*verb, option, value)
                    self.assertError(result, "invalid", 2)
                    self.assertIn(f'{option} "{value}" is ', result.stderr)
        for args in (("run", "--timeout", "0", "myapp:latest"), ("run", "--timeout", "10 m", "myapp:latest"), ("node", "ticket", "n", "--machine", "00", "--life", "2x")):
            result = self.net.ee(*args)
            self.assertError(result, "invalid", 2)
            self.assertRegex(result.stderr, r'--(timeout|life) "[^"]*" is .*\n  write it like 90s')

    def test_a_flag_without_its_value(self):
        for args in (["balance", "--profile"], ["balance", "--url"], ["--color"], ["balance", "--profile="], ["balance", "--color=blue"]):
            with self.subTest(args=args):
                self.assertError(self.net.ee(*args), "invalid", 2)

    def test_raw_and_colour_on_a_terminal(self):
        command = ["myapp:latest", "--", "printf", r"\033[31mred\033[0m\033[2J"]
        self.assertEqual(self.terminal("run", *command), b"\x1b[31mred\x1b[0m\\x1b[2J")
        self.assertEqual(self.terminal("run", "--raw", *command), b"\x1b[31mred\x1b[0m\x1b[2J")
        self.assertEqual(self.terminal("run", "--color=never", *command), b"red\\x1b[2J")
        self.assertEqual(self.net.ee("run", *command, text=False).stdout, b"\x1b[31mred\x1b[0m\x1b[2J")

    def test_a_narrow_terminal_keeps_what_matters(self):
        self.assertEqual(self.net.ee("run", "myapp:latest").returncode, 0)
        job = self.net.json("jobs")["items"][0]
        for args, kept in (
            (["jobs"], ["JOB", "STATE", job["id"], "done"]),
            (["run", "--quote", "myapp:latest"], ["NODE", "AT MOST", "EFFECTIVE", "$0.005"]),
            (["run", "--quote", "--node", "node-a", "myapp:latest"], ["node-a", "$0.006667"]),
            (["nodes"], ["NODE", "EFFECTIVE", "STATE", "node-c", "$0.06", "serving"]),
            (["apps"], ["APP", "STATE", "app-name", "running"]),
            (["config", "show"], ["url", "registry"]),
            (["jobs", "show", job["id"]], [job["id"], "exit_code", "receipt_id"]),
            (["run", "myapp:latest"], ["hello from a private job"]),
        ):
            with self.subTest(args=args):
                shown = self.terminal(*args, columns=40).decode().replace("\r\n", "\n")
                for word in kept:
                    self.assertIn(word, shown)
                for line in shown.splitlines():
                    if "hello from" not in line:  # the job's own output is its own
                        self.assertTrue(len(line) <= 40 or max(map(len, line.split())) > 20, line)  # ids and paths are copied, so never cut
        talk = self.on_terminal(["run", "myapp:latest"], columns=40)
        self.assertIn("done ", talk)
        self.assertTrue(all(len(line) <= 40 for line in talk.splitlines() if "hello from" not in line), talk)

    # ---- what is waited for, and what came of it

    PHASES = (r"quoting    myapp:latest is sha256:[0-9a-f]{12}\.\.\.\n"
              r"placing    (node-[abc]) at \$0\.0\d+/vCPU-h, up to \$0\.0\d+ locked, (job_\w+)\n"
              r"attesting  \1 has proved itself \(simulated TDX\)\n"
              r"(?:pull(?:ing|ed) +\d+\.\d MiB\n)?")
    DONE = r"done       exit (\d+)  (\w+)  \d+\.\d s on node-[abc]  cost (\$[\d.]+) \(([\d.]+) vCPU-s at \$0\.0\d+/vCPU-h\)  refunded \$[\d.]+  receipt ([0-9a-f]{12})\.\.\.\n"

    def on_terminal(self, args, columns=200, answer="", env=None, code=0):
        """Standard input, output and error on one terminal: what a person has before the eyes at the end, lines written over left out."""
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([str(BIN / "ee"), *args], env={**self.net.env, "TERM": "xterm", **(env or {})}, stdin=child, stdout=child, stderr=child, cwd=self.net.home)
        os.close(child)
        os.write(parent, answer.encode())
        self.raw = b""
        try:
            while block := os.read(parent, 65536):
                self.raw += block
        except OSError:  # the other side is closed: that is how a terminal ends
            pass
        os.close(parent)
        self.assertEqual(process.wait(30), code, self.raw)
        return re.sub(r"[^\n]*\r\x1b\[K", "", self.raw.decode().replace("\r\n", "\n"))

    def test_each_phase_is_a_line_with_price_lock_and_receipt(self):
        result = self.net.ee("run", "myapp:latest", "--", "sh", "-c", "echo out; echo err >&2; sleep 0.5; exit 3")
        self.assertEqual((result.returncode, result.stdout), (3, "out\n"))
        self.assertRegex(result.stderr, rf"\A{self.PHASES}running\nerr\n{self.DONE}\Z")
        job = self.net.json("jobs")["items"][0]
        told = re.search(self.DONE, result.stderr)
        self.assertIn(job["id"], result.stderr)
        self.assertEqual((told[1], told[2], float(told[4])), ("3", "exited", float(job["vcpu_seconds"])))
        self.assertEqual(told[3].lstrip("$").rstrip("0"), job["charged"]["usd"].rstrip("0"))
        self.assertGreater(job["charged"]["micros"], 0)
        self.assertTrue(job["receipt_id"].startswith(told[5]))
        quiet = self.net.ee("-q", "run", "myapp:latest", "--", "sh", "-c", "echo err >&2")
        self.assertEqual((quiet.stdout, quiet.stderr), ("", "err\n"))
        self.assertEqual(self.net.ee("--json", "run", "myapp:latest").stderr, "")

    def test_on_a_terminal_the_line_that_waits_is_written_over(self):
        shown = self.on_terminal(["run", "myapp:latest", "--", "sh", "-c", "echo out; exit 3"], code=3)
        self.assertRegex(shown, rf"\A{self.PHASES}out\n{self.DONE}\Z")
        self.assertIn(b"attesting  node-", self.raw.split(b"\r\x1b[K")[2])  # while it is attested
        shown = self.on_terminal(["run", "myapp:latest"], env={"TERM": "dumb"})
        self.assertNotIn(b"\x1b", self.raw)
        self.assertRegex(shown, rf"\A{self.PHASES}running\nhello .*\n{self.DONE}\Z")
        self.assertEqual(self.on_terminal(["-q", "run", "myapp:latest", "--", "echo", "out"]), "out\n")

    def test_json_of_a_job_that_was_ended(self):
        result = self.net.ee("--json", "run", "--timeout", "1s", "myapp:latest", "--", "sh", "-c", r"echo before; printf 'a\377' >&2; sleep 30", timeout=30)
        self.assertEqual(result.returncode, 124)
        self.assertEqual(json.loads(result.stderr)["error"]["code"], "job_timeout")
        value = json.loads(result.stdout)
        self.assertEqual((value["reason"], value["stdout"], value["stdout_base64"], value["stderr"], value["stderr_base64"]), ("timed_out", "before\n", None, None, "Yf8="))
        self.assertEqual(value["job_id"], self.net.json("jobs")["items"][0]["id"])
        self.assertEqual(value["receipt"]["job_id"], value["job_id"])
        self.assertGreater(value["cost"]["micros"], 0)
        self.assertGreaterEqual(value["took_ms"], 1000)

    def test_output_that_is_no_text_is_whole_in_json(self):
        for bytes_, text in ((b"", ""), (b"\0", "\0"), ("\u00e4".encode(), "\u00e4"), (b"\xff", None), (b"\xc3", None), (bytes(range(256)), None), (bytes(range(255)), None), (bytes(range(254)), None)):
            with self.subTest(bytes=bytes_[:4]):
                result = self.net.ee("--json", "run", "-i", "myapp:latest", "--", "cat", input=bytes_, text=False)
                value = json.loads(result.stdout)
                self.assertEqual(value["stdout"], text)
                self.assertEqual(value["stdout_base64"], base64.b64encode(bytes_).decode() if text is None else None)

    def test_a_quote_says_what_running_it_would_come_to(self):
        before = self.net.balance()
        over = ("run", "--quote", "--timeout", "2h", "--max-cost", "$0.01", "myapp:latest")
        result = self.net.ee(*over)
        self.assertEqual(result.returncode, 5)
        self.assertIn("node-c", result.stdout)
        self.assertIn("ee: budget_exceeded: this job may cost up to $0.06, over the cap of $0.01; nothing was locked\n", result.stderr)
        result = self.net.ee("--json", *over)
        self.assertEqual((len(json.loads(result.stdout)["items"]), json.loads(result.stderr)["error"]["needed"]["usd"]), (3, "0.06"))
        self.assertEqual(self.net.ee("run", "--quote", "--timeout", "2h", "--max-cost", "$0.06", "myapp:latest").returncode, 0)
        nobody = ("run", "--quote", "--vcpus", "64", "myapp:latest")
        result = self.net.ee(*nobody)
        self.assertEqual(result.returncode, 8)
        self.assertEqual(sorted(re.findall(r"^-- not eligible: (node-[abc]) \(has [\d.]+ vcpus free, 64 wanted\)$", result.stdout, re.M)), ["node-a", "node-b", "node-c"])
        self.assertIn("ee: no_eligible_node:", result.stderr)
        result = self.net.ee("--json", *nobody)
        self.assertEqual(json.loads(result.stdout)["rejected"], json.loads(result.stderr)["error"]["details"]["rejected"])
        code = 'import easyenclave\ntry:\n    easyenclave.Client().quote("myapp:latest", vcpus=64)\nexcept easyenclave.NoEligibleNodeError as e:\n    print(sorted(e.rejected))'
        self.assertEqual(self.net.run(["python3", "-c", code]).stdout, "['node-a', 'node-b', 'node-c']\n")
        self.assertEqual(self.net.balance(), before)

    def test_a_large_transfer_asks_with_both_accounts_and_the_balance_after(self):
        before = self.net.balance()[0]
        after = f"${(before - 51_000_000) / 1e6:.6f}".rstrip("0")
        for answer, sent in (("n\n", False), ("\n", False), ("y\n", True)):
            with self.subTest(answer=answer):
                shown = self.on_terminal(["transfer", "contractor-id", "$51"], answer=answer, code=0 if sent else 1)
                asked = re.search(r"Send \$51\.00 from dev to contractor-id\?  Balance after: (\S+)   \[y/N\] ", shown)
                self.assertEqual(asked[1].rstrip("0"), after)
                self.assertEqual(self.net.balance()[0], before - 51_000_000 if sent else before)
        self.assertNotIn("[y/N]", self.on_terminal(["transfer", "contractor-id", "$50"]))
        self.assertNotIn("[y/N]", self.on_terminal(["transfer", "--yes", "contractor-id", "$51"]))
        self.assertIn("ee: low_balance:", self.on_terminal(["transfer", "contractor-id", "$999999"], code=5))

    # ---- 10: as curl

    def test_curl_ends_as_curl_does(self):
        result = self.net.ee("curl", "app-name/no/such/page")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("404", result.stdout)
        for flag in ("-f", "--fail"):
            result = self.net.ee("curl", flag, "app-name/no/such/page")
            self.assertEqual((result.returncode, result.stdout), (22, ""))
            self.assertIn("404", result.stderr)
        self.assertEqual(self.net.ee("curl", "-f", "app-name/api/private").returncode, 0)
        self.assertEqual(self.net.ee("curl", "app-name/api/private", "-o", "/dev/full").returncode, 2)


def outside(net):
    """The devnet's network as if it were somebody else's: all settings given by hand, nothing found by itself. Without the owner's token."""
    env = {k: v for k, v in net.json("devnet", "env").items() if k != "EE_ADMIN_TOKEN"}
    return {**env, "XDG_RUNTIME_DIR": str(net.home / "nowhere")}


class Settings(DevnetCase):
    """What is configured, from where, and what is wrong with it."""

    def config(self, text, name="config.toml", mode=0o600):
        path = self.net.home / "config/easyenclave" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        self.addCleanup(path.unlink)
        return path

    def test_config_show_explains_what_is_wrong(self):
        path = self.config('[profile.work]\nurl = "https://127.0.0.1:9"\n[profile.home]\nurl = "https://127.0.0.1:9"\n')
        result = self.net.ee("config", "show", env={"EE_PROFILE": "nope", "EE_BUDGET": "$5"})
        self.assertEqual(result.returncode, 3)
        self.assertRegex(result.stdout, r"budget +\$5 +\(EE_BUDGET\)")
        self.assertIn(f'ee: config: there is no profile "nope" in {path}\n  it has work, home\n', result.stderr)
        result = self.net.ee("--profile", "work", "config", "show")
        self.assertEqual(result.returncode, 3)
        self.assertRegex(result.stdout, rf"url +https://127.0.0.1:9 +\(profile work in {path}, line 2\)")
        self.assertRegex(result.stdout, r"devnet_file .*\(not used: a profile is\)")
        self.assertIn("ee: config: there is no API key for https://127.0.0.1:9", result.stderr)
        result = self.net.ee("--json", "--profile", "work", "config", "show")
        self.assertEqual((json.loads(result.stdout)["url"]["value"], json.loads(result.stderr)["error"]["code"]), ("https://127.0.0.1:9", "config"))
        result = self.net.ee("config", "show", env={"EE_POLICY": "/nonexistent.toml", "EE_URL": "https://127.0.0.1:9"})
        self.assertIn("url", result.stdout)
        self.assertIn("ee: config: EE_POLICY names /nonexistent.toml, which does not exist", result.stderr)
        path.write_text('active = "gone"\n[profile.work]\nurl = "https://127.0.0.1:9"\n')
        self.assertIn('"active" names it', self.net.ee("config", "show").stderr)

    def test_config_show_with_nothing_configured(self):
        result = self.net.ee("config", "show", env={"XDG_RUNTIME_DIR": str(self.net.home / "nowhere")})
        self.assertEqual(result.returncode, 3)
        self.assertEqual(re.findall(r"^(\w+) .*\((.*)\)$", result.stdout, re.M), [("policy_hash", "default: production"), ("config_file", "is not there"), ("devnet_file", "is not there")])
        self.assertIn("ee devnet up", result.stderr)

    def test_what_goes_before_a_profile_that_was_asked_for_is_said(self):
        told = self.net.json("devnet", "env")
        self.config(f'[profile.work]\nurl = "https://127.0.0.1:9"\nnetwork_id = "{told["EE_NETWORK_ID"]}"\npolicy = "{told["EE_POLICY"]}"\n')
        env = {"EE_URL": told["EE_URL"], "EE_API_KEY": told["EE_API_KEY"]}
        result = self.net.ee("--profile", "work", "balance", env=env)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr, "ee: this shell's EE_URL, EE_API_KEY go before --profile work; unset them to use the profile's\n")
        self.assertEqual(self.net.ee("-q", "--profile", "work", "balance", env=env).stderr, "")
        self.assertEqual(self.net.ee("balance", env={**env, "EE_PROFILE": "work"}).stderr, "")

    def test_a_devnet_file_that_is_of_no_use(self):
        """What is wrong with it is said, with its path once."""
        file = self.net.file
        self.addCleanup(file.chmod, 0o600)
        file.chmod(0o644)
        result = self.net.ee("balance")
        self.assertError(result, "config", 3)
        self.assertIn(f"devnet file: {file} is open to others (mode 0644)", result.stderr)
        self.assertEqual(result.stderr.count(str(file)), 1)
        file.chmod(0o600)
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody who may not look")
        env = {**self.net.env, "XDG_CONFIG_HOME": "/nonexistent"}  # and the runtime folder is closed to everybody else

        def ee(*args, **more):
            return subprocess.run([str(BIN / "ee"), *args], env={**env, **more}, capture_output=True, text=True, timeout=30, cwd="/", user=65534, group=65534, extra_groups=[])

        try:
            ee("--version").check_returncode()
        except (OSError, subprocess.CalledProcessError) as failure:
            self.skipTest(f"nobody cannot run ee: {failure}")
        result = ee("balance")
        self.assertError(result, "config", 3)
        self.assertIn("Permission denied", result.stderr)
        self.assertIn("cannot be used", ee("config", "show").stdout)
        self.assertNotIn("Permission denied", ee("config", "show", EE_URL="https://127.0.0.1:1").stderr)

    def test_a_file_that_is_not_there(self):
        """One rule: named by a setting it makes the setting wrong; named in the call it is not found."""
        gone = str(self.net.home / "gone")
        for variable in ("EE_POLICY", "EE_API_KEY_FILE", "EE_ADMIN_TOKEN_FILE"):
            with self.subTest(variable=variable):
                unset = {"EE_API_KEY": ""} if variable == "EE_API_KEY_FILE" else {}
                result = self.net.ee("balance", env={variable: gone, **unset})
                self.assertError(result, "config", 3)
                self.assertIn(f"{variable} names {gone}", result.stderr)
        self.config(f'[profile.work]\nurl = "https://127.0.0.1:9"\npolicy = "{gone}"\n')
        result = self.net.ee("--profile", "work", "balance")
        self.assertError(result, "config", 3)
        self.assertIn(f"profile work names {gone}", result.stderr)
        for args in (["run", "--env-file", gone, "myapp:latest"], ["run", "-e", f"A=@{gone}", "myapp:latest"], ["curl", "app-name/", "-d", f"@{gone}"]):
            with self.subTest(args=args):
                result = self.net.ee(*args)
                self.assertError(result, "not_found", 4)
                self.assertIn(f"there is no file {gone}", result.stderr)

    # ---- the owner's token

    def test_credits_are_bought_once_for_a_reference(self):
        before = self.net.balance()[0]
        bought = self.net.json("credits", "buy", "$100")
        self.assertEqual((bought["to"], bought["amount"]["usd"], bought["replayed"]), ("dev", "100.00", False))
        self.assertEqual(self.net.balance()[0], before + 100_000_000)
        for replayed in (False, True):
            answer = self.net.json("credits", "buy", "dev", "$5", "--reference", "payment-1")
            self.assertEqual((answer["replayed"], answer["idempotency_key"]), (replayed, "payment-1"))
            self.assertEqual(self.net.balance()[0], before + 105_000_000)
        self.assertIn("replayed: was credited before", self.net.ee("credits", "buy", "$5", "--reference", "payment-1").stdout)
        for amount, to in (("$6", "dev"), ("$5", "contractor-id")):
            self.assertError(self.net.ee("credits", "buy", to, amount, "--reference", "payment-1"), "idempotency_mismatch", 10)
        self.assertError(self.net.ee("credits", "buy", "nobody", "$5"), "not_found", 4)
        self.assertError(self.net.ee("credits", "buy", "$1e3"), "invalid_amount", 2)
        for args in (["buy"], ["sell", "$5"], ["buy", "a", "b", "$5"], ["buy", "$5", "--reference"]):
            self.assertError(self.net.ee("credits", *args), "invalid", 2)
        self.assertEqual(self.net.balance()[0], before + 105_000_000)

    def test_the_owners_token(self):
        env, token = outside(self.net), self.net.profile()["admin_token"]
        buy = ("credits", "buy", "dev", "$1", "--reference", "payment-2")
        before = self.net.balance()[0]
        without = self.net.ee(*buy, env=env)
        self.assertError(without, "config", 3)
        self.assertIn("EE_ADMIN_TOKEN_FILE", without.stderr)
        self.assertError(self.net.ee(*buy, env={**env, "EE_ADMIN_TOKEN": "0" * 64}), "permission", 7)
        self.assertError(self.net.ee(*buy, env={**env, "EE_ADMIN_TOKEN": f"{token}\nEe-Key: x"}), "config", 3)
        self.assertError(self.net.ee(*buy[:4], env={**env, "EE_ADMIN_TOKEN": token}), "invalid", 2)  # a payment has a number
        file = self.net.home / "token"
        file.write_text(token + "\n")
        file.chmod(0o644)
        self.assertError(self.net.ee(*buy, env={**env, "EE_ADMIN_TOKEN_FILE": str(file)}), "config", 3)
        self.assertEqual(self.net.balance()[0], before)
        file.chmod(0o600)
        for how in ({"EE_ADMIN_TOKEN_FILE": str(file)}, {"EE_ADMIN_TOKEN": token}):
            result = self.net.ee(*buy, env={**env, **how})
            self.assertEqual(result.returncode, 0, result.stderr)
            shown = self.net.ee("config", "show", env={**env, **how})
            self.assertEqual(shown.returncode, 0, shown.stderr)
            self.assertRegex(shown.stdout, rf"admin_token +\.\.\. +\({list(how)[0]}\)")
            self.assertNotIn(token, shown.stdout)
        self.assertEqual(self.net.balance()[0], before + 1_000_000)
        self.config(f'[profile.own]\nurl = "{env["EE_URL"]}"\nnetwork_id = "{env["EE_NETWORK_ID"]}"\npolicy = "{env["EE_POLICY"]}"\n')
        self.config(f'[profile.own]\napi_key = "{env["EE_API_KEY"]}"\nadmin_token = "{token}"\n', "credentials.toml")
        self.assertIn("replayed", self.net.ee("--profile", "own", *buy).stdout)
        code = 'from easyenclave import Client\nprint(Client().call("POST", "/v1/credits/purchase", {"account": "dev", "amount": "$1", "reference": "payment-2"}, idempotency_key="payment-2")["replayed"])'
        result = self.net.run(["python3", "-c", code])
        self.assertEqual(result.stdout, "True\n", result.stderr)

    def test_the_owners_token_goes_to_nobody_unproved(self):
        certificate = self.net.home / "plain.pem"
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout", str(certificate), "-out", "-"], capture_output=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        with certificate.open("ab") as file:
            file.write(made.stdout)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        heard = []

        def serve(listening):
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                plain.settimeout(20)
                try:
                    with context.wrap_socket(plain, server_side=True) as tls:
                        heard.append(tls.recv(65536))
                except OSError as failure:
                    heard.append(str(failure).encode())

        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = threading.Thread(target=serve, args=(listening,))
            server.start()
            result = self.net.ee("credits", "buy", "dev", "$1", "--reference", "payment-3", env={**outside(self.net), "EE_ADMIN_TOKEN": "tell-nobody", "EE_URL": f"https://127.0.0.1:{listening.getsockname()[1]}"})
            listening.shutdown(socket.SHUT_RDWR)
        server.join(20)
        self.assertError(result, "attestation", 6)
        self.assertTrue(heard)  # it was asked, and told nothing
        self.assertNotIn(b"tell-nobody", b"".join(heard))


class Broken(OwnDevnet):
    """Devnets that lose programs."""

    def setUp(self):
        super().setUp()
        self.net.up()

    def test_what_ended_is_said_with_the_next_step(self):
        self.assertEqual(self.net.ee("devnet", "status").returncode, 0)
        self.net.kill("node-c", signal.SIGKILL)
        result = wait_for("its end is known", lambda: (lambda r: r if r.returncode == 1 else None)(self.net.ee("devnet", "status")))
        self.assertRegex(result.stdout, r"node-c +ended")
        self.assertRegex(result.stdout, r"control +up")
        self.net.kill("control", signal.SIGKILL)
        result = wait_for("its end is known", lambda: (lambda r: r if "control, node-c ended" in r.stdout else None)(self.net.ee("devnet", "status")))
        self.assertIn("`ee devnet heal`", result.stdout)
        self.assertEqual(json.loads(self.net.ee("--json", "devnet", "status").stdout)["healthy"], False)
        again = self.net.ee("devnet", "up")
        self.assertError(again, "conflict", 10)
        self.assertIn("control, node-c", again.stderr)
        for args in (["balance"], ["nodes"], ["curl", "app-name/"]):
            result = self.net.ee(*args)
            self.assertError(result, "connect", 9)
            self.assertIn("`ee devnet heal`", result.stderr)
            self.assertIn("`ee devnet down`, then `ee devnet up`", result.stderr)

    def test_killed_and_healed_with_the_ledger_kept(self):
        self.assertEqual(self.net.ee("transfer", "contractor-id", "$1").returncode, 0)
        before, app = self.net.balance(), json.loads(self.net.ee("curl", "app-name/api/private").stdout)
        for name in ("node-b", "control", "registry", "uptime-1"):
            with self.subTest(name=name):
                self.assertEqual(self.net.json("devnet", "kill", name)["items"][0]["running"], False)
                self.assertRegex(self.net.ee("devnet", "status").stdout, rf"{name} +ended")
                self.assertError(self.net.ee("devnet", "kill", name), "conflict", 10)
                healed = self.net.json("devnet", "heal", name)["items"]
                self.assertEqual([(i["name"], i["running"]) for i in healed], [(name, True)])
                self.assertEqual(self.net.ee("devnet", "status").returncode, 0)
                self.assertError(self.net.ee("devnet", "heal", name), "conflict", 10)
        self.assertEqual(self.net.balance(), before)
        wait_for("node-b takes work", lambda: self.net.node("node-b")["eligible"], 60)
        self.assertEqual(self.net.ee("run", "--node", "node-b", "myapp:latest").returncode, 0)
        for name in ("registry", "node-a", "control"):
            self.net.kill(name) if name != "registry" else self.net.json("devnet", "kill", name)
        wait_for("their end is known", lambda: "registry, control, node-a ended" in self.net.ee("devnet", "status").stdout)
        self.assertEqual([i["name"] for i in self.net.json("devnet", "heal")["items"]], ["registry", "control", "node-a"])
        self.assertEqual(self.net.json("devnet", "heal")["items"], [])
        self.assertEqual(wait_for("the app is back", lambda: (lambda r: json.loads(r.stdout) if r.returncode == 0 else None)(self.net.ee("curl", "app-name/api/private")), 60), app)
        self.assertError(self.net.ee("devnet", "heal", "nobody"), "not_found", 4)
        self.assertError(self.net.ee("devnet", "kill"), "invalid", 2)

    def test_a_program_that_does_not_come_back_is_said(self):
        self.net.json("devnet", "kill", "node-c")
        machine = self.net.dir / "machines/node-c.json"
        kept = machine.read_text()
        machine.write_text("{}")
        result = self.net.ee("devnet", "heal", "node-c")
        self.assertError(result, "server", 1)
        self.assertIn("node-c did not start: ", result.stderr)
        self.assertEqual([p["running"] for p in json.loads(self.net.ee("--json", "devnet", "status").stdout)["programs"] if p["name"] == "node-c"], [False])
        machine.write_text(kept)
        self.assertEqual(self.net.ee("devnet", "heal", "node-c").returncode, 0)

    def test_a_killed_supervisor_leaves_a_next_step(self):
        sandboxes = pathlib.Path(json.loads((self.net.dir / "children.json").read_text())["sandboxes"])
        self.assertTrue(sandboxes.is_dir())
        os.kill(self.net.profile()["pid"], signal.SIGKILL)
        result = wait_for("its end is seen", lambda: (lambda r: r if r.returncode == 1 and "without a word" in r.stdout else None)(self.net.ee("devnet", "status")))
        self.assertIn("`ee devnet down`, then `ee devnet up`", result.stdout)
        self.assertTrue(json.loads(self.net.ee("--json", "devnet", "status").stdout)["stale"])
        result = self.net.ee("balance")
        self.assertError(result, "connect", 9)
        self.assertIn("`ee devnet down`", result.stderr)
        self.assertEqual(self.net.ee("devnet", "down").returncode, 0)
        self.assertFalse(self.net.file.exists() or self.net.dir.exists() or sandboxes.exists())
        self.assertIn("start one", self.net.ee("devnet", "status").stdout)
        self.assertEqual(self.net.ee("--json", "devnet", "status").returncode, 1)
        for args in (["logs"], ["--json", "devnet", "logs"]):
            result = self.net.ee(*(["devnet"] if args == ["logs"] else []), *args)
            self.assertEqual((result.returncode, result.stdout), (4, ""))
        for verb in (["kill", "node-a"], ["heal"], ["env"]):
            self.assertError(self.net.ee("devnet", *verb), "config", 3)
        self.net.up()
        self.assertTrue(self.net.json("devnet", "status")["healthy"])


class Up(OwnDevnet):
    """What `ee devnet up` says: of this shell, of this machine, of what is missing."""

    def start(self, **env):
        result = self.net.ee("devnet", "up", "--port", str(self.net.port), env=env, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_whether_this_shell_uses_it(self):
        self.assertIn("This shell uses it already.", self.start())
        self.assertEqual(self.net.ee("devnet", "down").returncode, 0)
        config = self.net.home / "config/easyenclave/config.toml"
        config.parent.mkdir(parents=True)
        config.write_text('active = "work"\n[profile.work]\nurl = "https://work.example:7443"\nnetwork_id = "' + "00" * 32 + '"\nbudget = "$0"\n')
        secret = config.with_name("credentials.toml")
        secret.write_text(f'[profile.work]\napi_key = "{self.new_key()}"\n')
        secret.chmod(0o600)
        said = self.start(EE_PROFILE="work", EE_BUDGET="$0.01", EE_POLICY="/nonexistent")  # of the user's network: nothing of it is the devnet's
        self.assertIn("EE_POLICY names /nonexistent", said)
        self.assertIn('eval "$(ee devnet env)"', said)
        self.assertEqual(self.net.ee("devnet", "down").returncode, 0)
        config.write_text(config.read_text().replace('budget = "$0"\n', ""))
        said = self.start()
        self.assertIn(f"This shell uses another network: https://work.example:7443 (profile work in {config}, line 3).", said)
        self.assertNotIn("uses it already", said)
        used = subprocess.run(["bash", "-c", 'eval "$(ee devnet env)"; ee balance'], env=self.net.env, capture_output=True, text=True)
        self.assertIn("dev", used.stdout, used.stderr)

    def new_key(self):
        return self.net.run(["python3", "-c", "import easyenclave; print(easyenclave.generate_api_key())"]).stdout.strip()

    def test_a_tool_that_is_not_installed(self):
        tools = self.net.home / "tools"
        tools.mkdir()
        for folder in reversed(self.net.env["PATH"].split(os.pathsep)):
            for program in pathlib.Path(folder).glob("*") if os.path.isdir(folder) else []:
                if program.name != "docker-registry":
                    (tools / program.name).unlink(missing_ok=True)
                    (tools / program.name).symlink_to(program)
        since = time.monotonic()
        result = self.net.ee("devnet", "up", "--port", str(self.net.port), env={"PATH": str(tools)}, timeout=120)
        self.assertError(result, "config", 3)
        self.assertIn("registry did not start: cannot run docker-registry: No such file or directory\n  ./dev setup installs", result.stderr)
        self.assertLess(time.monotonic() - since, 25)  # it is known at once; 30 s is how long a port is waited for

    def test_limits_that_are_not_enforced_are_said(self):
        """A devnet of a user without root: sandboxes work there, but nothing holds them to their memory."""
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        home = pathlib.Path(tempfile.mkdtemp(prefix="ee-nobody-", dir="/tmp"))  # where nobody can come to
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        (home / "run").mkdir(mode=0o700)
        for folder in (home, home / "run"):
            os.chown(folder, 65534, 65534)
        shutil.copytree(BIN, home / "bin", ignore=lambda folder, names: [n for n in names if n not in ("ee", "ee-controlplane", "ee-agent", "ee-uptime", "ee-shim")])
        shutil.copytree(BUILD / "lib", home / "lib", symlinks=True, ignore=lambda folder, names: [n for n in names if not n.startswith("libeesdk")])
        env = {**environment(home), "PATH": f"{home}/bin{os.pathsep}{self.net.env['PATH']}", "LD_LIBRARY_PATH": f"{home}/lib", "XDG_CACHE_HOME": f"{home}/cache", "TMPDIR": str(home)}

        def ee(*args):
            return subprocess.run([str(home / "bin/ee"), *args], env=env, capture_output=True, text=True, timeout=120, cwd="/", user=65534, group=65534, extra_groups=[])

        up = ee("devnet", "up", "--port", str(self.net.port))
        if up.returncode != 0 and "runtime" in up.stderr:
            self.skipTest(f"no sandboxes without root here: {up.stderr.splitlines()[0]}")
        self.addCleanup(ee, "devnet", "down")
        self.assertEqual(up.returncode, 0, up.stderr)
        self.assertIn("Jobs are not held to their memory, vcpus and pids on these nodes", up.stdout)
        nodes = json.loads(ee("--json", "nodes").stdout)["items"]
        self.assertEqual([n["limits_enforced"] for n in nodes], [False] * 3)
        self.assertEqual(ee("nodes").stdout.count("not enforced"), 3)
        self.assertEqual(ee("nodes", "--explain").stdout.count("limits are not enforced"), 3)
        self.assertEqual(ee("run", "myapp:latest").returncode, 0)

    def test_limits_as_the_agents_found_them(self):
        if os.geteuid() != 0:
            self.skipTest("limits need root")
        said = self.start()
        has = "limits=1" in (self.net.dir / "logs/node-a.log").read_text()  # a machine without cgroups has none for root either
        self.assertEqual("not held" in said, not has)
        self.assertEqual([n["limits_enforced"] for n in self.net.json("nodes")["items"]], [has] * 3)
        self.net.json("devnet", "kill", "node-a")
        wait_for("it is gone", lambda: self.net.node("node-a")["state"] == "gone")
        self.assertIsNone(self.net.node("node-a")["limits_enforced"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
