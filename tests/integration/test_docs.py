#!/usr/bin/env python3
"""The pages say what is true: their commands run, their links lead somewhere, their tables are the sources'. Tables between
`<!-- generated: NAME -->` and `<!-- end -->` are made by this file: `python3 tests/integration/test_docs.py --write` writes them anew.

Every block of every page runs, in order, in one shell of somebody who has a checkout and nothing else. What a page can say about a block, in
words that only this file sees:
    ```sh exit=7            it ends with 7
    ```go file=it-go/main.go   it is saved there, and a later block uses it; a python, c or go block without this is a program and is run
    ```text                 it is no command
  and in comments right above the block:
    <!-- not run: ./dev test: it would start itself -->    lines that begin so are not run, and why
    <!-- not run: the program: it needs TDX -->            a program that is built only, and why
    <!-- around: -->                                       the block is a part of the program in the comment, at the line that says ...
In a `console` block `$ ` begins a command, and what stands below it must come out, with any numbers and with anything for `...`."""
# deadline: 900
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from devnet import BIN, BUILD, ROOT, environment

sys.path.insert(0, str(ROOT / "tests/peer"))
from disagreements import KNOWN  # noqa: E402

DOCS = ROOT / "docs"
PAGES = sorted(p for p in ROOT.rglob("*.md") if not {"build", ".git"} & set(p.relative_to(ROOT).parts))
COMMAND_SECONDS = 240
MODULE = "github.com/easyenclave/easyenclave/bindings/go"


def read(path):
    return (ROOT / path).read_text()


# ---- what the sources say -----------------------------------------------------------------------------------------------------------


def constants(text):
    """#define NAME value of limits.h, as numbers; comments as reasons."""
    out = {}
    for name, value, reason in re.findall(r"^#define (EEI_\w+) +(\S.*?) */\* (.*?) \*/$|^#define (?:EEI_\w+) \S+$", text, re.M):
        if name:
            out[name] = (value, reason)
    for name, value in re.findall(r"^#define (EEI_\w+) +(\(?\d[\w<(+ )]*\)?)", text, re.M):
        out.setdefault(name, (value, ""))
    return {n: (number(v), r) for n, (v, r) in out.items()}


def number(text):
    text = re.sub(r"(?<=[0-9a-fA-F])[uUlL]+\b", "", text.strip())
    return eval(text, {"__builtins__": {}}) if re.fullmatch(r"[0-9a-fA-Fx<() ]+", text) else text  # numbers, shifts and parentheses only


def readable(value):
    if isinstance(value, int) and value >= 1024 and value % 1024 == 0:
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value % size == 0:
                return f"{value:,} ({value // size} {unit})"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join("---" for _ in heads) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows])


KINDS = {"U64": "number", "BOOL": "boolean", "FIXED": "bytes, exactly", "BYTES": "bytes", "TEXT": "text", "TEXTS": "list of texts", "BLOBS": "list of bytes",
         "MESSAGE": "map", "MESSAGES": "list of maps", "NUMBERS": "list of numbers"}


def struct_comments():
    """Member comments of wire/messages.h and the comment at each struct's head."""
    text, heads, members = read("sdk/src/wire/messages.h"), {}, {}
    for match in re.finditer(r"typedef struct eei_(\w+) \{(?: /\* (.*?) \*/)?(.*?)\n?\} eei_\1;|typedef struct eei_(\w+) \{ (.*?) \} eei_\4;", text, re.S):
        name = match.group(1) or match.group(4)
        heads[name] = match.group(2) or ""
        for line in (match.group(3) or match.group(5) or "").split("\n"):
            declared = re.match(r"\s*(?:uint64_t|uint8_t|ee_span|eei_list|bool) ([\w, \[\]]+);(?:\s*/\* (.*?) \*/)?", line)
            if declared and declared.group(2):
                for member in re.findall(r"(\w+)(?:\[\d+\])?", declared.group(1)):
                    members[name, member] = declared.group(2)
    return heads, members


