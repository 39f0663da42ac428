"""Builds the extension eesdk_raw with SWIG against the libeesdk that pkg-config finds: pip install bindings/python.

Not needed in a checkout, where CMake builds into build/python. Needs swig, a C compiler, and libeesdk's pkg-config file
(PKG_CONFIG_PATH=<build>/lib/pkgconfig for one that is not installed).
"""
import pathlib
import shlex
import shutil
import subprocess
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
INTERFACE = HERE.parent / "swig"
PACKAGE = HERE / "easyenclave"


def pkg_config(*arguments):
    try:
        answer = subprocess.run(["pkg-config", *arguments, "eesdk"], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit("easyenclave: pkg-config is needed to find libeesdk")
    except subprocess.CalledProcessError as error:
        sys.exit(f"easyenclave: libeesdk was not found; set PKG_CONFIG_PATH to the folder of eesdk.pc\n{error.stderr}")
    return shlex.split(answer)


class Build(build_ext):
    """SWIG first; its two outputs go to the build folder, so that a read-only checkout is enough."""

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
    cmdclass={"build_ext": Build, "build_py": Sources},
)
