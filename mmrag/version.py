"""The one version, read by the package, the wheel, `--version`, Health and `doctor`."""

__version__ = "0.2.0"
