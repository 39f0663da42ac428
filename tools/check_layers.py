#!/usr/bin/env python3
"""A lower folder never includes a higher one: holds every #include against tools/layers.txt, and refuses cycles between files.

Not a check of what links with what (CMake does that). Called by ./dev test and ./dev lint; --self-test shows that it can fail.
"""
import fnmatch
import pathlib
import re
import sys
import tempfile

from csource import ROOT, blank, files, line_of

INCLUDE = re.compile(r"^[ \t]*[#%][ \t]*(?:include|import)[ \t]+(.+?)[ \t]*$", re.M)
SEARCH = ("sdk/src", "server", "sdk/include", "tests")  # as CMake's include paths


def braces(pattern):
    """a.{b,c} -> a.b a.c"""
    match = re.search(r"\{([^}]*)\}", pattern)
    if not match:
        return [pattern]
    return [p for choice in match.group(1).split(",") for p in braces(pattern[: match.start()] + choice + pattern[match.end() :])]


def words(text):
    return [p for word in re.split(r"\s+(?![^{]*\})", text.strip()) if word for p in braces(word)]


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, p.replace("**", "*")) for p in patterns)


class Rules:
    def __init__(self, text):
        self.system, self.layers, section = {}, {}, None
        for line in text.splitlines():
            line = line.split("#")[0].strip()
            if not line:
                continue
            if line.startswith("["):
                section = line.strip("[]")
                if section != "system":
                    self.layers[section] = {"files": [], "may": [], "system": []}
                continue
            key, value = (part.strip() for part in line.split("=", 1))
            if section == "system":
                self.system[key] = words(value)
            else:
                self.layers[section][key] = words(value)
        for name, layer in self.layers.items():
            for group in layer["system"]:
                if group != "*" and group not in self.system:
                    sys.exit(f"layers.txt: [{name}] names the unknown group {group}")
            for other in layer["may"]:
                if other != "*" and "/" not in other and other not in self.layers:
                    sys.exit(f"layers.txt: [{name}] names the unknown layer {other}")

    def layer_of(self, path):
        return next((name for name, layer in self.layers.items() if matches(path, layer["files"])), None)

    def refuse_own(self, layer, target):
        """Why a file of this layer may not include our file target, or None."""
        may = self.layers[layer]["may"]
        other = self.layer_of(target)
        if other == layer or "*" in may or other in may or matches(target, [m for m in may if "/" in m]):
            return None if target.endswith((".h", ".def")) or layer == "tests" else "only headers are included"
        return f"{layer} may not include {other or 'a file of no layer'}"

    def refuse_system(self, layer, name):
        allowed = self.layers[layer]["system"]
        if "*" in allowed:
            return None
        groups = [g for g, patterns in self.system.items() if matches(name, patterns)]
        if not groups:
            return "header of no group in tools/layers.txt"
        if any(g == "libc" or g in allowed for g in groups):
            return None
        return f"{layer} may not use {groups[0]}"


def resolve(root, path, name, quoted):
    """Our file that an include means, as a path from the root; None if it is not ours."""
    here = [pathlib.PurePosixPath(path).parent.as_posix()] if quoted else []
    for folder in here + list(SEARCH):
        candidate = (root / folder / name).resolve()
        if candidate.is_file() and candidate.is_relative_to(root.resolve()):
            return candidate.relative_to(root.resolve()).as_posix()
    return None


def includes(text, path):
    """(line number, written form) of every #include; in Go, those of the cgo comment."""
    if not path.endswith(".go"):
        text = blank(text, strings=False)
    for match in INCLUDE.finditer(text):
        yield line_of(text, match.start()), match.group(1)


def find_cycle(graph):
    state, trail = {}, []

    def visit(node):
        state[node] = "open"
        trail.append(node)
        for after in graph.get(node, ()):
            if state.get(after) == "open":
                return trail[trail.index(after) :] + [after]
            if after not in state:
                cycle = visit(after)
                if cycle:
                    return cycle
        trail.pop()
        state[node] = "done"
        return None

    for node in sorted(graph):
        if node not in state:
            cycle = visit(node)
            if cycle:
                return cycle
    return None


