#!/usr/bin/env python3
"""What libeesdk.so exports is what packaging/symbols.txt lists and what the public headers declare, so that an ABI change is a visible line.

Not a check of signatures. Called by CTest (headers/symbols) with the library's path; with --update it rewrites the list.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIST = ROOT / "packaging" / "symbols.txt"
HEAD = "# Functions that libeesdk.so exports. Changed by: python3 tests/headers/check_symbols.py --update\n"


def declared():
    names = set()
    for header in (ROOT / "sdk/include/eesdk").glob("*.h"):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header.read_text(), flags=re.S)
        for declaration in re.findall(r"^\s*EE_API\b([^;]*);", text, flags=re.M):
            names.update(re.findall(r"\b(ee_\w+)\s*\(", declaration)[:1])
    return names


def uncommented():
    """Public functions that nobody said anything about: no comment before the declaration, none behind it."""
    for header in sorted((ROOT / "sdk/include/eesdk").glob("*.h")):
        lines = header.read_text().splitlines()
        for i, line in enumerate(lines):
            if not line.startswith("EE_API"):
                continue
            last = next(j for j in range(i, len(lines)) if ";" in lines[j])
            if "/**<" not in lines[last].split(";", 1)[1] and not lines[i - 1].rstrip().endswith("*/"):
                yield f"{header.name}:{i + 1}: {re.search(r'ee_[a-z_0-9]+(?=[(])', line).group()} has no comment"


def exported(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in out.splitlines()]
    return {row[-1].split("@")[0] for row in rows if row[-2] != "A"}  # A: the version node itself


def listed():
    return {line.strip() for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")}


def difference(text, have, want):
    for name in sorted(have - want):
        print(text.format(name))
    return len(have - want)


def main():
    if "--update" in sys.argv:
        LIST.write_text(HEAD + "".join(name + "\n" for name in sorted(declared())))
        print(f"{LIST.relative_to(ROOT)}: {len(declared())} functions")
        return 0
    faults = difference("{0}: declared in a public header, not in packaging/symbols.txt", declared(), listed())
    faults += difference("{0}: in packaging/symbols.txt, not declared in a public header", listed(), declared())
    faults += difference("{0}: declared in a public header, not exported by the library", declared(), exported(sys.argv[1]))
    faults += difference("{0}: exported by the library, not declared in a public header", exported(sys.argv[1]), declared())
    for fault in uncommented():
        print(fault)
        faults += 1
    if faults:
        print("If the change is meant: python3 tests/headers/check_symbols.py --update, and a line in CHANGELOG.md.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
