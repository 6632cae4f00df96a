"""A server's models: which there are, which to use, and which are about to be shut down."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime

from mmrag import config
from mmrag.errors import ModelServerError
from mmrag.vision.endpoint import Endpoint, transport_error
from mmrag.vision.models import find_model, is_blind, recommended

# The name that stands for the server's best model.
VISION = "vision"
_PATIENCE = 5.0
# A long-lived process, such as the dashboard, asks again after this many seconds.
_LASTS = 3600.0
_SOON = 90


@dataclass(frozen=True)
class Listed:
    """The answer to `GET /v1/models`: names, and the days when some are shut down."""

    names: tuple[str, ...]
    shutdowns: dict[str, date]


_known: dict[Endpoint, tuple[float, Listed | None]] = {}
_lock = threading.Lock()


def list_models(endpoint: Endpoint) -> Listed | None:
    """The models of a server, asked for once; None if it does not say."""
    with _lock:
        at, listed = _known.get(endpoint, (-_LASTS, None))
        if time.monotonic() - at > _LASTS or endpoint not in _known:
            listed = _ask(endpoint)
            _known[endpoint] = time.monotonic(), listed
    return listed


def resolve(name: str, endpoint: Endpoint) -> str:
    """The model that a name means: `vision` is the best one of the table that the server has.

    `MMRAG_VISION_MODEL` says what it means if the table cannot: for deployments on Azure, and for
    servers that have several unknown models.

    Raises:
        ModelServerError: that is unclear; says what to name.
    """
    if name != VISION:
        return name
    own = config.vision_model()
    if own:
        return own
    if endpoint.is_azure:
        raise ModelServerError(
            "Models on Azure are deployments that you have named: name yours as openai:NAME, or "
            "set MMRAG_VISION_MODEL to its name."
        )
    listed = list_models(endpoint)
    best = recommended()
    if listed is None or not listed.names:
        if endpoint.is_openai:
            return best[0]
        raise ModelServerError(
            f"{endpoint.address} does not say which models it has: name one as openai:MODEL, or "
            "set MMRAG_VISION_MODEL."
        )
    found = next((one for one in best if one in listed.names), None)
    if found is None:
        seeing = seeing_models(listed)
        candidates = seeing or offered_models(listed) or list(listed.names)
        if len(candidates) > 1 and not seeing:
            shown = ", ".join(candidates[:5]) + (", …" if len(candidates) > 5 else "")
            raise ModelServerError(
                f"Which of the models of {endpoint.address} sees pictures is not known; name one "
                f"as openai:MODEL, or set MMRAG_VISION_MODEL. It has {shown}."
            )
        found = candidates[0]
    return found


def seeing_models(listed: Listed) -> list[str]:
    """A server's models that, by the table, see pictures; recommended ones first."""
    best = recommended()
    known = [name for name in listed.names if find_model(name).known and not is_blind(name)]
    return sorted(known, key=lambda name: best.index(name) if name in best else len(best))


def offered_models(listed: Listed) -> list[str]:
    """`seeing_models`, then the unknown ones."""
    unknown = [name for name in listed.names if not find_model(name).known and not is_blind(name)]
    return [*seeing_models(listed), *unknown]


def notice(name: str, endpoint: Endpoint) -> str | None:
    """A sentence if a model is gone, or shut down within 90 days; None if all is well."""
    listed = list_models(endpoint)
    facts = find_model(name)
    day = (listed.shutdowns.get(name) if listed else None) or endpoint.shutdown(facts)
    instead = f"its successor is {facts.successor} (openai:{facts.successor})"
    instead = instead if facts.successor else "choose another one in time"
    left = None if day is None else (day - datetime.now(UTC).date()).days
    if day is not None and left is not None and left <= _SOON:
        when = f"on {day.day} {day:%B %Y}"
        if left <= 0:
            return f"{name} left {endpoint.address} {when}; {instead}."
        return f"{name} leaves {endpoint.address} {when}, in {_days(left)}; {instead}."
    gone = listed is not None and listed.names and name not in listed.names
    if gone and facts.successor and not endpoint.is_azure:
        return f"{name} is not among the models of {endpoint.address}; {instead}."
    return None


def _ask(endpoint: Endpoint) -> Listed | None:
    import openai

    names, shutdowns = [], {}
    try:
        with endpoint.client(_PATIENCE, 0) as client:
            for model in client.models.list().data:
                names.append(str(model.id))
                day = model.model_dump().get("shutdown_date")
                if day:
                    shutdowns[names[-1]] = date.fromisoformat(str(day))
    # A server without such a list, or with something else at this address.
    except (openai.OpenAIError, transport_error(), ValueError, TypeError, AttributeError):
        return None
    return Listed(tuple(names), shutdowns)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
