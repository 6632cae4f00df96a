"""The address of the vision model, requests to it, and errors that never show a key.

The settings are the OpenAI client's own environment variables: `OPENAI_API_KEY` and
`OPENAI_BASE_URL` for OpenAI and every server that speaks its protocol, or
`AZURE_OPENAI_ENDPOINT`, `AZURE_OPENAI_API_KEY` and `OPENAI_API_VERSION` for Azure.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mmrag import config
from mmrag.errors import ModelServerError
from mmrag.types import Usage
from mmrag.vision.models import ModelFacts, find_model

if TYPE_CHECKING:
    import openai

_OPENAI = "https://api.openai.com/v1"
_LOOKS_LIKE_A_KEY = re.compile(r"\bsk-[\w*.-]{6,}")
# Anything shorter is no secret: "x" or "ollama", for servers that need no key.
_SHORTEST_KEY = 8


class RequestFailed(ModelServerError):
    """One request failed for good; another may still work. `usage` is the request's."""

    usage: Usage = Usage(requests=1)


@dataclass(frozen=True)
class Endpoint:
    """A server; `address` is its URL as it may be shown, `key` never is."""

    address: str
    key: str = field(repr=False)
    url: str = field(repr=False)
    azure_version: str | None = None

    def client(self, timeout: float, retries: int) -> openai.OpenAI:
        """A client that waits `timeout` seconds and repeats a failed request `retries` times."""
        import openai

        with self._clear_errors():
            kind = openai.OpenAI if self.azure_version is None else openai.AzureOpenAI
            http = openai.DefaultHttpxClient(**_routes())
            return kind(**self._settings(timeout, retries), http_client=http)

    def async_client(self, timeout: float, retries: int) -> openai.AsyncOpenAI:
        """`client` for one event loop."""
        import openai

        with self._clear_errors():
            kind = openai.AsyncOpenAI if self.azure_version is None else openai.AsyncAzureOpenAI
            http = openai.DefaultAsyncHttpxClient(**_routes())
            return kind(**self._settings(timeout, retries), http_client=http)

    def _settings(self, timeout: float, retries: int) -> dict[str, Any]:
        settings = {"api_key": self.key, "timeout": timeout, "max_retries": retries}
        if self.azure_version is None:
            return {**settings, "base_url": self.url}
        return {**settings, "azure_endpoint": self.url, "api_version": self.azure_version}

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Report an address that the HTTP library cannot use in a sentence."""
        try:
            yield
        # The libraries' own errors, whose causes could hold the key.
        except Exception as error:  # noqa: BLE001
            reason = self.redact(" ".join(str(error).split())[:200]).rstrip(".")
            problem = f"{self.address} cannot be asked: {reason}. Check OPENAI_BASE_URL"
        else:
            return
        raise ModelServerError(f"{problem} and MMRAG_PROXY.")

    def redact(self, text: str) -> str:
        """`text` without keys: the configured ones and anything that looks like one."""
        proxy = config.model_proxy()
        secrets = {self.key, *_passwords(self.url), *(_passwords(proxy) if proxy else ())}
        for name, value in os.environ.items():
            if name.startswith(("OPENAI_", "AZURE_OPENAI_")) and name.endswith(
                ("KEY", "TOKEN", "SECRET")
            ):
                secrets.add(value.strip())
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SHORTEST_KEY:
                text = text.replace(secret, "[key]")
        return _LOOKS_LIKE_A_KEY.sub("[key]", text)

    def failure(self, error: Exception, model: str) -> ModelServerError:
        """One sentence for an error of the client.

        Returns:
            `RequestFailed` if another request may work, else a plain `ModelServerError`.
        """
        import openai

        said = self._said(error)
        if isinstance(error, openai.AuthenticationError):
            variable = "AZURE_OPENAI_API_KEY" if self.azure_version else "OPENAI_API_KEY"
            return ModelServerError(f"{self.address} refuses the key; check {variable}.")
        if isinstance(error, openai.PermissionDeniedError):
            return ModelServerError(f"{self.address} does not allow {model!r} for this key{said}.")
        if isinstance(error, openai.NotFoundError):
            return ModelServerError(
                f"{self.address} has no model {model!r}, or it is not the server's address{said}."
                f"{self._instead(model)}"
            )
        if isinstance(error, openai.RateLimitError):
            if error.code == "insufficient_quota":
                return ModelServerError(f"The quota at {self.address} is used up{said}.")
            return RequestFailed(f"{self.address} limits the rate of requests (429){said}.")
        if isinstance(error, (openai.APITimeoutError, TimeoutError)):
            return RequestFailed(f"{self.address} did not answer in time; --timeout gives more.")
        if isinstance(error, openai.APIStatusError):
            return RequestFailed(f"{self.address} answered with status {error.status_code}{said}.")
        if isinstance(error, (openai.APIConnectionError, transport_error())):
            return RequestFailed(
                f"{self.address} does not answer, or broke off ({_reason(error)}); is the server "
                "running, and OPENAI_BASE_URL right?"
            )
        return RequestFailed(f"{self.address} gave an answer that cannot be read{said}.")

    @property
    def is_azure(self) -> bool:
        """Whether models are deployments that the user names."""
        return self.azure_version is not None

    @property
    def is_openai(self) -> bool:
        """Whether the server is OpenAI's own."""
        return urlsplit(self.url).hostname == urlsplit(_OPENAI).hostname

    def shutdown(self, facts: ModelFacts) -> date | None:
        """The day a model leaves this server, as far as the table knows."""
        if self.is_azure:
            return facts.azure_shutdown
        return facts.shutdown if self.is_openai else None

    def _instead(self, model: str) -> str:
        facts = find_model(model)
        if facts.successor is None:
            return ""
        gone = facts.shutdown and facts.shutdown <= datetime.now(UTC).date()
        left = f" It left {facts.provider}'s API on {facts.shutdown:%d %B %Y}." if gone else ""
        return f"{left} Its successor is {facts.successor}: use openai:{facts.successor}."

    def _said(self, error: Exception) -> str:
        body = getattr(error, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        text = " ".join(str(said or getattr(error, "message", "") or "").split())[:300]
        return f": {self.redact(text).rstrip('. ')}" if text else ""


def find_endpoint() -> Endpoint:
    """The server that the environment names.

    Raises:
        ModelServerError: no key, or a setting that cannot be right; says what to set.
    """
    url, azure = os.environ.get("OPENAI_BASE_URL"), os.environ.get("AZURE_OPENAI_ENDPOINT")
    if azure and not url:
        version = os.environ.get("OPENAI_API_VERSION")
        if not version:
            raise ModelServerError("AZURE_OPENAI_ENDPOINT needs OPENAI_API_VERSION beside it.")
        key = _key("AZURE_OPENAI_API_KEY", "Set AZURE_OPENAI_API_KEY to the key of your resource.")
        return Endpoint(_shown(azure, "AZURE_OPENAI_ENDPOINT"), key, azure, version)
    key = _key(
        "OPENAI_API_KEY",
        f"Set OPENAI_API_KEY; any value does when {_shown(url, 'OPENAI_BASE_URL')} needs no key."
        if url
        else "Set OPENAI_API_KEY, or AZURE_OPENAI_ENDPOINT with AZURE_OPENAI_API_KEY and "
        "OPENAI_API_VERSION, or OPENAI_BASE_URL for a server of your own (vLLM, Ollama, llama.cpp) "
        "with any OPENAI_API_KEY.",
    )
    return Endpoint(_shown(url or _OPENAI, "OPENAI_BASE_URL"), key, url or _OPENAI)


def endpoint_or_problem() -> tuple[str, str]:
    """The server's address, or the reason there is none: one of the two is empty."""
    try:
        return find_endpoint().address, ""
    except ModelServerError as error:
        return "", str(error)


def _routes() -> dict[str, Any]:
    """Client settings that send requests to the configured address and nowhere else.

    Redirects are not followed: pictures and key would go with them. The environment's general
    proxies are not used; `MMRAG_PROXY` names one for this.
    """
    proxy = config.model_proxy()
    if proxy:
        return {"follow_redirects": False, "proxy": proxy}
    direct = dict.fromkeys(("all://", "http://", "https://"))
    return {"follow_redirects": False, "mounts": direct}


def _passwords(url: str) -> set[str]:
    """The password in a URL, as written and as decoded."""
    try:
        written = urlsplit(url).password or ""
    except ValueError:
        return set()
    return {written, unquote(written)}


def transport_error() -> type[Exception]:
    """The base error of the HTTP library that the installed openai uses."""
    import openai

    library = openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
    error: type[Exception] = importlib.import_module(library).HTTPError
    return error


def _key(variable: str, how: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelServerError(f"No key for the vision model. {how}")
    if not (key.isascii() and key.isprintable()):
        raise ModelServerError(f"{variable} holds characters that no key has; set it again.")
    return key


def _shown(url: str, variable: str) -> str:
    """The URL without user, password and query."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        plain = url.isprintable() and not re.search(r"\s", url)
        if plain and parts.scheme in ("http", "https") and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    except ValueError:
        pass
    raise ModelServerError(f"{variable} must be a URL such as http://localhost:11434/v1.")


def _reason(error: Exception) -> str:
    return type(error.__cause__ or error).__name__
