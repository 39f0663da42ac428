#!/usr/bin/env python3
"""Runs every test of the project and says, last, `N passed, N failed`. Called by ./dev test and CI.

Tests are found by convention, there is no list to keep:
  build/...          the builds themselves, one for each preset of CMakePresets.json (with --build)
  lint/...           the checks of the sources
  unit/ property/ fuzz/ headers/   CTest's tests of build/dev (ASan + UBSan)
  tsan/...           those of them that have threads (CTest's label `threads`), with the programs of build/tsan (ThreadSanitizer)
  integration/...    tests/integration/test_*.py and test_*.sh, against the release programs in build/bin
  python/...         tests/bindings/python/test_*.py, each with unittest
  go/...             every folder with a go.mod under bindings, tests/bindings and examples: vet, and each package's tests
A script exits 77 to say that it was skipped; its last line is the reason. A line `# deadline: 600` near its top gives it more seconds (in C
`/* deadline: 600 s`, through CTest), `# needs: build/tsan` names a build that it takes besides the release. A test whose build failed is left out, and said to be.
Not here: what a test does, or how anything is built.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
DEV = BUILD / "dev"
TSAN = BUILD / "tsan"
SKIPPED = 77
QUICK = ("build/dev", "lint/", "unit/", "property/", "fuzz/", "headers/")
print_lock = threading.Lock()


class Test:
    """One thing to run. result is set by run(): ok, FAIL or skip."""

    def __init__(self, name, command, deadline=120, env=None, cwd=ROOT, parallel=False, private=False, parse=None, needs=()):
        self.name, self.command, self.deadline, self.env, self.cwd = name, command, deadline, env or {}, cwd
        self.needs = set(needs)  # builds, as "build/dev"
        self.parallel = parallel  # may run beside others
        self.private = private  # gets run-time and config folders of its own
        self.parse = parse or (lambda output: [])  # output -> [(name, reason)] skipped inside
        self.result, self.seconds, self.output, self.skips = None, 0.0, "", []


def say(text):
    with print_lock:
        print(text, flush=True)


def environment(test, scratch):
    """No EE_* of the caller's reaches a test, but where the attestation cases are: a test passes or fails the same for everybody."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("EE_") or k in ("EE_TESTDATA", "EE_CASE_SEED")}
    env["PATH"] = f"{BUILD / 'bin'}{os.pathsep}{env['PATH']}"
    env["PKG_CONFIG_PATH"] = str(BUILD / "lib/pkgconfig")
    env["EE_BUILD_DIR"], env["EE_SOURCE_DIR"] = str(BUILD), str(ROOT)
    env.update(GOTOOLCHAIN="local", GOFLAGS="-buildvcs=false", PYTHONUNBUFFERED="1", LC_ALL="C.UTF-8")
    python = [BUILD / "python", ROOT / "bindings/python"]
    env["PYTHONPATH"] = os.pathsep.join(str(p) for p in python if (p / "easyenclave/__init__.py").exists())
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:strict_string_checks=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", f"suppressions={ROOT}/tools/tsan.txt")
    if test.private:
        # Go's cache is worth keeping; it follows XDG_CACHE_HOME unless it is named.
        env.setdefault("GOCACHE", os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "go-build"))
        for name in ("CONFIG", "RUNTIME", "STATE", "DATA", "CACHE"):
            folder = os.path.join(scratch, name.lower())
            os.mkdir(folder, 0o700)
            env["XDG_RUNTIME_DIR" if name == "RUNTIME" else f"XDG_{name}_HOME"] = folder
        env["TMPDIR"] = os.path.join(scratch, "tmp")
        os.mkdir(env["TMPDIR"], 0o700)
    env.update(test.env)
    return env


def kill_group(process):
    """The test and what it left behind: everything of its session's first process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def leftovers(scratch):
    """Processes that a test started and that left its group: daemons carry its folder in their environment or arguments."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
            if int(folder.name) != os.getpid() and scratch.encode() in arguments + (folder / "environ").read_bytes():
                found[int(folder.name)] = arguments.replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            pass  # gone meanwhile, or somebody else's
    return found


def remove_scratch(scratch):
    """Takes the folder away, but never through a mount that is still in it: what is behind it is not the test's."""
    mounts = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    mounts = [m for m in mounts if m.startswith(scratch + "/")]
    for mount in reversed(mounts):
        if subprocess.run(["umount", "-l", mount], capture_output=True).returncode:
            return
    shutil.rmtree(scratch, ignore_errors=True)


