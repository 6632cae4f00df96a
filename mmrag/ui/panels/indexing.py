"""Making, listing and deleting collections."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mmrag.encoders import default_encoder_name
from mmrag.errors import MmragError
from mmrag.galleries.gallery import listed
from mmrag.galleries.uploads import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_TOTAL_BYTES,
    check_upload,
    collection_name,
    delete_uploads,
    save_uploads,
    uploads_folder,
)
from mmrag.images.formats import READ
from mmrag.index.browse import indexed_folder
from mmrag.index.collections import EMBED_CHOICES, CollectionInfo
from mmrag.system.jobs import Job
from mmrag.ui import gallery_data, indexing_jobs, kept_jobs, resources
from mmrag.ui.doors import only_owners
from mmrag.ui.indexing_jobs import IndexingPlan, Outcome
from mmrag.ui.navigation import show_error
from mmrag.ui.panels.missing import missing_expander
from mmrag.ui.tables import guarded

SOURCES = {"folder": "A folder on this machine", "upload": "Upload pictures"}
EMBEDS = {"image": "the picture", "text": "the description", "both": "both"}
_JOBS_SHOWN = 10
_ICONS = {
    "waiting": ":material/schedule: Waiting",
    "running": ":material/play_arrow: Running",
    "done": ":material/check_circle: Done",
    "failed": ":material/error: Failed",
    "cancelled": ":material/cancel: Stopped",
}


def indexing_panel(found: dict[str, CollectionInfo], chosen: CollectionInfo | None) -> None:
    """Draw the table of collections, the form for a new one, and indexing in progress."""
    if found:
        _table(found)
    if chosen is not None and st.button(
        "Delete this collection", icon=":material/delete:", help="You are asked to confirm."
    ):
        _delete_dialog(chosen)
    form, watched = st.columns([3, 2], gap="large")
    with form:
        st.header("Index pictures")
        _form(found)
        missing_expander()
    with watched:
        st.header("Indexing")
        _watch()


def _table(found: dict[str, CollectionInfo]) -> None:
    st.dataframe(
        guarded(
            [
                {
                    "collection": info.name,
                    "images": info.rows,
                    "encoder": info.encoder,
                    "dimensions": info.dim,
                    "embedded": EMBEDS.get(info.embed, info.embed),
                    "vectors": vectors_bytes(info),
                }
                for info in found.values()
            ]
        ),
        hide_index=True,
        width="stretch",
        column_config={
            "images": st.column_config.NumberColumn(format="localized"),
            "vectors": st.column_config.NumberColumn(format="bytes"),
        },
    )


def vectors_bytes(info: CollectionInfo) -> int:
    """The size of a collection's vectors, which are float32."""
    return 4 * info.dim * info.rows


def _form(found: dict[str, CollectionInfo]) -> None:
    source = st.segmented_control(
        "Where the pictures are",
        list(SOURCES),
        default="folder",
        required=True,
        format_func=SOURCES.__getitem__,
        key="pictures_from",
        label_visibility="collapsed",
    )
    encoders = resources.encoder_names()
    if not encoders:
        st.info("There is no encoder here yet: the Health page says how to get one.")
        return
    with st.form("indexing", border=True):
        folder, metadata, embed = "", "", "image"
        files = []
        if source == "upload":
            files = st.file_uploader(
                "Pictures",
                accept_multiple_files=True,
                max_upload_size=MAX_FILE_BYTES // 1_000_000,
                key="pictures",
                help=f"{', '.join(one.name for one in READ)}. Up to {MAX_FILES:,} files and "
                f"{MAX_TOTAL_BYTES // 1_000_000} MB at a time. They are kept on this machine until "
                "the collection is deleted.",
            )
        else:
            folder = st.text_input("Folder", placeholder="/home/me/photos", max_chars=4096)
            metadata = st.text_input(
                "Descriptions, if there are any",
                placeholder="/home/me/photos/description.json",
                max_chars=4096,
                help="JSON Lines, JSON or CSV with `image_path` and `description`; everything "
                "else in it becomes metadata.",
            )
        with st.container(horizontal=True):
            title = st.text_input(
                "Collection",
                placeholder="from the folder's name" if source == "folder" else "my_pictures",
                max_chars=100,
                width=210,
            )
            default = default_encoder_name()
            encoder = st.selectbox(
                "Encoder",
                encoders,
                index=encoders.index(default) if default in encoders else 0,
                width=210,
                accept_new_options=True,
                help="One of these, a folder that `train` wrote, or `clip:ARCH/PRETRAINED`. The "
                "shipped encoders know the drawings, or the photographs, that ship with them only.",
            )
            if source == "folder":
                embed = st.selectbox(
                    "Embed",
                    list(EMBED_CHOICES),
                    format_func=EMBEDS.__getitem__,
                    width=160,
                    help="What becomes the vector.",
                )
        replace = st.checkbox(
            "Replace what a collection of that name holds from another folder",
            help="A collection mirrors one folder. Rows of other pictures are removed.",
        )
        if not st.form_submit_button("Index", type="primary", icon=":material/add_to_photos:"):
            return
    try:
        only_owners("Indexing")
        if source == "upload":
            name = collection_name(title or "my pictures")
            check_upload([file.size for file in files])
            folder = str(uploads_folder(name))
            if not files:
                raise MmragError("Choose some pictures first.")
        else:
            name = _folder_name(folder, title)
        if name in found and not replace:
            _check_same_folder(name, folder)
        if source == "upload":
            _, skipped = save_uploads(name, ((file.name, file.getbuffer()) for file in files))
            for one in skipped:
                st.text(f"Left out: {one.path}: {one.reason}")
        plan = IndexingPlan(
            str(Path(folder).expanduser()), name, encoder, embed, metadata.strip() or None, replace
        )
        indexing_jobs.submit(plan)
    except (MmragError, OSError) as error:
        show_error(error)


