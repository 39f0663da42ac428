"""install.py - other people's verifiers, of the versions and hashes that are written down beside this file, into build/peers: for
measurements and comparison, never to build or run anything of ours. Needs the network once. Called by tests/integration/
test_peer_differential.py and tests/bench/bench_peers.py."""
import json
import pathlib
import shutil
import subprocess
import sys

from verdicts import BUILD

HERE = pathlib.Path(__file__).resolve().parent
PYTHON, JAVASCRIPT = BUILD / "peers/dcap-qvl", BUILD / "peers/javascript"
SECONDS = 120


def _install(name, folder, wanted, command):
    """None, or why it cannot be had. wanted: the file that names versions and hashes; its copy, written last, says what is there."""
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"{name} took over {SECONDS} s"
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower() and "complete log" not in line] or lines or ["no reason given"]
        return f"{name}: {'; '.join(errors[:2])}"
    mark.write_text(wanted)
    return None


def python_peer():
    requirements = HERE / "requirements.txt"
    return _install("pip", PYTHON, requirements.read_text(), [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=0", "--timeout=10",
        "--upgrade", f"--target={PYTHON}", f"--requirement={requirements}"])


def javascript_peer():
    missing = [program for program in ("node", "npm") if not shutil.which(program)]
    if missing:
        return f"{' and '.join(missing)} not found: apt-get install nodejs npm"
    lock = (HERE / "package-lock.json").read_text()
    if not (JAVASCRIPT / "installed").exists() or (JAVASCRIPT / "installed").read_text() != lock:
        JAVASCRIPT.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, JAVASCRIPT / name)
    return _install("npm", JAVASCRIPT, lock, ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", f"--prefix={JAVASCRIPT}"])


def javascript_version():
    return json.loads((HERE / "package.json").read_text())["dependencies"]["@phala/dcap-qvl"]
