#!/usr/bin/env python3
"""The same stories with every program built with AddressSanitizer and UndefinedBehaviorSanitizer: what they find fails here.
What programs of their own do in Python, Go and C is left out: an interpreter would have to be built with the sanitizers too."""
# deadline: 600
import os
import pathlib
import sys
import unittest

BUILD = pathlib.Path(os.environ.get("EE_BUILD_DIR", pathlib.Path(__file__).resolve().parents[2] / "build"))
SANITIZED = BUILD if BUILD.name == "dev" else BUILD / "dev"
if not (SANITIZED / "bin/ee").exists():
    print(f"there are no sanitized programs at {SANITIZED}/bin (./dev test builds them)")
    sys.exit(77)
os.environ["EE_BUILD_DIR"] = str(SANITIZED)

from test_bad_days import BadInput, BadLuck  # noqa: E402
from test_three_calls import ThreeCalls  # noqa: E402


def load_tests(loader, tests, pattern):
    suite = unittest.TestSuite()
    for case in (ThreeCalls, BadInput, BadLuck):
        for name in loader.getTestCaseNames(case):
            if not getattr(getattr(case, name), "own_caller", False):
                suite.addTest(case(name))
    return suite


if __name__ == "__main__":
    unittest.main(verbosity=2)
