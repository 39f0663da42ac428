#!/usr/bin/env python3
"""Runs the ready-made checkers over our own files: clang-format, shellcheck or sh -n and py_compile, clang-tidy, cppcheck.

The last two take minutes, so a file in which they found nothing is not read again before something changes that they read: the file, a
header, the configuration, the flags, the tool. Not for rules of our own (check_layers.py, check_banned.py). Called by tools/run_tests.py.
"""
import concurrent.futures
import contextlib
import hashlib
import io
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from check_layers import INCLUDE, resolve
from csource import ROOT, blank, files

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "easyenclave/lint"  # of all checkouts, as ccache's
KEPT_S = 30 * 86400  # what nobody asked for so long is forgotten
TIDY_CONFIG, CPPCHECK_CONFIG = ROOT / ".clang-tidy", ROOT / "tools/cppcheck.txt"


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


# --- analyzers, with a memory ---------------------------------------------------------------------------------------------------


class Analysis:
    """One file for one tool. reads() gives the paths of everything the tool would read, config those that steer it."""

    def __init__(self, source, command, reads, config):
        self.source, self.command, self.reads, self.config = source, command, reads, config


class Memory:
    """Which analyses found nothing, by the hash of all that went into them. Relative names, so that the folder can move with its tree."""

    def __init__(self, folder, root):
        self.folder, self.root = folder, str(root)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hashes, self.versions = {}, {}
        self.lock = threading.Lock()  # guards hashes and versions

    def hash_of(self, path):
        with self.lock:
            if path not in self.hashes:
                self.hashes[path] = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
            return self.hashes[path]

    def version_of(self, tool):
        with self.lock:
            if tool not in self.versions:
                self.versions[tool] = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
            return self.versions[tool]

    def key(self, one):
        told = [self.version_of(one.command[0]), *one.command, *(self.hash_of(c) for c in one.config)]
        told += [f"{path} {self.hash_of(path)}" for path in one.reads()]
        return hashlib.sha256("\0".join(told).replace(self.root, ".").encode()).hexdigest()

    def knows(self, key):
        try:
            os.utime(self.folder / key)
        except FileNotFoundError:
            return False
        return True

    def keep(self, key):
        (self.folder / key).touch()

    def forget(self):
        """Older states of the tree: nobody comes back to them."""
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another checkout's run was faster
                if time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()


def analyze(analyses, memory, root=ROOT):
    """Runs what is not known to be clean. Returns (how many ran, how many failed); prints what the failing ones say."""
    def one(analysis):
        key = memory.key(analysis)
        if memory.knows(key):
            return None
        done = subprocess.run(analysis.command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode == 0:
            memory.keep(key)
        return done

    with concurrent.futures.ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
        ran = [done for done in pool.map(one, analyses) if done]
    failed = [done for done in ran if done.returncode]
    for done in failed:
        print(done.stdout.rstrip())
    memory.forget()
    return len(ran), len(failed)


def compiler_reads(command):
    """As the compiler itself tells: every header, the system's too."""
    words, kept = iter(shlex.split(command)), []
    for word in words:
        if word in ("-o", "-MT", "-MF"):
            next(words)
        elif word not in ("-c", "-MD") and not (word.endswith("ccache") and not kept):
            kept.append(word)

    def reads():
        told = subprocess.run([*kept, "-M"], capture_output=True, text=True, check=True).stdout
        return sorted(set(told.replace("\\\n", " ").split(":", 1)[1].split()))

    return reads


def own_includes(root, path, known):
    if path not in known:
        found = INCLUDE.findall(blank((root / path).read_text(errors="replace"), strings=False))
        known[path] = [target for target in (resolve(root, path, w[1:-1], w[0] == '"') for w in found) if target]
    return known[path]


def own_reads(root, source, known):
    """The file and all our headers that it may include, whatever is defined: cppcheck looks at every way of #if, and at no system header."""

    def reads():
        found, todo = set(), [source]
        while todo:
            path = todo.pop()
            if path not in found:
                found.add(path)
                todo += own_includes(root, path, known)
        return [str(root / path) for path in sorted(found)]

    return reads


def tidy_of(build, source, command):
    return Analysis(source, ["clang-tidy", "--quiet", f"--config-file={TIDY_CONFIG}", "-p", build, source], compiler_reads(command), [TIDY_CONFIG])


def cppcheck_of(root, source, known):
    command = ["cppcheck", "--quiet", "--std=c11", "--enable=warning,portability", "--inline-suppr", "--error-exitcode=1", "--suppress=missingIncludeSystem",
               "--suppress=preprocessorErrorDirective", f"--suppressions-list={CPPCHECK_CONFIG}", "-Isdk/src", "-Isdk/include", "-Iserver", source]
    return Analysis(source, command, own_reads(root, source, known), [CPPCHECK_CONFIG])


def check_tidy(build):
    commands = json.loads((ROOT / build / "compile_commands.json").read_text())
    ours = {c["file"]: c["command"] for c in commands if pathlib.Path(c["file"]).is_relative_to(ROOT) and "/tests/" not in c["file"]}
    ours = {f: c for f, c in ours.items() if (ROOT / build) not in pathlib.Path(f).parents}
    ran, failed = analyze([tidy_of(build, f, ours[f]) for f in sorted(ours)], Memory(CACHE / "clang-tidy", ROOT))
    print(f"clang-tidy: {len(ours)} files, {ran} read anew, {failed} with findings")
    return failed


def check_cppcheck():
    ours = [f for f in files(ROOT, (".c",)) if f.startswith(("sdk/src/", "server/"))]
    known = {}  # path: what it includes
    ran, failed = analyze([cppcheck_of(ROOT, f, known) for f in ours], Memory(CACHE / "cppcheck", ROOT))
    print(f"cppcheck: {len(ours)} files, {ran} read anew, {failed} with findings")
    return failed


def self_test():
    """Both find a planted fault with the project's own configuration, remember what is clean, and look again when a header changes."""
    clean = "#define VALUE(p) (p ? *p : 0)\n"
    fault = "#define VALUE(p) (p ? 0 : *p)\n"  # reads through a null pointer
    wrong = 0
    for tool in ("clang-tidy", "cppcheck"):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            (root / "sdk/src").mkdir(parents=True)
            source = "sdk/src/a.c"
            (root / source).write_text('#include "a.h"\nint get(const int *p);\nint get(const int *p) { return VALUE(p); }\n')
            command = f"cc -c {root / source} -o a.o"
            (root / "compile_commands.json").write_text(json.dumps([{"directory": folder, "file": str(root / source), "command": command}]))
            one = tidy_of(folder, str(root / source), command) if tool == "clang-tidy" else cppcheck_of(root, source, {})
            for text, want in ((clean, (1, 0)), (clean, (0, 0)), (fault, (1, 1)), (fault, (1, 1)), (clean, (0, 0))):
                (root / "sdk/src/a.h").write_text(text)
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    got = analyze([one], Memory(root / "memory", root), root)
                if got != want or ("a.c:3:" in said.getvalue()) != bool(want[1]):
                    wrong += 1
                    print(f"self-test: {tool} with {text.strip()!r}: wanted (ran, failed) = {want}, got {got}\n{said.getvalue()}")
    print(f"self-test: {'as expected' if not wrong else 'wrong'}")
    return wrong


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
    if what == "--self-test":
        return 1 if self_test() else 0
    print("usage: lint.py --format | --scripts | --tidy BUILD | --cppcheck | --self-test", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
