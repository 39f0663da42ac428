"""The client without a network: where it looks for one, what it refuses, jobs played by a stand-in, interrupts, threads, fork, leaks."""
import asyncio
import gc
import gzip
import io
import json
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import unittest
import warnings
from unittest import mock

import support
from easyenclave import (
    CallTimeout, Client, ConfigError, ConnectError, Error, InvalidAmountError, InvalidRequestError, JobFailed, JobLost, JobTimeout, Policy,
    StateError, aio, connect, run_private_job, transfer_credits)
from easyenclave import _calls, apps, client, errors
from easyenclave import eesdk_raw as raw


def configured(url="https://127.0.0.1:1", **more):
    return support.no_settings(EE_URL=url, EE_NETWORK_ID=support.NETWORK_ID, EE_API_KEY=support.easyenclave.generate_api_key(), **more)


class ConfigTest(unittest.TestCase):
    def test_headline_without_a_network(self):
        for call in (lambda: run_private_job(image="myapp:latest", env={"SECRET": "value"}), lambda: transfer_credits(to="a", amount="$200"),
                     lambda: connect("app-name"), Client):
            with support.no_settings(), self.assertRaises(ConfigError) as caught:
                call()
            self.assertEqual(caught.exception.code, "config")
            self.assertIn("ee devnet up", caught.exception.hint)

    def test_nothing_raw_is_shown(self):
        with support.no_settings(), self.assertRaises(ConfigError) as caught:
            Client()
        self.assertIsNone(caught.exception.__cause__)
        self.assertTrue(caught.exception.__suppress_context__ or caught.exception.__context__ is None)

    def test_devnet_file_open_to_others_is_refused(self):
        with support.no_settings() as folder:
            support.devnet_file(folder, 0o644)
            with self.assertRaisesRegex(ConfigError, "0644"):
                Client()

    def test_devnet_file_that_is_a_link_is_refused(self):
        with support.no_settings() as folder:
            path = support.devnet_file(folder)
            path.rename(folder / "elsewhere.json")
            path.symlink_to(folder / "elsewhere.json")
            with self.assertRaisesRegex(ConfigError, "regular file"):
                Client()

    def test_devnet_file_with_unknown_words_is_refused(self):
        with support.no_settings() as folder:
            support.devnet_file(folder, surprise=1)
            with self.assertRaises(ConfigError):
                Client()

    def test_profile_that_does_not_exist(self):
        with support.no_settings(), self.assertRaisesRegex(ConfigError, "nobody"):
            Client(profile="nobody")
        with support.no_settings(EE_PROFILE="nobody"), self.assertRaises(ConfigError):
            Client()

    def test_bad_settings(self):
        with configured(url="http://127.0.0.1:1"), self.assertRaisesRegex(ConfigError, "https://"):
            Client()
        with configured(EE_BUDGET="5,00"), self.assertRaises(InvalidAmountError):
            Client()
        with configured():
            for options in ({"timeout": 0}, {"max_retries": -1}, {"max_retries": 1.5}, {"profile": "a\0b"}, {"timeout": "soon"}):
                with self.subTest(options=options), self.assertRaises(InvalidRequestError):
                    Client(**options)
            with self.assertRaises(InvalidAmountError):
                Client(budget=5)

    def test_origins_are_told_and_the_key_is_masked(self):
        with configured(), Client(budget="$5") as made:
            told = made.config
            self.assertEqual(told["url"], {"value": "https://127.0.0.1:1", "origin": "EE_URL"})
            self.assertEqual(told["budget"]["origin"], "argument")
            self.assertNotIn(os.environ["EE_API_KEY"], json.dumps(told) + repr(made))

    def test_arguments_are_judged_before_settings(self):
        with support.no_settings():
            with self.assertRaises(InvalidAmountError):
                transfer_credits(to="a", amount="$1,000")
            with self.assertRaises(InvalidRequestError):
                connect("a\0b")


