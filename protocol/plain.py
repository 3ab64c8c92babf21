"""Plain text in one line: what may be shown on terminals and pages as it is."""

import re

# No controls, line breaks, overrides of writing direction or surrogates.
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_plain_line(text: str) -> bool:
    return _NOT_PLAIN.search(text) is None


def count(number: int, word: str, words: str = "") -> str:
    """ "1 block", "1,618 blocks"; words: the plural, if another letter than s makes it."""
    return f"{number:,} {word if number == 1 else words or f'{word}s'}"


def clip_plain(text: str, max_chars: int) -> str:
    """`text` as it may be sent: what is not plain becomes a space, the rest is cut to its limit."""
    plain = _NOT_PLAIN.sub(" ", text[: max_chars + 1])
    return plain if len(plain) <= max_chars else plain[: max_chars - 1] + "…"