def messages():
    text, limits, (heads, comments) = read("sdk/src/wire/messages.c"), constants(read("sdk/src/base/limits.h")), struct_comments()

    def value(word):
        if word == "INT64_MAX":
            return "2^63-1"
        return limits[word][0] if word in limits else number(word)

    out = []
    for name, body in re.findall(r"static const eei_field (\w+)_fields\[\] = \{(.*?)\n\};", text, re.S):
        rows = []
        fields = re.findall(r"FIELD\(eei_\w+, (\d+), (\w+), EEI_KIND_(\w+), (true|false), ([^,]+), ([^,]+), ([^)]+)\)", body)
        if len(fields) != body.count("FIELD("):
            raise AssertionError(f"messages.c: not every field of {name} was understood")
        for key, member, kind, required, most_bytes, most, sub in fields:
            size, count, limit = value(most_bytes), value(most), []
            if kind == "FIXED":
                limit.append(f"{size}")
            elif kind == "U64" and size:
                limit.append(f"at most {size if isinstance(size, str) else f'{size:,}'}")
            elif size:
                limit.append(f"at most {size:,} bytes" + (" each" if kind in ("TEXTS", "BLOBS") else ""))
            if count:
                limit.append(f"at most {count:,} items")
            word = KINDS[kind] + (f" ({sub[5:-7]})".replace("i_", "") if kind in ("MESSAGES", "MESSAGE") else "")
            rows.append((key, f"`{member}`", word, ", ".join(limit), "yes" if required == "true" else "", comments.get((name, member), "")))
        out.append(f"#### `{name}`\n" + (f"{heads.get(name)[0].upper() + heads.get(name)[1:]}.\n\n" if heads.get(name) else "\n") +
                   table(("key", "field", "kind", "limit", "must be there", "meaning"), rows))
    return "\n\n".join(out)


def enum(path, name, prefix):
    body = re.search(r"typedef enum " + name + r" \{(.*?)\} " + name + ";", read(path), re.S).group(1)
    return [(n[len(prefix):], number(v), c) for n, v, c in re.findall(r"(" + prefix + r"\w+) = (\w+),(?: +/\* (.*?) \*/)?", body)]


def frames():
    return table(("type", "name", "note"), [(v, n, c) for n, v, c in enum("sdk/src/wire/frame.h", "eei_frame_type", "EEI_FRAME_")])


def signed():
    return table(("type", "body", "note"), [(f"0x{v:02x}", n, c) for n, v, c in enum("sdk/src/attest/envelope.h", "eei_signed_type", "EEI_SIGNED_")])


def purposes():
    return table(("number", "purpose"), [(v, n.lower().replace("_", " ")) for n, v, _ in enum("sdk/src/attest/statement.h", "eei_purpose", "EEI_PURPOSE_")])


def limits():
    sizes = re.compile("BYTES|PAYLOAD|WINDOW|BUFFER|BODY|MESSAGE|CAPTURE")
    rows = [(f"`{n}`", readable(v) if sizes.search(n) else f"{v:,}", r) for n, (v, r) in constants(read("sdk/src/base/limits.h")).items()]
    return table(("name", "value", "reason"), rows)


def checks():
    names = re.findall(r"\[EEI_CHECK_\w+\] = \{\"(\w+)\", \"([^\"]+)\", (true|false)\}", read("sdk/src/attest/verdict.c"))
    return table(("check", "shown as", "may be skipped"), [(f"`{n}`", t, ("when there is none" if n == "boot_log" else "when the caller gives nothing to compare with") if o == "true" else "") for n, t, o in names])


def layers():
    rows = []
    for name, body in re.findall(r"^\[(\w+)\]\n((?:.+\n?)*)", read("tools/layers.txt"), re.M):
        if name == "system":
            continue
        get = dict(re.findall(r"^(files|may|system) *= *(.*)$", body, re.M))
        rows.append((f"`{name}`", " ".join(f"`{f}`" for f in get.get("files", "").split()), get.get("may", "").strip().replace("*", "\\*") or "nothing",
                     get.get("system", "").strip().replace("*", "\\*")))
    return table(("layer", "files", "may include", "libraries beside libc"), rows)


