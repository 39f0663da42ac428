#!/usr/bin/env python3
"""Runs the ready-made checkers over our own files: clang-format, shellcheck or sh -n and py_compile, clang-tidy, cppcheck.

Not for rules of our own (check_layers.py, check_banned.py). Called by ./dev lint and tools/run_tests.py.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

from csource import ROOT, files


def c_files():
    """C by hand: SWIG's output for Go is committed, but nobody formats it."""
    return [f for f in files(ROOT, (".c", ".h")) if "/internal/raw/" not in f]


def many(commands):
    """Run each command, two at a time; print what the failing ones say. Returns how many failed."""

    def one(command):
        return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
        for done in pool.map(one, commands):
            if done.returncode:
                failed += 1
                print(done.stdout.rstrip())
    return failed


def check_format():
    """One process for all files: starting clang-format costs more than reading them."""
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *c_files()], cwd=ROOT, capture_output=True, text=True)
    wrong = {line.split(":")[0]: line for line in reversed(done.stderr.splitlines()) if ": error: " in line}
    for path in sorted(wrong):
        print(wrong[path])
    if done.returncode:
        print(f"{len(wrong)} files; mend with: ./dev fmt" if wrong else done.stderr)
    else:
        print("format: as clang-format would write it")
    return done.returncode


def check_scripts():
    """Every script at least parses; shell scripts get shellcheck where it is installed."""
    shell, python = [], []
    for path in files(ROOT):
        if path.endswith(".py"):
            python.append(path)
        elif path.endswith(".sh") or path in ("dev", ".ci/run"):
            shell.append(path)
    failed = 0
    for path in python:
        try:
            compile((ROOT / path).read_text(), path, "exec")
        except SyntaxError as error:
            failed += 1
            print(f"{path}:{error.lineno}: {error.msg}")
    for path in shell:
        first = (ROOT / path).read_text().split("\n", 1)[0]
        failed += many([["bash" if "bash" in first else "sh", "-n", path]])
    if shutil.which("shellcheck") and shell:
        failed += many([["shellcheck", "-x", *shell]])
    print(f"scripts: {len(python)} Python, {len(shell)} shell, {failed} with faults")
    return failed


def check_tidy(build):
    commands = json.loads((ROOT / build / "compile_commands.json").read_text())
    sources = sorted({c["file"] for c in commands if pathlib.Path(c["file"]).is_relative_to(ROOT) and "/tests/" not in c["file"]})
    sources = [s for s in sources if (ROOT / build) not in pathlib.Path(s).parents]
    failed = many([["clang-tidy", "--quiet", "-p", build, s] for s in sources])
    print(f"clang-tidy: {len(sources)} files, {failed} with findings")
    return failed


def check_cppcheck():
    failed = many([["cppcheck", "--quiet", "--std=c11", "--enable=warning,portability", "--inline-suppr", "--error-exitcode=1", "--suppress=missingIncludeSystem",
                    "--suppress=preprocessorErrorDirective", "--suppressions-list=tools/cppcheck.txt", "-j2", "-Isdk/src", "-Isdk/include", "-Iserver", "sdk/src", "server"]])
    print(f"cppcheck: {'findings' if failed else 'nothing found'}")
    return failed


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "--format":
        return 1 if check_format() else 0
    if what == "--scripts":
        return 1 if check_scripts() else 0
    if what == "--tidy":
        return 1 if check_tidy(sys.argv[2]) else 0
    if what == "--cppcheck":
        return 1 if check_cppcheck() else 0
    print("usage: lint.py --format | --scripts | --tidy BUILD | --cppcheck", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
