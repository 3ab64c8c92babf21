"""Target text ↔ target: what an operator types, what is stored, and what a verdict names."""

from __future__ import annotations

from node.policy.model import Target
from protocol.cid import DAG_PB, Cid
from protocol.site_id import SiteId


def target_text(target: Target) -> str:
    """The one text of a target: `/ipns/k51…` or `/ipfs/bafy…[/path][*]`, %-encoded."""
    raise NotImplementedError