def keys(program):
    source = {"agent": "agent/agent_config.c", "controlplane": "controlplane/cp_config.c", "uptime": "uptime/uptime_config.c"}[program]
    body = re.search(r"const config_key \w+_keys\[\] = \{(.*?)\n\};", read(f"server/{source}"), re.S).group(1)
    found = re.findall(
        r"\{\"([\w.]+)\", CONFIG_(\w+), CONFIG_FIELD\([^)]*\), (\d+), (\d+), (NULL|\"[^\"]*\"),\s*((?:\"[^\"]*\"\s*)+),\s*CONFIG_(\w+),\s*(NULL|(?:\"[^\"]*\"\s*)+)\}", body)
    if len(found) != body.count("CONFIG_FIELD"):
        raise AssertionError(f"server/{source}: not every key was understood")
    measured = {"MEASURED": "value", "CONTENT": "hash of its content", "PRESENCE": "whether it is set; ", "NEUTRAL": "no: "}
    rows = []
    for name, kind, low, high, fallback, text, measure, why in found:
        text = "".join(re.findall(r"\"([^\"]*)\"", text))
        why = "".join(re.findall(r"\"([^\"]*)\"", why))
        flag = "" if kind == "SECRET" else "`--" + re.sub(r"[._]", "-", name) + "`"
        variable = "`EE_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper() + "`"
        default = "**must be given**" if fallback == "NULL" else f"`{fallback[1:-1]}`" if fallback != '""' else "empty"
        rows.append((f"`{name}`", flag, variable, default, text + (f" ({int(low):,} to {int(high):,})" if kind == "NUMBER" and int(high) else ""),
                     measured[measure] + why))
    return table(("key in the file", "flag", "environment", "default", "meaning", "measured"), rows)


def negative_tests():
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*")):
        if path.suffix in (".c", ".py"):
            for name in re.findall(r"\btest_((?:[A-Z]\d+_)+[a-z0-9]\w*)\b", path.read_text()):
                for threat in re.findall(r"([A-Z]\d+)_", re.match(r"(?:[A-Z]\d+_)+", name).group()):
                    found.setdefault(threat, {}).setdefault(path.relative_to(ROOT).as_posix(), set()).add(f"test_{name}")
    return found


def threats():
    rows = []
    for threat, places in sorted(negative_tests().items(), key=lambda item: (item[0][0], int(item[0][1:]))):
        rows.append((threat, "<br>".join(f"[{p.rsplit('/', 1)[1]}](../{p}): " + ", ".join(f"`{t}`" for t in sorted(tests)) for p, tests in sorted(places.items()))))
    return table(("threat", "tests that answer it"), rows)


def differential():
    """The last kept run of test_peer_differential.py, which must be of the table and the peer that are here."""
    kept = json.loads(read("tests/peer/differential.json"))
    anew = "keep a run anew: python3 tests/integration/test_peer_differential.py --count 20000 --record"
    if list(kept["otherwise"]) != [known.kind for known in KNOWN]:
        raise AssertionError(f"tests/peer/differential.json has other rows than tests/peer/disagreements.py; {anew}")
    if kept["peer"].replace(" ", "==") not in read("tests/peer/requirements.txt"):
        raise AssertionError(f"tests/peer/differential.json is of {kept['peer']}, tests/peer/requirements.txt is not; {anew}")
    return kept


def peer_run():
    kept = differential()
    otherwise = sum(row["inputs"] for row in kept["otherwise"].values())
    alike = kept["accepted"] + kept["refused"]
    return table(("day", "peer", "seed", "inputs", "judged alike", "accepted by both", "refused by both", "judged otherwise", "not explained"),
                 [(kept["date"], kept["peer"], kept["seed"], *(f"{n:,}" for n in (alike + otherwise, alike, kept["accepted"], kept["refused"], otherwise)), 0)])


def disagreements():
    kept = differential()["otherwise"]
    who = {"ours": "ours", "peer": "the peer"}
    return table(("what", "who is stricter", "why", "inputs", "for example"),
                 [(known.kind, who[known.stricter], known.why, f"{kept[known.kind]['inputs']:,}", f"`{kept[known.kind]['case']}`") for known in KNOWN])


LAGS = ("threats",)  # a new test need not touch the page; what the page names must exist
GENERATED = {"messages": messages, "frames": frames, "signed": signed, "purposes": purposes, "limits": limits, "checks": checks, "layers": layers,
             "keys controlplane": lambda: keys("controlplane"), "keys agent": lambda: keys("agent"), "keys uptime": lambda: keys("uptime"), "threats": threats, "peer run": peer_run,
             "disagreements": disagreements}
MARK = re.compile(r"(<!-- generated: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.S)


def with_tables(text, but=()):
    return MARK.sub(lambda m: m.group() if m.group(2) in but else m.group(1) + GENERATED[m.group(2)]() + "\n" + m.group(4), text)


# ---- pages --------------------------------------------------------------------------------------------------------------------------


def without_code(text):
    return re.sub(r"^```.*?^```\s*$", "", text, flags=re.S | re.M)


def anchors(page):
    """As GitHub makes them from headings."""
    out, seen = set(), {}
    for heading in re.findall(r"^#{1,6} +(.*?)\s*$", without_code(page.read_text()), re.M):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        out.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
    return out


class Block:
    """A fenced block, and what the page says about it."""

    FENCE = re.compile(r"^((?:<!-- (?:not run|around):(?:(?!-->).)*-->\n)*)```(\w*)([^\n]*)\n(.*?)^```[ \t]*$", re.S | re.M)
    RUN, SHELL, NO_COMMANDS = ("python", "c", "go"), ("sh", "console"), ("text", "toml", "json")

    def __init__(self, page, match):
        about, self.language, words, self.text = match.groups()
        self.page, self.line = page, page.read_text()[: match.start(2)].count("\n") + 1
        self.exit = next((int(w[5:]) for w in words.split() if w.startswith("exit=")), 0)
        self.file = next((w[5:] for w in words.split() if w.startswith("file=")), None)
        said = dict(re.findall(r"<!-- ([\w ]+):(.*?)-->\n", about, re.S))
        self.around = said["around"].removeprefix("\n") if "around" in said else None
        self.not_run, self.why = said["not run"].strip().split(": ", 1) if "not run" in said else (None, None)
        unknown = [w for w in words.split() if not w.startswith(("exit=", "file="))]
        if unknown or self.language not in self.RUN + self.SHELL + self.NO_COMMANDS:
            raise AssertionError(f"{self}: {self.language or 'no language'} {unknown}: what is this block?")

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def program(self):
        if self.around is None:
            return self.text
        before, place, after = re.fullmatch(r"(.*?)^([ \t]*)\.\.\.$\n?(.*)", self.around, re.S | re.M).groups()
        return before + "".join(place + line + "\n" if line else "\n" for line in self.text.splitlines()) + after

    def commands(self):
        """[(command, what must come out)]. In a console block each command has its own, else there is one command and nothing is said."""
        if self.language == "sh":
            lines = [line for line in self.text.splitlines() if not self.left_out(line)]
            return [("\n".join(lines), "")] if any(line.strip() and not line.lstrip().startswith("#") for line in lines) else []
        out = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                out.append((line[2:], ""))
            else:
                out[-1] = (out[-1][0], out[-1][1] + line + "\n")
        return [(command, told) for command, told in out if not self.left_out(command)]

    def lines(self):
        return [line.removeprefix("$ ") for line in self.text.splitlines()]

    def left_out(self, line):
        return self.not_run is not None and line.lstrip().startswith(self.not_run)


def blocks(page):
    return [Block(page, match) for match in Block.FENCE.finditer(page.read_text())]


def as_told(told):
    """What a page shows as a pattern: any numbers, anything for `...`, and more lines may come in between."""
    lines = [line.rstrip() for line in told.splitlines() if line.strip() and line.strip() != "..."]
    pattern = r"[^\n]*\n(?:.*\n)?".join(re.escape(line) for line in lines)
    return re.sub(r"[0-9]+", r"[0-9]+", pattern.replace(r"\.\.\.", r"[^\n]*"))


def checkout(place):
    """The checkout's root as a reader sees it, but what a command writes beside the sources stays out of them."""
    for entry in ROOT.iterdir():
        if entry.name not in ("build", ".git"):
            (place / entry.name).symlink_to(entry)
    (place / "build").symlink_to(BUILD)
    return place


def stranger(home):
    """Somebody whose shell knows nothing of a build."""
    env = environment(home)
    env["PATH"] = os.pathsep.join(p for p in env["PATH"].split(os.pathsep) if pathlib.Path(p) != BIN)
    env["PYTHON"] = sys.executable  # ./dev build then finds what was built with this one
    env["GOCACHE"] = os.environ.get("GOCACHE") or os.path.expanduser("~/.cache/go-build")
    return {k: v for k, v in env.items() if k not in ("LD_LIBRARY_PATH", "PYTHONPATH", "PKG_CONFIG_PATH")}


class Pages(unittest.TestCase):
    def test_tables_are_the_sources(self):
        for page in PAGES:
            text = page.read_text()
            self.assertEqual(with_tables(text, LAGS), text, f"{page.relative_to(ROOT)}: run python3 tests/integration/test_docs.py --write")

    def test_every_threat_to_attestation_and_session_has_a_test(self):
        known = negative_tests()
        for threat in (*(f"Q{i}" for i in range(1, 20)), *(f"S{i}" for i in range(1, 7))):
            with self.subTest(threat=threat):
                self.assertIn(threat, known)
        for threat in ("Q7", "Q9", "Q11", "Q12", "Q17", "S1", "S3", "S6"):  # between processes: a test with processes
            with self.subTest(threat=threat):
                self.assertTrue([place for place in known[threat] if place.startswith("tests/integration/") and not place.endswith("test_model.py")])

    def test_tests_that_the_pages_name_exist(self):
        known = {name for places in negative_tests().values() for tests in places.values() for name in tests}
        for page in PAGES:
            for name in set(re.findall(r"\btest_(?:[A-Z]\d+_)+[a-z0-9]\w*", page.read_text())):
                with self.subTest(page=page.name, test=name):
                    self.assertIn(name, known)

    def test_a_go_program_has_its_folder_for_itself(self):
        """go build takes every source that lies there, C too: who reads on after the first page must not come upon the second's."""
        languages = {}
        for block in (b for page in PAGES for b in blocks(page) if b.file and b.language in Block.RUN):
            languages.setdefault(pathlib.PurePath(block.file).parent, set()).add(block.language)
        self.assertGreater(len(languages), 1)
        for folder, found in languages.items():
            self.assertEqual(len(found), 1, f"{folder}/ has {found}")

    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                found = (page.parent / path).resolve() if path else page
                with self.subTest(page=page.name, target=target):
                    self.assertTrue(found.exists(), f"{page.relative_to(ROOT)}: {target} does not exist")
                    if anchor:
                        self.assertIn(anchor, anchors(found))

    def test_anchors_that_the_code_cites_exist(self):
        for top in ("sdk", "server", "bindings", "tests", "tools", "examples"):
            for path in sorted((ROOT / top).rglob("*")):
                if path.suffix not in (".c", ".h", ".py", ".go", ".i", ".txt", ".md", ".sh") or path.name == "test_docs.py" or "/vectors/" in str(path):
                    continue
                for name, anchor in re.findall(r"docs/([a-z-]+\.md)#([a-z0-9-]+)", path.read_text(errors="replace")):
                    with self.subTest(file=str(path.relative_to(ROOT)), anchor=f"{name}#{anchor}"):
                        self.assertIn(anchor, anchors(DOCS / name))

    def test_every_route_is_described(self):
        words = {"PUBLIC": "anybody", "ANYBODY": "anybody", "ACCOUNT": "account", "OWNER": "owner"}
        built = {(m, p.replace("{}", "*"), words[a]) for m, p, a in re.findall(r"\{\"(\w+)\", \"(/[^\"]*)\", ACCESS_(\w+),", read("server/controlplane/api.c"))}
        section = re.search(r"^## HTTP\b(.*?)^## ", read("docs/protocol.md"), re.S | re.M).group(1)
        told = {(m, re.sub(r"\{\w+\}", "*", p), a) for m, p, a in re.findall(r"^\| `(\w+) (/[^`]*)` \| (\w+) \|", section, re.M)}
        self.assertTrue(built)
        beside = {("GET", "/v1/tunnel", "anybody"), ("GET", "/v1/collateral/*", "anybody")}  # the listener's, and text that is handed out as it is
        self.assertEqual(told, built | beside)

    def test_every_key_of_a_policy_is_described(self):
        source, page = read("sdk/src/attest/policy_file.c"), read("docs/policy.md")
        pins = re.findall(r'"(\w+)"', re.search(r"eei_pin_names\[EEI_PIN_COUNT\] = \{(.*?)\};", read("sdk/src/attest/policy.c"), re.S).group(1))
        built = {"key": re.findall(r'\{"(\w+)", key_\w+\}', source), "key of `[[tcb_exception]]`": re.findall(r'\{"(\w+)", (?:true|false), exception_\w+\}', source),
                 "key of `[[profile]]`": ["name", *pins],
                 "status": re.findall(r'\[EEI_TCB_\w+\] = "((?!Revoked|NotSupported)\w+)"', read("sdk/src/attest/tcb_info.c"))}
        for head, names in built.items():
            with self.subTest(table=head):
                told = re.search(rf"^\| {re.escape(head)} \|[^\n]*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.M).group(1)
                self.assertTrue(names)
                self.assertCountEqual(re.findall(r"^\| `(\w+)` \|", told, re.M), names)
        example = re.search(r"^```toml.*?^```$", page, re.S | re.M).group()
        for name in built["key"]:
            if not name.startswith(("anchor_", "simulated", "allow_any")):  # what cannot stand beside the others
                self.assertRegex(example, rf"(?m)^(?:\[\[)?{name}\b")

    def test_every_adr_has_its_parts(self):
        for page in sorted((DOCS / "adr").glob("0*.md")):
            for part in ("## Context", "## Decision", "## Consequences", "## What would change our mind"):
                self.assertIn(part, page.read_text(), page.name)


class Commands(unittest.TestCase):
    """Each page is read from the top by somebody who has nothing but a checkout. Its tests are made below, one a page."""

    @classmethod
    def setUpClass(cls):
        if not (BIN / "ee").exists():
            raise unittest.SkipTest(f"there is no {BIN / 'ee'}: build first")

    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="ee-docs-"))
        (self.home / "run").mkdir(mode=0o700)
        (self.home / "checkout").mkdir()
        self.place = checkout(self.home / "checkout")
        self.env = stranger(self.home)

    def tearDown(self):
        subprocess.run([BIN / "ee", "devnet", "down"], env=self.env, capture_output=True, timeout=60)
        left = subprocess.run(["pgrep", "-fa", str(self.home)], capture_output=True, text=True).stdout
        shutil.rmtree(self.home, ignore_errors=True)
        self.assertEqual(left, "", "left running")

    def shell(self, block, text, want, told=""):
        """In the root of the checkout, with what earlier blocks exported."""
        state = self.home / "exported"
        state.touch()
        keep = f"trap 'code=$?; export -p >{state}; exit $code' EXIT\n"
        result = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", f". {state}\n{keep}{text}"], cwd=self.place, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=COMMAND_SECONDS)
        self.assertEqual(result.returncode, want, f"{block}:\n{text}\n{result.stdout}\n{result.stderr}")
        if told:
            self.assertRegex(result.stdout + result.stderr, as_told(told), f"{block}: {text}")

    def program(self, block):
        """A listing that is a whole program, or is made one: as a reader would run it."""
        folder = self.home / f"listing-{block.line}"
        folder.mkdir()
        name, build, run = {
            "python": ("it.py", "python3 -m py_compile it.py", "python3 it.py"),
            "c": ("it.c", "cc -Wall -Wextra -Werror it.c $(pkg-config --cflags --libs eesdk) -o it", "./it"),
            "go": ("main.go", f"go mod init it && go mod edit -replace {MODULE}={self.place}/bindings/go && go mod tidy && go build -o it .", "./it"),
        }[block.language]
        (folder / name).write_text(block.program())
        if block.not_run:
            print(f"not run: {block}: {block.why}", flush=True)
        self.shell(block, f"cd {folder}\n{build}" + ("" if block.not_run else f"\n{run}"), block.exit)

    def run_block(self, block):
        if block.file:
            target = self.place / block.file
            self.assertFalse(any(p.is_symlink() for p in (target, *target.parents) if p != self.place and self.place in p.parents), f"{block}: would write into the sources")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.program())
        elif block.language in Block.RUN:
            self.program(block)
        elif block.language in Block.SHELL:
            for line in filter(block.left_out, block.lines()):
                print(f"not run: {block}: {line.strip()}: {block.why}", flush=True)
            for command, told in block.commands():
                self.shell(block, command, block.exit, told)

    def run_page(self, page):
        for block in blocks(page):
            with self.subTest(block=str(block)):
                self.run_block(block)