def check(root, rules):
    """Every fault, as 'path:line: text'."""
    faults, graph = [], {}
    for path in files(root, (".c", ".h", ".i", ".go", ".cpp", ".hpp")):
        layer = rules.layer_of(path)
        text = (root / path).read_text(errors="replace")
        for line, written in includes(text, path):
            form = re.fullmatch(r"<([^>]+)>|\"([^\"]+)\"", written)
            if path.endswith(".i") and not (form and (form.group(1) or form.group(2)).startswith("eesdk/")):
                continue  # SWIG's own library files
            if not form:
                faults.append(f"{path}:{line}: include of a macro: cannot be checked")
                continue
            name, quoted = form.group(1) or form.group(2), bool(form.group(2))
            target = resolve(root, path, name, quoted)
            if target:
                graph.setdefault(path, set()).add(target)
            if layer is None:
                faults.append(f"{path}:{line}: this file is in no layer of tools/layers.txt")
                continue
            if target:
                why = rules.refuse_own(layer, target)
            elif quoted and layer != "tests":
                why = "no such file" if layer != "bindings" else None  # generated headers of the bindings
            else:
                why = rules.refuse_system(layer, name)
            if why:
                faults.append(f"{path}:{line}: #include {written}: {why}")
    cycle = find_cycle(graph)
    if cycle:
        faults.append("include cycle: " + " -> ".join(cycle))
    return faults


def self_test(rules):
    """Plant includes in a small tree; each wrong one must be found, each right one passed."""
    cases = [
        # files, expected words in the one fault; None = no fault
        ({"sdk/src/base/a.c": '#include "a.h"\n#include <stdio.h>\n', "sdk/src/base/a.h": ""}, None),
        ({"sdk/src/base/a.c": '#include "wire/b.h"\n', "sdk/src/wire/b.h": ""}, "base may not include wire"),
        ({"sdk/src/wire/a.c": '#include "base/b.h"\n#include <msgpack.h>\n', "sdk/src/base/b.h": ""}, None),
        ({"sdk/src/mux/a.c": "#include <msgpack.h>\n"}, "mux may not use msgpack"),
        ({"sdk/src/base/a.c": '  #  include "../mux/b.h" // x\n', "sdk/src/mux/b.h": ""}, "base may not include mux"),
        ({"sdk/src/base/a.c": '/* #include "wire/b.h" */\n', "sdk/src/wire/b.h": ""}, None),
        ({"sdk/src/net/a.c": '#include "attest/evidence.h"\n', "sdk/src/attest/evidence.h": ""}, None),
        ({"sdk/src/net/a.c": '#include "attest/quote.h"\n', "sdk/src/attest/quote.h": ""}, "net may not include attest"),
        ({"server/agent/a.c": '#include "client/x.h"\n', "sdk/src/client/x.h": ""}, "agent may not include client"),
        ({"server/controlplane/ledger.c": '#include "net/x.h"\n', "sdk/src/net/x.h": ""}, "pure may not include net"),
        ({"server/controlplane/api.c": '#include "net/x.h"\n', "sdk/src/net/x.h": ""}, None),
        ({"server/store/pg.c": "#include <sqlite3.h>\n"}, "store may not use sqlite"),
        ({"server/store/sqlite.c": "#include <sqlite3.h>\n"}, None),
        ({"server/cli/cmd_run.c": '#include "common/x.h"\n', "server/common/x.h": ""}, "cli may not include common"),
        ({"server/cli/cmd_devnet.c": '#include "common/x.h"\n', "server/common/x.h": ""}, None),
        ({"examples/c/a.c": '#include "base/b.h"\n', "sdk/src/base/b.h": ""}, "examples may not include base"),
        ({"bindings/go/a.go": '/*\n#include "../../sdk/src/base/b.h"\n*/\n', "sdk/src/base/b.h": ""}, "bindings may not include base"),
        ({"sdk/src/base/a.c": "#include <zlib.h>\n"}, "header of no group"),
        ({"sdk/src/base/a.c": "#include HEADER\n"}, "include of a macro"),
        ({"sdk/src/base/a.c": '#include "b.c"\n', "sdk/src/base/b.c": ""}, "only headers"),
        ({"sdk/src/new/a.c": "#include <stdio.h>\n"}, "no layer"),
        ({"sdk/src/base/a.h": '#include "b.h"\n', "sdk/src/base/b.h": '#include "a.h"\n'}, "include cycle"),
    ]
    failed = 0
    for tree, want in cases:
        with tempfile.TemporaryDirectory() as folder:
            for path, text in tree.items():
                target = pathlib.Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
            faults = check(pathlib.Path(folder), rules)
        right = not faults if want is None else len(faults) == 1 and want in faults[0]
        if not right:
            failed += 1
            print(f"self-test: {tree}: wanted {want!r}, got {faults}")
    print(f"self-test: {len(cases) - failed} of {len(cases)} cases as expected")
    return failed


def main():
    rules = Rules((ROOT / "tools/layers.txt").read_text())
    if "--self-test" in sys.argv:
        return 1 if self_test(rules) else 0
    faults = check(ROOT, rules)
    print("\n".join(faults) or "layers: every #include is allowed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
