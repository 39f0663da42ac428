"""caller.py - one call through the Python package, for callers.py, which says what the arguments and the output are."""
import json
import os
import sys

import easyenclave as ee


def show(chunk):
    stream = sys.stdout if chunk.stream == "stdout" else sys.stderr
    stream.buffer.write(chunk.data)
    stream.flush()


def act(action, *argv):
    if action == "balance":
        ee.Client().balance()
    elif action == "transfer":
        ee.transfer_credits(argv[0], argv[1], idempotency_key=argv[2] or None)
    elif action == "run":
        image, node, vcpus, max_cost, name, *command = argv
        ee.run_private_job(image, command or None, env={name: os.environ[name]} if name else None, vcpus=float(vcpus) or 1, max_cost=max_cost or None,
                           node=node or None, on_output=show)
    elif action == "get":
        with ee.connect(argv[0]) as app:
            sys.stdout.write(app.get(argv[1]).text)


try:
    act(*sys.argv[1:])
    outcome = ["ok", "", "", 0, 0, ""]
except ee.Error as e:
    money = [e.needed.micros, e.available.micros] if isinstance(e, ee.LowBalanceError) else [0, 0]
    outcome = [e.code, e.message, e.hint, *money, json.dumps(dict(e.details))]
print("== outcome", *outcome, sep="\n")