class Markers(unittest.TestCase):
    def test_what_is_said_to_be_not_run_is_there(self):
        for block in (b for page in PAGES for b in blocks(page) if b.not_run):
            with self.subTest(block=str(block)):
                there = block.not_run == "the program" if block.language in Block.RUN else any(map(block.left_out, block.lines()))
                self.assertTrue(there, f"no line begins with {block.not_run}")
                self.assertGreater(len(block.why.split()), 3, "a reason is a sentence")

    def test_commands_that_the_text_names_exist(self):
        """`ee verb` and `./dev verb` inside a line."""
        known = {"./dev": re.findall(r"^  (\w+) ", subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True).stdout, re.M),
                 "ee": ["help", *re.findall(r"^  (\w+) ", subprocess.run([BIN / "ee", "help"], capture_output=True, text=True).stdout, re.M)]}
        for page in PAGES:
            for program, verb in re.findall(r"`(ee|\./dev) (?:--json )?([a-z]\w*)[^`]*`", without_code(page.read_text())):
                with self.subTest(page=page.name, command=f"{program} {verb}"):
                    self.assertIn(verb, known[program])

    def test_a_wrong_page_is_found(self):
        for text, said in (("```\nls\n```\n", "what is this block"), ("```sh perhaps\nls\n```\n", "what is this block")):
            with tempfile.NamedTemporaryFile("w", dir=ROOT / "build", suffix=".md") as page:
                page.write(text)
                page.flush()
                with self.assertRaisesRegex(AssertionError, said):
                    blocks(pathlib.Path(page.name))
        self.assertRegex("devnet is up in 0.4 s\nx\nnodes  a b\n", as_told("devnet is up in 1.2 s\n...\nnodes ...\n"))
        self.assertNotRegex("devnet is down\n", as_told("devnet is up in 1.2 s\n"))


for one in PAGES:
    if any(block.language not in Block.NO_COMMANDS for block in blocks(one)):
        name = re.sub(r"\W+", "_", one.relative_to(ROOT).as_posix().removesuffix(".md")).lower()
        setattr(Commands, f"test_{name}", lambda self, page=one: self.run_page(page))


if __name__ == "__main__":
    if "--write" in sys.argv:
        for page in PAGES:
            text = page.read_text()
            new = with_tables(text)
            if new != text:
                page.write_text(new)
                print(f"wrote {page.relative_to(ROOT)}")
        sys.exit(0)
    unittest.main(verbosity=2)
