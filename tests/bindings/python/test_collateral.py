"""Collateral from a PCCS: what a good one gives, and how each way to misbehave ends: in a named error with a next step, within its deadline and
in bounded memory, and never in acceptance. The PCCS is a real HTTPS server in this process (tests/support/pccs.py)."""
# deadline: 600
import asyncio
import datetime as dt
import gc
import json
import os
import pathlib
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import support

import easyenclave as ee
from easyenclave import aio

sys.path.insert(0, str(support.SOURCE / "tests/support"))
import pccs as rig  # noqa: E402
from pccs import PCK, QE, ROOT, TCB  # noqa: E402

MAY_TAKE = 30.0  # seconds over a deadline that a loaded machine may add


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="ee-pccs-")
        cls.addClassCleanup(cls.scratch.cleanup)
        folder = pathlib.Path(cls.scratch.name)
        cls.folder = folder
        cls.platform, cls.other = rig.Platform(folder / "platform"), rig.Platform(folder / "other")
        cls.expired = rig.Platform(folder / "expired", now=time.time() - 40 * 86400)
        cls.authority, cls.stranger = rig.Authority(folder / "tls"), rig.Authority(folder / "stranger", "stranger CA")

    def server(self, platform=None, authority=True, **options):
        server = rig.Pccs(platform or self.platform, self.authority if authority is True else authority, **options)
        server.other = self.other
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def fetch(self, server, quote=None, **options):
        options = {"cache": False, "timeout": 20, "pccs_ca": self.authority.ca, **options}
        with support.no_settings():
            return ee.fetch_collateral(quote or self.platform.quote, pccs_url=options.pop("pccs_url", server.url), **options)

    def assertRefused(self, server, kind, says, **options):
        """A named error with a message, a next step, within its time; and nothing came back."""
        started = time.monotonic()
        with self.assertRaises(ee.Error) as caught:
            self.fetch(server, **options)
        error = caught.exception
        self.assertLess(time.monotonic() - started, options.get("timeout", 20) + MAY_TAKE)
        self.assertIs(type(error), kind, f"{error}")
        self.assertRegex(error.message, says)
        self.assertTrue(error.hint, f"no next step: {error}")
        return error


