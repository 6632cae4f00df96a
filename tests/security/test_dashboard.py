"""The dashboard from outside: who reaches it, who gets in, and what a visitor's browser is given.

One real server with a password, full of hostile names and texts, and a real browser.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from mmrag import ImageIndex, RunStore, load_encoder, open_gallery
from mmrag.ui.sign_in import COOKIE, WRONG_PASSWORD_SECONDS

from ..browser.conftest import open_browser, settled
from ..dashboard_server import Dashboard, start_dashboard, stop
from ..vision_server import Scene, VisionServer
from .hostile import HOSTILE, made_run, made_set

PASSWORD = "canary-dashboard-0123456789"
CANARIES = {
    "MMRAG_DASHBOARD_PASSWORD": PASSWORD,
    "OPENAI_API_KEY": "sk-canary-openai-0123456789",
    "MMRAG_TOKEN": "root:canary-milvus-0123456789",
    "HF_TOKEN": "hf_canary0123456789",
}
PAGES = ["search", "evaluate", "runs", "speed", "gallery", "health"]
SECRET_TEXT = "an-instruction-of-somebody"


@pytest.fixture(scope="module")
def server() -> Iterator[VisionServer]:
    with VisionServer(key=CANARIES["OPENAI_API_KEY"]) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, server: VisionServer) -> Iterator[Dashboard]:
    """A dashboard whose collection, eval set and run hold what an attacker would write."""
    folder = tmp_path_factory.mktemp("guarded")
    eval_set = made_set(folder / "sets" / "hostile", HOSTILE)
    with RunStore(folder / "home" / "runs.db") as store:
        run = made_run(folder, eval_set, store, HOSTILE)
        store.save(run)
    pictures = folder / "pictures"
    pictures.mkdir()
    records = []
    for n, text in enumerate(HOSTILE):
        name = text.replace("/", "_").replace("\0", "")[:80] + f"{n}.png"
        Image.new("RGB", (40, 40), (19 * n, 0, 0)).save(pictures / name)
        records.append({"image": name, "text": text, "label": HOSTILE[n % 2], text: text})
    (folder / "m.json").write_text(json.dumps(records))
    with ImageIndex.open(folder / "home" / "gallery.db", encoder=load_encoder("demo")) as index:
        index.add(open_gallery(pictures, folder / "m.json"))
    process, running = start_dashboard(
        folder / "home",
        OPENAI_BASE_URL=server.url,
        MMRAG_EVAL_SETS=str(folder / "sets"),
        **CANARIES,
    )
    yield running
    stop(process)
    log = running.log.read_text()
    for canary in CANARIES.values():
        assert canary not in log
    assert "\x1b[2J" not in log
    stored = b"".join(p.read_bytes() for p in (folder / "home").rglob("*") if p.is_file())
    for canary in CANARIES.values():
        assert canary.encode() not in stored


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new visitor; all that the server sends is kept, and all that leaves for elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.received = []  # type: ignore[attr-defined]
    opened.elsewhere = []  # type: ignore[attr-defined]
    opened.on("websocket", lambda ws: ws.on("framereceived", lambda f: opened.received.append(f)))  # type: ignore[attr-defined]
    opened.on(
        "request",
        lambda r: None if _is_ours(r.url) else opened.elsewhere.append(r.url),  # type: ignore[attr-defined]
    )
    opened.on("dialog", lambda dialog: opened.elsewhere.append(dialog.message))  # type: ignore[attr-defined]
    yield opened
    # Left first: a page whose server goes away complains about it.
    opened.goto("about:blank")
    context.close()


def _is_ours(url: str) -> bool:
    return url.startswith(("http://localhost:", "ws://localhost:", "data:", "blob:", "about:"))


def sent(page: Page) -> bytes:
    frames = page.received  # type: ignore[attr-defined]
    return b"".join(f if isinstance(f, bytes) else str(f).encode() for f in frames)


def sign_in(page: Page, url: str, password: str = PASSWORD) -> None:
    page.context.clear_cookies()
    page.goto(url)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_it_listens_on_this_machine_only(guarded: Dashboard) -> None:
    port = int(guarded.url.rpartition(":")[2])
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        (None, None, True),
        (None, "http://evil.test", False),
        ("evil.test", "http://evil.test", False),
        ("evil.test", None, False),
    ],
)
def test_other_sites_do_not_reach_it(
    guarded: Dashboard, host: str | None, origin: str | None, allowed: bool
) -> None:
    """Not as another origin, and not by a name of their own that points to this machine."""
    port = int(guarded.url.rpartition(":")[2])
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host or 'localhost'}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    if origin:
        lines.append(f"Origin: {origin}")
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        connection.settimeout(10)
        status = connection.recv(1000).split(b"\r\n")[0]
    assert (b" 101 " in status) == allowed, status


def test_uploads_need_streamlits_token_and_a_session(guarded: Dashboard) -> None:
    where = f"{guarded.url}/_stcore/upload_file/some-session/some-file"
    files = {"file": ("x.png", b"x", "image/png")}
    assert httpx.put(where, files=files).status_code == 403
    with httpx.Client() as client:
        client.get(f"{guarded.url}/_stcore/host-config")
        client.get(f"{guarded.url}/_stcore/health")
        token = client.cookies.get("_streamlit_xsrf") or ""
        assert token, "the token's cookie is given"
        done = client.put(where, files=files, headers={"X-Xsrftoken": token})
        assert done.status_code == 400, "the token alone is not enough: no such session"


def test_programs_cannot_drive_it(guarded: Dashboard) -> None:
    done = httpx.post(f"{guarded.url}/_stcore/agent/interact", json={})
    assert done.status_code >= 400
    assert "does not serve" in done.text


@pytest.mark.parametrize(
    "path", ["..%2f..%2f..%2fetc/passwd", "static/..%2f..%2fdashboard.py", "media/x"]
)
def test_its_server_gives_out_no_files(guarded: Dashboard, path: str) -> None:
    done = httpx.get(f"{guarded.url}/{path}", follow_redirects=True)
    assert "root:" not in done.text
    assert "navigation import" not in done.text


TRAVERSALS = [
    "/media/../../../../etc/passwd",
    "/media/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/media/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/media/..%252f..%252fetc/passwd",
    "/media/..\\..\\..\\etc\\passwd",
    "/media//etc/passwd",
    "//etc/passwd",
    "/media/file:///etc/passwd",
    "/static/../../../../../etc/passwd",
    "/app/static/../../../../../etc/passwd",
    "/component/x/../../../../../../etc/passwd",
    "/_stcore/bidi-components/x/../../../../../../etc/passwd",
]


def test_media_addresses_lead_to_media_alone(guarded: Dashboard, page: Page) -> None:
    """As they are sent, dots and all; also with a real picture's address before them."""
    port = int(guarded.url.rpartition(":")[2])

    def asked(path: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            lines = [f"GET {path} HTTP/1.1", f"Host: localhost:{port}", "Connection: close"]
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            connection.settimeout(10)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    media: list[str] = []
    page.on("request", lambda r: media.append(r.url) if "/media/" in r.url else None)
    sign_in(page, f"{guarded.url}/search?source=own&text=a+mug")
    settled(page)
    real = [url.partition(str(port))[2] for url in media[:1]]
    assert all(b" 200 " in asked(path)[:20] for path in real)
    for path in [*TRAVERSALS, *(f"{one}/..{path}" for one in real for path in TRAVERSALS[:4])]:
        answer = asked(path)
        assert b"root:" not in answer, path
        assert b"navigation import" not in answer, path


def test_nothing_is_shown_before_the_password(guarded: Dashboard, page: Page) -> None:
    for path in ["", *PAGES, f"search?text={SECRET_TEXT}&like=images:x", "runs?runs=latest"]:
        page.goto(f"{guarded.url}/{path}")
        expect(page.get_by_label("Password", exact=True)).to_be_visible()
        settled(page)
        shown = page.content()
        assert "Milvus" not in shown
        assert "stImage" not in shown
        assert page.get_by_label("Instruction", exact=True).count() == 0
        links = page.get_by_role("link").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        # Streamlit's own anchor of the title, and no page of the dashboard.
        assert all(link.startswith("#") for link in links), links
    frames = sent(page)
    for word in (b"script>alert", b"Encoder", b"image/webp", b"canary"):
        assert word not in frames
    assert page.elsewhere == []  # type: ignore[attr-defined]


def test_wrong_passwords_are_refused_and_slowed_down(guarded: Dashboard, page: Page) -> None:
    page.goto(guarded.url)
    for wrong in ("", "x", PASSWORD[:-1], PASSWORD + " ", PASSWORD.upper()):
        page.get_by_label("Password", exact=True).fill(wrong)
        started = time.monotonic()
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("That is not the password.")).to_be_visible()
        settled(page)
        page.wait_for_timeout(200)
        assert page.get_by_label("Password", exact=True).is_visible()
        if wrong != "":
            assert time.monotonic() - started >= 0.2
    assert WRONG_PASSWORD_SECONDS >= 1
    # Side by side they wait for each other: one try a second, for all visitors together.
    other = page.context.browser.new_page()  # type: ignore[union-attr]
    other.goto(guarded.url)
    other.get_by_label("Password", exact=True).fill("one")
    page.get_by_label("Password", exact=True).fill("two")
    started = time.monotonic()
    other.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign in").click()
    expect(other.get_by_text("That is not the password.")).to_be_visible()
    settled(other)
    settled(page)
    assert time.monotonic() - started >= 2 * WRONG_PASSWORD_SECONDS
    other.goto("about:blank")
    other.close()


