"""Settings of a node: one schema for TOML file, environment and flags; paths and keys."""

from config.errors import ConfigError, KeyFileError, KeyLocked, KeyMissing
from config.load import Loaded, load
from config.options import RunOptions
from config.paths import Paths
from config.schema import Config

__all__ = [
    "Config",
    "ConfigError",
    "KeyFileError",
    "KeyLocked",
    "KeyMissing",
    "Loaded",
    "Paths",
    "RunOptions",
    "load",
]