class GoodTest(Case):
    def test_a_pccs_gives_what_verifies(self):
        server = self.server()
        collateral = self.fetch(server)
        self.assertEqual(json.loads(collateral), self.platform.collateral)
        self.assertTrue(ee.verify_quote(self.platform.quote, collateral, ee.Policy.parse(self.platform.policy)).verified)
        self.assertEqual([server.part_of(path) for path in server.asked], [TCB, QE, PCK, ROOT])
        self.assertIn("/tdx/certification/v4/tcb?fmspc=454553494d00", server.asked)
        self.assertIn("/sgx/certification/v4/pckcrl?ca=platform&encoding=der", server.asked)
        until = ee.collateral_valid_until(collateral)
        self.assertAlmostEqual(until.timestamp(), time.time() + 30 * 86400, delta=3600)
        self.assertIsNone(ee.collateral_valid_until(collateral.replace(b"UpToDate", b"uPToDate", 1)))
        with self.assertRaises(ee.MalformedError):
            ee.collateral_valid_until(b"{}")

    def test_one_connection_for_all(self):
        server = self.server()
        before = len(server.threads)
        self.fetch(server)
        self.assertEqual(len(server.threads) - before, 1)

    def test_addresses_as_people_write_them(self):
        server = self.server()
        for tail in ("/", "/sgx/certification/v4", "/sgx/certification/v4/", "/tdx/certification/v4/"):
            with self.subTest(tail=tail):
                self.assertEqual(json.loads(self.fetch(server, pccs_url=server.url + tail)), self.platform.collateral)

    def test_plain_http_is_for_this_machine(self):
        server = self.server(authority=None)
        self.assertEqual(json.loads(self.fetch(server)), self.platform.collateral)
        wrong = ("http://192.0.2.1:8081", "http://localhost.example:80", "http://127.0.0.1.example", "ftp://127.0.0.1", "127.0.0.1:8081", "https://",
                 "https://user:secret@127.0.0.1", "https://127.0.0.1/?x", "https://a b", "https://x/#y")
        for url in wrong:
            with self.subTest(url=url):
                self.assertRefused(server, ee.ConfigError, "no address of a PCCS", pccs_url=url)

    def test_settings_come_from_the_environment(self):
        server = self.server()
        with support.no_settings(EE_PCCS_URL=server.url, EE_PCCS_CA=str(self.authority.ca)) as home:
            os.environ["XDG_CACHE_HOME"] = f"{home}/cache"
            self.assertEqual(json.loads(ee.fetch_collateral(self.platform.quote)), self.platform.collateral)
            self.assertEqual(len(os.listdir(f"{home}/cache/easyenclave/collateral")), 1)
            os.environ["EE_PCCS_CACHE"] = f"{home}/mine"
            ee.fetch_collateral(self.platform.quote)
            self.assertEqual(len(os.listdir(f"{home}/mine")), 1)

    def test_a_home_that_cannot_be_written_costs_time_only(self):
        server = self.server()
        with support.no_settings(EE_PCCS_URL=server.url, EE_PCCS_CA=str(self.authority.ca)):
            os.environ["XDG_CACHE_HOME"] = "/proc/none"
            self.assertEqual(json.loads(ee.fetch_collateral(self.platform.quote)), self.platform.collateral)
            with self.assertRaises(ee.IOFailure):  # a folder that was asked for must work
                ee.fetch_collateral(self.platform.quote, cache="/proc/none")

    def test_it_can_be_awaited(self):
        server = self.server()
        with support.no_settings():
            got = asyncio.run(aio.fetch_collateral(self.platform.quote, pccs_url=server.url, pccs_ca=self.authority.ca, cache=False))
        self.assertEqual(json.loads(got), self.platform.collateral)

    def test_the_command_line(self):
        """ee verify --quote --pccs is fetch_collateral() and verify_quote() in one."""
        server, quote = self.server(), str(self.platform.folder / "quote.bin")
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "EE_PCCS_CA": str(self.authority.ca), "XDG_CACHE_HOME": str(self.folder / "cache")}

        def verify(*args):
            return subprocess.run([support.BUILD / "bin/ee", "verify", "--json", *args], env=env, capture_output=True, text=True, timeout=60)

        policy, log = ("--policy", str(self.platform.folder / "policy.toml")), ("--ccel", str(self.platform.folder / "ccel.bin"))
        for pccs in (server.url, server.url):  # the second time from the cache
            done = verify("--quote", quote, "--pccs", pccs, *policy, *log)
            self.assertEqual(done.returncode, 0, done.stderr)
            told = json.loads(done.stdout)
            self.assertEqual([check["status"] for check in told["checks"] if check["name"] == "boot_log"], ["pass"])
            self.assertTrue(told["boot_events"])
        self.assertEqual(len(server.asked), 4)
        torn = self.folder / "torn.bin"
        torn.write_bytes((self.platform.folder / "ccel.bin").read_bytes()[:-200] + b"\0" * 200)
        refused = verify("--quote", quote, "--pccs", server.url, *policy, "--ccel", str(torn))
        self.assertEqual(refused.returncode, 6, refused.stderr)
        self.assertEqual([check["name"] for check in json.loads(refused.stdout)["checks"] if check["status"] == "fail"], ["boot_log"])
        self.assertEqual(verify("--quote", quote, "--pccs", "https://127.0.0.1:1", *policy).returncode, 9)
        self.assertEqual(verify("--quote", "/dev/null", "--pccs", server.url, *policy).returncode, 2)
        for wrong in (("--quote", quote, "--pccs", server.url, "--collateral", quote), ("--quote", quote, "--pccs", server.url, "--offline"), ("--pccs", server.url, "e.json"),
                      ("--ccel", quote, "e.json"), ("--quote", quote, "--ccel", "/nope", "--pccs", server.url)):
            with self.subTest(wrong):
                done = verify(*wrong)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)

    def test_arguments_are_checked(self):
        server = self.server()
        for options in ({"timeout": 0}, {"timeout": -1}, {"timeout": "soon"}, {"pccs_url": "a\0b"}):
            with self.subTest(options=options), self.assertRaises(ee.InvalidRequestError):
                self.fetch(server, **options)
        with self.assertRaisesRegex(ee.ConfigError, "at most 511"):
            self.fetch(server, pccs_url="https://" + "x" * 600)
        with self.assertRaises(ee.MalformedError):
            self.fetch(server, quote=b"no quote")
        self.assertEqual(server.asked, [])


