"""Builds the extension eesdk_raw with SWIG against the libeesdk that pkg-config finds: pip install bindings/python.

Not needed in a checkout, where CMake builds into build/python. Needs swig, a C compiler, and libeesdk's pkg-config file
(PKG_CONFIG_PATH=<build>/lib/pkgconfig for one that is not installed). A checkout that cannot be written is enough: what comes up is kept in a
temporary folder then. A source distribution has the interface files in a folder of its own.
"""
import atexit
import functools
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
INTERFACE = next(folder for folder in (HERE / "swig", HERE.parent / "swig") if (folder / "eesdk.i").exists())


@functools.lru_cache(maxsize=None)
def elsewhere():
    """Where to write; None = beside the sources."""
    if os.access(HERE, os.W_OK):
        return None
    folder = tempfile.mkdtemp(prefix="easyenclave-build-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def pkg_config(*arguments):
    try:
        answer = subprocess.run(["pkg-config", *arguments, "eesdk"], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit("easyenclave: pkg-config is needed to find libeesdk")
    except subprocess.CalledProcessError as error:
        sys.exit(f"easyenclave: libeesdk was not found; set PKG_CONFIG_PATH to the folder of eesdk.pc\n{error.stderr}")
    return shlex.split(answer)


class Place(build):
    def initialize_options(self):
        super().initialize_options()
        if elsewhere():
            self.build_base = os.path.join(elsewhere(), "build")


class Metadata(egg_info):
    def initialize_options(self):
        super().initialize_options()
        self.egg_base = self.egg_base or elsewhere()


class Distribution(sdist):
    """With what SWIG reads, which is beside this folder in a checkout."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copytree(INTERFACE, os.path.join(base_dir, "swig"), ignore=lambda folder, names: [n for n in names if not n.endswith(".i")])


class Build(build_ext):
    """SWIG first; its two outputs go to the build folder."""

    def build_extension(self, ext):
        swig = shutil.which("swig4.1") or shutil.which("swig4.0") or shutil.which("swig")
        if not swig:
            sys.exit("easyenclave: swig (4.0 or newer) is needed to build from source")
        folder = pathlib.Path(self.build_temp)
        folder.mkdir(parents=True, exist_ok=True)
        module = pathlib.Path(self.get_ext_fullpath(ext.name)).parent
        module.mkdir(parents=True, exist_ok=True)
        cflags, libs = pkg_config("--cflags"), pkg_config("--libs")
        includes = [flag for flag in cflags if flag.startswith("-I")]
        source = folder / "eesdk_python.c"
        subprocess.run([swig, "-python", *includes, f"-I{INTERFACE}", "-outdir", str(module), "-o", str(source), str(INTERFACE / "eesdk.i")], check=True)
        ext.sources = [str(source)]
        ext.extra_compile_args = [*cflags, "-D_GNU_SOURCE", "-Wno-unused-parameter"]
        ext.extra_link_args = libs
        super().build_extension(ext)


class Sources(build_py):
    """The wrapper, without what a build in place may have left in it."""

    def find_package_modules(self, package, package_dir):
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "eesdk_raw"]


setup(
    version=pkg_config("--modversion")[0],
    packages=["easyenclave"],
    package_data={"easyenclave": ["py.typed", "*.pyi"]},
    ext_modules=[Extension("easyenclave._eesdk_raw", sources=[])],
    cmdclass={"build": Place, "build_ext": Build, "build_py": Sources, "egg_info": Metadata, "sdist": Distribution},
)
