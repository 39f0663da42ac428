"""verify.py - judges quotes and evidence files through the Python package, for verifiers.py, which says what the lines on both sides are."""
import base64
import datetime as dt
import json
import sys
import time

import easyenclave as ee


def value(a):
    if a is None:
        return None
    checks = [[c.name, c.status, c.expected, c.actual, c.explain, c.reason] for c in a.checks]
    return {"verified": a.verified, "simulated": a.simulated, "tcb_status": a.tcb_status, "advisory_ids": list(a.advisory_ids), "node": a.node,
            "verified_at": int(a.verified_at.timestamp()), "policy_hash": a.policy_hash, "checks": checks, "quote": dict(a.quote),
            "measurements": dict(a.measurements), "text": str(a)}


def ask(q):
    policy = ee.Policy.load(q["policyfile"]) if q.get("policyfile") else ee.Policy.parse(q["policy"], "policy.toml") if q.get("policy") else None
    now = dt.datetime.fromtimestamp(q["now"], dt.timezone.utc) if q.get("now") else None
    if q.get("evidence"):
        return ee.verify_evidence(q["evidence"], policy, at=now)
    bound = base64.b64decode(q["report_data"]) if q.get("report_data") else None
    return ee.verify_quote(base64.b64decode(q["quote"]), base64.b64decode(q["collateral"]), policy, report_data=bound, now=now)


def judge(q):
    started = time.process_time()
    told = {"word": "ok", "message": "", "hint": "", "check": "", "verdict": None}
    try:
        told["verdict"] = value(ask(q))
    except ee.Error as e:
        told.update(word=e.code, message=e.message, hint=e.hint)
        if isinstance(e, ee.AttestationError):
            told.update(check=e.failed_check, verdict=value(e.attestation))
    return {**told, "seconds": time.process_time() - started}


for line in sys.stdin:
    print(json.dumps(judge(json.loads(line))), flush=True)
