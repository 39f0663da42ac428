#!/usr/bin/env python3
"""Calls and texts this project does without, each with what to use instead. A line may say why it is an exception: /* banned-ok: reason */.

Not a check of style (clang-format) or of includes (check_layers.py). Called by ./dev test and ./dev lint; --self-test shows that it can fail.
"""
import fnmatch
import pathlib
import re
import sys
import tempfile

from csource import ROOT, blank, files, line_of

CODE = ("sdk/*", "server/*")
EVERYWHERE = ("sdk/*", "server/*", "tests/*", "examples/*")
# The allocator itself; a static program without our library; ee, which has the public API only.
STANDALONE = ("sdk/src/base/alloc.c", "server/agent/shim.c", "server/cli/*")
MAIN = ("server/cli/*", "server/*/main.c", "server/agent/shim.c")


def call(*names):
    """A call of a plain function: not a member, not part of a longer name, not a prototype's parameter."""
    return r"(?<![\w.>])(" + "|".join(names) + r")\s*\("


# pattern on code without comments and strings, where it holds, where it does not, what to say
RULES = [
    (call("strcpy", "strcat", "sprintf", "vsprintf", "gets", "stpcpy"), EVERYWHERE, (), "writes without a bound; use snprintf or eei_buf"),
    (call("atoi", "atol", "atoll", "atof"), EVERYWHERE, (), "cannot tell an error; use the parsers of base/encoding.h"),
    (call("strtok"), EVERYWHERE, (), "keeps hidden state; use strcspn or strtok_r"),
    (call("system", "popen"), EVERYWHERE, (), "runs a shell; use posix_spawn or execve with an argument list"),
    (call("gmtime", "localtime", "ctime", "asctime"), EVERYWHERE, (), "static storage; use eei_format_utc or gmtime_r"),
    (call("rand", "srand", "random", "srandom", "drand48"), CODE, (), "guessable; use eei_random"),
    (call("malloc", "calloc", "realloc", "free", "strdup", "strndup"), CODE, STANDALONE, "tests cannot fail it; use base/alloc.h"),
    (call("getenv", "secure_getenv"), CODE, ("*config*.c", "server/cli/*"), "environment is read in *config*.c only"),
    (call("printf", "vprintf", "puts", "putchar"), CODE, MAIN, "a library does not print; use eei_log"),
    (call("fprintf", "vfprintf", "fputs", "fputc", "putc", "fwrite") + r"[^;]*\bstdout\b", CODE, MAIN, "a library does not print; use eei_log"),
]
SECRETISH = re.compile(r"(?:^|[^a-z])(key|secret|mac|sig|signature|token|nonce|digest|hash|seed)(?:e?s)?(?![a-z])")
MONEY = re.compile(r"\b(?:float|double)\s+\**\s*\w*(money|price|amount|balance|credit|cost|budget|stake|usd|fee)", re.I)

# texts of this machine have no place in any file; written so that this file does not contain them
OUTSIDE = re.compile(r"\.\.[/]shared")
OUTSIDE_ALLOWED = ("tests/CMakeLists.txt",)
MACHINE = re.compile(r"(?<![\w.])/(?:work|root)/[\w.]")
TEXT = (".c", ".h", ".py", ".sh", ".txt", ".cmake", ".md", ".json", ".toml", ".yml", ".yaml", ".go", ".i", ".in", ".service", ".cfg", ".html", ".js", ".css")
EXTRA = ("dev", ".ci/run", "LICENSE", ".clang-tidy", ".clang-format", ".gitignore")


def within(path, patterns):
    return any(fnmatch.fnmatchcase(path, p) for p in patterns)


def arguments(code, start):
    """The text between the parentheses of the call that starts at start."""
    begin = code.index("(", start)
    depth = 0
    for at in range(begin, len(code)):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if depth == 0:
            return code[begin + 1 : at]
    return code[begin + 1 :]