def _folder_name(folder: str, title: str) -> str:
    if not folder.strip():
        raise MmragError("Give the folder that the pictures are in.")
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise MmragError(f"{folder} is not a folder on this machine.")
    return collection_name(title or path.resolve().name)


def _check_same_folder(name: str, folder: str) -> None:
    """Raise `MmragError` if the collection mirrors another folder: its rows would be removed."""
    held = indexed_folder(resources.index(resources.uri(), name))
    if held != str(Path(folder).expanduser().resolve()):
        raise MmragError(
            f"The collection {name} holds {held or 'something else'}. Name another collection, "
            "or tick the box to replace what it holds."
        )


def _watch() -> None:
    """Draw indexing in progress, by any visitor; refreshed often only while something happens."""
    kept_jobs.offer_left(
        indexing_jobs.KIND, lambda plan: indexing_jobs.submit(IndexingPlan(**plan))
    )
    jobs = indexing_jobs.queue().jobs()
    st.session_state.jobs_seen = _progress_of(jobs)
    st.fragment(_jobs, run_every=1.0 if any(not job.is_over for job in jobs) else 10.0)()


def _jobs() -> None:
    jobs = indexing_jobs.queue().jobs()
    if _progress_of(jobs) != st.session_state.jobs_seen or st.session_state.pop("browse", False):
        # The head of the page counts images too, but is outside this fragment.
        st.rerun()
    if not jobs:
        st.caption("Nothing is being indexed. It continues when you leave this page.")
    for job in jobs[:_JOBS_SHOWN]:
        with st.container(border=True):
            _show(job)


def _progress_of(jobs: list[Job]) -> tuple[int, int]:
    return len(jobs), sum(job.is_over for job in jobs)


def _show(job: Job) -> None:
    st.markdown(_ICONS[job.state])
    st.text(job.title)
    if job.state == "running":
        done, total = (job.progress.done, job.progress.total) if job.progress else (0, 0)
        left = job.remaining_seconds()
        words = f"{done:,} of {total:,} images" + ("" if left is None else f", {left:,.0f} s left")
        st.progress(done / total if total else 0.0, words)
    if not job.is_over:
        st.button(
            "Stop",
            icon=":material/stop:",
            key=f"stop_{job.job_id}",
            on_click=indexing_jobs.queue().cancel,
            args=(job.job_id,),
            help="What has been indexed so far is kept.",
        )
    if job.error:
        st.text(job.error)
    if indexing_jobs.stopped_before_removing(job):
        st.button(
            "Remove them",
            icon=":material/delete_sweep:",
            key=f"prune_{job.job_id}",
            on_click=indexing_jobs.submit_with_removal,
            args=(job,),
            help="Index the folder again, and remove the rows of what is not there any more.",
        )
    outcome = indexing_jobs.outcome(job.run_id)
    if outcome is not None:
        _report(outcome, job.job_id)


def _report(outcome: Outcome, number: int) -> None:
    report = outcome.report
    st.text(
        f"{report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged, "
        f"{report.removed:,} removed, {len(report.skipped):,} skipped in {report.seconds:.1f} s"
    )
    if report.stale:
        st.text(f"{len(report.stale):,} of the skipped keep the rows they had.")
    for what, ids in report.odd():
        st.text(f"{len(ids):,} {what}")
    for note in report.notes:
        st.text(note)
    if report.others:
        st.text(f"Not pictures: {listed(report.others)}")
    if outcome.note:
        st.text(outcome.note)
    name = outcome.plan.collection
    if any(info.name == name for info in resources.collections(resources.uri())):
        st.button(
            "Browse it",
            icon=":material/grid_view:",
            key=f"browse_{number}",
            on_click=_browse,
            args=(name,),
        )
    odd = [{"picture": one, "what": what} for what, ids in report.odd() for one in ids]
    if odd:
        with st.expander("Odd pictures, which are indexed"):
            st.dataframe(guarded(odd), hide_index=True, width="stretch")
    if report.skipped:
        st.dataframe(
            guarded([{"skipped": one.path, "reason": one.reason} for one in report.skipped]),
            hide_index=True,
            width="stretch",
        )


def _browse(collection: str) -> None:
    st.session_state.collection = collection
    st.session_state.tab = "Browse"
    st.session_state.browse = True


@st.dialog("Delete the collection?")
def _delete_dialog(info: CollectionInfo) -> None:
    st.text(f"{info.name}: {info.rows:,} images, embedded with {info.encoder}")
    folder = uploads_folder(info.name)
    uploaded = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
    pictures_too = False
    if uploaded:
        pictures_too = st.checkbox(f"Also the {uploaded:,} pictures uploaded for it", value=True)
    else:
        st.caption("The pictures themselves stay where they are.")
    if st.button("Delete", type="primary", icon=":material/delete:"):
        try:
            only_owners("Deleting")
            if indexing_jobs.is_busy(info.name):
                raise MmragError("It is being indexed; stop that first.")
            resources.index(resources.uri(), info.name).drop()
            if pictures_too:
                delete_uploads(info.name)
        except MmragError as error:
            show_error(error)
            return
        gallery_data.forget()
        st.rerun()
