"""A whole site in a browser: pages, styles, images, a font, sound and film that are sought in, a service
worker, its origin.
"""

from __future__ import annotations

import io
import struct
import time
import wave
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.demo.nodes import fednode
from tests.browser.devtools import Tab, browser
from tests.browser.test_pages import PICTURES, colours
from tests.browser.webm import film, picture_of_webp
from tests.integration.daemons import Daemon, Site, federation

pytestmark = [pytest.mark.integration, pytest.mark.browser]

DEADLINE_S = 20.0
SOUND_S = 60
FILM_S = 60
STYLE = """@font-face { font-family: proof; src: url(font.ttf) }
:root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto }
h1 { font-family: proof, serif; color: light-dark(rgb(20, 60, 120), rgb(140, 190, 255)) } img { width: 12rem }"""
PAGE = """<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>{0}</title><link rel=stylesheet href=/style.css><h1>{0}</h1><p>A page of a site, read from a host.</p>
<p><img src="/pictures/light.svg" alt="a light"><p><audio controls src="/sound.wav"></audio><p>
<a href="/">Home</a> · <a href="/second/">Second page</a> · <a href="/nowhere">Nowhere</a></p></html>"""
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><rect width="40" height="20" rx="3" fill="#235"/>'
    '<circle cx="20" cy="10" r="7" fill="#fc3"/></svg>'
)
WORKER = """addEventListener("install", () => skipWaiting());
addEventListener("activate", event => event.waitUntil(clients.claim()));
addEventListener("fetch", event => {
  if (new URL(event.request.url).pathname === "/from-the-worker") event.respondWith(new Response("made by the worker"));
});"""


