"""What type checkers and readers see: mypy --strict over the package, the stub against the built module, aio against the synchronous names."""
# deadline: 600
import inspect
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest
import venv

import support
from easyenclave import aio
from easyenclave import apps, client, jobs
from easyenclave import eesdk_raw as raw


def mypy():
    """A command that runs mypy, or None: this Python's, the system's, else one from the package index in a throw-away folder."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-m", "mypy", "--version"], capture_output=True).returncode == 0:
            return [python, "-m", "mypy"]
    folder = support.BUILD / "test-venv"
    python = folder / "bin/python"
    if not python.exists():
        try:
            venv.create(folder, with_pip=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    if subprocess.run([python, "-m", "mypy", "--version"], capture_output=True).returncode != 0:
        try:
            subprocess.run([python, "-m", "pip", "-q", "install", "mypy"], capture_output=True, timeout=200, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
    return [str(python), "-m", "mypy"]


class HelpTest(unittest.TestCase):
    def test_help_of_the_three_calls_names_every_argument(self):
        for function in (client.run_private_job, client.transfer_credits, client.connect, aio.run_private_job, aio.transfer_credits, aio.connect,
                         client.Client.node_attestation):
            told = inspect.getdoc(function)
            arguments = re.split(r"\n\n(?:Returns|Raises)\b", told.split("\n\n", 1)[1])[0]
            for name in inspect.signature(function).parameters:
                if name == "self":
                    continue
                with self.subTest(function=function.__qualname__, argument=name):
                    self.assertRegex(arguments, rf"\b{name}\b")
            for part in ("Returns", "Raises"):
                self.assertIn(f"\n{part} ", told)

    def test_help_names_errors_that_exist(self):
        for function in (client.run_private_job, client.transfer_credits, client.connect):
            for name in re.findall(r"\b(?:[A-Z][a-z]+)+Error\b|\bJob(?:Timeout|Lost|Failed)\b|\bCallTimeout\b", inspect.getdoc(function)):
                with self.subTest(function=function.__qualname__, name=name):
                    self.assertTrue(issubclass(getattr(support.easyenclave, name), support.easyenclave.Error))


class MypyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.command = mypy()
        if cls.command is None:
            raise unittest.SkipTest("mypy is not installed and cannot be fetched")
        cls.cache = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.cache.cleanup)

    def check(self, *targets):
        env = {**os.environ, "MYPYPATH": str(support.SOURCE / "bindings/python")}
        return subprocess.run([*self.command, "--strict", "--config-file=", "--cache-dir", self.cache.name, *targets], capture_output=True, text=True, env=env)

    def test_the_package_is_strict(self):
        done = self.check(str(support.SOURCE / "bindings/python/easyenclave"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def check_text(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(textwrap.dedent(text))
            file.flush()
            done = self.check(file.name)
        return [(int(line), word) for line, word in re.findall(r"^\S+:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.M)], done.stdout

    def test_use_is_accepted(self):
        found, shown = self.check_text(
            """\
            from decimal import Decimal
            from easyenclave import run_private_job, transfer_credits, connect, aio, Money, Policy, Client, LowBalanceError
            result = run_private_job(image="myapp:latest", env={"SECRET": "value"})
            transfer_credits(to="contractor-id", amount="$200")
            transfer_credits(to="contractor-id", amount=Decimal(200), memo="m")
            client = connect("app-name")
            text: str = client.get("/api/private").text
            code: int = result.exit_code
            cost: Money = result.check().cost
            with Client(profile="work", budget="$5").start_private_job("a", ["b"], timeout="30m", max_cost="$0.50") as job:
                for chunk in job.stream():
                    print(chunk.text, end="")
                job.wait().attestation.export("evidence.json")
            try:
                pass
            except LowBalanceError as e:
                needed: Money = e.needed
            async def main() -> None:
                async with aio.connect("app-name") as app:
                    print((await app.get("/api/private")).json())
                answer = await aio.run_private_job("a", env={"A": "b"})
                text: str = answer.stdout
            """
        )
        self.assertEqual(found, [], shown)

    def test_misuse_is_refused(self):
        found, shown = self.check_text(
            """\
            from easyenclave import run_private_job, transfer_credits, Money, aio
            transfer_credits(to="contractor-id", amount=200.0)
            transfer_credits(to="contractor-id", amount=200)
            run_private_job("a", max_cost=1)
            run_private_job("a", env={"A": 1})
            run_private_job("a", timout="1m")
            Money("1")
            run_private_job("a").exit_code = 1
            async def main() -> None:
                await aio.transfer_credits(to="a", amount=1)
            """
        )
        self.assertEqual([line for line, _ in found], [2, 3, 4, 5, 6, 7, 8, 10], shown)


class SurfaceTest(unittest.TestCase):
    def test_stub_names_what_the_module_has(self):
        stub = (support.SOURCE / "bindings/python/easyenclave/eesdk_raw.pyi").read_text()
        named = {m[1]: re.findall(r"(\w+):", m[2]) for m in re.finditer(r"^def (\w+)\(([^)]*)\)", stub, re.M)}
        built = {name: value for name, value in vars(raw).items() if re.match("ees?_", name) and callable(value)}
        self.assertEqual(set(named), set(built))
        for name, function in built.items():
            self.assertEqual(named[name], list(inspect.signature(function).parameters), name)
        self.assertIn("RawError", vars(raw))

    def test_one_handle_does_not_pass_for_another(self):
        cancel = raw.ees_cancel_new()
        try:
            for wrong in (cancel, None, "job", 7):
                with self.subTest(wrong=wrong), self.assertRaises(TypeError):
                    raw.ee_job_id(wrong)
            with self.assertRaises(TypeError):
                raw.ees_policy_load(b"bytes")
            with self.assertRaises(ValueError):
                raw.ees_policy_load("a\0b")
            with self.assertRaises(TypeError):
                raw.ees_verify_quote("text", b"", None, 0, b"", b"")
        finally:
            raw.ee_cancel_free(cancel)

    def test_all_is_all(self):
        public = {name for name, value in vars(support.easyenclave).items() if not name.startswith("_") and not inspect.ismodule(value)}
        self.assertEqual(public | {"__version__"}, set(support.easyenclave.__all__))

    def test_aio_has_the_same_names_and_signatures(self):
        pairs = [(aio.run_private_job, client.run_private_job), (aio.transfer_credits, client.transfer_credits), (aio.connect, client.connect)]
        different = {"iter_bytes": "aiter_bytes"}
        left_out = {"requests_session", "httpx_transport", "encoding", "config"}  # synchronous by nature
        for mine, theirs in ((aio.Client, client.Client), (aio.AppClient, apps.AppClient), (aio.Job, jobs.Job), (aio.Response, apps.Response), (aio.Forward, apps.Forward)):
            pairs.append((mine.__init__, theirs.__init__)) if theirs is client.Client else None
            for name, function in vars(theirs).items():
                if name.startswith("_") or name in left_out:
                    continue
                other = getattr(mine, different.get(name, name), None)
                if isinstance(function, property):
                    if name in ("id", "state", "ok", "content", "text"):
                        self.assertIsNotNone(other, f"aio.{theirs.__name__}.{name}")
                    continue
                self.assertIsNotNone(other, f"aio.{theirs.__name__}.{name}")
                pairs.append((other, function))
        for mine, theirs in pairs:
            with self.subTest(name=theirs.__qualname__):
                self.assertEqual(list(inspect.signature(mine).parameters.items()), list(inspect.signature(theirs).parameters.items()))

    def test_default_functions_have_the_methods_signatures(self):
        for name in ("run_private_job", "transfer_credits", "connect"):
            function, method = inspect.signature(getattr(client, name)), inspect.signature(getattr(client.Client, name))
            self.assertEqual(list(function.parameters.items()), list(method.parameters.items())[1:], name)

    def test_the_package_says_that_it_is_typed(self):
        self.assertTrue((support.SOURCE / "bindings/python/easyenclave/py.typed").exists())


if __name__ == "__main__":
    unittest.main()