def end_leftovers(test, scratch):
    """A test ends what it starts. Otherwise it is done here, and a test that passed has failed."""
    left = leftovers(scratch) if test.private else {}
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if left and test.result == "ok":
        test.result = "FAIL"
    if left:
        test.output += "".join(f"\nleft running: {pid} {command}" for pid, command in left.items()) + "\n"


def run(test):
    started = time.monotonic()
    scratch = tempfile.mkdtemp(prefix="ee-")  # short: paths of sockets may have 107 bytes
    with tempfile.TemporaryFile() as out:
        late = False
        try:
            process = subprocess.Popen(
                test.command, cwd=test.cwd, env=environment(test, scratch), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            code = 127
            out.write(f"cannot be started: {error}\n".encode())
        else:
            try:
                code = process.wait(timeout=test.deadline)
            except subprocess.TimeoutExpired:
                late = True
                code = 1
            finally:
                kill_group(process)
                process.wait()
        out.seek(0)
        test.output = out.read().decode(errors="replace")
    test.seconds = time.monotonic() - started
    if late:
        test.output += f"\nstopped at its deadline of {test.deadline:g} s\n"
    elif code < 0:
        test.output += f"\nended by signal {-code} ({signal.Signals(-code).name})\n"
    lines = test.output.strip().splitlines()
    if code == SKIPPED and not late:
        test.result = "skip"
        test.skips = [(test.name, lines[-1].strip() if lines else "no reason given")]
    else:
        test.result = "FAIL" if code else "ok"
        test.skips = [(f"{test.name}: {inner}", reason) for inner, reason in test.parse(test.output)]
    end_leftovers(test, scratch)
    remove_scratch(scratch)
    report(test)
    return test


def report(test):
    text = f"{test.result:<5} {test.name}  {test.seconds:.2f} s"
    if test.result == "FAIL":
        text += "\n" + "".join(f"    {line}\n" for line in test.output.rstrip().splitlines())
        text += f"    again: ./dev test {shlex.quote(test.name)}"
    say(text)


# --- skips inside a passing program ---------------------------------------------------------------------------------------------


def cmocka_skips(output):
    """[  SKIPPED ] test_x; the line `SKIP: reason` that a test printed before it, if it did."""
    found, reason = {}, "no reason given"
    for line in output.splitlines():
        if line.startswith("SKIP: "):
            reason = line[6:].strip()
        match = re.match(r"\[  SKIPPED \] (\w+)$", line.strip())
        if match:
            found.setdefault(match.group(1), reason)
            reason = "no reason given"
    return list(found.items())


def unittest_skips(output):
    return re.findall(r"^(\w+) \(.*?\).*\.\.\. skipped ['\"](.*)['\"]$", output, re.M)


def go_skips(output):
    return [(name, " ".join(reason.split())) for name, reason in re.findall(r"^\s*--- SKIP: (\S+).*\n((?:\s+\S+\.go:\d+: .*\n)?)", output, re.M)]


# --- finding the tests ----------------------------------------------------------------------------------------------------------


def python_tool(name, *arguments, deadline=300):
    return Test(f"lint/{name}", [sys.executable, *arguments], deadline=deadline)


def lint_tests():
    tests = [
        python_tool("layers", "tools/check_layers.py"),
        python_tool("layers_self_test", "tools/check_layers.py", "--self-test"),
        python_tool("banned", "tools/check_banned.py"),
        python_tool("banned_self_test", "tools/check_banned.py", "--self-test"),
        python_tool("runner_self_test", "tools/run_tests.py", "--self-test"),
        python_tool("status_tables", "tools/gen_status.py", "--check"),
        python_tool("format", "tools/lint.py", "--format"),
        python_tool("scripts", "tools/lint.py", "--scripts"),
        python_tool("analyzers_self_test", "tools/lint.py", "--self-test"),
        python_tool("cppcheck", "tools/lint.py", "--cppcheck", deadline=900),
        python_tool("clang-tidy", "tools/lint.py", "--tidy", "build/dev", deadline=3600),
    ]
    return tests


def ctest_entries():
    """CTest knows names, commands, deadlines and environments; running is ours, so that every kind of test reports alike."""
    shown = subprocess.run(["ctest", "--test-dir", DEV, "--show-only=json-v1"], capture_output=True, text=True)
    return [] if shown.returncode else json.loads(shown.stdout)["tests"]


def ctest_test(entry, name, needs, slower=1):
    properties = {p["name"]: p["value"] for p in entry.get("properties", [])}
    env = dict(pair.split("=", 1) for pair in properties.get("ENVIRONMENT", []))
    command = entry.get("command", ["missing"])  # CTest leaves the command out when the program is not built
    return Test(name, command, properties.get("TIMEOUT", 120) * slower, env, properties.get("WORKING_DIRECTORY", DEV),
                parallel=not properties.get("RUN_SERIAL"), parse=cmocka_skips, needs=[needs])


def ctest_tests():
    return [ctest_test(entry, entry["name"], "build/dev") for entry in ctest_entries()]


def tsan_tests():
    """What has threads once more, in the same order, with the programs of build/tsan."""
    tests = []
    for entry in ctest_entries():
        labels = next((p["value"] for p in entry.get("properties", []) if p["name"] == "LABELS"), [])
        if "threads" in labels:
            short = entry["name"].split("/")[-1]
            tests.append(ctest_test({**entry, "command": [TSAN / "bin" / short]}, f"tsan/{short}", "build/tsan", slower=4))
    return tests


def deadline_of(path, default):
    match = re.search(r"^# deadline: (\d+)", path.read_text(errors="replace")[:4000], re.M)
    return int(match.group(1)) if match else default


def needs_of(path):
    return ["build/release", *re.findall(r"^# needs: (build/\w+)", path.read_text(errors="replace")[:4000], re.M)]


def integration_tests():
    tests = []
    for path in sorted((ROOT / "tests/integration").glob("test_*")):
        if path.suffix not in (".py", ".sh"):
            continue
        command = [sys.executable, path] if path.suffix == ".py" else [path]
        if not os.access(path, os.X_OK):
            command = ["sh", "-c", f"echo 'not executable: chmod +x {path.relative_to(ROOT)}'; exit 1"]
        tests.append(Test(f"integration/{path.name}", command, deadline_of(path, 300), private=True, parse=unittest_skips, needs=needs_of(path)))
    return tests


def python_tests():
    folder = ROOT / "tests/bindings/python"
    return [Test(f"python/{path.stem}", [sys.executable, "-m", "unittest", "-v", path.stem], deadline_of(path, 300), cwd=folder, private=True,
                 parse=unittest_skips, needs=["build/release"]) for path in sorted(folder.glob("test_*.py"))]


def go_tests():
    tests = []
    for top in ("bindings", "tests/bindings", "examples"):
        for module in sorted((ROOT / top).rglob("go.mod")):
            folder = module.parent
            name = folder.relative_to(ROOT).as_posix()
            tests.append(Test(f"go/{name} vet", ["go", "vet", "./..."], 600, cwd=folder, private=True, needs=["build/release"]))
            packages = sorted({p.parent.relative_to(folder).as_posix() for p in folder.rglob("*_test.go")})
            for package in packages:
                tests.append(Test(f"go/{name}/{package}".replace("/.", ""), ["go", "test", "-count=1", "-v", f"./{package}"], 600, cwd=folder,
                                  private=True, parse=go_skips, needs=["build/release"]))
    return tests


# --- the builds -----------------------------------------------------------------------------------------------------------------


def presets():
    """Every preset that can be built, by name: its folder. The release and dev builds first, for most tests need them."""
    known = json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]
    folders = {p["name"]: pathlib.Path(p["binaryDir"].replace("${sourceDir}", str(ROOT))) for p in known if not p.get("hidden")}
    return {name: folders[name] for name in sorted(folders, key=lambda name: (name not in ("dev", "release"), name))}


