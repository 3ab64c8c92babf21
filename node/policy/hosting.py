"""The hosting settings as one question: would this node keep a site of others? Pure.

Spec: docs/spec/policy.md, "Hosting settings".
"""

from __future__ import annotations

from node.policy.model import ALLOW, Hosting, Subject, Verdict

_TYPES_NAMED = 3


def decide_hosting(hosting: Hosting, subject: Subject) -> Verdict:
    """The first setting that says no, in the order of the spec's table."""
    if hosting.mode == "none":
        return _refusal("not-hosting", "this node does not host sites of others")
    if hosting.mode == "follow" and subject.site not in hosting.follow:
        return _refusal("not-following", "this node hosts only the sites that it follows")
    if hosting.mode == "invite" and subject.site not in hosting.follow and subject.site not in hosting.invited:
        return _refusal("not-invited", "this node hosts only sites of publishers that it invited")
    limit = hosting.max_site_bytes
    if limit is not None and subject.size_bytes is not None and subject.size_bytes > limit:
        return _refusal("too-large", f"the site has {subject.size_bytes} bytes, this node takes at most {limit}")
    return _quota(hosting, subject) or _media(hosting, subject) or ALLOW


def accepts_media(hosting: Hosting, media_type: str) -> bool:
    """Whether files of this type may be part of sites of others, to any amount."""
    if not hosting.media_types:
        return True
    bare = media_type.partition(";")[0].strip()
    return bare in hosting.media_types or f"{bare.partition('/')[0]}/*" in hosting.media_types


def _quota(hosting: Hosting, subject: Subject) -> Verdict | None:
    publisher = hosting.invited.get(subject.site) if subject.site is not None else None
    quota = publisher.quota_bytes if publisher is not None else None
    if quota is None:
        quota = hosting.publisher_quota_bytes
    if quota is None or subject.size_bytes is None:
        return None
    total = subject.size_bytes + subject.others_bytes
    if total <= quota:
        return None
    return _refusal(
        "publisher-full", f"the publisher's sites would have {total} bytes here, this node takes at most {quota}"
    )


def _media(hosting: Hosting, subject: Subject) -> Verdict | None:
    others = {name: size for name, size in subject.media if size and not accepts_media(hosting, name)}
    total = sum(others.values())
    if not others or total * 100 <= hosting.other_media_percent * (subject.size_bytes or 0):
        return None
    most = sorted(others, key=lambda name: (-others[name], name))
    named = ", ".join(most[:_TYPES_NAMED]) + (", …" if len(most) > _TYPES_NAMED else "")
    some = f" and at most {hosting.other_media_percent} % of others" if hosting.other_media_percent else ""
    takes = ", ".join(hosting.media_types[:20])
    return _refusal("media-type", f"at least {total} bytes of the site are {named}; this node takes {takes}{some}")


def _refusal(code: str, text: str) -> Verdict:
    return Verdict(kind="refuse", reason=text, code=code)
