"""Many prompts through the Batch API: half the price, within a day.

Sent batches are noted under `MMRAG_HOME/batches`, so that the same prompts, asked again after an
interrupt or a crash, are not sent twice: their batch is awaited and collected.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag import config
from mmrag.errors import BudgetReached, ModelServerError
from mmrag.system.durable import write_file
from mmrag.types import Usage
from mmrag.vision.endpoint import RequestFailed, find_endpoint, transport_error
from mmrag.vision.model import MORE_ROOM, VisionModel
from mmrag.vision.prompt import Prompt
from mmrag.vision.reply import Reply

if TYPE_CHECKING:
    import openai

Answers = dict[str, tuple[Reply, Usage] | RequestFailed]
# Both below the API's limits: 50,000 requests and 200 MB per file.
_MOST_REQUESTS = 40_000
_MOST_BYTES = 180_000_000
_FIRST_LOOK, _LATER_LOOKS = 5.0, 60.0
_PATIENCE = 300.0
_OVER = {"completed", "expired", "cancelled", "failed"}


@dataclass(frozen=True)
class Pending:
    """A batch that was sent but not yet collected."""

    path: Path
    model: str
    address: str
    batches: tuple[str, ...]
    created: float


def ask_batch(
    model: VisionModel, prompts: Mapping[str, Prompt], on_wait: Callable[[int, int], object]
) -> Answers:
    """Ask for answers and wait for all of them; those cut off are asked for once more.

    Args:
        model: the model to ask, whose cache and budget are used.
        prompts: by `VisionModel.key`.
        on_wait: called while waiting with how many answers have arrived and the total; an exception
            from it ends the wait, while the batch continues at the server.

    Returns:
        For each prompt, the answer and its usage, or the reason there is none.

    Raises:
        BudgetReached: the cost could exceed the limit; nothing was sent.
        ModelServerError: the server has no Batch API, or refuses the batch; says why.
    """
    answers = _ask(model, prompts, on_wait)
    cut: dict[str, tuple[Reply, Usage]] = {
        key: one for key, one in answers.items() if isinstance(one, tuple) and one[0].cut
    }
    wanted = {key: prompts[key] for key in cut if _room(model, prompts[key], MORE_ROOM) > 1}
    if not wanted:
        return answers
    try:
        again = _ask(model, wanted, on_wait, MORE_ROOM)
    except BudgetReached:
        return answers
    whole = [one[0] for one in again.values() if isinstance(one, tuple) and not one[0].cut]
    if whole:
        model.learn_room(whole[0])
    for key, second in again.items():
        paid = cut[key][1]
        if isinstance(second, tuple):
            answers[key] = second[0], paid + second[1]
        else:
            second.usage += paid
            answers[key] = second
    return answers


def _ask(
    model: VisionModel,
    prompts: Mapping[str, Prompt],
    on_wait: Callable[[int, int], object],
    room: int = 1,
) -> Answers:
    """Ask in one batch, with `room` times the usual room for each answer."""
    import openai

    note = _folder() / f"{_digest(model, prompts)}.json"
    share = _share(model)
    most = share * sum(model.most(one, _limit(model, one, room)) for one in prompts.values())
    model.budget.reserve(most)
    answers: Answers = {}
    failure: ModelServerError | None = None
    try:
        with model.endpoint.client(max(model.timeout, _PATIENCE), model.retries) as client:
            sent = _sent(note) or _send(client, model, prompts, note, room)
            for batch in _wait(client, sent, len(prompts), on_wait):
                if batch.status == "failed":
                    note.unlink(missing_ok=True)
                    raise ModelServerError(_why_failed(model, batch))
                answers |= _collect(client, model, prompts, batch, share)
    except (openai.OpenAIError, transport_error()) as error:
        failure = model.endpoint.failure(error, model.name)
    finally:
        used = [one[1] if isinstance(one, tuple) else one.usage for one in answers.values()]
        model.budget.settle(most, sum(one.cost_usd or 0.0 for one in used))
    if failure is not None:
        raise failure
    note.unlink(missing_ok=True)
    return answers


def pending_batches() -> list[Pending]:
    """Batches sent from here and not yet collected, oldest first."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            told = json.loads(path.read_text("utf-8"))
            found.append(
                Pending(
                    path,
                    str(told["model"]),
                    str(told["address"]),
                    tuple(map(str, told["batches"])),
                    float(told["created"]),
                )
            )
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return sorted(found, key=lambda one: one.created)


def cancel(pending: Pending) -> None:
    """Stop a batch; its answers so far are paid for.

    Raises:
        ModelServerError: it cannot be stopped; says why.
    """
    import openai

    endpoint = find_endpoint()
    if endpoint.address != pending.address:
        raise ModelServerError(
            f"The batch is at {pending.address}, but the server is {endpoint.address}: set "
            "OPENAI_BASE_URL to where it is."
        )
    failure = None
    try:
        with endpoint.client(_PATIENCE, 1) as client:
            for batch in pending.batches:
                client.batches.cancel(batch)
    except openai.OpenAIError as error:
        failure = endpoint.failure(error, pending.model)
    if failure is not None:
        raise failure
    pending.path.unlink(missing_ok=True)


