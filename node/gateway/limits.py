"""What one reader, one address and all readers together may cost a gateway worker."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

RECEIVE_BYTES = 64 * KIB  # one recv; also the most that is ever buffered beyond a full request head
INLINE_READ_MAX_BYTES = 64 * KIB  # files up to here are read on the loop: a thread costs more than the read
PATH_SEGMENTS_MAX = 256  # each one may cost a block read
SYMLINKS_MAX = 16  # followed for one request, so that a loop ends
LISTING_ENTRIES_MAX = 1000  # rows of a generated directory page; keeps its cost and size flat
FILES_CACHED_MAX = 4096  # resolved paths kept; with CACHED_PATH_MAX_BYTES about 4 MiB at most
CACHED_PATH_MAX_BYTES = 1 * KIB
SITES_CACHED_MAX = 1024  # decoded heads kept; each a few KiB
BLOCK_CACHE_BYTES = 64 * MIB  # verified blocks kept in memory by one worker
BLOCK_CACHED_MAX_BYTES = 256 * KIB  # larger ones would wash out what is hot, and cost little to verify again
READY_BYTES = 32 * MIB  # whole answers kept in memory by one worker; the bytes are mostly those of kept blocks
READY_MAX_BYTES = 128 * KIB  # of one; the socket takes it at once, so that no rule comes while it is sent
HOLDERS_MAX = 64  # sites that are looked at for one that may serve a block; an empty folder is in many
NAME_MAX_AGE_S = 60  # how long a cache may show a name's content unasked: IPNS names and fednode heads move rarely
CONTENT_MAX_AGE_S = 29_030_400  # how long a cache may keep what a CID names; the trustless gateway spec says so
RESOLVED_FRESH_S = 15  # how long a head that another node gave is used without asking again
PASSED_OVER_S = 30  # before a release is tried again that could not be had whole
UNRESOLVED_FRESH_S = 5  # how long "nobody has it" is believed


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one worker; connections and addresses are counted per worker, and only in memory."""

    request_line_max_bytes: int = 8 * KIB
    head_max_bytes: int = 16 * KIB  # request line and all headers
    headers_max: int = 100
    idle_s: float = 60.0  # between requests, and before the first
    head_s: float = 10.0  # from the first byte of a head to its last
    answer_s: float = 60.0  # from the head to the first byte of the answer; the app's own deadlines are shorter
    stall_s: float = 20.0  # without one byte of progress while sending
    total_s: float = 60.0  # for sending an answer, plus its length at the slowest rate
    slowest_bytes_per_s: int = 4 * KIB
    linger_s: float = 1.0  # for the last answer to arrive before a connection closes
    stop_grace_s: float = 1.0  # for answers that are being sent when the worker stops
    retire_wait_s: float = 2.0  # for readers to ask once more when another daemon's workers take over
    retire_answers_s: float = 30.0  # for answers that are being sent then
    alone_s: float = 300.0  # to serve on after the daemon died; a restart with recovery takes less
    connections_max: int = 2000
    address_connections_max: int = 100  # per IPv4 address or IPv6 /64
    address_requests_per_s: int = 100  # likewise, on average; 0: no limit
    address_burst_s: float = 10.0  # so many seconds' worth of requests may come at once: a page with its images
    addresses_max: int = 10_000  # remembered for their requests, about 200 bytes each
    limit_loopback: bool = False  # readers behind a proxy on this machine all share one address
    rejects_max: int = 64  # connections that are being told 429 or 503; more are closed unheard

    def __post_init__(self) -> None:
        if not 0 < self.request_line_max_bytes < self.head_max_bytes:
            raise ValueError("a request line must fit into a head")
        if not 0 < self.address_connections_max <= self.connections_max:
            raise ValueError("one address cannot have more connections than there are")

    def send_s(self, length: int) -> float:
        """The most that sending `length` bytes may take."""
        return self.total_s + length / self.slowest_bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """Waiting for other nodes while a reader waits for us."""

    first_byte_s: float = 30.0  # for head and all blocks before the first byte: then 504
    block_s: float = 20.0  # for one block in mid-body: then the answer is cut
    waiting_max: int = 64  # requests to the daemon at a time, the rest wait within their deadline

    def __post_init__(self) -> None:
        if self.first_byte_s >= Limits().answer_s:
            raise ValueError("the app must give up before the connection does")
