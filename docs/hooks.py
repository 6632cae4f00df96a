"""For MkDocs: links from a notebook to pages lead to these pages, as MkDocs does for Markdown."""

from __future__ import annotations

import logging
import posixpath
import re
from typing import Any

_log = logging.getLogger("mkdocs.hooks.notebook_links")
_LINK = re.compile(r'href="(?!\w+:)([^"#]+\.md)(#[^"]*)?"')


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Called with each page's HTML; a link that leads nowhere is a warning."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def resolved(found: re.Match[str]) -> str:
        link, anchor = found.groups(default="")
        uri = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link))
        target = files.get_file_from_path(uri)
        if target is None:
            _log.warning("%s: the link %s leads nowhere", page.file.src_uri, link)
            return found.group()
        return f'href="{target.url_relative_to(page.file)}{anchor}"'

    return _LINK.sub(resolved, html)
