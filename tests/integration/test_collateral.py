#!/usr/bin/env python3
"""Collateral between real programs: what a control plane has from a PCCS and hands out, and that clients and agents ask a PCCS of their own first.
The PCCS is tests/support/pccs.py with the devnet's own collateral."""
import http.client
import json
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import types
import unittest

import devnet
from devnet import wait_for

sys.path.insert(0, str(devnet.ROOT / "tests/support"))
import pccs as rig  # noqa: E402

FMSPC = "454553494d00"


class CollateralTest(devnet.DevnetCase):
    process, base = None, None  # of the control plane that these tests started, and the settings of the devnet's
    agent = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.scratch = tempfile.TemporaryDirectory(prefix="ee-pccs-")
            cls.addClassCleanup(cls.scratch.cleanup)
            cls.folder = pathlib.Path(cls.scratch.name)
            cls.authority = rig.Authority(cls.folder / "tls")
            cls.platform = types.SimpleNamespace(collateral=json.loads((cls.net.dir / "collateral.json").read_text()))
        except BaseException:
            cls.net.down()
            raise

    def server(self):
        server = rig.Pccs(self.platform, self.authority)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def get(self, path):
        """A stranger's request to the control plane: status, JSON."""
        host, port = self.net.profile()["url"].split("//")[1].split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=context)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    @classmethod
    def stop_control(cls):
        if cls.process:
            cls.process.kill()
            cls.process.wait(20)
        cls.process = None

    @classmethod
    def tearDownClass(cls):
        cls.stop_control()
        if cls.agent:
            cls.agent.kill()
            cls.agent.wait(20)
        super().tearDownClass()

    def answers(self):
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def control(self, **changes):
        """The devnet's control plane again, with another source of collateral, in the place of the one that runs: until it answers, or ends."""
        cls = type(self)
        if cls.base is None:
            cls.process = self.net.replace("control")
            wait_for("the control plane answers", self.answers)
            cls.base = self.net.environment_of(cls.process.pid)
        cls.stop_control()
        env = {key: value for key, value in {**cls.base, **changes}.items() if value is not None}
        with open(self.net.dir / "logs/control-2.log", "w") as log:
            cls.process = subprocess.Popen([devnet.BIN / "ee-controlplane"], env=env, stdout=log, stderr=log)
        wait_for("the control plane answers or has ended", lambda: self.answers() or cls.process.poll() is not None)
        return cls.process

    def with_pccs(self, server, **changes):
        return self.control(EE_COLLATERAL=None, EE_PCCS_URL=server.url, EE_PCCS_CA=str(self.authority.ca), EE_PCCS_REFRESH_MS="1000", **changes)

    def serves(self):
        status, body = self.get(f"/v1/collateral/{FMSPC}?ca=platform")
        return status == 200 and body == self.platform.collateral

    def agents_back(self):
        """Agents judge the control plane, and it judges them: both with what came from the PCCS."""
        wait_for("the agents are back", lambda: self.get("/health")[1]["agents"] == 3, 60)

    # ---- what is asked for is what comes

    def test_1_only_what_is_asked_for_is_handed_out(self):
        self.assertTrue(self.serves())
        self.assertEqual(self.get(f"/v1/collateral/{FMSPC.upper()}?ca=platform&x=1")[0], 200)
        for path, status, word in (
            (f"/v1/collateral/{FMSPC}?ca=processor", 404, "not_found"),
            ("/v1/collateral/00906ed50000?ca=platform", 404, "not_found"),
            (f"/v1/collateral/{FMSPC}", 400, "invalid"),
            (f"/v1/collateral/{FMSPC}?ca=root", 400, "invalid"),
            (f"/v1/collateral/{FMSPC}00?ca=platform", 400, "invalid"),
            (f"/v1/collateral/{FMSPC}-0?ca=platform", 400, "invalid"),
            ("/v1/collateral/?ca=platform", 404, "not_found"),
            ("/v1/collateral/" + "x" * 2000 + "?ca=platform", 404, "not_found"),
        ):
            with self.subTest(path=path[:60]):
                got, body = self.get(path)
                self.assertEqual((got, body["error"]["code"]), (status, word))
                self.assertTrue(body["error"]["message"])

    # ---- clients and agents with a PCCS of their own

    def test_2_a_client_asks_its_own_pccs_first(self):
        server = self.server()
        env = {"EE_PCCS_URL": server.url, "EE_PCCS_CA": str(self.authority.ca), "EE_PCCS_CACHE": str(self.folder / "client-cache")}
        result = self.net.ee("nodes", env=env)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(server.asked), 4)
        self.assertEqual(self.net.ee("nodes", env=env).returncode, 0)
        self.assertEqual(len(server.asked), 4)  # from its cache

    def test_3_a_client_whose_pccs_fails_goes_on_with_the_control_plane(self):
        for mode in ("status_500", "other_platform", "cut_json", "silent"):
            with self.subTest(mode=mode):
                server = self.server()
                server.other = rig.Platform(self.folder / "stranger")
                server.misbehave["all"] = mode
                result = self.net.ee("nodes", env={"EE_PCCS_URL": server.url, "EE_PCCS_CA": str(self.authority.ca), "EE_PCCS_CACHE": str(self.folder / mode)})
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertTrue(server.asked)

    def test_4_a_client_with_a_wrong_address_is_told(self):
        self.assertError(self.net.ee("nodes", env={"EE_PCCS_URL": "http://pccs.example"}), "config", 3)

    def test_5_an_agent_asks_its_own_pccs_first(self):
        server = self.server()
        type(self).agent = self.net.replace("node-c", EE_PCCS_URL=server.url, EE_PCCS_CA=str(self.authority.ca))
        server.wait_asked(4)
        log = self.net.dir / "logs/node-c-2.log"
        wait_for("its tunnel is open", lambda: "event=tunnel.open" in log.read_text(), 60)
        self.assertNotIn("collateral.pccs_failed", log.read_text())

    # ---- a control plane with a PCCS

    def test_6_from_a_pccs_refreshed_and_through_its_outage(self):
        server = self.server()
        self.with_pccs(server, EE_PCCS_CACHE=str(self.folder / "control-cache"))
        self.assertTrue(self.serves())
        self.agents_back()
        self.assertEqual(self.net.ee("nodes").returncode, 0)
        asked = len(server.asked)
        server.wait_asked(asked + 4)  # at the refresh age, without being asked
        server.misbehave["all"] = "status_500"
        asked = len(server.asked)
        server.wait_asked(asked + 6)  # two refreshes of three attempts each fail
        self.assertTrue(self.serves())
        self.assertEqual([oct(f.stat().st_mode & 0o777) for f in (self.folder / "control-cache").iterdir()], ["0o600"])
        # restarted while the PCCS is away: from its cache
        self.with_pccs(server, EE_PCCS_CACHE=str(self.folder / "control-cache"))
        self.assertTrue(self.serves())
        self.agents_back()

    def test_7_started_before_its_pccs(self):
        server = self.server()
        server.misbehave["all"] = "status_500"
        self.with_pccs(server)
        status, body = self.get(f"/v1/collateral/{FMSPC}?ca=platform")
        self.assertEqual((status, body["error"]["code"], body["error"]["retryable"]), (503, "again", True))
        self.assertIn("has not come yet", body["error"]["message"])
        server.misbehave.clear()
        wait_for("it has come", self.serves)
        self.agents_back()

    def test_8_strangers_make_it_ask_nobody(self):
        server = self.server()
        self.with_pccs(server)
        for n in range(50):
            self.assertEqual(self.get(f"/v1/collateral/{n:012x}?ca=platform")[0], 404)
        self.assertEqual({p for p in server.asked if "fmspc" in p}, {f"/tdx/certification/v4/tcb?fmspc={FMSPC}"})

    def test_9_collateral_that_is_not_in_order_is_not_handed_out(self):
        server = self.server()
        server.other = rig.Platform(self.folder / "stranger")
        for part, mode in ((rig.TCB, "changed_byte"), (rig.PCK, "other_chain"), (rig.QE, "cut_json")):
            with self.subTest(mode=mode):
                server.misbehave = {part: mode}
                self.with_pccs(server)
                self.assertEqual(self.get(f"/v1/collateral/{FMSPC}?ca=platform")[0], 503)

    def test_a_the_file_serves_when_the_pccs_does_not(self):
        server = self.server()
        server.misbehave["all"] = "status_500"
        self.control(EE_PCCS_URL=server.url, EE_PCCS_CA=str(self.authority.ca))
        self.assertTrue(self.serves())
        self.agents_back()

    def test_b_what_is_wrong_is_said_at_start(self):
        folder = self.folder / "empty"
        folder.mkdir()
        broken = self.folder / "broken.json"
        broken.write_text('{"tcb_info": ')
        expired = rig.Platform(self.folder / "expired", now=1700000000)
        for changes, code, says in (
            ({"EE_COLLATERAL": None}, 3, r"ee-controlplane: config: neither pccs.url nor collateral is set.*\n.*EE_PCCS_URL"),
            ({"EE_COLLATERAL": "/nonexistent"}, 4, "not_found: collateral: there is no collateral at /nonexistent"),
            ({"EE_COLLATERAL": str(folder)}, 4, r"not_found: collateral: the folder .* has no \*.json"),
            ({"EE_COLLATERAL": str(broken)}, 2, "malformed: collateral: .*broken.json"),
            ({"EE_COLLATERAL": str(expired.folder / "collateral.json")}, 6, "expired: collateral: .*expired at 2023-.*clock says"),
            ({"EE_COLLATERAL": None, "EE_PCCS_URL": "http://pccs.example"}, 3, "config: .*plain http is for this machine only"),
        ):
            with self.subTest(changes=changes):
                process = self.control(**changes)
                self.assertEqual(process.wait(20), code)
                log = (self.net.dir / "logs/control-2.log").read_text()
                self.assertTrue(re.search(says, log), log[-2000:])


if __name__ == "__main__":
    unittest.main(verbosity=2)