def sound() -> bytes:
    """A minute of a quiet tone: more than a browser loads before it is played."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22_050)
        period = b"".join(struct.pack("<h", 600 if n < 25 else -600) for n in range(50))
        file.writeframes(period * (22_050 * SOUND_S // 50))
    return out.getvalue()


def font() -> bytes:
    """A TrueType font of Debian's that comes with Chromium's packages, else none: then the test is skipped."""
    for folder in (Path("/usr/share/fonts"), Path.home() / ".fonts"):
        found = next(iter(sorted(folder.rglob("*.ttf"))), None)
        if found is not None:
            return found.read_bytes()
    pytest.skip("needs a TrueType font: apt-get install fonts-dejavu-core")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with federation(1) as found:
        yield found[0]


@pytest.fixture(scope="module")
def site(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("site"))
    made.write("index.html", PAGE.format("First page"))
    made.write("second/index.html", PAGE.format("Second page"))
    made.write("style.css", STYLE)
    made.write("pictures/light.svg", PICTURE)
    made.write("font.ttf", font())
    made.write("sound.wav", sound())
    made.write("worker.js", WORKER)
    made.write("files/a.txt", "a")
    made.write("files/<b>.txt", "b" * 3000)
    made.publish(daemon)
    return made


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser(tmp_path / "profile") as found:
        yield found


def told(tab: Tab, promise: str) -> object:
    """What a promise in the page comes to."""
    tab.run(f"window.told = undefined; ({promise}).then(v => told = [v], e => told = [String(e)])")
    end_s = time.monotonic() + DEADLINE_S
    while (found := tab.run("window.told")) is None:
        assert time.monotonic() < end_s, promise
        time.sleep(0.05)
    return found[0]


def pictures(tab: Tab, name: str) -> None:
    """Light, dark, and as on a phone; none may be blank or wider than its window."""
    for kind, options in {"light": {}, "dark": {"dark": True}, "phone": {"width": 390, "height": 700}}.items():
        png = tab.picture(PICTURES / f"{name}-{kind}.png", **options)  # type: ignore[arg-type]
        assert colours(png) > 20, (name, kind)
        assert tab.overflow() <= 0, (name, kind)


def test_pages_with_all_that_belongs_to_them(daemon: Daemon, site: Site, tab: Tab) -> None:
    tab.open(daemon.url(site.id))
    assert told(tab, "document.fonts.load('20px proof').then(found => found.length)") == 1
    assert tab.run("getComputedStyle(document.querySelector('h1')).fontFamily").startswith("proof")
    assert tab.run("document.querySelector('img').naturalWidth") > 0
    pictures(tab, "site")
    with tab.loading():
        tab.run("document.querySelector('a[href=\"/second/\"]').click()")
    assert "Second page" in tab.text
    with tab.loading():
        tab.run("document.querySelector('a[href=\"/nowhere\"]').click()")
    assert "There is no /nowhere in this site" in tab.text
    pictures(tab, "site-404")


def test_sound_is_sought_in_by_ranges(daemon: Daemon, site: Site, tab: Tab) -> None:
    tab.open(daemon.url(site.id))
    to = SOUND_S - 5
    seek = (
        f"new Promise((done, fail) => {{ const a = document.querySelector('audio'); a.preload = 'auto';"
        f"const go = () => {{ a.onseeked = () => done(a.currentTime); a.currentTime = {to}; }};"
        "a.onerror = () => fail('no sound'); a.readyState ? go() : (a.onloadedmetadata = go, a.load()); })"
    )
    assert told(tab, seek) == to
    assert tab.run("document.querySelector('audio').seekable.end(0)") == SOUND_S
    said = "r => r.status + ' ' + r.headers.get('content-range')"
    ranged = f"fetch('/sound.wav', {{headers: {{Range: 'bytes=100-199'}}}}).then({said})"
    assert str(told(tab, ranged)).startswith("206 bytes 100-199/")


def test_a_film_is_sought_in_by_ranges(daemon: Daemon, tab: Tab, tmp_path: Path) -> None:
    tab.open(f"http://{daemon.gateway}/")
    # Noise, so that pictures are large; each has its number as the shade of its upper half.
    paint = (
        "n => { const c = Object.assign(document.createElement('canvas'), {width: 640, height: 480}), "
        "x = c.getContext('2d'), i = x.createImageData(640, 480), d = new Uint32Array(i.data.buffer); "
        "d.forEach((_, at) => d[at] = Math.random() * 2 ** 24 | 0xff000000); x.putImageData(i, 0, 0); "
        "x.fillStyle = `rgb(${n * 4}, 0, 0)`; x.fillRect(0, 0, 640, 240); "
        "return c.toDataURL('image/webp', 0.9).split(',')[1] }"
    )
    shown = [picture_of_webp(b64decode(tab.run(f"({paint})({n})"))) for n in range(FILM_S)]
    site = Site(tmp_path / "film")
    site.write("film.webm", film(shown, 640, 480))
    site.write("index.html", '<!doctype html><video muted preload=metadata src="film.webm"></video>')
    site.publish(daemon)
    tab.send("Network.enable")
    tab.open(daemon.url(site.id))
    to = FILM_S - 10.5
    seek = (
        "new Promise((done, fail) => { const v = document.querySelector('video');"
        f"const go = () => {{ v.onseeked = () => done([v.duration, v.currentTime]); v.currentTime = {to}; }};"
        "v.onerror = () => fail(v.error.message); v.readyState ? go() : v.onloadedmetadata = go; })"
    )
    assert told(tab, seek) == [FILM_S, to]
    shade = (
        "(() => { const x = document.createElement('canvas').getContext('2d');"
        "x.drawImage(document.querySelector('video'), 0, 0); return x.getImageData(100, 50, 1, 1).data[0] })()"
    )
    assert abs(tab.run(shade) - int(to) * 4) < 12, "the picture of that second"
    ranges = [answer["headers"].get("content-range", "") for answer in answers_of(tab, "film.webm")]
    size = (site.dir / "film.webm").stat().st_size
    starts = [int(found[6:].partition("-")[0]) for found in ranges]
    assert starts[0] == 0
    assert max(starts) > size // 2, f"only what is needed is fetched, not the {size} bytes before: {ranges}"


def answers_of(tab: Tab, name: str) -> list[dict[str, Any]]:
    """The partial ones, for requests of a file."""
    found = [answer for answer in tab.answers if answer["url"].endswith(name) and answer["status"] == 206]
    return [{**answer, "headers": {key.lower(): value for key, value in answer["headers"].items()}} for answer in found]


def test_a_service_worker_serves_its_own_site_alone(daemon: Daemon, site: Site, tab: Tab, tmp_path: Path) -> None:
    tab.open(daemon.url(site.id))
    told(tab, "navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready).then(() => 1)")
    with tab.loading():
        tab.run("location.reload()")
    asked = "fetch('/from-the-worker').then(r => r.text())"
    assert told(tab, asked) == "made by the worker"
    tab.run("localStorage.setItem('mine', '1'); document.cookie = 'mine=1'")
    other = Site(tmp_path / "other")
    other.write("index.html", PAGE.format("Another site"))
    other.publish(daemon)
    tab.open(daemon.url(other.id))
    assert told(tab, "fetch('/from-the-worker').then(r => r.status)") == 404
    assert tab.run("[localStorage.length, document.cookie, navigator.serviceWorker.controller]") == [0, "", None]
    # The same site by its path shares an origin with others there: it gets none.
    tab.open(f"http://{daemon.gateway}/ipns/{site.id}/")
    blocked = "(() => { try { localStorage.length; return false } catch { return true } })()"
    assert tab.run(f"[self.origin, {blocked}]") == ["null", True]


def test_a_listing_and_a_refusal(daemon: Daemon, site: Site, tab: Tab) -> None:
    tab.open(daemon.url(site.id) + "files/")
    assert "Index of /files" in tab.text
    assert tab.run("getComputedStyle(document.querySelector('td + td')).textAlign") == "right"  # the CSP lets it be
    assert "<b>.txt" in tab.text
    pictures(tab, "listing")
    with tab.loading():
        tab.run("[...document.links].find(link => link.text === '<b>.txt').click()")
    assert tab.text == "b" * 3000
    fednode("block", site.id, "--reason", "a reason to be read", *daemon.at)
    tab.open(daemon.url(site.id) + "second/")
    assert "a reason to be read" in tab.text
    pictures(tab, "site-refused")
    fednode("unblock", site.id, *daemon.at)
    tab.open(f"http://{daemon.gateway}/.well-known/fednode/reports")
    assert tab.run("getComputedStyle(document.querySelector('label')).display") == "block"  # the CSP lets it be
    pictures(tab, "report")
