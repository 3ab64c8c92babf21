"""The one gate: every act that concerns a site or a block asks here, and the answer is the current policy's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from node.policy.decide import Policy
from node.policy.model import ALLOW, Act, Subject, Verdict, name_key
from protocol import varint
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError, PeerError
from protocol.release import SignedRelease
from protocol.site_id import SiteId

_REMEMBERED_MAX = 200_000
_UNFIT_MAX = 10_000


class Refused(PeerError):
    """Policy says no. `verdict` names the rule; its code and reason go to whoever asked."""

    code = "refused"

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason or f"refused by this node's {verdict.ground}")
        self.verdict = verdict


class Gate:
    """Holds the policy in force. Replacing it takes effect with the next question."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.others_bytes: Callable[[SiteId], int] = lambda _: 0
        """What other sites of the same publisher have here; set by who knows it."""

    @property
    def policy(self) -> Policy:
        """The one in force."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        # Asked of every site whenever heads are compared, and always answered alike until the policy changes.
        self._announceable: dict[SiteId, tuple[SignedRelease, Verdict]] = {}
        # What is in a release shows only when it comes; it need not come again to be refused again.
        self._unfit: dict[Cid, Verdict] = {}

    def may_host(self, signed: SignedRelease, *, local: bool = False) -> Verdict:
        """May this release be fetched and kept here?"""
        if not local and (unfit := self._unfit.get(signed.cid)) is not None:
            return unfit
        release = signed.release
        subject = Subject(
            site=release.site,
            root=release.root,
            trail=(release.root,) if release.root else (),
            domains=release.domains,
            size_bytes=release.size_bytes,
            local=local,
            others_bytes=self.others_bytes(release.site),
        )
        verdict = self.policy.decide(Act.FETCH, subject)
        return verdict if not verdict.allowed else self.policy.decide(Act.STORE, subject)

    def may_hold(self, signed: SignedRelease, media: Iterable[tuple[str, int]]) -> Verdict:
        """May a release of others be kept in which so many bytes of these media types were found? A refusal is
        remembered until the policy changes."""
        subject = replace(whole(signed), size_bytes=signed.release.size_bytes, media=tuple(media))
        verdict = self.policy.decide(Act.STORE, subject)
        if not verdict.allowed:
            if len(self._unfit) >= _UNFIT_MAX:
                self._unfit.clear()
            self._unfit[signed.cid] = verdict
        return verdict

    def may_announce(self, signed: SignedRelease) -> Verdict:
        """May peers and the DHT be told that this node has the release?"""
        known = self._announceable.get(signed.site)
        if known is None or known[0] is not signed:
            if len(self._announceable) >= _REMEMBERED_MAX:
                self._announceable.clear()
            known = self._announceable[signed.site] = (signed, self.policy.decide(Act.ANNOUNCE, whole(signed)))
        return known[1]

    def may_store_block(self, signed: SignedRelease, cid: Cid, *, local: bool = False) -> Verdict:
        """May this block of the release be written? A quarantined block is kept and served to nobody."""
        release = signed.release
        return self.policy.decide(
            Act.STORE,
            Subject(
                site=release.site,
                root=release.root,
                trail=(cid,),
                domains=release.domains,
                size_bytes=release.size_bytes,
                local=local,
            ),
        )

    def may_fetch_block(self, signed: SignedRelease, cid: Cid, *, local: bool = False) -> Verdict:
        """May others be asked for this block, and may it be written? One that is quarantined in a site that is allowed
        is kept."""
        verdict = self.may_host(signed, local=local)
        if not verdict.allowed:
            return verdict
        verdict = self.may_store_block(signed, cid, local=local)
        return verdict if verdict.kind == "refuse" else ALLOW

    def may_ask_for(self, site: SiteId) -> Verdict:
        """May others be asked about this site, of which nothing else is known?"""
        return self.policy.decide(Act.FETCH, Subject(site))

    def may_point_to(self, multihash: bytes) -> Verdict:
        """May others be told who has this, the name of a site or another key, or a CID?"""
        name = name_key(multihash)
        if isinstance(name, SiteId):
            return self.policy.decide(Act.ANNOUNCE, Subject(name))
        try:
            cid = Cid(b"\x01" + varint.encode(RAW) + multihash)
        except DecodeError:
            return self.policy.decide(Act.ANNOUNCE, Subject(names=(name,)))
        return self.policy.decide(Act.ANNOUNCE, Subject(root=cid, trail=(cid,), names=(name,)))

    def may_deal_with(self, peer: str) -> Verdict:
        """May there be a connection with this node (its peer id in base58)?"""
        return self.policy.decide(Act.FETCH, Subject(peer=peer))

    def may_send_block(self, signed: SignedRelease, cid: Cid) -> Verdict:
        """May this block of the site be sent to a peer?"""
        release = signed.release
        subject = Subject(release.site, release.root, trail=(cid,), domains=release.domains)
        return self.policy.decide(Act.PEER_SERVE, subject)

    def may_serve_peers(self, signed: SignedRelease) -> Verdict:
        """May a peer fetch from this release at all?"""
        return self.policy.decide(Act.PEER_SERVE, whole(signed))


def whole(signed: SignedRelease) -> Subject:
    """A site as such: what peers and publishers are told about it."""
    root = signed.release.root
    return Subject(signed.site, root, trail=(root,) if root else (), domains=signed.release.domains)