class KeyTest(unittest.TestCase):
    def test_generate(self):
        key = support.easyenclave.generate_api_key()
        self.assertTrue(key.startswith("ee_sk_"))
        self.assertNotEqual(key, support.easyenclave.generate_api_key())
        self.assertRegex(support.easyenclave.api_key_public(key), "^[0-9a-f]{64}$")

    def test_a_mistyped_key_is_noticed(self):
        key = support.easyenclave.generate_api_key()
        wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
        with self.assertRaises((InvalidRequestError, ConfigError)) as caught:
            support.easyenclave.api_key_public(wrong)
        self.assertNotIn(key[6:20], str(caught.exception))


class LifeTest(unittest.TestCase):
    def test_closed_client(self):
        with configured():
            made = Client()
            made.close()
            made.close()
            with self.assertRaisesRegex(StateError, "closed"):
                made.balance()
            self.assertEqual(repr(made), "Client(closed)")

    def test_refuses_pickling(self):
        with configured(), Client() as made:
            with self.assertRaisesRegex(TypeError, "cannot be pickled"):
                pickle.dumps(made)

    def test_freed_when_the_last_user_is_gone(self):
        freed = []
        parent = _calls.Handle("client", freed.append, "client")
        child = _calls.Handle("app", freed.append, "app", parent)
        pointer = child.acquire()
        parent.close()
        child.close()
        self.assertEqual((pointer, freed), ("app", []))
        child.release()
        self.assertEqual(freed, ["app", "client"])
        child.close()
        parent.close()
        self.assertEqual(freed, ["app", "client"])
        with self.assertRaises(StateError):
            child.acquire()

    def test_dropped_handles_are_freed(self):
        freed = []
        handle = _calls.Handle("thing", freed.append, "thing")
        del handle
        gc.collect()
        self.assertEqual(freed, ["thing"])

    def test_no_descriptor_and_no_thread_is_left(self):
        def count():
            gc.collect()
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

        with configured(), support.silent_server() as url:
            def use():
                with Client(url=url, timeout=0.05, max_retries=0) as made, self.assertRaises(Error):
                    made.balance()
                with self.assertRaises(InvalidAmountError):
                    made.transfer_credits("a", "$1,00")
                _calls.Cancel().close()

            use()
            before = count()
            for _ in range(20):
                use()
            after = count()
            # the silent server keeps its ends open
            self.assertLessEqual(after[0] - before[0], 20)
            self.assertLessEqual(after[1] - before[1], 2)  # helper threads are kept for the next call

    def test_memory_stays(self):
        import resource

        def use(times):
            for _ in range(times):
                policy = Policy.production().with_(image_digest="0" * 64)
                policy.hash
                with self.assertRaises(InvalidAmountError):
                    support.easyenclave.Money.parse("$" + "9" * 30)
                _calls.plain(raw.ees_job_spec_free, _calls.plain(raw.ees_job_spec_new, "a", b"x\0" * 500, b"", b"y" * 10000, 1.0, 0, 0, 0, "", "", ""))

        use(500)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        use(3000)
        self.assertLess(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, 4096, "KiB more after 3000 rounds")


