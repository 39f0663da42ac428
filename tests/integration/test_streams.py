#!/usr/bin/env python3
"""Bodies larger than anybody wants in memory, both ways through the tunnel: ee, Python and Go. Hashes fit, and memory stays flat."""
# deadline: 600
import hashlib
import json
import os
import subprocess
import textwrap
import unittest

from devnet import BIN, DevnetCase

LARGE = 1 << 30  # through the command line
MUCH = 128 << 20  # through the languages
FLAT = 96 << 10  # KiB that a process may ever have held: far less than any body here


class Streams(DevnetCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.net.push_hello()
            cls.net.json("apps", "deploy", "hello", "hello:latest", "--port", "8080", "--memory", "512M")
            cls.body = cls.net.home / "body"
            cls.sum = hashlib.sha256()
            block = os.urandom(1 << 20)
            with cls.body.open("wb") as file:  # every mebibyte differs from the next
                for i in range(LARGE >> 20):
                    piece = i.to_bytes(8, "big") + block[8:]
                    file.write(piece)
                    cls.sum.update(piece)
        except BaseException:
            cls.net.down()
            raise

    def peak(self, argv, **kw):
        """In a process of its own, so that the peak is of this run alone."""
        script = textwrap.dedent(
            """
            import resource, subprocess, sys
            done = subprocess.run(sys.argv[1:])
            print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
            sys.exit(done.returncode)
            """
        )
        done = subprocess.run(["python3", "-c", script, *[str(a) for a in argv]], env=self.net.env, cwd=self.net.home, capture_output=True, timeout=280, **kw)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertLess(int(done.stderr.split()[-1]), FLAT)
        return done.stdout

    # ---- the command line

    def test_a_gibibyte_up(self):
        told = json.loads(self.peak([BIN / "ee", "curl", "-T", self.body, "hello/digest"]))
        self.assertEqual(told, {"bytes": LARGE, "sha256": self.sum.hexdigest()})

    def test_a_gibibyte_down(self):
        out = self.net.home / "out"
        self.peak([BIN / "ee", "curl", "-o", out, f"hello/bytes?n={LARGE}"])
        self.assertEqual(out.stat().st_size, LARGE)
        want = (b"abcdefghijklmnopqrstuvwxyz" * 2600)[:65536]
        with out.open("rb") as file:
            while block := file.read(65536):
                self.assertEqual(block, want)
        out.unlink()

    def test_ways_to_give_a_body(self):
        small = self.net.home / "small"
        small.write_bytes(b"abc")
        empty = self.net.home / "empty"
        empty.write_bytes(b"")
        want = {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
        for args, stdin in ((["-d", "abc"], None), (["-d", f"@{small}"], None), (["-T", str(small)], None), (["-d", "@-"], "abc"), (["-T", "-"], "abc"),
                            (["-X", "PATCH", "-T", str(small)], None)):
            with self.subTest(args=args):
                result = self.net.ee("curl", *args, "hello/digest", input=stdin)
                self.assertEqual((result.returncode, result.stdout), (0, json.dumps(want, separators=(",", ":"))), result.stderr)
                self.assertEqual(self.net.json("curl", *args, "hello/digest", input=stdin)["body"], result.stdout)
        for args in (["-d", f"@{empty}"], ["-T", str(empty)], ["-T", "/dev/null"], ["-d", ""]):
            with self.subTest(args=args):
                self.assertEqual(json.loads(self.net.ee("curl", *args, "hello/digest").stdout)["bytes"], 0)
        for args, word, code in ((["-d", f"@{self.net.home}/none"], "not_found", 4), (["-T", f"{self.net.home}/none"], "not_found", 4),
                                 (["-T", str(self.net.home)], "invalid", 2), (["-T", "x", "-d", "y"], "invalid", 2)):
            with self.subTest(args=args):
                self.assertError(self.net.ee("curl", *args, "hello/digest"), word, code)

    def test_what_the_app_makes_of_a_file(self):
        """-d says that it is a form, as curl does; -T says nothing; -H has the last word."""
        small = self.net.home / "form"
        small.write_bytes(b"a=b")
        for args, kind in ((["-d", f"@{small}"], "application/x-www-form-urlencoded"), (["-T", str(small)], None), (["-T", str(small), "-H", "content-type: x/y"], "x/y"),
                           (["-d", f"@{small}", "-H", "Content-Type: x/y"], "x/y")):
            with self.subTest(args=args):
                told = self.net.json("curl", *args, "hello/echo")
                found = {name.lower(): value for name, value in told["headers"].items()}
                self.assertEqual((found.get("content-type", "").split(";")[0] if kind else None, told["body"]), (kind, "a=b"))

    def test_an_early_answer_is_the_answer(self):
        """/echo takes 64 MiB and says so long before the rest has been sent."""
        result = self.net.ee("curl", "-T", str(self.body), "hello/echo", timeout=120)
        self.assertEqual((result.returncode, result.stdout), (0, "http: request body too large\n"), result.stderr)
        self.assertEqual(self.net.ee("curl", "-f", "-T", str(self.body), "hello/echo", timeout=120).returncode, 22)

    # ---- Python

    def test_python(self):
        program = textwrap.dedent(
            f"""
            import asyncio, hashlib, io, json
            from easyenclave import aio, connect
            app = connect("hello")
            def much():
                for i in range({MUCH} >> 16):
                    yield i.to_bytes(4, "big") * 16384
            want = hashlib.sha256()
            for piece in much():
                want.update(piece)
            with open("part", "wb") as file:
                for piece in much():
                    file.write(piece)
            def check(response):
                assert response.json() == {{"bytes": {MUCH}, "sha256": want.hexdigest()}}, response.text
            check(app.post("/digest", data=much()))
            with open("part", "rb") as file:
                check(app.put("/digest", data=file))
            session = app.requests_session()
            with open("part", "rb") as file:
                check(session.post(app.base_url + "/digest", data=file))
            check(session.post(app.base_url + "/digest", data=much()))
            async def main():
                async with aio.connect("hello") as app:
                    with open("part", "rb") as file:
                        check(await app.post("/digest", data=file))
            asyncio.run(main())
            got = 0
            with app.get("/bytes?n={MUCH}", stream=True) as response:
                for piece in response.iter_bytes():
                    got += len(piece)
            assert got == {MUCH}, got
            got = sum(len(piece) for piece in session.get(app.base_url + "/bytes?n={MUCH}", stream=True).iter_content(65536))
            assert got == {MUCH}, got
            for data in (b"abc", "abc", io.BytesIO(b"abc"), io.StringIO("abc"), iter(["a", b"bc"])):
                assert app.post("/echo", data=data).content == b"abc", data
            answer = app.post("/echo", data=(bytes(1 << 20) for _ in range(1000)))
            assert answer.status_code == 413 and "too large" in answer.text, answer
            print("ok")
            """
        )
        self.assertEqual(self.peak(["python3", "-c", program]), b"ok\n")

    def test_an_answer_that_is_too_large_says_what_to_do(self):
        program = textwrap.dedent(
            """
            import easyenclave as ee
            try:
                ee.connect("hello").get("/bytes?n=67108865")
            except ee.LimitError as error:
                print(error.hint)
            """
        )
        result = self.net.run(["python3", "-c", program])
        self.assertEqual(result.stdout, "take the answer as a stream, or reach the app through a forwarded port\n", result.stderr)

    # ---- Go

    def test_go(self):
        program = textwrap.dedent(
            """
            package main

            import (
            \t"context"
            \t"crypto/sha256"
            \t"encoding/json"
            \t"fmt"
            \t"io"
            \t"net/http"
            \t"strings"

            \tee "github.com/easyenclave/easyenclave/bindings/go"
            )

            const much = MUCH

            type pattern struct{ at byte }

            func (p *pattern) Read(out []byte) (int, error) {
            \tfor i := range out {
            \t\tout[i] = p.at
            \t\tp.at++
            \t}
            \treturn len(out), nil
            }

            func check(response *http.Response, err error) {
            \tif err != nil {
            \t\tpanic(err)
            \t}
            \tdefer response.Body.Close()
            \tvar told struct {
            \t\tBytes  int64
            \t\tSha256 string
            \t}
            \tif err := json.NewDecoder(response.Body).Decode(&told); err != nil {
            \t\tpanic(err)
            \t}
            \thash := sha256.New()
            \tio.CopyN(hash, &pattern{}, much)
            \tif told.Bytes != much || told.Sha256 != fmt.Sprintf("%x", hash.Sum(nil)) {
            \t\tpanic(fmt.Sprint(told))
            \t}
            }

            func main() {
            \tctx := context.Background()
            \tapp, err := ee.Connect(ctx, "hello")
            \tif err != nil {
            \t\tpanic(err)
            \t}
            \tdefer app.Close()
            \tcheck(app.Post(ctx, "/digest", "application/octet-stream", io.LimitReader(&pattern{}, much)))
            \trequest, _ := http.NewRequest("PUT", app.BaseURL()+"/digest", io.LimitReader(&pattern{}, much))
            \trequest.ContentLength = much
            \tcheck(app.HTTPClient().Do(request))
            \tresponse, err := app.Get(ctx, fmt.Sprintf("/bytes?n=%d", much))
            \tif err != nil {
            \t\tpanic(err)
            \t}
            \tn, err := io.Copy(io.Discard, response.Body)
            \tif err != nil || n != much {
            \t\tpanic(fmt.Sprint(n, err))
            \t}
            \tresponse, err = app.Post(ctx, "/echo", "text/plain", strings.NewReader("abc"))
            \tif err != nil {
            \t\tpanic(err)
            \t}
            \tbody, err := io.ReadAll(response.Body)
            \tfmt.Println(string(body), err)
            }
            """
        ).replace("MUCH", str(MUCH))
        self.assertEqual(self.peak([self.net.go_program("streams", program)]), b"abc <nil>\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
