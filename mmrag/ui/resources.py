"""Models, connections and eval sets that all visitors of the dashboard share.

Everything here is made once per process and bounded in number. A visitor's own pictures and
results live only in their session.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmrag import config
from mmrag.errors import CheckpointError, MmragError
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.runs.store import RunStore
from mmrag.ui.doors import may_change
from mmrag.ui.fair_lock import Turns

if TYPE_CHECKING:
    from mmrag.encoders.encoder import Encoder
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.index.collections import CollectionInfo
    from mmrag.index.image_index import ImageIndex
    from mmrag.rerank.reranker import Reranker

MODELS_KEPT = 3
MODELS_OFFERED = 12
# Prefixes of rerankers that ask a server that may charge for it.
PAID = ("vision", "gpt-4o", "openai:")
# Prefixes of rerankers that compute here.
LOCAL = ("encoder:", "ce:", "bge-reranker")
# On exit, libraries complain about objects that the collector still skips.
atexit.register(gc.unfreeze)


@st.cache_resource(max_entries=MODELS_KEPT, show_spinner="Loading the encoder …")
def encoder(name: str) -> Encoder:
    """A loaded encoder; loading it the first time takes some seconds."""
    from mmrag.encoders import load_encoder

    loaded = load_encoder(name)
    spare_collector()
    return loaded


@st.cache_resource(max_entries=MODELS_KEPT, show_spinner="Loading the reranker …")
def reranker(name: str, presentation: str = "grid") -> Reranker:
    """A reranker by name, as `load_reranker` takes it."""
    from mmrag.rerank import load_reranker

    check_here(name)
    kind, _, rest = name.partition(":")
    loaded = encoder(rest) if kind == "encoder" else None
    made = load_reranker(name, presentation=presentation, encoder=loaded)
    spare_collector()
    return made


def check_here(name: str) -> None:
    """Refuse a reranker that would ask a hub for its weights just by being selected.

    Raises:
        CheckpointError: its weights are not here; says what to do.
    """
    from mmrag.rerank import cross_encoder
    from mmrag.rerank.cascade import parse_stages

    for one in [stage for stage, _ in parse_stages(name)] or [name]:
        if cross_encoder.takes(one) and cross_encoder.find(one) is None:
            raise CheckpointError(
                f"The weights of {one} are not here; `mmrag download {one}` brings them, or a "
                "click under “Not usable here”."
            )


def spare_collector() -> None:
    """Let the garbage collector skip what stays: libraries and models.

    Streamlit collects after every run of a page, and scanning all of torch each time takes longer
    than the page itself. Garbage since the last call is collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@st.cache_resource(show_spinner=False)
def warm_up() -> threading.Thread:
    """Import the computing libraries while the first page is drawn; once per process."""
    thread = threading.Thread(target=_import_encoders, name="mmrag-warm-up", daemon=True)
    thread.start()
    return thread


def _import_encoders() -> None:
    import mmrag.encoders.encoder
    import mmrag.search.searcher  # noqa: F401

    spare_collector()


@st.cache_resource
def model_turns() -> Turns:
    """The lock held while a model computes: two at once on the same cores take longer."""
    return Turns()


@contextmanager
def model_turn() -> Iterator[None]:
    """Wait for the model; a line on the page says how many are ahead."""
    place = st.empty()

    def say(before: int) -> None:
        place.info(f"Waiting: {before} before you.", icon=":material/hourglass_top:")

    with model_turns().turn(say):
        place.empty()
        yield


@st.cache_resource(max_entries=16, show_spinner=False, on_release=lambda index: index.close())
def index(uri: str, collection: str) -> ImageIndex:
    """An open collection, without an encoder of its own."""
    from mmrag.index.image_index import ImageIndex

    return ImageIndex.open(uri, collection)


