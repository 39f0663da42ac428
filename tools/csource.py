"""What the source checks share: which files are ours, and C text with comments and strings blanked. No rules here. Used by check_*.py."""
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
SKIP = {"build", ".git", "__pycache__", ".cache", "node_modules", "dist"}


def files(root, suffixes=None):
    """Relative posix paths of the project's files under root, sorted; build outputs and tool folders left out."""
    found = []
    for folder, names, leaves in os.walk(root):
        names[:] = [n for n in names if n not in SKIP and not n.endswith(".egg-info")]
        for leaf in leaves:
            if suffixes is None or leaf.endswith(tuple(suffixes)):
                found.append(pathlib.Path(folder, leaf).relative_to(root).as_posix())
    return sorted(found)


TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(text, strings=True):
    """Comments, and if asked for string contents, replaced by spaces; every line keeps its number."""

    def replace(match):
        piece = match.group(0)
        if piece[0] in "\"'":
            return piece[0] + " " * (len(piece) - 2) + piece[0] if strings else piece
        return re.sub(r"[^\n]", " ", piece)

    return TOKEN.sub(replace, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1
