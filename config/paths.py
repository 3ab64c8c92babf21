"""Where a node keeps what, under its data_dir."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from config.errors import ConfigError

SOCKET_PATH_MAX_BYTES = 107  # sockaddr_un.sun_path on Linux holds 108 bytes with the closing NUL


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths below one data_dir; nothing here touches the disk."""

    data_dir: Path

    @property
    def run_dir(self) -> Path:
        """Sockets; mode 0700."""
        return self.data_dir / "run"

    @property
    def admin_socket(self) -> Path:
        """HTTP for the operator; mode 0600."""
        return self.run_dir / "admin.sock"

    @property
    def publish_socket(self) -> Path:
        """The publish protocol's frames, for publishers on this machine; mode 0600."""
        return self.run_dir / "publish.sock"

    @property
    def gateway_socket(self) -> Path:
        """Between gateway workers and the daemon; mode 0600."""
        return self.run_dir / "gateway.sock"

    @property
    def store_dir(self) -> Path:
        """Blocks and their index."""
        return self.data_dir / "store"

    @property
    def lists_dir(self) -> Path:
        """Lists of refusals that the operator subscribed to, compiled."""
        return self.data_dir / "lists"

    @property
    def node_key(self) -> Path:
        """The node's own Ed25519 key (its libp2p identity), PKCS8 PEM; mode 0600."""
        return self.data_dir / "node.pem"

    @property
    def sample_key(self) -> Path:
        """The site key of the built-in sample site, for `fednode start --sample`."""
        return self.data_dir / "sample.pem"

    @property
    def announced(self) -> Path:
        """Up to when sites were announced in the DHT; may be deleted at any time."""
        return self.data_dir / "announced"

    @property
    def forks(self) -> Path:
        """Proofs that a site's key signed two releases of one number."""
        return self.data_dir / "forks"

    @property
    def imports(self) -> Path:
        """Imports from the IPFS network that are under way; may be deleted at any time."""
        return self.data_dir / "imports.json"

    @property
    def members(self) -> Path:
        """The members that were known when the node last ran; may be deleted at any time."""
        return self.data_dir / "members"

    @property
    def decisions(self) -> Path:
        """The decision log; mode 0600."""
        return self.data_dir / "decisions.db"

    @property
    def reports(self) -> Path:
        """What readers reported; mode 0600."""
        return self.data_dir / "reports.db"

    @property
    def invitations(self) -> Path:
        """Whom the operator invited; mode 0600."""
        return self.data_dir / "invitations.db"

    @property
    def notices(self) -> Path:
        """Notices to publishers, and the refusals that are to come; mode 0600."""
        return self.data_dir / "notices.db"

    @property
    def lock(self) -> Path:
        """Held by the one daemon that uses this data_dir."""
        return self.data_dir / "lock"

    def check(self) -> None:
        """ConfigError if a socket's path would not fit into a socket address."""
        longest = max(len(os.fsencode(path)) for path in (self.admin_socket, self.publish_socket, self.gateway_socket))
        if longest > SOCKET_PATH_MAX_BYTES:
            raise ConfigError(
                f"data_dir {self.data_dir} is too long: its sockets would need {longest} bytes "
                f"of at most {SOCKET_PATH_MAX_BYTES}",
                hint="choose a shorter data_dir (--data-dir)",
            )