@st.cache_data(ttl=5, show_spinner="Connecting to Milvus …")
def collections(uri: str) -> list[CollectionInfo]:
    """The collections of a Milvus that mmrag made, then the adopted ones."""
    from mmrag.index import adopted
    from mmrag.index.image_index import ImageIndex
    from mmrag.index.milvus_collection import list_collections

    found = list_collections(uri)
    for name in adopted.names(uri):
        # A collection may have gone meanwhile.
        with contextlib.suppress(MmragError), ImageIndex.open(uri, name) as opened:
            found.append(opened.info())
    return found


def uri() -> str:
    """The Milvus that the dashboard shows."""
    return config.default_uri()


@st.cache_resource(max_entries=8, show_spinner="Reading the eval set …")
def _eval_set(folder: str, stamp: tuple[int, ...]) -> EvalSet:
    from mmrag.eval_sets.eval_set import EvalSet

    return EvalSet.load(folder)


def eval_set(name: str) -> EvalSet:
    """An eval set by its folder's name, read again when its files change."""
    folder = known_eval_sets().get(name)
    if folder is None:
        raise MmragError(f"There is no eval set {name!r} here any more.")
    return _eval_set(str(folder), _stamp(folder))


def _stamp(folder: Path) -> tuple[int, ...]:
    files = ("eval_set.json", "corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
    return tuple((folder / f).stat().st_mtime_ns if (folder / f).is_file() else 0 for f in files)


@dataclass(frozen=True)
class RerankerChoice:
    """A reranker as a page offers it; `name` is None for the order of retrieval.

    `price` is shown where it is chosen, but not in titles.
    """

    label: str
    name: str | None
    presentation: str = "grid"
    price: str = ""

    @property
    def offer(self) -> str:
        """The label in a list of choices."""
        return self.label + self.price

    @property
    def costs_money(self) -> bool:
        """Whether it, or a stage of it, asks a paid service."""
        return any(name.startswith(PAID) for name in self.stages)

    @property
    def is_cascade(self) -> bool:
        """Whether its name sets how many hits each stage reranks."""
        from mmrag.rerank.cascade import parse_stages

        return self.name is not None and bool(parse_stages(self.name))

    @property
    def stages(self) -> list[str]:
        """Names of the stages: one, or those of a cascade; none without reranking."""
        from mmrag.rerank.cascade import parse_stages

        if self.name is None:
            return []
        return [name for name, _ in parse_stages(self.name)] or [self.name]


def reranker_choice(choices: dict[str, RerankerChoice], key: str) -> RerankerChoice:
    """The meaning of a key: one of the choices, a reranker, or a model of the server by name."""
    from mmrag.rerank.cascade import parse_stages

    name = key.strip()
    if name in choices:
        return choices[name]
    if parse_stages(name):
        return RerankerChoice(name, name)
    if name.startswith(LOCAL):
        return RerankerChoice(f"scored by {name}", name)
    full = name if name.startswith("openai:") else f"openai:{name}"
    return RerankerChoice(f"{full.removeprefix('openai:')}, panorama", full)


def named_models(key: str) -> list[str]:
    """Vision models that a visitor typed into a widget, or that a link names for it.

    None for visitors who may not spend the key: links may name what they are not offered.
    """
    if not may_change():
        return []
    typed = st.session_state.get(key) or []
    linked = [name for name in st.query_params.get_all(key) if name.startswith(PAID)]
    return [*([typed] if isinstance(typed, str) else typed), *linked]


def model_of(choice: RerankerChoice) -> str | None:
    """The vision model that a choice asks; None if there is none, or it is unknown."""
    from mmrag.vision.endpoint import find_endpoint
    from mmrag.vision.server_models import resolve

    asked = next((name for name in choice.stages if name.startswith(PAID)), None)
    if asked is None:
        return None
    try:
        return resolve(asked.removeprefix("openai:"), find_endpoint())
    except MmragError:
        return None


def has_price(choice: RerankerChoice) -> bool:
    """Whether its cost is known, and so can be limited."""
    from mmrag.vision.models import find_model

    model = model_of(choice)
    return model is None or find_model(model).price is not None


def show_notice(choice: RerankerChoice) -> None:
    """Say on the page if a vision model has been withdrawn or soon will be."""
    from mmrag.vision.endpoint import find_endpoint
    from mmrag.vision.server_models import notice

    model = model_of(choice)
    said = notice(model, find_endpoint()) if model else None
    if said:
        st.text(said)


@dataclass(frozen=True)
class Shown:
    """The input of a vision model for one query, for estimates of cost.

    Attributes:
        candidates: number of hits.
        description: the mean length of an image's description, in characters.
        largest: the longest side of the pictures, in pixels.
    """

    candidates: int = 10
    description: float = 0.0
    largest: int = 0


def reranker_choices(shown: Shown = Shown()) -> dict[str, RerankerChoice]:
    """The choices, with their cost, by a short key for URLs."""
    from mmrag.encoders import list_encoders
    from mmrag.rerank import cross_encoder
    from mmrag.rerank.pairs import here

    choices = {"none": RerankerChoice("no reranking", None)}
    for described in list_encoders():
        if described.available:
            name = f"encoder:{described.name}"
            choices[name] = RerankerChoice(f"re-scored by {described.name}", name)
    # Links may name what this visitor is not offered, which then is no choice.
    if may_change():
        choices |= vision_choices(shown)
    if cross_encoder.find("bge-reranker") is not None:
        choices["bge-reranker"] = RerankerChoice("BGE reranker, by description", "bge-reranker")
    for name in here():
        choices[name] = RerankerChoice(f"scored by {name.removeprefix('ce:')}", name)
    return choices


def vision_choices(shown: Shown = Shown()) -> dict[str, RerankerChoice]:
    """The models of the server with their cost, recommended ones first.

    Models known to take pictures come before unknown ones. None if no server can be asked;
    `fetch_jobs.missing` says why.
    """
    from mmrag.vision.endpoint import endpoint_or_problem, find_endpoint
    from mmrag.vision.server_models import VISION, list_models, offered_models, resolve

    if endpoint_or_problem()[1]:
        return {}
    names: list[str] = ["gpt-4o"]
    best = ""
    try:
        endpoint = find_endpoint()
        listed = list_models(endpoint)
        best = resolve(VISION, endpoint)
        names = [best, *offered_models(listed)] if listed else [best, *names]
    except MmragError:
        # If chosen anyway, it says what is missing.
        pass
    title = f"vision model ({best})" if best else "vision model"
    choices = {
        VISION: RerankerChoice(f"{title}, panorama", VISION),
        f"{VISION}-images": RerankerChoice(f"{title}, single images", VISION, "images"),
    }
    for name in list(dict.fromkeys(names))[:MODELS_OFFERED]:
        key = name if name == "gpt-4o" else f"openai:{name}"
        choices[key] = RerankerChoice(f"{name}, panorama", key, price=price_of(name, shown))
        if name == "gpt-4o":
            choices["gpt-4o-images"] = RerankerChoice("gpt-4o, single images", key, "images")
    return choices


def price_of(model: str, shown: Shown) -> str:
    """The cost of reranking the hits of 1,000 queries, as the end of a label."""
    from mmrag.evaluation.expected import grid_request
    from mmrag.rerank.vision import STRIDE, WINDOW, windows
    from mmrag.vision.models import find_model

    facts = find_model(model)
    requests = len(list(windows(max(1, shown.candidates), WINDOW, STRIDE)))
    together = max(1, min(shown.candidates, WINDOW))
    request = grid_request(facts, together, shown.description, shown.largest)
    cost = request.cost(facts, 1000 * requests)
    if cost is None:
        return ", no price known"
    return f", about {cost:.2f} USD per 1,000 queries"


def encoder_names() -> list[str]:
    """Encoders with local weights."""
    from mmrag.encoders import list_encoders

    return [described.name for described in list_encoders() if described.available]


@st.cache_resource(show_spinner=False)
def runs() -> RunStore:
    """The run store."""
    return RunStore()


def page(name: str) -> Path:
    """The file of another page, for links to it."""
    return Path(__file__).parent / "pages" / f"{name}.py"
