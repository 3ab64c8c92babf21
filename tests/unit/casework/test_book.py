"""Reports: what they are about, how they are joined and put in order, and what is kept."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.casework import book as books
from node.casework.book import Backlog, ReportBook
from node.casework.model import CATEGORIES, BadReport, Report, rank_s, read_report, subject_of
from protocol.site_id import SiteId

SITE = str(SiteId.of(Ed25519PrivateKey.from_private_bytes(bytes(32))))
CID = "bafkreibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq"


class Clock:
    now_s = 1_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Iterator[ReportBook]:
    opened = ReportBook(tmp_path / "reports.db", now_s=lambda: clock.now_s)
    yield opened
    opened.close()


def report(subject: str = f"/ipns/{SITE}", category: str = "spam") -> Report:
    return Report(subject, subject, category, "why", "me@here", "")


@pytest.mark.parametrize(
    ("where", "subject"),
    [
        (SITE, f"/ipns/{SITE}"),
        (f"ipns://{SITE}/a/b", f"/ipns/{SITE}"),
        (f"/ipns/{SITE}/page.html", f"/ipns/{SITE}"),
        (f"http://{SITE}.ipns.localhost:8080/a%20b?x=1", f"/ipns/{SITE}"),
        (f"https://example.org/ipns/{SITE}/x/", f"/ipns/{SITE}"),
        (f"https://{CID}.ipfs.example.org/docs/a", f"/ipfs/{CID}/docs/a"),
        (CID, f"/ipfs/{CID}"),
        ("https://Blog.example.org./2026/a.html", "/ipns/blog.example.org"),
        ("https://blog--x-example-org.ipns.localhost:8080/a", "/ipns/blog-x.example.org"),
        ("blog.example.org", "/ipns/blog.example.org"),
    ],
)
def test_what_a_report_is_about(where: str, subject: str) -> None:
    assert subject_of(where) == subject


@pytest.mark.parametrize(
    "where", ["/p2p/{}", "/ip4/127.0.0.1/tcp/4001/p2p/{}", f"//{'Qm' + 'a' * 44}", "//" + "ab" * 32]
)
def test_nodes_and_hashes_are_not_reported(where: str) -> None:
    """Who decides many cases at once must not cut nodes off, or refuse what cannot be looked at."""
    where = where.format("12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN")
    with pytest.raises(BadReport):
        subject_of(where)


@given(
    st.dictionaries(st.sampled_from(["where", "category", "why", "contact", "evidence", "x"]), st.text(max_size=3000))
)
def test_any_report_is_taken_or_refused(fields: dict[str, str]) -> None:
    try:
        taken = read_report(fields)
    except BadReport:
        return
    assert taken.subject.startswith(("/ipns/", "/ipfs/"))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_open_cases_are_found_by_their_numbers(filled: ReportBook, wanted: list[tuple[int, int]]) -> None:
    ranges = [range(first, last + 1) for first, last in wanted]
    expected = [case for case in filled.cases() if any(case.id in numbers for numbers in ranges)]
    assert filled.open_cases(ranges) == expected


def test_a_few_of_many_cases_are_found_without_looking_at_all(
    filled: ReportBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who decides after a flood gives thousands of numbers at a time."""
    monkeypatch.setattr(filled, "cases", None)
    assert [case.id for case in filled.open_cases([range(5, 6), range(3, 4), range(10**15, 10**15 + 5)])] == [3, 5]
    assert filled.open_cases([]) == []


@pytest.fixture
def filled(book: ReportBook, clock: Clock) -> ReportBook:
    """With twenty cases, of which every seventh is decided."""
    for number in range(20):
        book.add([report(f"/ipns/{number}.example", "spam")])
        clock.now_s += 1
    book.decide([(number, None) for number in range(7, 21, 7)], "dismissed", "no")
    return book


def test_one_case_for_a_subject_and_the_urgent_first(book: ReportBook, clock: Clock) -> None:
    book.add([report(), report(f"/ipfs/{CID}", "copyright")])
    clock.now_s += 10
    book.add([report(category="child-abuse")])
    first, second = book.cases()
    assert (first.subject, first.category, first.count, first.first_s) == (f"/ipns/{SITE}", "child-abuse", 2, 1_000_000)
    assert second.subject == f"/ipfs/{CID}"
    assert book.backlog() == Backlog(2, 0, first.due_s)
    clock.now_s += 3601
    assert book.backlog().late == 1


def test_repetition_moves_a_case_up() -> None:
    ranks = [rank_s(0, "spam", count) for count in range(1, 5000)]
    assert ranks == sorted(ranks, reverse=True)
    assert rank_s(0, "spam", 1) == CATEGORIES["spam"].level_s
    assert rank_s(0, "spam", 1024) < rank_s(0, "copyright", 1)


def test_a_decision_closes_a_case_and_its_reporters_see_it(book: ReportBook) -> None:
    one, two = book.add([report(), report()])
    (case,) = book.cases()
    book.decide([(case.id, 7)], "refused", "phishing")
    for token in (one, two):
        found = book.by_token(token)
        assert found is not None
        assert (found.state, found.reason, found.entry) == ("refused", "phishing", 7)
    assert book.by_token(one[:-1]) is None
    book.decide([(case.id, 8)], "dismissed", "other")
    assert book.cases(state="decided")[0].entry == 7
    book.add([report()])
    assert book.cases()[0].id != case.id


def test_contacts_go_with_time(book: ReportBook, clock: Clock) -> None:
    (token,) = book.add([report()])
    book.decide([(1, None)], "dismissed", "no")
    clock.now_s += books.KEEP_DECIDED_S
    assert book.tidy() == 0
    clock.now_s += 1
    assert book.tidy() == 1
    assert book.by_token(token) is None


def test_the_file_is_private_bounded_and_has_no_tokens(
    book: ReportBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (token,) = book.add([report()])
    assert stat.S_IMODE((tmp_path / "reports.db").stat().st_mode) == 0o600
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"me@here" in kept
    assert token.encode() not in kept
    monkeypatch.setattr(books, "REPORTS_MAX", 1)
    with pytest.raises(BadReport, match="cannot take more"):
        book.add([report()])
