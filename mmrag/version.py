"""The version, said once: the package, the wheel, `--version`, Health and `doctor` read it here."""

__version__ = "0.2.0"
