"""The package builds and runs outside the checkout, as pip does it: from a copy of bindings/, against the libeesdk that pkg-config finds."""
# deadline: 600
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import support


class InstallTest(unittest.TestCase):
    def setUp(self):
        if importlib.util.find_spec("setuptools") is None:
            self.skipTest("setuptools is not installed")
        self.folder = tempfile.mkdtemp(prefix="ee-install-")
        self.addCleanup(shutil.rmtree, self.folder)
        for part in ("python", "swig"):
            shutil.copytree(support.SOURCE / "bindings" / part, f"{self.folder}/bindings/{part}", ignore=shutil.ignore_patterns("build", "__pycache__", ".mypy_cache", "*.egg-info"))

    def build(self, source=None, **environment):
        command = [sys.executable, "setup.py", "-q", "build", "--build-base", f"{self.folder}/base", "--build-lib", f"{self.folder}/lib"]
        env = {**os.environ, "PKG_CONFIG_PATH": str(support.BUILD / "lib/pkgconfig"), **environment}
        return subprocess.run(command, cwd=source or f"{self.folder}/bindings/python", env=env, capture_output=True, text=True)

    def read_only(self, command):
        """With nothing of bindings/ that could be written, by root neither."""
        bindings = f"{self.folder}/bindings"
        env = {**os.environ, "PKG_CONFIG_PATH": str(support.BUILD / "lib/pkgconfig"), "TMPDIR": self.folder, "HOME": self.folder}
        if os.geteuid() == 0:
            mounted = f'mount --bind "{bindings}" "{bindings}" && mount -o remount,bind,ro "{bindings}" && cd "{bindings}/python" && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mounted, "sh", *command]
            if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
                self.skipTest("root may not mount here")
        else:
            subprocess.run(["chmod", "-R", "a-w", bindings], check=True)
            self.addCleanup(subprocess.run, ["chmod", "-R", "u+w", bindings])
        return subprocess.run(command, cwd=f"{bindings}/python", env=env, capture_output=True, text=True)

    def test_a_checkout_that_cannot_be_written_is_enough(self):
        asked = self.read_only([sys.executable, "-c", "from setuptools import build_meta; build_meta.get_requires_for_build_wheel()"])
        self.assertEqual(asked.returncode, 0, asked.stdout + asked.stderr)  # the first that pip does
        built = self.read_only([sys.executable, "setup.py", "-q", "build", "--build-lib", f"{self.folder}/lib"])
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        self.runs()
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("easyenclave-build-")], [])

    def test_pip_installs_from_a_checkout_that_cannot_be_written(self):
        for module in ("pip", "wheel"):
            if importlib.util.find_spec(module) is None:
                self.skipTest(f"{module} is not installed")
        installed = self.read_only([sys.executable, "-m", "pip", "install", "--no-index", "--no-build-isolation", "--no-deps", "--target", f"{self.folder}/lib", "."])
        self.assertEqual(installed.returncode, 0, installed.stdout + installed.stderr)
        self.runs()

    def test_a_source_distribution_builds_alone(self):
        env = {**os.environ, "PKG_CONFIG_PATH": str(support.BUILD / "lib/pkgconfig")}
        made = subprocess.run([sys.executable, "setup.py", "-q", "sdist", "--dist-dir", f"{self.folder}/dist"], cwd=f"{self.folder}/bindings/python", env=env, capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        (archive,) = pathlib.Path(f"{self.folder}/dist").iterdir()
        shutil.rmtree(f"{self.folder}/bindings")
        shutil.unpack_archive(archive, f"{self.folder}/unpacked")
        (source,) = pathlib.Path(f"{self.folder}/unpacked").iterdir()
        built = self.build(source)
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        self.runs()

    def runs(self):
        """With nothing that tells the loader where libeesdk is. Returns what the extension says of itself."""
        env = {**{k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}, "PYTHONPATH": f"{self.folder}/lib"}
        script = "import easyenclave, easyenclave.aio, os; print(easyenclave.Money.parse('$200')); print(os.path.dirname(easyenclave.__file__)); " \
                 "print({line.split()[-1] for line in open('/proc/self/maps') if 'libeesdk' in line})"
        ran = subprocess.run([sys.executable, "-c", script], cwd=self.folder, env=env, capture_output=True, text=True)
        self.assertEqual(ran.stdout.split("\n")[:2], ["$200.00", f"{self.folder}/lib/easyenclave"], ran.stderr)
        return ran.stdout

    def test_built_package_runs(self):
        built = self.build()
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        self.assertEqual(sorted(name for name in os.listdir(f"{self.folder}/bindings/python/easyenclave") if "eesdk_raw" in name), ["eesdk_raw.pyi"])
        self.runs()
        self.assertTrue(os.path.exists(f"{self.folder}/lib/easyenclave/py.typed"))
        self.assertTrue(os.path.exists(f"{self.folder}/lib/easyenclave/eesdk_raw.pyi"))

    def test_package_of_an_installed_library_runs(self):
        prefix = f"{self.folder}/prefix"
        subprocess.run(["cmake", "--install", str(support.BUILD), "--prefix", prefix], check=True, capture_output=True)
        pc = next(iter(pathlib.Path(prefix).rglob("eesdk.pc")))
        built = self.build(PKG_CONFIG_PATH=str(pc.parent))
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        self.assertIn(f"{prefix}/", self.runs())

    def test_a_missing_library_is_named(self):
        built = self.build(PKG_CONFIG_PATH=self.folder, PKG_CONFIG_LIBDIR=self.folder)
        self.assertNotEqual(built.returncode, 0)
        self.assertIn("libeesdk was not found", built.stderr)


if __name__ == "__main__":
    unittest.main()
