"""Every setting of a node, in one place: name, kind, default, and a sentence that says what it does.

The TOML file, the environment, `fednode init`, `fednode config` and the operators' documentation all follow
from this schema. Names carry their unit; sizes also take text with a unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from config import kinds
from config.kinds import Kind
from protocol.site_id import SiteId

T = TypeVar("T")

DEFAULT_GATEWAY_PORT = 8080
DEFAULT_LIBP2P_PORT = 4101


def setting(kind: Kind[T], default: T, doc: str) -> T:
    """A dataclass field that knows its kind and its documentation."""
    return field(default=default, metadata={"kind": kind, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Who runs this node: readers and publishers see it when the node refuses something."""

    name: str = setting(kinds.TEXT, "", "A name for this node, shown to readers. Empty: none.")
    contact: str = setting(
        kinds.TEXT,
        "",
        "Where to appeal a refusal: an e-mail address or an https:// address. Empty: none is shown.",
    )
    operator: str = setting(
        kinds.LABEL,
        "",
        "Who operates this node, such as a domain name: the same on all nodes of one operator, so that no site has its "
        "first copies with one operator alone. Other nodes see it. Empty: not stated.",
    )
    region: str = setting(
        kinds.LABEL, "", "Where this node is, such as eu-north; shown by `fednode resilience`. Empty: not stated."
    )
    policy_url: str = setting(
        kinds.WEB_ADDRESS, "", "The page that says what this node hosts and what it refuses. Empty: none."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """libp2p: how this node and others find and reach each other."""

    listen: tuple[str, ...] = setting(
        kinds.LISTEN_ADDRESSES,
        (f"/ip4/127.0.0.1/tcp/{DEFAULT_LIBP2P_PORT}",),
        "Where other nodes can connect. Loopback only, unless you open it. Port 0: the system chooses.",
    )
    bootstrap: tuple[str, ...] = setting(
        kinds.DIAL_ADDRESSES, (), "Nodes to connect to at start; the others are found through them."
    )
    dns_seeds: tuple[str, ...] = setting(
        kinds.HOSTNAMES,
        (),
        "Names whose TXT records (fednode=ADDRESS at the name, dnsaddr=ADDRESS at _dnsaddr.NAME) list nodes to connect "
        "to. Asked at start and while there are few connections, by gateway.dns_servers.",
    )
    dht: bool = setting(
        kinds.BOOL,
        True,
        "Use the Kademlia DHT to find hosts of a site and to be found. Off: only connected peers are asked.",
    )
    join: str = setting(
        kinds.choice("federation", "lan", "public"),
        "federation",
        "The DHT to take part in, and to announce the hosted sites in, beside that of fednode nodes. federation: none; "
        "lan: that of IPFS nodes in a local network; public: that of all IPFS nodes, to which `bootstrap` names a way.",
    )
    routers: tuple[str, ...] = setting(
        kinds.WEB_ADDRESSES,
        (),
        "Routers (Routing V1 over HTTP), for example other fednode gateways, to ask beside the DHT who has a block and "
        "what an IPNS name stands for. They learn what this node looks for; what they say is verified.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """HTTP for readers."""

    listen: tuple[str, ...] = setting(
        kinds.HOST_PORTS,
        (f"127.0.0.1:{DEFAULT_GATEWAY_PORT}",),
        "Where readers can connect by HTTP. Empty list: no gateway.",
    )
    domains: tuple[str, ...] = setting(
        kinds.HOSTNAMES,
        ("localhost",),
        "Names under which each site has its own origin: SITE.ipns.NAME. Browsers resolve *.localhost by "
        "themselves; any other name needs a wildcard DNS record.",
    )
    workers: int = setting(kinds.integer(0, 64), 0, "Processes that answer readers. 0: as many as there are cores.")
    connections: int = setting(
        kinds.integer(10, 100_000),
        2000,
        "Connections of readers that one worker keeps. When all are taken, the longest idle one gives way.",
    )
    address_connections: int = setting(
        kinds.integer(1, 100_000),
        100,
        "Of these, how many one IPv4 address or IPv6 /64 may have. Readers behind a trusted proxy: how many answers on "
        "their way. More get 429.",
    )
    address_requests_per_s: int = setting(
        kinds.integer(0, 1_000_000),
        100,
        "Requests a second that one worker answers one such address; ten times as many may come at once. More get 429. "
        "0: no limit. Loopback addresses have no limits, unless they are trusted proxies, whose readers have.",
    )
    fetch_on_miss: str = setting(
        kinds.choice("off", "sites", "all"),
        "sites",
        "What is fetched from its hosts, verified and cached when a reader asks for a site that is not kept here. "
        "sites: what the hosting settings would accept; all: whatever no rule refuses, and trees of the IPFS "
        "network under their CIDs and IPNS names, too; off: nothing.",
    )
    list_sites: bool = setting(kinds.BOOL, False, "List the hosted sites on the gateway's front page.")
    take_records: bool = setting(
        kinds.BOOL,
        False,
        "Take IPNS records from anybody (PUT /routing/v1/ipns/NAME), keep the 20,000 last ones for a while, give them "
        "to who asks, and bring them to the DHT that was joined.",
    )
    cache_bytes: int = setting(
        kinds.SIZE,
        1024**3,
        "Disk space for blocks of sites that are fetched for readers and not hosted. The oldest go first.",
    )
    tree_domains: tuple[str, ...] = setting(
        kinds.HOSTNAMES,
        (),
        "Domains under which kept trees are served, and names of others that stand for one, if DNS names those "
        "(DNSLink). Sites need no entry: their releases list their domains.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        kinds.ADDRESS_RANGES,
        (),
        "Proxies in front of this gateway. Only theirs are the X-Forwarded-Proto, -Host and -For that count.",
    )
    dns_servers: tuple[str, ...] = setting(
        kinds.HOST_PORTS,
        (),
        "DNS servers to ask which site a domain names (DNSLink), and for network.dns_seeds. Empty list: those of this "
        "machine.",
    )
    access_log: bool = setting(
        kinds.BOOL,
        False,
        "Log each answer to a reader: method, host, path, status, bytes and duration; never who asked.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingSettings:
    """Which sites this node volunteers to keep, and how much of them."""

    mode: str = setting(
        kinds.choice("open", "follow", "invite", "none", "leaving"),
        "open",
        "open: any site that a publisher or a peer offers, within the limits below; follow: only the sites in "
        "`follow`; invite: these, and sites that were published with an invitation (`fednode invite`); none: no site "
        "of others at all; leaving: as none, and other nodes are asked to take over what is hosted here, before this "
        "node is stopped for good. `fednode publish` on this machine works in every mode.",
    )
    grace_s: int = setting(
        kinds.integer(60, 604_800),
        3600,
        "Seconds that another host of a site may be away before one more is asked to host it: longer than a reboot.",
    )
    follow: tuple[SiteId, ...] = setting(
        kinds.SITES,
        (),
        "Sites to fetch and keep. `fednode follow SITE` adds to this list without editing the file.",
    )
    quota_bytes: int = setting(
        kinds.SIZE,
        10 * 1024**3,
        "Disk space for hosted sites. It is never exceeded; what does not fit is refused.",
    )
    max_site_bytes: int | None = setting(
        kinds.SIZE_OR_NONE,
        2 * 1024**3,
        "The largest site to accept from others. none: only the quota limits it.",
    )
    publisher_quota_bytes: int | None = setting(
        kinds.SIZE_OR_NONE,
        None,
        "What all sites of one publisher may have here. A publisher is known by an invitation; a site that came "
        "without one is a publisher by itself. An invitation may have a quota of its own. none: no limit.",
    )
    media_types: tuple[str, ...] = setting(
        kinds.MEDIA_TYPES,
        (),
        "Media types of files that sites of others may have, such as text/html or image/*, as the gateway would serve "
        "them: by their names, else by their first bytes. Empty list: any.",
    )
    other_media_percent: int = setting(
        kinds.integer(0, 100),
        0,
        "How much of a site's bytes may be files of other types than those in `media_types`.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """How a refusal of a hosted site goes: the publisher's time to move, and to take the data away."""

    notice_s: int = setting(
        kinds.integer(0, 31_536_000),
        259_200,
        "Seconds between the notice to a publisher and the refusal of its site by a rule of yours; meanwhile the site "
        "is served. 0: refuse at once, as `fednode block --now` and `--legal` do anyway. Three days outlast a weekend.",
    )
    list_notice_s: int = setting(
        kinds.integer(0, 31_536_000),
        0,
        "The same for hosted sites that a list hits. 0: at once, because lists are mostly about malware and phishing.",
    )
    export_s: int = setting(
        kinds.integer(0, 31_536_000),
        2_592_000,
        "Seconds for which a refused site is kept at least, so that its publisher can fetch it. After that time it is "
        "deleted if the operator said so (`fednode block --drop`).",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsSettings:
    """What readers and others have to do to report something."""

    proof_of_work_bits: int = setting(
        kinds.integer(0, 28),
        0,
        "Work that a report has to show, against floods: 20 are a second or two of one core, and each bit more doubles "
        "it; `fednode report` does it. The form works without, for ten reports a minute. 0: none is asked for.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The daemon's log, which goes to stderr."""

    level: str = setting(kinds.choice("debug", "info", "warning", "error"), "info", "How much to log.")
    format: str = setting(
        kinds.choice("auto", "human", "json"),
        "auto",
        "human: lines for people; json: one object a line; auto: human on a terminal, json otherwise.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Numbers for Prometheus; `fednode metrics` shows them in any case."""

    listen: tuple[str, ...] = setting(
        kinds.HOST_PORTS,
        (),
        "Where Prometheus can fetch /metrics by HTTP. Whoever reaches it can read it. Empty list: nowhere.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a node. `Config(data_dir=…)` gives the defaults."""

    data_dir: Path = field(
        metadata={
            "kind": kinds.PATH,
            "doc": "Everything that the node keeps: its key, the blocks, its index, its sockets. "
            "If not set: $XDG_DATA_HOME/fednode, that is ~/.local/share/fednode.",
        }
    )
    node: NodeSettings = field(default_factory=NodeSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    hosting: HostingSettings = field(default_factory=HostingSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    reports: ReportsSettings = field(default_factory=ReportsSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


class Setting(NamedTuple):
    """One setting. For data_dir `section` is "" and `default` is None: it depends on the user."""

    section: str
    key: str
    kind: Kind[Any]
    default: Any
    doc: str

    @property
    def name(self) -> str:
        """ "gateway.listen", or "data_dir"."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def env_name(self) -> str:
        """ "FEDNODE_GATEWAY_LISTEN"."""
        return "FEDNODE_" + self.name.upper().replace(".", "_")


SECTIONS: dict[str, type[Any]] = {
    "node": NodeSettings,
    "network": NetworkSettings,
    "gateway": GatewaySettings,
    "hosting": HostingSettings,
    "policy": PolicySettings,
    "reports": ReportsSettings,
    "log": LogSettings,
    "metrics": MetricsSettings,
}


def settings() -> Iterator[Setting]:
    """Every setting, in the order of the file."""
    data_dir = next(item for item in fields(Config) if item.name == "data_dir")
    yield Setting("", "data_dir", data_dir.metadata["kind"], None, data_dir.metadata["doc"])
    for section, cls in SECTIONS.items():
        for item in fields(cls):
            yield Setting(section, item.name, item.metadata["kind"], item.default, item.metadata["doc"])


def value_of(config: Config, item: Setting) -> Any:
    """The value of one setting."""
    return getattr(getattr(config, item.section) if item.section else config, item.key)
