"""What the daemon tells its gateway workers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from node.gateway.limits import FetchLimits, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Settings of one worker process. backend_socket: where the daemon answers (`gateway.sock`).

    peer_id, addresses: of the node, among nodes.
    fetch_on_miss: ask other nodes for sites that are not hosted here; fetch_trees: for whatever else has a
    CID or an IPNS name, too. log_format: "human" or "json".
    """

    store_dir: Path
    backend_socket: Path
    node_name: str = ""
    contact: str = ""
    domains: tuple[str, ...] = ("localhost",)
    fetch_on_miss: bool = True
    fetch_trees: bool = False
    list_sites: bool = False
    take_records: bool = False
    policy_url: str = ""
    hosting_mode: str = "open"
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    tree_domains: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    access_log: bool = False
    log_level: str = "info"
    log_format: str = "human"
    limits: Limits = field(default_factory=Limits)
    fetch_limits: FetchLimits = field(default_factory=FetchLimits)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self) | {"store_dir": str(self.store_dir), "backend_socket": str(self.backend_socket)})

    @classmethod
    def from_json(cls, text: str) -> WorkerSettings:
        """What to_json gave."""
        found: dict[str, Any] = json.loads(text)
        known = {name: found[name] for name in (item.name for item in fields(cls))}
        known = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
        return replace(
            cls(**known),
            store_dir=Path(found["store_dir"]),
            backend_socket=Path(found["backend_socket"]),
            limits=Limits(**found["limits"]),
            fetch_limits=FetchLimits(**found["fetch_limits"]),
        )