def test_a_browser_signs_in_once_and_out_again(guarded: Dashboard, page: Page) -> None:
    """The linked page is kept, tabs and reloads share the sign-in, and signing out ends it."""
    password = page.get_by_label("Password", exact=True)
    sign_in(page, f"{guarded.url}/runs?show=queries")
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    settled(page)
    expect(page).to_have_url(re.compile(r"/runs\?show=queries"))
    [cookie] = [one for one in page.context.cookies() if one["name"] == COOKIE]
    assert PASSWORD not in cookie["value"]
    assert cookie["sameSite"] == "Strict"
    assert 6 < (cookie["expires"] - time.time()) / 86_400 < 8
    other = page.context.new_page()
    other.goto(f"{guarded.url}/health")
    expect(other.get_by_role("heading", name="Health", exact=True)).to_be_visible()
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_label("Password", exact=True)).to_be_focused()
    page.reload()
    expect(password).to_be_visible()
    forged = cookie["value"][:-2] + ("AA" if cookie["value"][-2:] != "AA" else "BB")
    page.context.add_cookies([{"name": COOKIE, "value": forged, "url": guarded.url}])
    page.reload()
    expect(password).to_be_visible()
    other.goto("about:blank")
    other.close()


def test_hostile_texts_are_texts_and_secrets_stay_on_the_server(
    guarded: Dashboard, server: VisionServer, page: Page
) -> None:
    """Signed in, on every page: nothing runs, nothing is fetched elsewhere, no key arrives."""
    for path in [*PAGES, "search?set=hostile", "gallery?tab=map", "gallery?tab=Map", "runs"]:
        # A page that is opened anew is a new session, which is asked again.
        sign_in(page, f"{guarded.url}/{path}")
        settled(page)
        page.wait_for_timeout(500)
        for attack in (
            "img[src=x]",
            "svg[onload]",
            "[onmouseover]",
            "[onerror]",
            "a[href^=javascript]",
        ):
            assert page.locator(attack).count() == 0, (path, attack)
        assert page.locator("img[src*='evil.test']").count() == 0, path
        assert page.locator("a[href*='evil.test']").count() == 0, path
    assert page.elsewhere == []  # type: ignore[attr-defined]
    frames, shown = sent(page), page.content()
    assert b"alert(1)" in frames, "the hostile texts were sent"
    for canary in CANARIES.values():
        assert canary.encode() not in frames
        assert canary not in shown
        assert canary not in page.url