class MisbehavingTest(Case):
    """Each mode at each part of the answer where it makes sense."""

    def refused(self, mode, parts, kind, says, **options):
        for part in parts:
            with self.subTest(mode=mode, part=part):
                server = self.server()
                server.misbehave[part] = mode
                self.assertRefused(server, kind, says, **options)

    def test_slow_loris(self):
        self.refused("drip", (TCB, ROOT), ee.CallTimeout, r"no answer to GET .* in time \(\d{2,4} ms\)", timeout=1.0)
        self.refused("drip_head", (QE,), ee.CallTimeout, r"no answer to GET .* in time \(\d{2,4} ms\)", timeout=1.0)

    def test_silence(self):
        self.refused("silent", (TCB, PCK), ee.CallTimeout, "no answer to GET .* in time", timeout=0.7)

    def test_the_deadline_is_for_all_parts_together(self):
        server = self.server()
        server.misbehave.update({TCB: "status_500_once", QE: "silent"})
        started = time.monotonic()
        self.assertRefused(server, ee.CallTimeout, "in time", timeout=1.5)
        self.assertGreater(time.monotonic() - started, 1.4)

    def test_endless_body_is_not_read_to_its_end(self):
        for part, limit in ((TCB, 262144), (QE, 65536), (PCK, 196608), (ROOT, 65536)):
            with self.subTest(part=part):
                server = self.server()
                server.misbehave[part] = "endless"
                self.assertRefused(server, ee.LimitError, f"over {limit} bytes")
                self.assertLess(server.sent, limit + (16 << 20))  # what the sockets hold

    def test_huge_heads(self):
        self.refused("huge_header", (TCB, ROOT), ee.LimitError, "head of the answer to GET .* is over 65536 bytes")
        self.refused("endless_head", (QE,), ee.LimitError, "head of the answer to GET .* is over 65536 bytes")

    def test_wrong_content_type(self):
        self.refused("wrong_type", rig.PARTS, ee.MalformedError, "came as")
        self.refused("login_page", (TCB, QE), ee.MalformedError, 'came as "text/html"')
        self.refused("login_page", (PCK,), ee.MalformedError, "without the header SGX-PCK-CRL-Issuer-Chain")
        self.refused("login_page", (ROOT,), ee.MalformedError, "neither DER nor hex")

    def test_truncated(self):
        self.refused("cut_json", (TCB, QE), ee.MalformedError, "JSON")
        self.refused("cut_json", (PCK, ROOT), ee.MalformedError, "crl|CRL")
        self.refused("cut_off", (TCB, PCK), ee.ConnectError, "ended before the answer did")
        self.refused("status_204", (TCB,), ee.ServerError, "HTTP 204")

    def test_missing_header(self):
        self.refused("no_header", (TCB, QE, PCK), ee.MalformedError, "came without the header")
        self.refused("header_twice", (TCB,), ee.MalformedError, "came with the header TCB-Info-Issuer-Chain 2 times")

    def test_chain_of_another_ca(self):
        self.refused("other_chain", (TCB, QE, PCK), ee.AttestationError, "collateral: ")
        self.refused("other_platform", (TCB, QE), ee.AttestationError, "different roots")
        self.refused("other_platform", ("all",), ee.AttestationError, "another root than the quote's chain")

    def test_changed_byte(self):
        self.refused("changed_byte", (TCB, QE), ee.AttestationError, "tcb_info|qe_identity")

    def test_expired(self):
        server = self.server(self.expired)
        error = self.assertRefused(server, ee.ExpiredError, "expired at 20.*this machine's clock says", quote=self.expired.quote)
        self.assertIn("clock", error.hint)

    def test_statuses(self):
        self.refused("status_404", (TCB, PCK, ROOT), ee.NotFoundError, "HTTP 404")
        self.refused("status_461", (TCB,), ee.NotFoundError, "HTTP 461")
        self.refused("status_401", (TCB,), ee.AuthError, "HTTP 401")
        self.refused("status_500", (QE,), ee.ServerError, "HTTP 500")
        server = self.server()
        server.misbehave[TCB] = "status_429"
        self.assertEqual(self.assertRefused(server, ee.RateLimitError, "HTTP 429").retry_after, 7.0)
        self.assertEqual(len(server.asked), 1)

    def test_what_passes_is_tried_again(self):
        for mode in ("status_500_once", "hang_up_once"):
            with self.subTest(mode=mode):
                server = self.server()
                server.misbehave["all"] = mode
                self.assertEqual(json.loads(self.fetch(server)), self.platform.collateral)
                self.assertEqual(len(server.asked), 8)
        server = self.server()
        server.misbehave[QE] = "status_500"
        self.assertRefused(server, ee.ServerError, "HTTP 500")
        self.assertEqual([server.part_of(p) for p in server.asked], [TCB, QE, QE, QE])

    def test_too_much_to_unpack_is_no_lack_of_memory(self):
        self.refused("escapes", (TCB, QE), ee.LimitError, "escapes that need more memory than there is for them")

    def test_redirects(self):
        self.refused("redirect_elsewhere", (TCB, ROOT), ee.ConnectError, "another place than the one configured")
        self.refused("redirect_to_http", (TCB,), ee.ConnectError, "another place than the one configured")
        self.refused("redirect_loop", (QE,), ee.ConnectError, "over 3 redirects")
        server = self.server()
        server.misbehave["all"] = "redirect_here"
        self.assertEqual(json.loads(self.fetch(server)), self.platform.collateral)

    def test_not_http(self):
        self.refused("no_http", (TCB,), ee.ConnectError, "not HTTP")

    def test_nobody_there(self):
        server = self.server()
        url = server.url
        server.__exit__(None, None, None)
        self.assertRefused(server, ee.ConnectError, "the PCCS at https://127.0.0.1:.* cannot be reached: nothing listens there", pccs_url=url)

    def test_memory_is_bounded(self):
        """A hundred endless answers leave nothing behind and need no more than one does."""
        server = self.server()
        server.misbehave[TCB] = "endless"

        def peak():
            gc.collect()
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        for _ in range(3):
            self.assertRefused(server, ee.LimitError, "over")
        before = peak()
        for _ in range(30):
            self.assertRefused(server, ee.LimitError, "over")
        self.assertLess(peak() - before, 32 << 10)  # KiB


