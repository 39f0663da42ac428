#!/usr/bin/env python3
"""dcap_qvl_server.py FOLDER - the peer verifier in a process of its own, because a panic of it ends its process. A line of JSON in, a line
out. Started by verdicts.py."""
import base64
import json
import sys

sys.path.insert(0, sys.argv[1])
import dcap_qvl  # noqa: E402


def parse(quote):
    dcap_qvl.parse_quote(quote)
    return None


def verify(quote, collateral_json, root, unix_s):
    collateral = dcap_qvl.QuoteCollateralV3.from_json(collateral_json.decode())
    if root:
        return dcap_qvl.verify_with_root_ca(quote, collateral, root, unix_s).status
    return dcap_qvl.verify(quote, collateral, unix_s).status


print(json.dumps(dcap_qvl.__version__), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    quote, collateral, root = (base64.b64decode(asked.get(name) or "") for name in ("quote", "collateral", "root"))
    try:
        answer = dict(ok=True, status=parse(quote) if asked["what"] == "parse" else verify(quote, collateral, root, asked["time"]), why="")
    except Exception as refused:
        answer = dict(ok=False, status=None, why=" / ".join(part.strip() for part in str(refused).replace("Caused by:", "").splitlines() if part.strip()))
    print(json.dumps(answer), flush=True)
