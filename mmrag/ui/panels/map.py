"""A collection's embeddings as a map."""

from __future__ import annotations

from collections import Counter
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from PIL import ImageColor

from mmrag.errors import MmragError
from mmrag.images.thumbnails import data_url
from mmrag.index.browse import read_images
from mmrag.index.collections import CollectionInfo
from mmrag.index.embedding_map import MAX_POINTS, methods
from mmrag.ui import gallery_data, resources, url
from mmrag.ui.image_dialog import describe, search_link
from mmrag.ui.navigation import show_error
from mmrag.ui.tables import guarded

METHODS = {"pca": "PCA", "umap": "UMAP"}
NOTHING = "nothing"
COLOURS = 9
# Shades distinguishable on a light and on a dark page, for values that name a colour.
_SHADES = {
    "red": "#d62f3a",
    "orange": "#ee8a1d",
    "yellow": "#e3b71c",
    "green": "#2f9e54",
    "turquoise": "#2fc6bd",
    "blue": "#3b6fe0",
    "purple": "#9a4fc4",
    "pink": "#f08fb8",
    "brown": "#8f6140",
    "black": "#6b6b6b",
    "white": "#bdbdbd",
}


@st.fragment
def map_panel(info: CollectionInfo) -> None:
    """Draw the map, and the picture of the chosen point."""
    name = resources.uri(), info.name, gallery_data.state(info)
    try:
        method, colour = _choose(gallery_data.overview(*name).facets, info.name)
        drawn = gallery_data.embedding_map(*name, method)
    except MmragError as error:
        show_error(error)
        return
    chart_column, picture_column = st.columns([3, 1], gap="medium")
    with chart_column:
        picked = _chart(drawn, colour, key=f"map_{info.name}_{method}_{colour}")
        if len(drawn.image_ids) < info.rows:
            st.caption(
                f"{len(drawn.image_ids):,} of {info.rows:,} images, drawn with a fixed seed: "
                f"the map shows at most {MAX_POINTS:,}."
            )
    with picture_column:
        _picture([] if picked is None else drawn.image_ids[picked : picked + 1], info.name)


def _choose(facets: dict[str, dict[str, int]], collection: str) -> tuple[str, str]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        known = methods()
        st.segmented_control(
            "Projection",
            known,
            default=known[url.before("projection", known, "pca")],
            required=True,
            format_func=METHODS.__getitem__,
            key="projection",
            help="PCA keeps the directions of most variance; UMAP keeps neighbours together."
            + ("" if "umap" in known else " `pip install umap-learn` brings UMAP."),
        )
        options = [NOTHING, *facets]
        colour = st.selectbox(
            "Coloured by",
            options,
            index=min(1, len(facets)),
            key=f"coloured_{collection}",
            width=240,
        )
    return url.after("projection", "pca"), colour


def _chart(drawn: gallery_data.Map, colour: str, key: str) -> int | None:
    """Draw the chart; return the number of the clicked image."""
    explained = drawn.projection.explained
    titles = ["", ""]
    if explained:
        titles = [
            f"component {i}, {share:.0%} of the variance" for i, share in enumerate(explained, 1)
        ]
    picked = alt.selection_point(name="picked", fields=["number"])
    encoding: dict[str, Any] = {
        "x": _axis("x", titles[0]),
        "y": _axis("y", titles[1]),
        "tooltip": [alt.Tooltip("file:N"), alt.Tooltip("description:N")],
        "size": alt.condition(picked, alt.value(160), alt.value(28), empty=False),
        "opacity": alt.condition(picked, alt.value(1.0), alt.value(0.7), empty=False),
    }
    data = guarded(_points(drawn, colour))
    if colour != NOTHING:
        order = list(dict.fromkeys(data.sort_values("order")["value"]))
        encoding["color"] = alt.Color(
            "value:N",
            title=None,
            scale=_colours(order),
            legend=alt.Legend(orient="bottom", columns=4, labelLimit=140, symbolOpacity=1),
        )
    marks = alt.Chart(data).mark_circle()
    chart = marks.encode(**encoding).add_params(picked)
    event: Any = st.altair_chart(
        chart.properties(height=480),
        width="stretch",
        key=key,
        on_select="rerun",
        selection_mode="picked",
        alt="the collection's embeddings in two dimensions",
    )
    chosen = event.selection.get("picked") or []
    number = chosen[0].get("number") if chosen else None
    return number if isinstance(number, int) and number < len(drawn.image_ids) else None


def _axis(field: str, title: str) -> dict[str, Any]:
    axis = alt.Axis(title=title or None, labels=False, ticks=False, grid=False, domain=False)
    scale = alt.Scale(zero=False, nice=False, padding=12)
    kind: Any = alt.X if field == "x" else alt.Y
    return kind(f"{field}:Q", axis=axis, scale=scale)


def _colours(values: list[str]) -> alt.Scale:
    """The colour scale: values that name colours get those, others the ten of a scheme."""
    if all(value in ImageColor.colormap for value in values):
        return alt.Scale(domain=values, range=[_SHADES.get(value, value) for value in values])
    return alt.Scale(domain=values, scheme="tableau10")


def _points(drawn: gallery_data.Map, colour: str) -> pd.DataFrame:
    values = [labels.get(colour, "none") for labels in drawn.labels]
    rank = {value: i for i, (value, _) in enumerate(Counter(values).most_common())}
    own = set(rank)
    if len(rank) > COLOURS + 1 and not own <= set(ImageColor.colormap):
        # The last colour of the scheme, a grey, is for values without a colour of their own.
        own = set(list(rank)[:COLOURS])
    points = drawn.projection.points
    return pd.DataFrame(
        {
            "number": range(len(values)),
            "x": points[:, 0],
            "y": points[:, 1],
            "file": drawn.image_ids,
            "description": drawn.texts,
            "value": [value if value in own else "other" for value in values],
            "order": [rank[value] if value in own else len(rank) for value in values],
        }
    )


def _picture(image_ids: list[str], collection: str) -> None:
    images = read_images(resources.index(resources.uri(), collection), image_ids)
    if not images:
        st.info("Choose a point to see its picture.", icon=":material/ads_click:")
        return
    image = images[0]
    url = data_url(image.path, 480)
    if url is None:
        st.warning("The file cannot be read any more.", icon=":material/broken_image:")
    else:
        st.image(url, width="stretch", alt=image.text or image.image_id)
    describe(image)
    if url is not None:
        search_link(image, collection)
