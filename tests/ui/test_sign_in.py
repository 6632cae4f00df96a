"""The password, and what is shown without it."""

from __future__ import annotations

import re

import pytest

from .pages import click, open_dashboard, run


def test_without_a_password_set_the_first_page_is_shown() -> None:
    page = open_dashboard()
    assert [title.value for title in page.title] == ["Search"]
    assert "No collection to search yet" in page.info[0].value


def test_nothing_is_shown_before_the_right_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRAG_DASHBOARD_PASSWORD", "open sesame")
    page = open_dashboard()
    assert [field.label for field in page.text_input] == ["Password"]
    assert page.text_input[0].proto.autocomplete == "current-password"
    assert list(page.info) == []
    for wrong in ("", "open", "OPEN SESAME", "pässwört"):
        page.text_input[0].set_value(wrong)
        click(page, "Sign in")
        assert page.error[0].value == "That is not the password."
        assert list(page.info) == []
    page.text_input[0].set_value("open sesame")
    click(page, "Sign in")
    assert "No collection to search yet" in run(page).info[0].value
    [script] = [one.proto.body for one in page.get("html") if "cookie" in one.proto.body]
    assert re.fullmatch(
        r'<script>document\.cookie = "mmrag_visitor=[\w.-]+; Max-Age=604800; SameSite=Strict; '
        r"""Path=/" \+ \(location\.protocol === 'https:' \? '; Secure' : ''\)</script>""",
        script,
    )
    assert list(open_dashboard().info) == [], "another visitor has to sign in too"