class WaitTest(unittest.TestCase):
    """Calls that wait: a server that takes connections and says nothing."""

    def test_the_lock_is_released_while_waiting(self):
        counted = [0]
        stop = threading.Event()

        def count():
            while not stop.is_set():
                counted[0] += 1
                time.sleep(0.001)

        for where in ("main", "other"):
            with self.subTest(thread=where), configured(), support.silent_server() as url, Client(url=url, timeout=0.5, max_retries=0) as made:
                stop.clear()
                counted[0] = 0
                thread = threading.Thread(target=count)
                thread.start()

                def call():
                    with self.assertRaises((CallTimeout, ConnectError)):
                        made.balance()

                if where == "main":
                    call()
                else:
                    other = threading.Thread(target=call)
                    other.start()
                    other.join()
                stop.set()
                thread.join()
                self.assertGreater(counted[0], 50)

    def interrupted(self, call):
        with support.interrupt_after(0.2) as moment, self.assertRaises(KeyboardInterrupt):
            call()
        late = time.monotonic() - moment[0]
        self.assertLess(late, 0.2)

    def test_interrupt_of_a_call(self):
        with configured(), support.silent_server() as url, Client(url=url, timeout=5, max_retries=0) as made:
            self.interrupted(made.balance)
            self.interrupted(lambda: made.transfer_credits("contractor-id", "$200"))
            self.interrupted(lambda: made.connect("app-name"))
            self.interrupted(made.attestation)

    def test_many_threads_use_one_client(self):
        with configured(), support.silent_server() as url, Client(url=url, timeout=0.2, max_retries=0) as made:
            seen = []

            def call():
                try:
                    made.balance()
                except Error as error:
                    seen.append(type(error))

            threads = [threading.Thread(target=call) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(len(seen), 8)

    def test_close_while_a_call_runs(self):
        with configured(), support.silent_server() as url:
            made = Client(url=url, timeout=0.4, max_retries=0)
            failures = []

            def call():
                try:
                    made.balance()
                except Error as error:
                    failures.append(error.code)

            thread = threading.Thread(target=call)
            thread.start()
            time.sleep(0.1)
            made.close()  # the object lives until the call is over
            thread.join()
            self.assertEqual(len(failures), 1)

    def test_cancelled_task(self):
        async def main(url):
            async with aio.Client(url=url, timeout=1, max_retries=0) as made:
                for call in (made.connect("app-name").__aenter__, made.balance):
                    task = asyncio.ensure_future(call())
                    await asyncio.sleep(0.1)
                    self.assertFalse(task.done())
                    started = time.monotonic()
                    task.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                    self.assertLess(time.monotonic() - started, 0.3)

        with configured(), support.silent_server() as url:
            asyncio.run(main(url))

    def test_tasks_wait_side_by_side(self):
        async def main(url):
            async with aio.Client(url=url, timeout=0.5, max_retries=0) as made:
                started = time.monotonic()
                answers = await asyncio.gather(*(made.balance() for _ in range(3)), return_exceptions=True)
                self.assertTrue(all(isinstance(answer, Error) for answer in answers))
                return time.monotonic() - started

        with configured(), support.silent_server() as url:
            self.assertLess(asyncio.run(main(url)), 1.4)


class ForkTest(unittest.TestCase):
    def in_child(self, check):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that is what this is about
            child = os.fork()
        if child == 0:
            try:
                check()
                os._exit(0)
            except BaseException as error:
                print(f"in the child: {error!r}", file=sys.stderr)
                os._exit(1)
        _, status = os.waitpid(child, 0)
        self.assertEqual(status, 0)

    def test_an_object_from_before_is_refused_and_a_new_one_works(self):
        with configured(), Client() as made:
            policy = Policy.production()

            def check():
                for use in (made.balance, lambda: policy.hash):
                    try:
                        use()
                    except StateError as error:
                        assert "before fork()" in error.message
                    else:
                        raise AssertionError("used an object of the parent")
                made.close()
                with Client(timeout=0.2, max_retries=0) as mine:
                    try:
                        mine.balance()
                    except ConnectError:
                        pass

            self.in_child(check)
            self.assertEqual(made.config["url"]["origin"], "EE_URL")

    def test_the_default_client_is_new_in_a_child(self):
        with configured():
            with self.assertRaises(Error):
                transfer_credits(to="a", amount="$1")
            opened = client._default._opened
            self.assertIsNotNone(opened)

            def check():
                assert client._default._opened is None
                try:
                    transfer_credits(to="a", amount="$1")
                except ConnectError:
                    pass

            self.in_child(check)
            client._default.close()


class JobTest(unittest.TestCase):
    """C played by support.FakeJob: what Python makes of a job's events."""

    def run_job(self, fake, **options):
        with fake.patches():
            return Client().run_private_job("myapp:latest", **options)

    done = (support.DONE,) + (0,) * 8

    def test_output_and_progress_in_order(self):
        seen = []
        fake = support.FakeJob([support.progress("pulling", 1, 2), support.output(1, 1, b"a"), support.output(2, 2, b"b"), self.done], stdout=b"a", stderr=b"b")
        result = self.run_job(fake, on_output=lambda c: seen.append((c.stream, c.data, c.seq)), on_progress=lambda p: seen.append((p.phase, p.done, p.total)))
        self.assertEqual(seen, [("quoting", 0, None), ("pulling", 1, 2), ("stdout", b"a", 1), ("stderr", b"b", 2)])
        self.assertEqual((result.stdout, result.stderr, str(result.cost)), ("a", "b", "$0.000036"))
        self.assertEqual(fake.calls, ["start", "spec_free", "result_free", "job_free"])

    def test_a_character_is_never_cut(self):
        seen = []
        word = "hé€𝄞".encode()
        pieces = [support.output(1, i + 1, word[i : i + 1]) for i in range(len(word))]
        pieces.insert(2, support.output(2, 99, b"x"))
        self.run_job(support.FakeJob([*pieces, self.done]), on_output=lambda c: seen.append((c.stream, c.text)))
        self.assertEqual("".join(text for stream, text in seen if stream == "stdout"), "hé€𝄞")
        self.assertNotIn("\ufffd", "".join(text for _, text in seen))

    def test_what_c_is_given(self):
        fake = support.FakeJob([self.done])
        self.run_job(fake, command=["sh", "-c", "true"], env={"A": "1", "B": ""}, stdin="in", memory="2G", timeout="1m", max_cost="$0.50", node="n", idempotency_key="k")
        self.assertEqual(fake.spec, ("myapp:latest", b"sh\0-c\0true\0", b"A=1\0B=\0", b"in", 1.0, 2 << 30, 60000, 1 << 20, "$0.50", "n", "k"))

    def test_an_exception_of_a_callback_comes_out_as_it_is(self):
        class Mine(Exception):
            pass

        mine = Mine("stop")

        def stop(chunk):
            raise mine

        fake = support.FakeJob([support.output(1, 1, b"a"), self.done])
        with self.assertRaises(Mine) as caught:
            self.run_job(fake, on_output=stop)
        self.assertIs(caught.exception, mine)
        self.assertEqual(fake.calls[-2:], ["cancel 2000", "job_free"])

    def test_interrupt_of_a_job(self):
        fake = support.FakeJob([])
        with support.interrupt_after(0.2) as moment, self.assertRaises(KeyboardInterrupt):
            self.run_job(fake)
        self.assertLess(time.monotonic() - moment[0], 0.2)
        for thread in threading.enumerate():
            if thread.name == "easyenclave-let-go":
                thread.join()
        self.assertEqual(fake.calls[-2:], ["cancel 2000", "job_free"])

    def test_nonzero_exit_is_a_result(self):
        result = self.run_job(support.FakeJob([self.done], exit_code=3, stderr=b"why"))
        self.assertEqual((result.exit_code, result.ok), (3, False))
        with self.assertRaises(JobFailed) as caught:
            self.run_job(support.FakeJob([self.done], exit_code=3, stderr=b"why"), check=True)
        self.assertEqual(caught.exception.result.stderr, "why")

    def test_timeout_has_what_came_so_far(self):
        fake = support.FakeJob([self.done], stdout=b"so far", reason="timed_out", failure=support.raw_error(-16, "limit", kept="result"))
        with self.assertRaises(JobTimeout) as caught:
            self.run_job(fake)
        self.assertIsInstance(caught.exception, TimeoutError)
        self.assertEqual(caught.exception.result.stdout, "so far")
        self.assertIn("result_free", fake.calls)

    def test_lost_job(self):
        fake = support.FakeJob([support.output(1, 1, b"a"), support.raw_error(-17, "node-a went away")])
        with fake.patches(), self.assertRaises(JobLost):
            for _ in Client().start_private_job("a").stream():
                pass

    def test_a_job_that_was_lost_has_no_exit_code(self):
        item = {"id": "job_1", "node": "node-a", "state": "failed", "reason": "job_lost", "message": "gone", "locked": support.micros(5), "charged": support.micros(0),
                "refunded": support.micros(5), "created_at": "2026-01-31T13:00:00Z"}
        for code in (None, 0, 7):
            told = json.dumps({"items": [{**item, "exit_code": code}], "next": None})
            with support.FakeJob([]).patches(), mock.patch.object(support.easyenclave.eesdk_raw, "ees_client_call", lambda *a: told):
                self.assertEqual([job.exit_code for job in Client().jobs()], [code])

    def test_wait_has_its_own_deadline(self):
        fake = support.FakeJob([])
        with fake.patches(), Client().start_private_job("a", env={"SECRET": "s3cret"}) as job:
            started = time.monotonic()
            with self.assertRaises(CallTimeout):
                job.wait(0.25)
            self.assertLess(abs(time.monotonic() - started - 0.25), 0.15)
            self.assertEqual(job.state, "running")
            self.assertIn("SECRET", repr(job))
            self.assertNotIn("s3cret", repr(job))
            fake.events.append(self.done)
            self.assertTrue(job.wait().ok)
            self.assertTrue(job.wait(0).ok)
            self.assertEqual(job.state, "ended")
        self.assertEqual(fake.calls[-1], "job_free")
        self.assertNotIn("cancel 2000", fake.calls)

    def test_with_cancels_what_still_runs(self):
        fake = support.FakeJob([support.output(1, 1, b"a")])
        with fake.patches(), Client().start_private_job("a") as job:
            self.assertEqual(next(job.stream()).data, b"a")
        self.assertEqual(fake.calls[-2:], ["cancel 2000", "job_free"])

    def test_job_refuses_pickling(self):
        with support.FakeJob([self.done]).patches(), Client().start_private_job("a") as job, self.assertRaisesRegex(TypeError, "cannot be pickled"):
            pickle.dumps(job)

    def test_policy_of_one_job_is_given_to_c(self):
        policy = Policy.production().with_(image_digest="0" * 64)
        for given, hash_ in ((policy, policy.hash), (None, None)):
            fake = support.FakeJob([self.done])
            with self.subTest(given=given), fake.patches():
                Client().run_private_job("myapp:latest", policy=given)
                self.assertEqual(fake.policy and raw.ee_policy_hash(fake.policy), hash_)
        with support.FakeJob([self.done]).patches(), mock.patch.object(raw, "ees_job_quote", side_effect=support.raw_error(-6)) as quoted:
            with self.assertRaises(Error):
                Client().quote("myapp:latest", policy=policy)
        self.assertEqual(raw.ee_policy_hash(quoted.call_args[0][2]), policy.hash)

    def test_asyncio_job(self):
        fake = support.FakeJob([support.output(1, 1, b"a"), self.done], stdout=b"a")

        async def main():
            async with aio.Client() as made, made.start_private_job("a") as job:
                chunks = [chunk.data async for chunk in job.stream()]
                return chunks, await job.wait()

        with fake.patches():
            chunks, result = asyncio.run(main())
        self.assertEqual((chunks, result.stdout), ([b"a"], "a"))


class NodeTest(unittest.TestCase):
    """A node's own proof, as C is asked for it."""

    def ask(self, function, answer=None):
        asked, freed = [], []

        def node_attestation(*arguments):
            asked.append(arguments)
            if isinstance(answer, BaseException):
                raise answer
            return "verdict"

        answers = {"ees_node_attestation": node_attestation, "ee_verdict_free": freed.append}
        with support.FakeJob([]).patches():
            with mock.patch.multiple(raw, **answers):
                found = function()
        return found, asked, freed

    def test_options_and_ownership(self):
        policy = Policy.production()
        found, asked, freed = self.ask(lambda: Client().node_attestation("node-a", policy=policy, timeout=2.5, strict=True))
        self.assertEqual((found.node, found.verified, found.evidence), ("node-a", True, b"{}\n"))
        self.assertEqual(freed, ["verdict"])
        (pointer, node, given, timeout_ms, strict, cancel), = asked
        self.assertEqual((pointer, node, timeout_ms, strict), ("client", "node-a", 2500, 1))
        self.assertEqual(raw.ee_policy_hash(given), policy.hash)
        self.assertIsNotNone(cancel)
        self.assertEqual([a[2:5] for a in self.ask(lambda: Client().node_attestation("node-a"))[1]], [(None, 30000, 0)])

    def test_asyncio(self):
        async def main():
            async with aio.Client() as made:
                return await made.node_attestation("node-a", strict=True)

        found, asked, freed = self.ask(lambda: asyncio.run(main()))
        self.assertEqual((found.node, asked[0][4], freed), ("node-a", 1, ["verdict"]))

    def test_refused(self):
        with self.assertRaises(errors.AttestationError):
            self.ask(lambda: Client().node_attestation("node-a"), support.raw_error(-12))
        with configured(), Client() as made:
            for name, said in (("", "a node"), ("a/b", "a node"), ("x" * 64, "a node"), ("a\0b", "NUL"), (3, "text")):
                with self.subTest(name=name), self.assertRaisesRegex(InvalidRequestError, said):
                    made.node_attestation(name)
            with self.assertRaises(ConnectError):
                made.node_attestation("node-a")
        with self.assertRaises(StateError):
            made.node_attestation("node-a")


class AppTest(unittest.TestCase):
    """Requests, as C is asked for them."""

    def setUp(self):
        self.asked = []
        self.pieces = []
        answers = {
            "ees_connect": lambda *a: "app", "ee_app_free": lambda p: self.asked.append("app_free"), "ee_app_base_url": lambda p: "https://app-name.ee.internal",
            "ees_client_new": lambda *a: "client", "ee_client_free": lambda p: None, "ees_app_request": self.request,
            "ee_response_status": lambda p: self.status, "ee_response_header_count": lambda p: 3,
            "ee_response_header_name": lambda p, i: ("Content-Type", "Set-Cookie", "set-cookie")[i],
            "ee_response_header_value": lambda p, i: ("application/json; charset=latin-1", "a=1", "b=2")[i],
            "ee_response_body": lambda p: b'{"hello": "w\xf6rld"}', "ee_response_free": lambda p: self.asked.append("response_free"),
            "ees_response_read": self.read, "ee_app_attestation": lambda p: "verdict", "ee_verdict_json": lambda p: json.dumps(support.VERDICT),
            "ee_verdict_text": lambda p: "", "ees_verdict_evidence": lambda p: b"",
            "ees_upload_open": self.upload, "ees_upload_write": self.write, "ees_upload_finish": lambda p: "response",
            "ee_upload_free": lambda p: self.asked.append("upload_free"),
        }
        self.status = 200
        self.wanted = 100  # pieces of an upload that the app takes before it answers
        for name, answer in answers.items():
            patch = mock.patch.object(raw, name, answer)
            patch.start()
            self.addCleanup(patch.stop)
        self.app = Client().connect("app-name")
        self.addCleanup(self.app.close)

    def request(self, app, method, path, headers, body, timeout_ms, stream, cancel):
        self.asked.append((method, path, headers, bytes(body), timeout_ms, stream))
        return "response"

    def upload(self, app, method, path, headers, body_bytes, timeout_ms, stream, cancel):
        self.asked.append((method, path, headers, body_bytes, timeout_ms, stream))
        self.written = []
        return "upload"

    def write(self, upload, body):
        if len(self.written) == self.wanted:
            raise support.raw_error(-31)
        self.written.append(bytes(body))

    def read(self, response, timeout_ms):
        if not self.pieces:
            raise support.raw_error(-31)
        piece = self.pieces.pop(0)
        if piece is None:
            time.sleep(0.001)
            raise support.raw_error(-19)
        return piece

    def test_get(self):
        response = self.app.get("/api/private", params={"a": "1 2", "b": ["x", "y"]}, timeout=2)
        self.assertEqual(self.asked, [("GET", "/api/private?a=1+2&b=x&b=y", b"", b"", 2000, 0), "response_free"])
        self.assertEqual((response.status_code, response.ok, response.text), (200, True, '{"hello": "wörld"}'))
        self.assertEqual(response.headers["CONTENT-TYPE"], "application/json; charset=latin-1")
        self.assertEqual(response.headers["set-cookie"], "a=1, b=2")
        self.assertTrue(response.attestation.verified)
        self.assertEqual(b"".join(response.iter_bytes(3)), response.content)

    def test_bodies(self):
        self.app.post("/", json={"a": "é"})
        self.app.put("/", data="text")
        self.app.post("/", data={"a": "1&2"}, headers={"content-type": "x/y"})
        self.assertEqual([a for a in self.asked if a != "response_free"], [
            ("POST", "/", b"Content-Type: application/json\0", '{"a":"é"}'.encode(), 30000, 0),
            ("PUT", "/", b"Content-Type: text/plain; charset=utf-8\0", b"text", 30000, 0),
            ("POST", "/", b"content-type: x/y\0", b"a=1%262", 30000, 0)])

    def test_bodies_that_are_streamed(self):
        octets = b"Content-Type: application/octet-stream\0"
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "body")
            with open(path, "wb") as file:
                file.write(bytes(600_000))
            with gzip.open(path + ".gz", "wb") as file:
                file.write(b"small when packed" * 1000)
            standing = open(path, "rb")
            standing.seek(599_990)
            unbuffered = open(path, "rb", buffering=0)
            text = io.StringIO("wörld")
            packed = gzip.open(path + ".gz", "rb")
            for name, data, size, pieces in (
                ("file", open(path, "rb"), 600_000, [262144, 262144, 75712]), ("file from its middle", standing, 10, [10]),
                ("file without a buffer", unbuffered, 600_000, [262144, 262144, 75712]), ("memory", io.BytesIO(b"abc"), 3, [3]), ("text", text, 0, [6]),
                ("unpacked while read", packed, 0, [17000]), ("iterator", iter([b"a", "é", bytearray(b"c")]), 0, [1, 2, 1]), ("nothing", iter([]), 0, []),
                ("generator", (b"x" * n for n in range(3)), 0, [0, 1, 2])):
                with self.subTest(name=name):
                    self.asked.clear()
                    self.app.post("/in", data=data)
                    self.assertEqual(self.asked[:2], [("POST", "/in", octets, size, 30000, 0), "upload_free"])
                    self.assertEqual([len(piece) for piece in self.written], pieces)
                    getattr(data, "close", lambda: None)()
        self.wanted = 2
        self.assertEqual(self.app.post("/in", data=iter([b"a"] * 5)).status_code, 200)  # the rest was not wanted
        self.assertEqual(self.written, [b"a", b"a"])

    def test_bodies_of_a_wrong_kind(self):
        async def pieces():
            yield b"a"

        for data, told in ((7, "data is int; it must be bytes, text"), (object(), "data is object"), (pieces(), "asynchronous iterator is read by no thread"), (True, "data is bool"),
                           (["no pair"], "data must be a mapping, or pairs"), ([b"a", b"b"], "pairs")):
            with self.subTest(data=data), self.assertRaisesRegex(InvalidRequestError, told):
                self.app.post("/", data=data)
        self.assertEqual(self.asked, [])
        for data, told in ((iter([b"a", 7]), "piece 1 of data is int; it must be bytes or text"), (iter([None]), "piece 0 of data is NoneType")):
            with self.assertRaisesRegex(InvalidRequestError, told):
                self.app.post("/", data=data)
            self.assertEqual(self.asked.pop(), "upload_free")
        for wrong in ({"json": object()}, {"json": float("nan")}, {"headers": [("a", "b")]}, {"params": [1]}, {"params": 7}):
            with self.subTest(wrong=wrong), self.assertRaises(InvalidRequestError):
                self.app.post("/", **wrong)

    def test_an_exception_of_the_callers_comes_out_as_it_is(self):
        def pieces():
            yield b"a"
            raise KeyError("mine")

        with self.assertRaises(KeyError):
            self.app.post("/", data=pieces())
        self.assertEqual(self.asked[1:], ["upload_free"])

    def test_other_places_are_refused(self):
        for path in ("https://elsewhere.example/", "https://app-name.ee.internal.evil.example/", "api", "", "//evil"):
            with self.subTest(path=path):
                if path == "//evil":
                    continue  # a path of this app, however odd
                with self.assertRaises(InvalidRequestError):
                    self.app.get(path)
        self.app.get("https://app-name.ee.internal/api/ü")
        self.assertEqual(self.asked[0][1], "/api/%C3%BC")

    def test_header_injection_is_refused(self):
        for headers in ({"A": "x\r\nB: y"}, {"A: x\r\nB": "y"}, {"": "x"}, {"A": "x\0"}, {"A": 1}):
            with self.subTest(headers=headers), self.assertRaises(InvalidRequestError):
                self.app.get("/", headers=headers)
        with self.assertRaises(InvalidRequestError):
            self.app.post("/", json={}, data=b"")

    def test_stream(self):
        self.pieces = [b"abc", None, b"defgh"]
        with self.app.get("/events", stream=True) as response:
            self.assertEqual(list(response.iter_bytes(4)), [b"abc", b"defg", b"h"])
            with self.assertRaises(StateError):
                next(response.iter_bytes())
        self.assertEqual(self.asked[-1], "response_free")

    def test_silent_stream_times_out(self):
        self.pieces = [None] * 10000
        with self.app.get("/events", stream=True, timeout=0.05) as response, self.assertRaises(CallTimeout):
            next(response.iter_bytes())

    def test_raise_for_status(self):
        for status, kind in ((404, errors.NotFoundError), (403, errors.PermissionDeniedError), (418, InvalidRequestError), (503, errors.ServerError)):
            self.status = status
            with self.subTest(status=status), self.assertRaises(kind) as caught:
                self.app.get("/").raise_for_status()
            self.assertEqual(caught.exception.details, {"http_status": status})
        self.status = 302
        self.assertEqual(self.app.get("/").raise_for_status().status_code, 302)

    def test_refuses_pickling(self):
        for thing in (self.app, self.app.get("/")):
            with self.assertRaisesRegex(TypeError, "cannot be pickled"):
                pickle.dumps(thing)

    def test_closed_app_is_freed_after_its_responses(self):
        response = self.app.get("/", stream=True)
        self.app.close()
        self.assertNotIn("app_free", self.asked)
        with self.assertRaises(StateError):
            self.app.get("/")
        response.close()
        self.assertEqual(self.asked[-2:], ["response_free", "app_free"])

    def test_requests_session(self):
        try:
            import requests
        except ImportError:
            self.skipTest("requests is not installed")
        session = self.app.requests_session()
        self.pieces = [b'{"hello":', b' "world"}']
        self.assertEqual(session.post("https://app-name.ee.internal/x?y=1", json={"a": 1}).json(), {"hello": "world"})
        self.assertEqual((self.asked[0][:2], self.asked[0][3]), (("POST", "/x?y=1"), b'{"a": 1}'))
        with tempfile.TemporaryFile() as file:
            file.write(b"x" * 1000)
            file.seek(0)
            for data, size in ((file, 1000), (iter([b"a", b"b"]), 0)):
                self.asked.clear()
                self.pieces = [b"{}"]
                session.post("https://app-name.ee.internal/x", data=data)
                self.assertEqual((self.asked[0][3], b"".join(self.written)), (size, b"x" * 1000 if size else b"ab"))
        for url in ("https://app-name.ee.internal.evil.example/", "http://app-name.ee.internal/", "https://elsewhere.example/"):
            with self.subTest(url=url), self.assertRaises(InvalidRequestError):
                session.get(url)
        self.assertFalse(session.trust_env)

    def test_httpx_transport(self):
        try:
            import httpx
        except ImportError:
            self.skipTest("httpx is not installed")
        with httpx.Client(transport=self.app.httpx_transport()) as http:
            self.pieces = [b"abc"]
            response = http.get("https://app-name.ee.internal/x")
            self.assertEqual((response.status_code, response.content), (200, b"abc"))
            self.pieces = [b"abc"]
            self.asked.clear()
            http.post("https://app-name.ee.internal/x", content=iter([b"a", b"b"]))
            self.assertEqual((self.asked[0][3], self.written), (0, [b"a", b"b"]))
            self.pieces = [b"abc"]
            http.post("https://app-name.ee.internal/x", json={"a": 1})
            self.assertEqual(json.loads(next(a[3] for a in reversed(self.asked) if isinstance(a, tuple))), {"a": 1})
            with self.assertRaises(InvalidRequestError):
                http.get("https://elsewhere.example/")


if __name__ == "__main__":
    unittest.main()
