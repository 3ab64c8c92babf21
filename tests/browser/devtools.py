"""Chromium steered by its DevTools protocol over a pipe: keys as a person presses them, and what the page then has."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.browser.chromium import FLAGS, program

DEADLINE_S = 30.0
# Chromium reads commands from descriptor 3 and writes answers to 4.
WRAPPER = """
import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 50) for fd in sys.argv[1:3]]
os.dup2(high[0], 3)
os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
CODES = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}


class Tab:
    """One page of a browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._loads = 0
        self.answers: list[dict[str, Any]] = []
        """What came for the page's requests, once `send("Network.enable")` was said."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Page.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], DEADLINE_S)
            assert ready, "Chromium says nothing"
            self._buffer += os.read(self._answers, 1 << 20)
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._loads += message.get("method") == "Page.loadEventFired"
        if message.get("method") == "Network.responseReceived":
            self.answers.append(message["params"]["response"])
        return message

    @contextmanager
    def loading(self, pages: int = 1) -> Iterator[None]:
        """Ends when so many more pages have loaded."""
        wanted = self._loads + pages
        yield
        while self._loads < wanted:
            self._next()

    def open(self, url: str, *, pages: int = 1) -> None:
        with self.loading(pages):
            self.send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, as JSON."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def url(self) -> str:
        return str(self.run("location.href"))

    @property
    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def press(self, key: str, *, modifiers: int = 0) -> None:
        """modifiers: 1 Alt, 8 Shift."""
        typed = "\r" if key == "Enter" else key if len(key) == 1 and not modifiers & 1 else ""
        common: dict[str, Any] = {"key": key, "modifiers": modifiers}
        if len(key) == 1 and key.isalnum():
            common["code"] = f"Key{key.upper()}" if key.isalpha() else f"Digit{key}"
        common["windowsVirtualKeyCode"] = CODES.get(key, ord(key.upper()[0]))
        self.send("Input.dispatchKeyEvent", type="keyDown", text=typed, unmodifiedText=key[:1], **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def tab_to(self, selector: str, *, at_most: int = 80) -> None:
        """Presses Tab until an element that fits has the focus, as somebody without a mouse would."""
        for _ in range(at_most):
            self.press("Tab")
            if self.run(f"document.activeElement.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"Tab does not come to {selector}")

    def without_script(self) -> None:
        self.send("Emulation.setScriptExecutionDisabled", value=True)

    def picture(self, target: Path, *, width: int = 1100, height: int = 800, dark: bool = False) -> bytes:
        """The whole page as a PNG, also left at `target`."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        png = base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        target.write_bytes(png)
        return png

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A fresh Chromium; ended with the context."""
    from_us, commands = os.pipe()
    answers, to_us = os.pipe()
    wrapped = [sys.executable, "-c", WRAPPER, str(from_us), str(to_us), program(), *FLAGS]
    process = subprocess.Popen(
        [*wrapped, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(from_us, to_us),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    try:
        tab = Tab(commands, answers)
        yield tab
        with suppress(BrokenPipeError, AssertionError, ValueError):
            tab.send("Browser.close")
    finally:
        end_s = time.monotonic() + 5
        while process.poll() is None and time.monotonic() < end_s:
            time.sleep(0.02)
        process.kill()
        process.wait()
        os.close(commands)
        os.close(answers)
