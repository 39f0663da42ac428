"""The version of the library that is loaded."""
from . import eesdk_raw as raw

__version__: str = raw.ee_version()