def _send(
    client: openai.OpenAI,
    model: VisionModel,
    prompts: Mapping[str, Prompt],
    note: Path,
    room: int,
) -> list[str]:
    sent: list[str] = []
    path = model.api.path.removeprefix("/v1") if model.endpoint.is_azure else model.api.path
    for content in _files(model, prompts, path, room):
        file = client.files.create(file=("requests.jsonl", content), purpose="batch")
        if model.endpoint.is_azure:
            # That server refuses a batch whose file is still being checked.
            client.files.wait_for_processing(file.id, poll_interval=_FIRST_LOOK)
        endpoint: Any = path
        batch = client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h"
        )
        sent.append(batch.id)
        told = {"model": model.name, "address": model.endpoint.address, "batches": sent}
        note.parent.mkdir(parents=True, exist_ok=True)
        write_file(note, json.dumps({**told, "created": time.time()}).encode())
    return sent


def _limit(model: VisionModel, prompt: Prompt, room: int) -> int:
    return model.at_most(model.limit(prompt) * room)


def _room(model: VisionModel, prompt: Prompt, room: int) -> float:
    """The factor by which an answer can get more room, up to `room`."""
    return _limit(model, prompt, room) / model.limit(prompt)


def _files(
    model: VisionModel, prompts: Mapping[str, Prompt], path: str, room: int
) -> Iterator[bytes]:
    """The requests as JSON Lines, in as many files as needed."""
    lines: list[bytes] = []
    size = 0
    for key, prompt in prompts.items():
        body = model.arguments(prompt, _limit(model, prompt, room))
        line = {"custom_id": key, "method": "POST", "url": path, "body": body}
        encoded = json.dumps(line).encode() + b"\n"
        if lines and (size + len(encoded) > _MOST_BYTES or len(lines) == _MOST_REQUESTS):
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(encoded)
        size += len(encoded)
    yield b"".join(lines)


def _wait(
    client: openai.OpenAI, sent: list[str], total: int, on_wait: Callable[[int, int], object]
) -> Iterator[Any]:
    """The batches as they end."""
    left, done = dict.fromkeys(sent, 0), 0
    look = min(1.0, _FIRST_LOOK)
    while True:
        for name in list(left):
            batch = client.batches.retrieve(name)
            counts = batch.request_counts
            left[name] = counts.completed + counts.failed if counts else 0
            if batch.status in _OVER:
                done += left.pop(name)
                yield batch
        on_wait(min(total, done + sum(left.values())), total)
        if not left:
            return
        time.sleep(look)
        look = min(_LATER_LOOKS, look * 1.5)


def _collect(
    client: openai.OpenAI,
    model: VisionModel,
    prompts: Mapping[str, Prompt],
    batch: Any,
    share: float,
) -> Answers:
    """The answers of one batch, errors of single requests included."""
    answers: Answers = {}
    for file in (batch.output_file_id, batch.error_file_id):
        if not file:
            continue
        for line in client.files.content(file).text.splitlines():
            try:
                told = json.loads(line)
                key = told["custom_id"]
                response = told.get("response") or {}
            except (ValueError, LookupError, TypeError, AttributeError):
                continue
            if key in prompts:
                answers[key] = _answer(model, prompts[key], told, response, share)
    return answers


def _answer(
    model: VisionModel, prompt: Prompt, told: dict[str, Any], response: Any, share: float
) -> tuple[Reply, Usage] | RequestFailed:
    body = response.get("body") if isinstance(response, dict) else None
    if isinstance(body, dict) and response.get("status_code") == 200:
        try:
            reply = model.clean(model.api.read(json.dumps(body)))
        except ValueError:
            unread = RequestFailed(f"{model.endpoint.address} gave an answer that cannot be read.")
            most = None if model.price is None else share * model.most(prompt, model.limit(prompt))
            unread.usage = Usage(requests=1, cost_usd=most, unanswered=1)
            return unread
        return reply, model.account(prompt, reply, share)
    error = (body.get("error") if isinstance(body, dict) else None) or told.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    said = model.endpoint.redact(" ".join(str(message or "it did not say why").split())[:300])
    failed = RequestFailed(f"{model.endpoint.address} refused it: {said.rstrip('. ')}.")
    failed.usage = Usage(requests=1)
    return failed


def _why_failed(model: VisionModel, batch: Any) -> str:
    errors = batch.errors.data if batch.errors and batch.errors.data else []
    said = errors[0].message if errors else None
    shown = model.endpoint.redact(" ".join(str(said or "it did not say why").split())[:300])
    return f"{model.endpoint.address} refused the batch: {shown.rstrip('. ')}."


def _sent(note: Path) -> list[str]:
    """The batches in which these prompts were sent before; none if they were not."""
    found = [one for one in pending_batches() if one.path == note]
    return list(found[0].batches) if found else []


def _digest(model: VisionModel, prompts: Mapping[str, Prompt]) -> str:
    told = json.dumps([model.endpoint.address, model.name, sorted(prompts)])
    return hashlib.sha256(told.encode()).hexdigest()


def _share(model: VisionModel) -> float:
    return 1.0 if model.price is None else model.price.batch_share


def _folder() -> Path:
    return config.home() / "batches"