def build(preset):
    """Configure and build one preset, showing the builder's own lines."""
    started = time.monotonic()
    test = Test(f"build/{preset}", ["cmake", "--build", str(presets()[preset])])
    configured = subprocess.run(["cmake", "--preset", preset, f"-DPython3_EXECUTABLE={sys.executable}"], cwd=ROOT, capture_output=True, text=True)
    code = configured.returncode
    if code:
        test.output = configured.stdout + configured.stderr
    else:
        built = subprocess.run([*test.command, "--", "-k", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        code = built.returncode
        # ninja's progress lines are of no use in a report of faults
        test.output = "\n".join(line for line in built.stdout.splitlines() if not re.match(r"\[\d+/\d+\] ", line))
    test.result = "FAIL" if code else "ok"
    test.seconds = time.monotonic() - started
    report(test)
    return test


# --- all together ---------------------------------------------------------------------------------------------------------------


def testdata_default():
    """Where CMake found the attestation cases, for the tests that CTest does not run."""
    cache = DEV / "CMakeCache.txt"
    match = re.search(r"^EE_TESTDATA:PATH=(.*)$", cache.read_text(), re.M) if cache.exists() else None
    return match.group(1) if match else None


def run_all(tests):
    """First what may run beside others, two at a time (one a core, at least two); then the rest, one by one."""
    beside = [t for t in tests if t.parallel]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(run, beside))
    for test in tests:
        if not test.parallel:
            run(test)


def finish(done, left_out, started):
    skips = [s for t in done for s in t.skips] + left_out
    passed = sum(t.result == "ok" for t in done)
    failed = [t for t in done if t.result == "FAIL"]
    BUILD.mkdir(exist_ok=True)
    record = {
        "passed": passed, "failed": len(failed), "skipped": len(skips), "seconds": round(time.monotonic() - started, 2),
        "tests": [{"name": t.name, "result": t.result, "seconds": round(t.seconds, 3)} for t in done],
        "skips": [{"name": name, "reason": reason} for name, reason in skips],
    }
    (BUILD / "test-results.json").write_text(json.dumps(record, indent=1) + "\n")
    if skips:
        print("\nskipped or left out:")
        for name, reason in skips:
            print(f"  {name}: {reason}")
    if failed:
        print("\nfailed:")
        for test in failed:
            print(f"  {test.name}")
    print("\n" + "\n".join(verdict(passed, len(failed), len(skips))), flush=True)
    return 1 if failed or not passed else 0


def verdict(passed, failed, skipped):
    """The last lines. The very last is for programs and always of this form; what was skipped stands before it."""
    return ([f"{skipped} skipped"] if skipped else []) + [f"{passed} passed, {failed} failed"]


def self_test():
    for given, lines in (((3, 0, 0), ["3 passed, 0 failed"]), ((3, 1, 2), ["2 skipped", "3 passed, 1 failed"]), ((0, 0, 1), ["1 skipped", "0 passed, 0 failed"])):
        if verdict(*given) != lines:
            print(f"verdict{given} is {verdict(*given)}, not {lines}")
            return 1
    return 0


def main():
    # A shell that runs this in the background has SIGINT ignored, and so would all that the tests start and end with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="./dev test", description="build and run the tests")
    parser.add_argument("pattern", nargs="?", default="", help="run only tests whose name contains this")
    parser.add_argument("--quick", action="store_true", help="unit, property, fuzz-corpus and header tests and the checks of the sources")
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)  # a kind: lint, unit ...
    parser.add_argument("--self-test", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    started = time.monotonic()
    done = []
    if options.build:  # always: CTest tells what there is to test, and a pattern is no reason to test the programs of yesterday
        done = [build("dev")] if options.quick else [build("dev"), build("release")]

    if "EE_TESTDATA" not in os.environ and testdata_default():
        os.environ["EE_TESTDATA"] = testdata_default()
    kinds = [lint_tests, ctest_tests, tsan_tests, integration_tests, python_tests, go_tests]
    if options.only == "lint":
        kinds = [lint_tests]
    tests = [t for kind in kinds for t in kind()]
    chosen = [t for t in tests if options.pattern in t.name and t.name.startswith(options.only)]
    left_out = []
    if options.quick:
        left_out += [(t.name, "left out by --quick") for t in chosen if not t.name.startswith(QUICK)]
        chosen = [t for t in chosen if t.name.startswith(QUICK)]
    if options.build and not options.quick:
        needed = {need for t in chosen for need in t.needs}
        more = [p for p in presets() if p not in ("dev", "release") and (options.pattern in f"build/{p}" or f"build/{p}" in needed)]
        done += [build(preset) for preset in more]
    if options.pattern and not chosen and len(done) <= 2:
        print(f"no test's name contains '{options.pattern}'; there are {len(tests)}", file=sys.stderr)
    if options.pattern and len(chosen) < len(tests):
        print(f"left out by the pattern '{options.pattern}': {len(tests) - len(chosen)} of {len(tests)} tests")
    # What was not built now may be there from before; a test of that would speak about another program.
    broken = {t.name for t in done if t.result == "FAIL"}
    left_out += [(t.name, f"{', '.join(sorted(t.needs & broken))} failed") for t in chosen if t.needs & broken]
    chosen = [t for t in chosen if not t.needs & broken]
    run_all(chosen)
    if options.pattern and not chosen and not left_out and len(done) <= 2:
        print("\n0 passed, 0 failed")
        return 1
    return finish(done + chosen, left_out, started)


if __name__ == "__main__":
    sys.exit(main())
