"""The daemon's log on stderr: lines for people on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import json
import logging
import sys
import time

# What libp2p says at info is noise to an operator, and at debug it logs whole values.
QUIET = ("libp2p", "multiaddr", "hypercorn", "httpx", "httpcore", "async_service", "trio_websocket")


class HumanFormatter(logging.Formatter):
    """`14:03:22 warning net: message`; tracebacks follow indented."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        room = record.name.removeprefix("node.").split(".")[0]
        line = f"{clock} {record.levelname.lower():7} {room}: {record.getMessage()}"
        if record.exc_info:
            line += "\n    " + self.formatException(record.exc_info).replace("\n", "\n    ")
        return line


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, message, then the record's fields and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(fields := getattr(record, "fields", None), dict):
            entry |= fields
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def wants_human(form: str) -> bool:
    """What `auto` means here and now."""
    return form == "human" or (form == "auto" and sys.stderr.isatty())


def set_up_logging(level: str, form: str) -> None:
    """`level` and `form` as in the [log] settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(HumanFormatter() if wants_human(form) else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
