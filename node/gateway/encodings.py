"""Accept-Encoding: which precompressed form of a file a reader takes. Pure. RFC 9110, 12.5.3."""

from __future__ import annotations

import re

SUFFIXES: dict[str, str] = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""Content coding → suffix of the file beside the plain one; the one that we like best first."""

_HEADER_MAX_CHARS = 512
_PART = re.compile(
    r"([a-z0-9*_-]{1,20})(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?", re.IGNORECASE | re.ASCII
)


def accepted(header: str | None) -> tuple[str, ...]:
    """The codings of SUFFIXES that the reader takes, best first: by its weights, then by our order."""
    if not header or len(header) > _HEADER_MAX_CHARS:
        return ()
    weights: dict[str, float] = {}
    for part in header.split(","):
        matched = _PART.fullmatch(part.strip(" \t"))
        if matched is not None:
            weights[matched[1].lower()] = float(matched[2] or 1)
    others = weights.get("*", 0.0)
    taken = [(weights.get(name, others), name) for name in SUFFIXES]
    return tuple(name for weight, name in sorted(taken, key=lambda pair: -pair[0]) if weight > 0)