def check_code(path, text):
    code = blank(text)
    for pattern, where, but, why in RULES:
        if within(path, where) and not within(path, but):
            for match in re.finditer(pattern, code):
                yield match.start(), f"{match.group(1)}(): {why}"
    if within(path, CODE):
        for match in re.finditer(call("memcmp", "strcmp", "strncmp"), code):
            word = SECRETISH.search(arguments(code, match.start()).lower())
            if word and (match.group(1) == "memcmp" or word.group(1) in ("secret", "mac", "token", "seed")):
                yield match.start(), f"{match.group(1)}() on '{word.group(1)}': its time tells how much was right; use eei_secret_equal"
        for match in MONEY.finditer(code):
            yield match.start(), f"floating point for '{match.group(1)}': money is ee_money, int64_t millionths"


def check_text(path, text):
    if path not in OUTSIDE_ALLOWED:
        for match in OUTSIDE.finditer(text):
            yield match.start(), "names a folder outside the project; tests use the environment's EE_TESTDATA"
    for match in MACHINE.finditer(text):
        yield match.start(), "names a path of one machine"


def check(root):
    faults = []
    for path in files(root):
        if not (path.endswith(TEXT) or path in EXTRA) or "/vectors/" in path or "/corpus/" in path:
            continue
        text = (root / path).read_text(errors="replace")
        found = list(check_text(path, text))
        if path.endswith((".c", ".h")):
            found += check_code(path, text)
        lines = text.splitlines()
        for offset, why in found:
            line = line_of(text, offset)
            if "banned-ok: " not in lines[line - 1]:
                faults.append(f"{path}:{line}: {why}")
    return sorted(set(faults))


def self_test():
    cases = [
        ("sdk/src/base/a.c", "strcpy(a, b);", "strcpy"),
        ("sdk/src/base/a.c", "snprintf(a, 1, b); my_strcpy(a);", None),
        ("sdk/src/base/a.c", "/* strcpy(a, b) */ x = \"system(\";", None),
        ("tests/unit/a.c", "sprintf(a, b);", "sprintf"),
        ("tests/unit/a.c", "void *p = malloc(3);", None),
        ("sdk/src/net/a.c", "p = malloc(3);", "malloc"),
        ("sdk/src/net/a.c", "ops->free(x); h.free(x); eei_free(x); ee_app_free(x);", None),
        ("sdk/src/base/alloc.c", "p = malloc(3);", None),
        ("server/agent/a.c", "popen(x, y);", "popen"),
        ("server/agent/a.c", "t = gmtime(&x);", "gmtime"),
        ("server/agent/a.c", "gmtime_r(&x, &y);", None),
        ("sdk/src/ratls/a.c", "memcmp(a->nonce, b, 32)", "memcmp"),
        ("sdk/src/ratls/a.c", "CRYPTO_memcmp(a->nonce, b, 32)", None),
        ("sdk/src/ratls/a.c", "memcmp(magic, b, 4)", None),
        ("sdk/src/ratls/a.c", "memcmp(design, b, 4)", None),
        ("sdk/src/ratls/a.c", "memcmp(key, b, 4) /* banned-ok: map keys are public */", None),
        ("sdk/src/client/a.c", "double price = 1;", "floating point"),
        ("sdk/include/eesdk/a.h", "double vcpus;", None),
        ("server/common/a.c", "getenv(x);", "getenv"),
        ("server/common/config.c", "getenv(x);", None),
        ("server/cli/cmd_run.c", "getenv(x); printf(x); free(x);", None),
        ("server/common/a.c", "printf(x);", "printf"),
        ("server/common/a.c", "fprintf(stderr, x);", None),
        ("server/common/a.c", "fputs(x, stdout);", "fputs"),
        ("docs/a.md", "see .." + "/shared/design", "outside"),
        ("tests/CMakeLists.txt", ".." + "/shared/testdata", None),
        ("docs/a.md", "cd /" + "work/main", "one machine"),
        ("docs/a.md", "a/" + "work/b and /root", None),
    ]
    failed = 0
    for path, text, want in cases:
        with tempfile.TemporaryDirectory() as folder:
            target = pathlib.Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text + "\n")
            faults = check(pathlib.Path(folder))
        right = not faults if want is None else len(faults) == 1 and want in faults[0]
        if not right:
            failed += 1
            print(f"self-test: {path}: {text!r}: wanted {want!r}, got {faults}")
    print(f"self-test: {len(cases) - failed} of {len(cases)} cases as expected")
    return failed


def main():
    if "--self-test" in sys.argv:
        return 1 if self_test() else 0
    faults = check(ROOT)
    print("\n".join(faults) or "banned: nothing found")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
