"""Which Content-Type a file gets: by its name, and where that says nothing, text or bytes by its first bytes."""

from __future__ import annotations

import json
import mimetypes
import re

_TYPES = {
    "aac": "audio/aac",
    "apng": "image/apng",
    "atom": "application/atom+xml; charset=utf-8",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "bz2": "application/x-bzip2",
    "css": "text/css; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "epub": "application/epub+zip",
    "flac": "audio/flac",
    "gif": "image/gif",
    "glb": "model/gltf-binary",
    "gz": "application/gzip",
    "htm": "text/html; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar; charset=utf-8",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "jsonld": "application/ld+json; charset=utf-8",
    "jxl": "image/jxl",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "map": "application/json; charset=utf-8",
    "markdown": "text/markdown; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml; charset=utf-8",
    "rst": "text/plain; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
    "tar": "application/x-tar",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "ttf": "font/ttf",
    "txt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json; charset=utf-8",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml; charset=utf-8",
    "xml": "application/xml; charset=utf-8",
    "xsl": "application/xslt+xml; charset=utf-8",
    "xz": "application/x-xz",
    "zip": "application/zip",
    "zst": "application/zstd",
}
_BUILT_IN = mimetypes.MimeTypes()  # Python's own table only: the same answer on every machine
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
JSON = "application/json"
_JSON_START = re.compile(rb'\s*(?:\{\s*["}]|\[\s*[{"\]])')
HTML = "text/html; charset=utf-8"
SNIFF_BYTES = 512


def by_name(name: str) -> str | None:
    """The type that a file's name says; None where it says nothing."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem:
        return None
    known = _TYPES.get(suffix.lower())
    if known is not None:
        return known
    guessed, encoding = _BUILT_IN.guess_type(f"x.{suffix.lower()}", strict=True)
    if guessed is None or encoding is not None:
        return None
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


def by_content(start: bytes) -> str:
    """JSON, text or bytes, by what the file starts with; never a type that a browser would run."""
    piece = start[:SNIFF_BYTES]
    if _CONTROL.search(piece):
        return BYTES
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError as error:
        cut_short = len(start) >= SNIFF_BYTES and error.start > SNIFF_BYTES - 4
        if not cut_short or error.reason != "unexpected end of data":
            return BYTES
    return JSON if _JSON_START.match(piece) and _may_be_json(piece) else TEXT


def _may_be_json(piece: bytes) -> bool:
    """What is there in full must be JSON; of what goes on, the start says enough."""
    if len(piece) == SNIFF_BYTES:
        return True
    try:
        json.loads(piece)
    except (ValueError, RecursionError):
        return False
    return True