def test_a_models_words_are_no_markdown(
    guarded: Dashboard, server: VisionServer, page: Page
) -> None:
    server.always = Scene(refusal="no ![x](http://evil.test/x.png) [y](http://evil.test)")
    try:
        sign_in(page, f"{guarded.url}/search?source=own&text=a+mug")
        settled(page)
        page.get_by_text("Ask about the best match").click()
        page.get_by_label("Question", exact=True).fill("What does it cost?")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.get_by_text("The model refused")).to_be_visible()
        expect(page.get_by_text("![x](http://evil.test/x.png)").first).to_be_visible()
    finally:
        server.always = None
    assert page.locator("[href*='evil.test'], [src*='evil.test']").count() == 0
    assert page.elsewhere == []  # type: ignore[attr-defined]


def test_another_visitor_sees_nothing_of_the_first(
    guarded: Dashboard,
    page: Page,
    browser: Browser,
) -> None:
    sign_in(page, f"{guarded.url}/search?source=own&text={SECRET_TEXT}")
    settled(page)
    expect(page.get_by_label("Instruction")).to_have_value(SECRET_TEXT)
    other = browser.new_context().new_page()
    other.set_default_timeout(60_000)
    frames: list[object] = []
    other.on("websocket", lambda ws: ws.on("framereceived", lambda f: frames.append(f)))
    other.goto(guarded.url)
    expect(other.get_by_label("Password", exact=True)).to_be_visible()
    settled(other)
    sign_in(other, guarded.url)
    settled(other)
    told = b"".join(f if isinstance(f, bytes) else str(f).encode() for f in frames)
    assert SECRET_TEXT.encode() not in told
    assert SECRET_TEXT not in other.content()
    other.goto("about:blank")
    other.context.close()


def test_settings_of_the_server() -> None:
    """What the checks above rest on is written down, not left to another version's defaults."""
    import tomllib

    held = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())
    assert held["server"]["address"] == "localhost"
    assert held["server"]["enableXsrfProtection"] is True
    assert held["server"]["enableAgentApi"] is False
    assert "evil.test" not in held["server"]["allowedHosts"]
    assert held["server"]["maxUploadSize"] <= 50
    assert held["client"]["showErrorDetails"] == "none"
    assert held["browser"]["gatherUsageStats"] is False
    assert "enableCORS" not in held["server"]
    assert not os.environ.get("STREAMLIT_SERVER_ENABLE_CORS")
