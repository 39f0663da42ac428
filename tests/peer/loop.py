#!/usr/bin/env python3
"""loop.py PACKAGES FOLDER UNIX_S - the peer in Rust, through its Python package, on FOLDER's quote.bin, collateral.json and root.der: a number in,
that many verifications, microseconds of processor time for each out. Started by tests/bench/bench_peers.py."""
import pathlib
import sys
import time

sys.path.insert(0, sys.argv[1])
import dcap_qvl  # noqa: E402

quote, collateral, root = ((pathlib.Path(sys.argv[2]) / name).read_bytes() for name in ("quote.bin", "collateral.json", "root.der"))
for line in sys.stdin:
    start = time.process_time()
    for _ in range(int(line)):
        status = dcap_qvl.verify_with_root_ca(quote, dcap_qvl.QuoteCollateralV3.from_json(collateral.decode()), root, int(sys.argv[3])).status
        if status != "UpToDate":
            sys.exit(f"the peer says {status}")
    print((time.process_time() - start) * 1e6 / int(line), flush=True)
