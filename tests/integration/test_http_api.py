#!/usr/bin/env python3
"""The control plane's HTTP API as anybody meets it: unsigned, with the wrong method, with a broken request. Who sees what of whom."""
# deadline: 300
import http.client
import json
import ssl
import sys
import unittest

from devnet import DevnetCase, own_caller


class HttpApi(DevnetCase):
    def connection(self):
        host, port = self.net.profile()["url"].removeprefix("https://").split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a stranger, who looks at no evidence
        return http.client.HTTPSConnection(host, int(port), context=context, timeout=20)

    def ask(self, method, path, body=None, headers={}):
        connection = self.connection()
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response, answer

    def test_L7_owners_are_for_owners(self):
        own = {"account", "word", "message", "price_per_vcpu_hour"}
        self.net.json("apps", "deploy", "mine", "myapp:latest", "--port", "8080", "--", "httpd", "-f", "-p", "8080", "-h", "/www")
        for path, pick in (("/v1/apps", lambda told: next(a for a in told["items"] if a["name"] == "mine")), ("/v1/apps/mine", lambda told: told)):
            with self.subTest(path=path):
                response, answer = self.ask("GET", path)
                self.assertEqual(response.status, 200)
                seen = pick(json.loads(answer))
                self.assertEqual(set(seen), {"name", "id", "node", "state", "tunnel_up", "epoch", "created_at"})
                self.assertEqual((seen["name"], seen["state"]), ("mine", "running"))
                self.assertNotIn(b'"dev"', answer)
        listed = {a["name"]: a for a in self.net.json("apps")["items"]}
        self.assertEqual((set(listed["mine"]), listed["mine"]["account"]), (set(seen) | own, "dev"))
        self.assertEqual(set(listed["app-name"]), set(seen))  # another account's
        self.assertEqual(set(self.net.json("apps", "show", "mine")), set(seen) | own)
        self.assertEqual(set(self.net.json("apps", "show", "app-name")), set(seen))
        response, answer = self.ask("GET", "/v1/apps", headers={"Ee-Key": "00" * 32})  # a signature that is none
        self.assertEqual((response.status, json.loads(answer)["error"]["code"]), (401, "auth"))

    @own_caller
    def test_lists_of_any_length(self):
        """More jobs than a page holds: each is listed once, newest first, by whoever asks; and a page says that there is more."""
        run = "import easyenclave as e, concurrent.futures as f\nc = e.Client()\nwith f.ThreadPoolExecutor(6) as p: list(p.map(lambda i: c.run_private_job('myapp:latest', ['true']), range(103)))\n"
        made = self.net.run([sys.executable, "-c", run], timeout=250)
        self.assertEqual(made.returncode, 0, made.stderr)
        listed = [job["id"] for job in self.net.json("jobs")["items"]]
        self.assertGreaterEqual(len(listed), 103)
        self.assertEqual(listed, sorted(set(listed), reverse=True))
        program = f"""
import easyenclave, json
c = easyenclave.Client()
assert [job.id for job in c.jobs()] == {listed}
first = c.call("GET", "/v1/jobs")
assert len(first["items"]) == 100 and first["next"] == {listed}[99], first["next"]
pages, after = [], ""
while after is not None:
    page = c.call("GET", "/v1/jobs?limit=40" + (f"&after={{after}}" if after else ""))
    pages.append(len(page["items"]))
    after = page["next"]
assert pages == [40] * (len({listed}) // 40) + [len({listed}) % 40], pages
exact = c.call("GET", f"/v1/jobs?limit=3&after={{{listed}[-4]}}")
assert len(exact["items"]) == 3 and exact["next"] is None, exact
for bad in ("limit=0", "limit=101", "limit=x", "limit=-1", "limit=1e1", "after=" + "x" * 64):
    try:
        c.call("GET", "/v1/jobs?" + bad)
        raise AssertionError(bad)
    except easyenclave.InvalidRequestError:
        pass
print("ok")
"""
        told = self.net.run([sys.executable, "-c", program])
        self.assertEqual((told.returncode, told.stdout), (0, "ok\n"), told.stderr)

    def test_L7_a_typo_discloses_no_account(self):
        result = self.net.ee("transfer", "contractor-di", "$1")
        self.assertError(result, "not_found", 4)
        self.assertIn('there is no account "contractor-di"\n', result.stderr)
        self.assertEqual(self.net.ee("transfer", "contractor-id", "$1").returncode, 0)
        result = self.net.ee("transfer", "contractor-di", "$1")
        self.assertIn('there is no account "contractor-di". Did you mean contractor-id?', result.stderr)

    def test_a_wrong_method_is_405(self):
        for method, path, allow in (("POST", "/health", "GET, HEAD"), ("DELETE", "/v1/apps", "GET, HEAD, POST"), ("PUT", "/v1/apps/app-name", "GET, HEAD, DELETE"), ("GET", "/v1/attest", "POST"),
                                    ("PATCH", "/v1/jobs", "POST, GET, HEAD"), ("POST", "/v1/collateral/00", "GET, HEAD"), ("HEAD", "/v1/quotes", "POST")):
            with self.subTest(method=method, path=path):
                response, answer = self.ask(method, path)
                self.assertEqual((response.status, response.getheader("Allow")), (405, allow))
                if method == "HEAD":
                    self.assertEqual(answer, b"")
                    continue
                error = json.loads(answer)["error"]
                self.assertEqual((error["code"], error["message"], error["hint"], error["retryable"]), ("invalid", f"{method} is not for {path}", f"it takes {allow}", False))
        response, answer = self.ask("POST", "/v1/nothing")
        self.assertEqual((response.status, json.loads(answer)["error"]["code"]), (404, "not_found"))

    def test_head_is_get_without_its_body(self):
        for path in ("/health", "/v1/nodes", "/v1/apps/app-name", "/v1/collateral/454553494d00?ca=platform"):
            with self.subTest(path=path):
                get, body = self.ask("GET", path)
                head, nothing = self.ask("HEAD", path)
                self.assertEqual((head.status, nothing), (200, b""))
                self.assertEqual(head.getheader("Content-Type"), get.getheader("Content-Type"))
                self.assertGreater(int(head.getheader("Content-Length")), len(body) // 2)
        self.assertEqual(self.ask("HEAD", "/v1/nodes/nobody")[0].status, 404)

    def test_requests_that_cannot_be_read_get_a_whole_error(self):
        for request in (b"GET / HTTP/1.1\r\n\r\n", b"BROKEN\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
            with self.subTest(request=request):
                connection = self.connection()
                connection.connect()
                connection.sock.sendall(request)
                answer = b""
                while block := connection.sock.recv(65536):
                    answer += block
                connection.close()
                error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
                self.assertEqual(set(error), {"code", "message", "hint", "request_id", "retryable"})
                self.assertIs(error["retryable"], False)


if __name__ == "__main__":
    unittest.main(verbosity=2)
