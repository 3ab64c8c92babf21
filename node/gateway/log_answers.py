"""The decision log for everybody: signed head, entries and proofs as JSON (docs/spec/log.md)."""

from __future__ import annotations

import re
from pathlib import Path

from node.decisions.files import LogFailed
from node.decisions.reader import LogReader, NoSuchEntry
from node.decisions.shape import PREFIX, entry_json, head_json
from node.gateway.response import Response, public_json

_RANGE = re.compile(
    rf"{re.escape(PREFIX)}/(entries|inclusion|consistency)/(0|[1-9][0-9]{{0,15}})/(0|[1-9][0-9]{{0,15}})"
)


class LogAnswers:
    """Reads the log's file in a worker. Questions of microseconds, asked on the loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: LogReader | None = None

    def answer(self, path: str) -> Response | None:
        """None for a path that is not the log's. LogFailed."""
        if path == PREFIX:
            return public_json(200, head_json(self._open().head()))
        if not path.startswith(f"{PREFIX}/"):
            return None
        matched = _RANGE.fullmatch(path)
        if matched is None:
            return public_json(404, {"error": "no such thing; see docs/spec/log.md of fednode"})
        reader, first, second = self._open(), int(matched[2]), int(matched[3])
        try:
            if matched[1] == "entries":
                found = reader.entries(first, second)
                shown = [entry_json(each.raw, each.entry, each.opened, withheld=each.withheld) for each in found]
                return public_json(200, {"entries": shown})
            proof = reader.inclusion if matched[1] == "inclusion" else reader.consistency
            return public_json(200, {"path": [hashed.hex() for hashed in proof(first, second)]})
        except NoSuchEntry as error:
            return public_json(404, {"error": str(error)})

    def entry_of(self, rule: str, list_name: str | None) -> int | None:
        """The entry behind a refusal; None when there is none that may be named."""
        try:
            return self._open().number_for(rule, list_name)
        except LogFailed:
            return None

    def _open(self) -> LogReader:
        if self._reader is None:
            self._reader = LogReader(self._path)
        return self._reader
