"""devnet.py - a devnet for integration tests: real processes on loopback, folders of its own, down again whatever happens.
Not a test itself. Imported by the test_*.py beside it."""
import fcntl
import hashlib
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

ROOT = pathlib.Path(os.environ.get("EE_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("EE_BUILD_DIR", ROOT / "build"))
BIN = BUILD / "bin"


def environment(home):
    """A user with nothing configured."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("EE_", "XDG_"))}
    env.update(
        HOME=str(home),
        XDG_RUNTIME_DIR=str(home / "run"),
        XDG_CONFIG_HOME=str(home / "config"),
        # The sample image and the registry's blobs are the same for every devnet: made once.
        XDG_CACHE_HOME=os.environ.get("EE_TEST_CACHE", str(BUILD / "test-cache")),
        PATH=f"{BIN}{os.pathsep}{env['PATH']}",
        LD_LIBRARY_PATH=str(BUILD / "lib"),
        PYTHONPATH=str(BUILD / "python"),
        PKG_CONFIG_PATH=str(BUILD / "lib/pkgconfig"),
        LC_ALL="C.UTF-8",
    )
    return env


def wait_for(what, condition, seconds=20.0):
    """Until condition() is true: an event with a deadline, never a fixed sleep."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def ended(pid):
    """Gone, or only waiting to be asked for."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def go_build(folder, name, text, env):
    """A program in Go against the binding that is tested; where it is."""
    module = "github.com/easyenclave/easyenclave/bindings/go"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.go").write_text(text)
    (folder / "go.mod").write_text(f"module {name}\n\ngo 1.19\n\nrequire {module} v0.0.0\n\nreplace {module} => {ROOT}/bindings/go\n")
    cache = os.environ.get("GOCACHE") or os.path.expanduser("~/.cache/go-build")
    built = subprocess.run(["go", "build", "-o", name, "."], cwd=folder, env={**env, "GOCACHE": cache}, capture_output=True, text=True, timeout=280)
    if built.returncode != 0:
        raise AssertionError(f"go build: {built.stderr}")
    return folder / name


def cgroups_of(root_dir):
    """The groups of the sandboxes of an agent with this runtime folder, in each hierarchy."""
    name = "easyenclave-" + hashlib.sha256(str(root_dir).encode()).hexdigest()[:12]
    return [group for place in ("", "*/") for group in pathlib.Path("/sys/fs/cgroup").glob(place + name)]


def remove_cgroups(root_dir):
    """Of an agent that was killed, as the next one with its folder would. A runtime that it had just started may still make groups: each
    look is a new one."""
    def removed(group):
        for folder in [*sorted((f for f in group.rglob("*") if f.is_dir()), reverse=True), group]:
            try:
                for pid in (folder / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                folder.rmdir()
            except OSError:  # it ended meanwhile, or has not yet
                pass
        return not group.exists()

    for group in cgroups_of(root_dir):
        wait_for(f"{group} is removed", lambda: removed(group))


class Beside:
    """A program that runs beside the devnet's own: an impostor, most of the time. Its log is one of the devnet's."""

    def __init__(self, net, name, argv, env):
        self.path, self.root_dir = net.dir / f"logs/{name}.log", env.get("EE_RUNTIME_DIR")
        with open(self.path, "w") as log:
            self.process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)

    def log(self):
        return self.path.read_text(errors="replace")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.remove_cgroups()

    def remove_cgroups(self):
        if self.root_dir:
            remove_cgroups(self.root_dir)


def own_caller(test):
    """Marks a test whose caller is a program of its own, in Python, Go or C, and not `ee`: test_sanitized.py leaves it out."""
    test.own_caller = True
    return test


class Devnet:
    made = 0

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="ee-devnet-"))
        (self.home / "run").mkdir(mode=0o700)
        self.env = environment(self.home)
        # Programs built with sanitizers leave what they find here; down() looks. What a process keeps at its end is no leak.
        self.env["ASAN_OPTIONS"] = f"detect_leaks=0:log_path={self.home}/sanitizer"
        self.env["UBSAN_OPTIONS"] = f"print_stacktrace=1:log_path={self.home}/sanitizer"
        self.env["TSAN_OPTIONS"] = f"suppressions={ROOT}/tools/tsan.txt:log_path={self.home}/sanitizer"
        self.file = self.home / "run/easyenclave/devnet.json"
        self.dir = self.home / "run/easyenclave/devnet"
        self.settings = {}  # of programs that something was beside: (program, environment)
        self.others = []
        # Of its own, and below the ephemeral range: nobody takes it while a killed control plane is away.
        Devnet.made += 1
        self.port = 10000 + (os.getpid() * 16 + Devnet.made) % 20000

    def up(self, *options):
        started = time.monotonic()
        result = self.ee("devnet", "up", "--port", str(self.port), *options, timeout=120)
        if result.returncode != 0:
            raise AssertionError(f"devnet up: {result.stderr}\n{self.logs()}")
        self.up_seconds = time.monotonic() - started
        return self

    def sandboxes(self):
        """Where the agents' sandboxes are; None when no devnet is up."""
        try:
            return pathlib.Path(json.loads((self.dir / "children.json").read_text())["sandboxes"])
        except FileNotFoundError:
            return None

    def remains(self, sandboxes):
        """Of sandboxes(): the folder itself, and the cgroups of the agents that worked there."""
        groups = [group for name in ("node-a", "node-b", "node-c") for group in cgroups_of(f"{sandboxes}/{name}")]
        return [str(path) for path in [sandboxes, *groups] if path.exists()]

    def down(self):
        sandboxes = self.sandboxes()
        result = self.ee("devnet", "down", timeout=60)
        left = subprocess.run(["pgrep", "-fa", str(self.home)], capture_output=True, text=True).stdout
        left += "\n".join(self.remains(sandboxes)) if sandboxes else ""
        for other in self.others:
            other.remove_cgroups()
        found = [path.read_text(errors="replace")[:6000] for path in sorted(self.home.glob("sanitizer.*"))]
        shutil.rmtree(self.home, ignore_errors=True)
        if found:
            raise AssertionError("sanitizers found:\n" + "\n".join(found))
        if result.returncode != 0 or left:
            raise AssertionError(f"devnet down: exit {result.returncode} {result.stderr}; left: {left}")

    def ee(self, *args, input=None, timeout=60, env=None, text=True):
        return subprocess.run([str(BIN / "ee"), *args], env={**self.env, **(env or {})}, input=input, capture_output=True, text=text, timeout=timeout, cwd=self.home)

    def terminal(self, *args, columns=80, timeout=30):
        """(exit code, what a terminal of that width shows on standard output)."""
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([str(BIN / "ee"), *args], env=self.env, stdin=child, stdout=child, stderr=subprocess.DEVNULL, cwd=self.home)
        os.close(child)
        shown = b""
        try:
            while block := os.read(parent, 65536):
                shown += block
        except OSError:  # the other side is closed: that is how a terminal ends
            pass
        os.close(parent)
        return process.wait(timeout), shown

    def json(self, *args, **kw):
        result = self.ee("--json", *args, **kw)
        if result.returncode != 0:
            raise AssertionError(f"ee {args}: exit {result.returncode}: {result.stderr}\n{self.logs()}")
        return json.loads(result.stdout)

    def run(self, argv, timeout=120, **kw):
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=timeout, cwd=kw.pop("cwd", self.home), **kw)

    def compile(self, source, name):
        """A C program of a test against the library that is tested, with the sanitizer that the library has. Returns its path."""
        path, library = self.home / name, (BUILD / "lib/libeesdk.so").read_bytes()
        path.with_suffix(".c").write_text(source)
        flags = self.run(["pkg-config", "--cflags", "--libs", "eesdk"]).stdout.split()
        flags += [flag for mark, flag in ((b"__asan_init", "-fsanitize=address,undefined"), (b"__tsan_init", "-fsanitize=thread")) if mark in library]
        built = self.run(["cc", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", str(path.with_suffix(".c")), "-o", str(path), *flags])
        if built.returncode or built.stderr:
            raise AssertionError(f"{name}: {built.stderr}")
        return str(path)

    def profile(self):
        return json.loads(self.file.read_text())

    def pid_of(self, name):
        """Of a program of the devnet: control, node-a ... found by its environment."""
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                program = os.readlink(entry / "exe")
                env = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if not program.startswith(str(BUILD)) or program.endswith("/ee") or program.endswith("ee-shim"):
                continue
            if f"EE_TDX_MACHINE={self.dir}/machines/{name}.json".encode() in env and b"BESIDE=1" not in env:
                return int(entry.name)
        raise AssertionError(f"no process of {name}")

    def kill(self, name, how=signal.SIGKILL):
        os.kill(self.pid_of(name), how)

    def environment_of(self, pid):
        return dict(item.split("=", 1) for item in pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in item)

    def replace(self, name, program=None, **more):
        """kill -9 and the same program, or another one, with the same settings and more of them; None takes one away. Returns the new process."""
        pid = self.pid_of(name)
        env = {**self.environment_of(pid), **more}
        program = program or os.readlink(f"/proc/{pid}/exe")
        if name == "control":
            env["EE_CONTROL_PORT"] = self.profile()["url"].rsplit(":", 1)[1]
        env = {key: value for key, value in {**env, "EE_READY_FD": None}.items() if value is not None}
        if "EE_NODE_TICKET" in env and "EE_NODE_TICKET" not in more:
            pathlib.Path(env["EE_NODE_TICKET"]).write_text(self.ticket(name))
        os.kill(pid, signal.SIGKILL)
        wait_for("the old one is gone", lambda: ended(pid))
        with open(self.dir / f"logs/{name}-2.log", "a") as log:
            return subprocess.Popen([program], env=env, stdout=log, stderr=log)

    def beside(self, name, called, program=None, machine=None, **more):
        """Another process with the settings of `name`, which goes on or was beside() before, and more of them: on its machine or another's."""
        if name not in self.settings:
            pid = self.pid_of(name)
            self.settings[name] = os.readlink(f"/proc/{pid}/exe"), self.environment_of(pid)
        own, env = self.settings[name][0], {**self.settings[name][1], "BESIDE": "1"}
        env.pop("EE_READY_FD", None)
        if "EE_RUNTIME_DIR" in env:
            env["EE_RUNTIME_DIR"] = str(self.home / called)
        if machine:
            env["EE_TDX_MACHINE"] = f"{self.dir}/machines/{machine}.json"
        self.others.append(Beside(self, called, [program or own], {**env, **more}))
        return self.others[-1]

    def push_hello(self):
        """examples/hello-workload as an image in the devnet's registry: a server that keeps connections."""
        work = pathlib.Path(tempfile.mkdtemp(prefix="ee-hello-"))
        try:
            rootfs = work / "rootfs"
            (rootfs / "app").mkdir(parents=True)
            env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
            subprocess.run(["go", "build", "-o", str(rootfs / "app/hello"), "."], cwd=ROOT / "examples/hello-workload", env=env, check=True)
            layout = work / "layout"
            image = f"{layout}:latest"
            for command in (
                ["umoci", "init", "--layout", layout],
                ["umoci", "new", "--image", image],
                ["umoci", "insert", "--image", image, rootfs, "/"],
                ["umoci", "config", "--image", image, "--config.cmd", "/app/hello"],
                ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{image}", f"docker://{self.profile()['registry'].removeprefix('http://')}/hello:latest"],
            ):
                subprocess.run([str(c) for c in command], check=True, capture_output=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def go_program(self, name, text):
        """Builds main.go against the Go binding; where the program is."""
        return go_build(self.home / "go" / name, name, text, self.env)

    def account(self, name):
        """The environment of somebody else: provider-a, contractor-id ..."""
        return self.json("devnet", "env", name)

    def enrolled(self, name):
        """What genesis says of a node or uptime server: (provider, machine)."""
        blocks = (self.dir / "genesis.toml").read_text().split("\n[[")
        block = next(b for b in blocks if f'\nname = "{name}"\n' in b)
        return tuple(re.search(rf'\n{key} = "(.*)"', block).group(1) for key in ("provider", "machine"))

    def ticket(self, name, *options, machine=None, provider=None):
        """A boot ticket as the node's provider would sign it."""
        enrolled = self.enrolled(name)
        kind = ["--uptime-server"] if name.startswith("uptime") else []
        result = self.ee("node", "ticket", name, "--machine", machine or enrolled[1], *kind, *options, env=self.account(provider or enrolled[0]))
        if result.returncode != 0:
            raise AssertionError(f"ee node ticket {name}: {result.stderr}")
        return result.stdout

    def restart_control(self):
        """On the same port."""
        return self.replace("control")

    def node(self, name):
        return next(n for n in self.json("nodes")["items"] if n["node"] == name)

    def logs(self):
        out = []
        for path in sorted((self.dir / "logs").glob("*.log")) if (self.dir / "logs").is_dir() else []:
            out.append(f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-25:]))
        return "\n".join(out)

    def balance(self):
        b = self.json("balance")
        return b["available"]["micros"], b["locked"]["micros"]


class DevnetCase(unittest.TestCase):
    """One devnet for the tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.net = Devnet()
        try:
            cls.net.up()
        except BaseException:
            cls.net.ee("devnet", "down")
            shutil.rmtree(cls.net.home, ignore_errors=True)
            raise

    @classmethod
    def tearDownClass(cls):
        cls.net.down()

    def assertError(self, result, word, code):
        """One word per error, the right exit code, and nothing on stdout."""
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertIn(f"ee: {word}:", result.stderr)
        self.assertEqual(result.stdout, "")


class OwnDevnet(DevnetCase):
    """One for each test, that may be broken, or not be up."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.net = Devnet()
        self.addCleanup(self.net.down)
