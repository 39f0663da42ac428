#!/usr/bin/env python3
"""A process that outlives its devnet (a notebook): the default client of each language goes on with the next one, and a client of one's own
says what to do. And a control plane that is away, in our own words."""
# deadline: 300
import shutil
import subprocess
import textwrap
import unittest

from devnet import Devnet

C = textwrap.dedent(
    """
    #include <eesdk/eesdk.h>
    #include <stdio.h>
    #include <string.h>

    static void tell(ee_status st, const ee_error *err) {
        printf("%s|%s|%s\\n", ee_status_word(st), st ? err->message : "", st ? err->hint : "");
        fflush(stdout);
    }

    int main(void) {
        char line[32];
        ee_client *mine = NULL;
        ee_error err = {0};
        if (ee_client_new(NULL, &mine, &err)) return 1;
        while (fgets(line, sizeof line, stdin)) {
            ee_balance balance;
            ee_app *app = NULL;
            line[strcspn(line, "\\n")] = 0;
            if (strcmp(line, "default") == 0) tell(ee_balance_get(NULL, NULL, &balance, &err), &err);
            if (strcmp(line, "mine") == 0) tell(ee_balance_get(mine, NULL, &balance, &err), &err);
            if (strcmp(line, "connect") == 0) tell(ee_connect(mine, "app-name", NULL, &app, &err), &err);
            if (strcmp(line, "stale") == 0) tell(ee_client_stale(mine) ? EE_E_STATE : EE_OK, &err);
            ee_app_free(app);
        }
        ee_client_free(mine);
        return 0;
    }
    """
)

PYTHON = textwrap.dedent(
    """
    import sys, easyenclave as ee
    from easyenclave import client
    mine = ee.Client()
    calls = {"default": lambda: client._default.balance(), "mine": mine.balance, "connect": lambda: mine.connect("app-name")}
    for line in sys.stdin:
        try:
            calls[line.strip()]()
            print("ok||", flush=True)
        except ee.Error as error:
            print(f"{error.code}|{error.message}|{error.hint}", flush=True)
    """
)

GO = textwrap.dedent(
    """
    package main

    import (
    \t"bufio"
    \t"context"
    \t"errors"
    \t"fmt"
    \t"os"

    \tee "github.com/easyenclave/easyenclave/bindings/go"
    )

    func main() {
    \tctx := context.Background()
    \tmine, err := ee.New(ee.Config{})
    \tif err != nil {
    \t\tpanic(err)
    \t}
    \tfor lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
    \t\tvar err error
    \t\tswitch lines.Text() {
    \t\tcase "default":
    \t\t\tvar client *ee.Client
    \t\t\tif client, err = ee.Default(); err == nil {
    \t\t\t\t_, err = client.Balance(ctx)
    \t\t\t}
    \t\tcase "mine":
    \t\t\t_, err = mine.Balance(ctx)
    \t\tcase "connect":
    \t\t\t_, err = mine.Connect(ctx, "app-name")
    \t\t}
    \t\tvar told *ee.CallError
    \t\tif errors.As(err, &told) {
    \t\t\tfmt.Printf("%s|%s|%s\\n", told.Code, told.Message, told.Hint)
    \t\t} else {
    \t\t\tfmt.Printf("ok||%v\\n", err == nil)
    \t\t}
    \t}
    }
    """
)


class RestartedDevnet(unittest.TestCase):
    def setUp(self):
        self.net = Devnet()
        self.addCleanup(shutil.rmtree, self.net.home, ignore_errors=True)
        self.addCleanup(self.net.ee, "devnet", "down")
        self.net.up()

    def programs(self):
        source, program = self.net.home / "it.c", self.net.home / "it"
        source.write_text(C)
        built = self.net.run(["bash", "-c", f"cc {source} -o {program} $(pkg-config --cflags --libs eesdk)"])
        self.assertEqual(built.returncode, 0, built.stderr)
        return {"C": [str(program)], "Python": ["python3", "-c", PYTHON], "Go": [str(self.net.go_program("it", GO))]}

    def ask(self, process, what):
        process.stdin.write(what + "\n")
        process.stdin.flush()
        return process.stdout.readline().rstrip("\n").split("|")

    def test_a_process_outlives_its_devnet(self):
        running = {name: subprocess.Popen(argv, env=self.net.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name, argv in self.programs().items()}
        for name, process in running.items():
            self.addCleanup(process.wait, 20)
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.stdin.close)
            with self.subTest(language=name, when="it runs"):
                self.assertEqual([self.ask(process, what)[0] for what in ("default", "mine", "connect")], ["ok"] * 3)
        url = self.net.profile()["url"]
        self.assertEqual(self.net.ee("devnet", "down").returncode, 0)
        for name, process in running.items():
            for what in ("default", "mine", "connect"):
                with self.subTest(language=name, when="it is down", what=what):
                    word, message, hint = self.ask(process, what)
                    self.assertEqual((word, message), ("connect", f"the control plane at {url} cannot be reached: nothing listens there"))
                    self.assertIn("`ee devnet up` starts one", hint)
        self.assertEqual(self.ask(running["C"], "stale")[0], "ok")
        self.net.up()
        for name, process in running.items():
            with self.subTest(language=name, when="it is another"):
                self.assertEqual(self.ask(process, "default")[0], "ok")
                self.assertEqual(self.ask(process, "default")[0], "ok")
                for what in ("mine", "connect"):
                    word, _, hint = self.ask(process, what)
                    self.assertEqual((word, hint), ("attestation", "the devnet was started anew since this client was made: make another one"))
        self.assertEqual(self.ask(running["C"], "stale")[0], "state")

    def test_an_address_of_ones_own(self):
        """Where there is no devnet, the hint names where the address comes from. No foreign text."""
        profile = self.net.profile()
        key = self.net.home / "key"
        key.write_text(profile["api_key"])
        key.chmod(0o600)
        for url, reason in (("https://127.0.0.1:1", "nothing listens there"), ("https://no.such.name.invalid", "its name is not known")):
            with self.subTest(url=url):
                result = self.net.ee("balance", env={"EE_URL": url, "EE_NETWORK_ID": profile["network_id"], "EE_API_KEY_FILE": str(key), "EE_POLICY": str(self.net.dir / "policy.toml")})
                self.assertEqual(result.returncode, 9, result.stderr)
                self.assertEqual(result.stderr, f"ee: connect: the control plane at {url} cannot be reached: {reason}\n  its address comes from EE_URL: check it, and that this machine can reach it\n")

    def test_a_missing_file_that_a_setting_names_is_a_setting_that_is_wrong(self):
        for variable, told in (("EE_POLICY", "EE_POLICY names /nope, which does not exist"), ("EE_API_KEY_FILE", "EE_API_KEY_FILE names /nope, which does not exist")):
            with self.subTest(variable=variable):
                result = self.net.ee("balance", env={variable: "/nope"})
                self.assertEqual((result.returncode, result.stderr.splitlines()[0]), (3, f"ee: config: {told}"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
