"""What the store raises, by who must act (docs/spec/store.md, "Errors")."""

from __future__ import annotations

from typing import ClassVar

from protocol.cid import Cid
from protocol.errors import FednodeError, OperatorError, PeerError


class BlockMissing(FednodeError):
    """No such block here; fetch it from a host."""

    code: ClassVar[str] = "block-missing"

    def __init__(self, cid: Cid) -> None:
        super().__init__(f"block {cid} is not in the store")
        self.cid = cid


class BlockCorrupt(FednodeError):
    """The block is known but its bytes do not match its CID; putting it again heals it."""

    code: ClassVar[str] = "block-corrupt"

    def __init__(self, cid: Cid) -> None:
        super().__init__(f"block {cid} is damaged on disk")
        self.cid = cid


class HoldGone(FednodeError):
    """The hold was aborted, overtaken by a later release, or its site was dropped meanwhile."""

    code: ClassVar[str] = "hold-gone"


class HoldIncomplete(PeerError):
    """The blocks of a hold are not the number of blocks and bytes that the release states."""

    code: ClassVar[str] = "size-mismatch"


class QuotaExceeded(OperatorError):
    """The quota has no room; `needed_bytes` were asked for while `free_bytes` were left."""

    code: ClassVar[str] = "full"

    def __init__(self, *, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"the quota has {free_bytes} bytes left and {needed_bytes} are needed",
            hint="raise hosting.quota_bytes or drop a site with `fednode block SITE --drop`",
        )
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class StoreFull(OperatorError):
    """The disk under the store has no space left. Reads go on; writes may be tried again later."""

    code: ClassVar[str] = "store-full"


class StoreReadOnly(OperatorError):
    """The disk under the store refuses writes. Reads go on."""

    code: ClassVar[str] = "store-read-only"


class StoreFailed(OperatorError):
    """The disk or the database answered with another error."""

    code: ClassVar[str] = "store-failed"


class StoreLocked(OperatorError):
    """Another process has this store open for writing."""

    code: ClassVar[str] = "store-locked"


class StoreDamaged(OperatorError):
    """The index is not readable as a database of this layout."""

    code: ClassVar[str] = "store-damaged"


class StoreTooNew(OperatorError):
    """The index was written by a later version of fednode."""

    code: ClassVar[str] = "store-too-new"


class StoreClosed(FednodeError):
    """The store was closed; a caller outlived it."""

    code: ClassVar[str] = "store-closed"


class TooMany(OperatorError):
    """More rules, lists or follows than the store keeps."""

    code: ClassVar[str] = "too-many"