class TlsTest(Case):
    def test_another_ca(self):
        server = self.server(authority=self.stranger)
        self.assertRefused(server, ee.ConnectError, "certificate is not trusted")
        self.assertEqual(server.asked, [])

    def test_the_systems_cas_do_not_know_it(self):
        server = self.server()
        self.assertRefused(server, ee.ConnectError, "certificate is not trusted", pccs_ca=None)
        self.assertEqual(server.asked, [])

    def test_another_name(self):
        elsewhere = rig.Authority(self.folder / "elsewhere", host="DNS:pccs.example")
        server = self.server(authority=elsewhere)
        self.assertRefused(server, ee.ConnectError, "certificate is not trusted", pccs_ca=elsewhere.ca)
        self.assertEqual(server.asked, [])

    def test_old_tls(self):
        server = self.server(tls=ssl.TLSVersion.TLSv1_1)
        self.assertRefused(server, ee.ConnectError, "TLS could not be set up")
        self.assertEqual(server.asked, [])

    def test_no_such_ca_file(self):
        server = self.server()
        self.assertRefused(server, ee.ConnectError, "file of certificates that are trusted cannot be read", pccs_ca="/nonexistent.pem")
        self.assertEqual(server.asked, [])

    def test_certificates_are_never_waved_through(self):
        """No setting turns the check off: an empty name means the system's CAs, not none."""
        server = self.server()
        self.assertRefused(server, ee.ConnectError, "certificate is not trusted", pccs_ca="")


