"""What other nodes say of themselves over HTTP, to anybody who asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cli.errors import NoDaemon, WrongUsage

if TYPE_CHECKING:
    import httpx


DEADLINE_S = 30.0


class TooLong(Exception):
    """The answer is longer than it may be."""


def public_client(url: str, **more: Any) -> httpx.Client:
    """For the public side of the node at a URL. Raises WrongUsage."""
    import httpx

    try:
        if not url.startswith(("http://", "https://")):
            raise httpx.InvalidURL("it does not begin with https:// or http://")
        return httpx.Client(base_url=url.rstrip("/"), timeout=DEADLINE_S, **more)
    except httpx.InvalidURL as error:
        raise WrongUsage(f"{url!r} is no address: {error}", hint="give it as https://NODE") from error


def ask_json(
    http: httpx.Client, method: str, path: str, *, max_bytes: int, body: dict[str, str] | None = None
) -> tuple[int, dict[str, Any] | None]:
    """The status, and the JSON object of the answer, None if it is none. Raises NoDaemon, TooLong."""
    import httpx

    try:
        with http.stream(method, path, json=body) as answer:
            raw = bytearray()
            for chunk in answer.iter_bytes():
                raw += chunk
                if len(raw) > max_bytes:
                    raise TooLong
    except httpx.HTTPError as error:
        raise NoDaemon(f"{http.base_url} does not answer: {error}", hint="check the address") from error
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    return answer.status_code, value if isinstance(value, dict) else None
