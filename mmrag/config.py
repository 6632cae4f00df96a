"""Settings from `MMRAG_*` environment variables, read when they are asked for.

The command line and the dashboard first load a `.env` file from the working directory; real
environment variables win over it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from mmrag.errors import MmragError
from mmrag.system.text_files import open_text

DEFAULT_COLLECTION = "images"


def load_dotenv() -> None:
    """Read `.env` of the working directory into the environment, without overriding it."""
    if Path(".env").is_file():
        import dotenv

        try:
            with open_text(Path(".env")) as file:
                dotenv.load_dotenv(stream=file, override=False)
        # Not UTF-8, or a name or value that no environment can hold.
        except (OSError, ValueError) as error:
            raise MmragError(f".env cannot be read: {error}; mend it or move it away.") from error


def home() -> Path:
    """The folder of all state: `MMRAG_HOME`, by default `.mmrag` in the working directory."""
    named = os.environ.get("MMRAG_HOME") or ".mmrag"
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:
        raise MmragError(f"MMRAG_HOME names the home of an unknown user: {named!r}.") from None


def weights_dir() -> Path:
    """The folder of downloaded weights."""
    return home() / "weights"


def default_uri() -> str:
    """The Milvus to use: `MMRAG_URI`, by default a Milvus Lite store under `home()`."""
    return os.environ.get("MMRAG_URI") or str(home() / "gallery.db")


def runs_url() -> str:
    """`MMRAG_RUNS_URL`: the database of runs, by default an SQLite file under `home()`."""
    return os.environ.get("MMRAG_RUNS_URL") or str(home() / "runs.db")


def milvus_token() -> str | None:
    """`MMRAG_TOKEN`: "user:password" or an API key, for Milvus servers that need one."""
    return os.environ.get("MMRAG_TOKEN") or None


def default_encoder() -> str | None:
    """`MMRAG_ENCODER`: the encoder to use when none is named."""
    return os.environ.get("MMRAG_ENCODER") or None


def model_proxy() -> str | None:
    """`MMRAG_PROXY`: the proxy for requests to the vision model; none by default."""
    return os.environ.get("MMRAG_PROXY") or None


def prices_file() -> Path | None:
    """`MMRAG_PRICES`: a table of token prices to use instead of the package's own."""
    named = os.environ.get("MMRAG_PRICES")
    return Path(named) if named else None


def models_file() -> Path | None:
    """`MMRAG_MODELS`: a table of vision models that extends and overrides the package's own."""
    named = os.environ.get("MMRAG_MODELS")
    return Path(named) if named else None


def vision_model() -> str | None:
    """`MMRAG_VISION_MODEL`: the model that `vision` stands for, instead of the table's choice."""
    return os.environ.get("MMRAG_VISION_MODEL") or None


def embedding_url() -> str | None:
    """`MMRAG_EMBEDDING_URL`: where hosted encoders are, if not at their provider."""
    return os.environ.get("MMRAG_EMBEDDING_URL") or None


def embedding_key() -> str | None:
    """`MMRAG_EMBEDDING_KEY`: the key for your own embedding server, if it needs one."""
    return os.environ.get("MMRAG_EMBEDDING_KEY") or None


def embedding_concurrency() -> int:
    """`MMRAG_EMBEDDING_CONCURRENCY`: requests to a hosted encoder under way at once."""
    return _positive_int("MMRAG_EMBEDDING_CONCURRENCY", 4)


def embedding_max_cost() -> float | None:
    """`MMRAG_EMBEDDING_MAX_COST`: US dollars that a hosted encoder may cost a process."""
    text = os.environ.get("MMRAG_EMBEDDING_MAX_COST")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise MmragError(f"MMRAG_EMBEDDING_MAX_COST must be a number, not {text!r}.") from None


def max_pixels() -> int:
    """`MMRAG_MAX_PIXELS`: images with more pixels are skipped (default 89,478,485)."""
    return _positive_int("MMRAG_MAX_PIXELS", 89_478_485)


def decode_workers() -> int:
    """`MMRAG_DECODE_WORKERS`: threads that decode images beside the model."""
    return _positive_int("MMRAG_DECODE_WORKERS", min(32, max(2, os.cpu_count() or 2)))


def max_tabs() -> int:
    """`MMRAG_MAX_TABS`: tabs of the dashboard that are served at a time (default 200)."""
    return _positive_int("MMRAG_MAX_TABS", 200)


def max_tabs_each() -> int:
    """`MMRAG_MAX_TABS_EACH`: of these, from one address (default 100)."""
    return _positive_int("MMRAG_MAX_TABS_EACH", 100)


def decode_processes() -> int:
    """`MMRAG_DECODE_PROCESSES`: processes that decode images for those threads (default 0)."""
    raw = os.environ.get("MMRAG_DECODE_PROCESSES") or "0"
    return 0 if raw == "0" else _positive_int("MMRAG_DECODE_PROCESSES", 0)


def compile_models() -> bool:
    """`MMRAG_COMPILE`: 1 if models on an NVIDIA GPU are to be compiled (default 0)."""
    raw = os.environ.get("MMRAG_COMPILE") or "0"
    if raw not in ("0", "1"):
        raise MmragError(f"MMRAG_COMPILE must be 0 or 1, not {raw!r}.")
    return raw == "1"


def gpu_path() -> str:
    """`MMRAG_GPU_PATH`: `measured`, the quickest path on such a GPU (the default), or `plain`."""
    raw = os.environ.get("MMRAG_GPU_PATH") or "measured"
    if raw not in ("measured", "plain"):
        raise MmragError(f"MMRAG_GPU_PATH must be measured or plain, not {raw!r}.")
    return raw


def store_linger() -> float:
    """`MMRAG_STORE_LINGER`: seconds that the local store's server waits for its next user."""
    raw = os.environ.get("MMRAG_STORE_LINGER") or "3"
    try:
        seconds = float(raw)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise MmragError(f"MMRAG_STORE_LINGER must be a number of seconds, not {raw!r}.")
    return max(0.0, seconds)


def _positive_int(name: str, default: int) -> int:
    raw = os.environ.get(name)
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError:
        value = 0
    if value <= 0:
        raise MmragError(f"{name} must be a positive whole number, not {raw!r}.")
    return value