class CacheTest(Case):
    def setUp(self):
        self.cache = tempfile.TemporaryDirectory(prefix="ee-cache-")
        self.addCleanup(self.cache.cleanup)

    def files(self):
        return sorted(pathlib.Path(self.cache.name).iterdir())

    def test_the_second_call_asks_nobody(self):
        server = self.server()
        first = self.fetch(server, cache=self.cache.name)
        self.assertEqual(self.fetch(server, cache=self.cache.name), first)
        self.assertEqual(len(server.asked), 4)
        self.assertEqual([oct(f.stat().st_mode & 0o777) for f in self.files()], ["0o600"])

    def test_refused_answers_are_not_kept(self):
        server = self.server()
        for mode in ("other_platform", "cut_json", "other_chain"):
            server.misbehave = {"all" if mode == "other_platform" else TCB: mode}
            with self.assertRaises(ee.Error):
                self.fetch(server, cache=self.cache.name)
            self.assertEqual(self.files(), [])

    def test_each_pccs_has_its_own(self):
        one, two = self.server(), self.server()
        self.fetch(one, cache=self.cache.name)
        self.fetch(two, cache=self.cache.name)
        self.assertEqual((len(one.asked), len(two.asked), len(self.files())), (4, 4, 2))

    def test_near_its_end_it_is_asked_for_and_serves_meanwhile(self):
        soon = rig.Platform(self.folder / "soon", until=time.time() + 3600)
        server = self.server(soon)
        first = self.fetch(server, quote=soon.quote, cache=self.cache.name)
        self.fetch(server, quote=soon.quote, cache=self.cache.name)
        self.assertEqual(len(server.asked), 8)  # an hour before its end: asked again by each process
        server.misbehave["all"] = "status_500"
        self.assertEqual(self.fetch(server, quote=soon.quote, cache=self.cache.name), first)  # and what is there serves

    def test_a_new_root_under_the_same_address(self):
        server = self.server()
        self.fetch(server, cache=self.cache.name)
        server.platform = self.other
        self.assertEqual(json.loads(self.fetch(server, quote=self.other.quote, cache=self.cache.name)), self.other.collateral)

    def test_damaged_file(self):
        server = self.server()
        good = self.fetch(server, cache=self.cache.name)
        [file] = self.files()
        text = bytearray(file.read_bytes())
        text[-10] ^= 1
        file.write_bytes(text)
        self.assertEqual(self.fetch(server, cache=self.cache.name), good)
        self.assertEqual(len(server.asked), 8)

    def test_many_processes_at_once(self):
        """Threads here, each with a cache object of its own, as processes have: whole files, and the same answer for all."""
        server = self.server()
        got, failed = [], []

        def one():
            try:
                got.append(ee.fetch_collateral(self.platform.quote, pccs_url=server.url, pccs_ca=self.authority.ca, cache=self.cache.name))
            except ee.Error as error:
                failed.append(error)

        threads = [threading.Thread(target=one) for _ in range(12)]
        with support.no_settings():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual((failed, len(got), len(set(got)), len(self.files())), ([], 12, 1, 1))


class Proxy:
    """An HTTP proxy that knows CONNECT and nothing else."""

    def __init__(self):
        self.asked, self.open = [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            request = here.recv(4096).split(b" ")
            self.asked.append(request[1].decode())
            host, port = self.asked[-1].rsplit(":", 1)
            there = socket.create_connection((host, int(port)))
            here.sendall(b"HTTP/1.1 200 OK\r\nTCB-Info-Issuer-Chain: of the proxy\r\n\r\n")
            self.open += [here, there]
            for a, b in ((here, there), (there, here)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass

    def close(self):
        self.listener.close()
        for one in self.open:
            one.close()


class ProxyTest(Case):
    def test_the_environments_proxy_is_used_and_its_head_is_not_the_answers(self):
        server, proxy = self.server(), Proxy()
        self.addCleanup(proxy.close)
        plain = self.server(authority=None)
        options = {"pccs_ca": self.authority.ca, "cache": False}
        with support.no_settings(https_proxy=proxy.url, http_proxy=proxy.url, no_proxy=""):
            got = ee.fetch_collateral(self.platform.quote, pccs_url=server.url, **options)
            self.assertEqual(proxy.asked, [f"127.0.0.1:{server.port}"])
            ee.fetch_collateral(self.platform.quote, pccs_url=plain.url, **options)  # this machine is not asked through another
        self.assertEqual(json.loads(got), self.platform.collateral)
        self.assertEqual(len(proxy.asked), 1)


class StoppingTest(Case):
    def test_ctrl_c_ends_the_wait(self):
        server = self.server()
        server.misbehave[TCB] = "silent"
        with support.no_settings(), support.interrupt_after(0.3) as moment, self.assertRaises(KeyboardInterrupt):
            ee.fetch_collateral(self.platform.quote, pccs_url=server.url, pccs_ca=self.authority.ca, cache=False, timeout=60)
        self.assertLess(time.monotonic() - moment[0], 5)


if __name__ == "__main__":
    unittest.main()
