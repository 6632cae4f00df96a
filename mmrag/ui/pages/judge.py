"""Judge: right, partly or wrong, picture by picture, without seeing which system found it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import own_eval_sets
from mmrag.images.thumbnails import data_url
from mmrag.labels.drafts import DraftFile
from mmrag.labels.judgments import Judgment, JudgmentLog
from mmrag.labels.session import JudgingSession
from mmrag.runs.run import Run
from mmrag.ui import resources, url
from mmrag.ui.doors import read_only
from mmrag.ui.evaluate_link import evaluate_link
from mmrag.ui.judge_board import BoardImage, BoardQuery, judge_board, words_said
from mmrag.ui.markdown import command
from mmrag.ui.panels.drafts import drafts_panel
from mmrag.ui.panels.judges import judges_panel
from mmrag.ui.panels.query_note import query_note_panel

# Pictures sent to the browser at once: enough for a minute of quick judging.
AHEAD = 40
DEPTH = 10
BOARD = "judge_board"
TABS = {"pool": "Judge hits", "drafts": "Drafted queries", "judges": "Judges and agreement"}


@dataclass(frozen=True)
class _Choice:
    eval_set: EvalSet
    runs: tuple[Run, ...]
    depth: int
    judge: str
    again: bool

    @property
    def key(self) -> str:
        ids = ",".join(run.run_id for run in self.runs)
        return f"{self.eval_set.folder}\n{ids}\n{self.depth}\n{self.judge}\n{self.again}"


def main() -> None:
    """Draw the page."""
    sets = own_eval_sets()
    if not sets:
        _no_sets()
        return
    names = list(sets)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        at = url.before("set", names, names[0])
        st.selectbox("Eval set", names, index=at, key="set")
        chosen = url.after("set", names[0])
        judge = st.text_input(
            "Your name", key="judge", bind="query-params", max_chars=100, placeholder="Ada"
        ).strip()
    folder = sets[chosen]
    eval_set = _eval_set(str(folder), _changed(folder))
    for tab, name in zip(url.tabs("part", TABS), TABS, strict=True):
        if not tab.open:
            continue
        with tab:
            if name == "judges":
                judges_panel(folder)
            elif read_only():
                st.info("Judging is switched off: this dashboard was started with --read-only.")
            elif not judge:
                st.info("Type your name first: each judgment remembers who made it.")
            elif name == "drafts":
                drafts_panel(eval_set, DraftFile(folder), judge)
            else:
                _pool(eval_set, judge)


def _pool(eval_set: EvalSet, judge: str) -> None:
    runs = [run for run in resources.runs().runs(eval_set.name) if run.state == "complete"]
    if not runs:
        st.info(
            "There is no run of this set yet: choose it on the Evaluate page with the "
            "configurations whose hits you want to judge. It need not have labels for that."
        )
        st.page_link(resources.page("evaluate"), label="Evaluate", icon=":material/play_circle:")
        return
    labels = {run.run_id: f"{run.name}, {run.created[:16].replace('T', ' ')}" for run in runs}
    latest = list(labels)[:2]
    first = url.before_many("judged", list(labels), latest)
    with st.expander("Whose hits are judged"):
        st.multiselect(
            "Runs", list(labels), default=first, format_func=labels.__getitem__, key="judged"
        )
        wanted = url.after_many("judged", latest, changing=True)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            depth = st.number_input("Hits of each", 1, 100, DEPTH, key="judge_depth")
            again = st.toggle(
                "Also what others have judged",
                key="judge_again",
                help="For agreement between people: you do not see what they said.",
            )
    if not wanted:
        st.info("Choose at least one run.")
        return
    loaded = tuple(_run(run_id) for run_id in wanted)
    _board(_Choice(eval_set, loaded, int(depth), judge, again))


def _board(choice: _Choice) -> None:
    eval_set = choice.eval_set
    stored = _store(choice)
    session = JudgingSession.of_runs(
        eval_set, choice.runs, choice.depth, choice.judge, choice.again
    )
    pending = session.pending()
    own = session.own_grades()
    queries = {query.query_id: query for query in eval_set.queries}
    ahead = list(dict.fromkeys(query_id for query_id, _ in pending[:AHEAD]))
    here = st.session_state.get("judge_here")
    if here in queries and here not in ahead:
        # The query that the browser may still show, so that undo finds its pictures.
        ahead.insert(0, here)
    images = eval_set.present(one for query_id in ahead for one in session.pooled(query_id))
    open_pairs = set(pending)
    boards = []
    for query_id in ahead:
        query = queries[query_id]
        boards.append(
            BoardQuery(
                query_id,
                query.text or "",
                str(query.metadata.get("note", "")),
                (data_url(query.image, 480) or "") if query.image else None,
                tuple(
                    BoardImage(
                        one,
                        data_url(images[one].path, 480) if one in images else None,
                        (images[one].text if one in images else "") or one,
                        own.get((query_id, one)),
                    )
                    for one in session.pooled(query_id)
                    if (query_id, one) in open_pairs or (query_id, one) in own
                ),
            )
        )
    judge_board(boards, session=choice.key, stored=stored, left=len(pending), key=BOARD)
    st.caption("Keys: 3 right, 2 partly, 1 wrong, 0 clears, u undoes, arrows move.")
    query_note_panel(eval_set, ahead, st.session_state.get("judge_here"))
    _verdicts(session)
    if not pending:
        st.success("Everything in this pool is judged.")
    evaluate_link(eval_set.folder.name, [_configuration(run) for run in choice.runs])


def _configuration(run: Run) -> tuple[str, str | None]:
    encoder, reranker = run.config.get("encoder") or {}, run.config.get("reranker") or {}
    return str(encoder.get("name", "")), reranker.get("name")


def _store(choice: _Choice) -> int:
    """Store what the browser has sent since the last time; return the last word's number."""
    last: dict[str, int] = st.session_state.setdefault("judge_stored", {})
    stored = last.get(choice.key, 0)
    queries = {query.query_id for query in choice.eval_set.queries}
    images = {image.image_id for image in choice.eval_set.images}
    new = [
        word
        for word in words_said(BOARD)
        if word.number > stored and word.query_id in queries and word.image_id in images
    ]
    if st.session_state.get("judge_session") != choice.key:
        # Anything still in the browser's state belongs to another choice.
        st.session_state["judge_session"] = choice.key
        return stored
    if new:
        JudgmentLog(choice.eval_set.folder).add(
            Judgment(word.query_id, word.image_id, word.grade, choice.judge) for word in new
        )
        last[choice.key] = stored = new[-1].number
        st.session_state["judge_here"] = new[-1].query_id
    return stored


def _verdicts(session: JudgingSession) -> None:
    if len(session.systems) < 2:
        return
    with st.expander("What is decided so far"):
        for line in session.verdicts():
            st.text(line)
        st.caption(
            "By how much judging the rest could still change DCG at the depth of the pool, after "
            "Carterette, Allan and Sitaraman (2006)."
        )


def _no_sets() -> None:
    st.info(
        "There is no eval set of your own yet. Save a query on the Search page, or draft some from "
        "a collection:"
    )
    command("mmrag eval-set draft COLLECTION --out .mmrag/eval_sets/my-set")


@st.cache_resource(max_entries=8, show_spinner="Reading the eval set …")
def _eval_set(folder: str, changed: tuple[float, ...]) -> EvalSet:
    return EvalSet.load(folder)


@st.cache_resource(max_entries=16, show_spinner="Reading the run …")
def _run(run_id: str) -> Run:
    return resources.runs().load(run_id)


def _changed(folder: Path) -> tuple[float, ...]:
    """When the files of queries and images changed; labels are read from their own file."""
    return tuple((folder / name).stat().st_mtime for name in ("corpus.jsonl", "queries.jsonl"))


url.run_page("judge", main)
