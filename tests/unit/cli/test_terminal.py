"""What happens on a real terminal: questions, answers, progress."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from cli.publishing.keystore import Keystore
from config.keyfile import is_encrypted

ROOT = Path(__file__).parents[3]


Dialogue = list[tuple[str, str]]
DEADLINE_S = 30.0


def on_terminal(arguments: list[str], dialogue: Dialogue) -> tuple[int, str, str]:
    """Runs a command with a terminal for stdin and stderr, and types each answer once its question is there.

    Exit code, stdout, and what the terminal showed.
    """
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,  # else passphrases would be asked for on the terminal that runs the tests
    )
    os.close(terminal)
    try:
        shown = converse(controller, dialogue)
        printed, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.communicate()
        os.close(controller)
    return process.returncode, printed.decode(), shown


def converse(controller: int, dialogue: Dialogue) -> str:
    """All that was shown until the other end was closed."""
    shown = ""
    answered = 0
    left = list(dialogue)
    while select.select([controller], [], [], DEADLINE_S)[0]:
        try:
            chunk = os.read(controller, 65_536)
        except OSError:  # EIO: nobody holds the other end any more
            break
        shown += chunk.decode(errors="replace")
        if left and left[0][0] in shown[answered:]:
            answered = len(shown)
            os.write(controller, left.pop(0)[1].encode() + b"\n")
    assert left == [], shown
    return shown


def test_the_first_key_is_made_on_demand(home: Path, site_dir: Path) -> None:
    code, printed, shown = on_terminal(["bundle", str(site_dir), "-o", "site.car"], [("Make one now?", "y")])
    assert code == 0, shown
    assert "Make one now?" in shown
    assert (home / "site.car").exists()
    (entry,) = Keystore().entries()
    record = entry.record()
    assert record is not None
    assert str(record.site) in printed


def test_no_is_respected(home: Path, site_dir: Path) -> None:
    code, _, shown = on_terminal(["bundle", str(site_dir), "-o", "site.car"], [("Make one now?", "n")])
    assert code == 6
    assert "hint: fednode key new" in shown
    assert not (home / "site.car").exists()
    assert Keystore().entries() == []


def test_passphrases_are_typed_unseen(home: Path, site_dir: Path) -> None:
    new: Dialogue = [("passphrase", "open sesame"), ("Repeat", "open sesame")]
    code, _, shown = on_terminal(["key", "new", "--passphrase"], new)
    assert code == 0, shown
    assert is_encrypted(Keystore().entries()[0].path)
    code, _, shown = on_terminal(["bundle", str(site_dir), "-o", "site.car"], [("passphrase", "open sesame")])
    assert code == 0, shown
    assert "sesame" not in shown
    code, _, shown = on_terminal(["bundle", str(site_dir), "-o", "other.car"], [("passphrase", "wrong")])
    assert code == 6
    assert "wrong passphrase" in shown
