"""Who counts as a host: said, alive, and not caught without it."""

from node.core.copies import GRACE_S, PROOF_MAX_S, STRANGERS_MAX, UNPROVED_MAX_S, Copies
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId

SITE, OTHER = SiteId(b"\1" * 32), SiteId(b"\2" * 32)
NODE, SECOND = SiteId(b"\3" * 32), SiteId(b"\4" * 32)
BOTH = SiteFilter.of([SITE, OTHER])


def watched() -> Copies:
    copies = Copies()
    copies.watch(SITE)
    copies.watch(OTHER)
    copies.statement(0.0, NODE, BOTH, leaving=False)
    return copies


def test_one_statement_speaks_for_all_sites() -> None:
    copies = watched()
    assert copies.counted(1.0, SITE) == copies.counted(1.0, OTHER) == [NODE]
    copies.statement(2.0, NODE, SiteFilter.of([OTHER]), leaving=False)
    assert (copies.counted(2.0, SITE), copies.counted(2.0, OTHER)) == ([], [NODE])
    assert set(copies.sites_of(NODE)) == {OTHER}


def test_a_node_that_is_away_counts_until_the_grace_period_ends_and_again_when_it_is_back() -> None:
    copies = watched()
    copies.connected(NODE)
    assert copies.counted(10 * GRACE_S, SITE) == [NODE]
    copies.disconnected(10 * GRACE_S, NODE)
    assert copies.counted(11 * GRACE_S - 1, SITE) == [NODE]
    assert copies.counted(11 * GRACE_S, SITE) == []
    copies.contact(12 * GRACE_S, NODE)
    assert copies.counted(12 * GRACE_S, SITE) == [NODE]


def test_strangers_without_number_are_not_noted_and_crowd_out_no_member() -> None:
    copies = watched()
    for number in range(2 * STRANGERS_MAX):
        copies.stated(1.0, SITE, SiteId(number.to_bytes(32, "big")))
    assert len(copies.of_site(SITE)) == STRANGERS_MAX
    copies.statement(2.0, SECOND, BOTH, leaving=False)
    assert copies.counted(2.0, SITE) == [NODE, SECOND]


def test_strangers_that_are_noted_for_one_site_are_no_members_for_another() -> None:
    copies = watched()
    strangers = [SiteId(number.to_bytes(32, "big")) for number in range(2 * STRANGERS_MAX)]
    for site, some in ((SITE, strangers), (OTHER, strangers[::-1]), (SITE, strangers), (OTHER, strangers)):
        for node in some:
            copies.stated(1.0, site, node)
            copies.contact(1.0, node)
    assert len(copies.of_site(SITE)) == len(copies.of_site(OTHER)) == STRANGERS_MAX


def test_nothing_is_kept_of_a_stranger_that_hosts_no_site_of_ours_any_more() -> None:
    copies = watched()
    kept = tables(copies)
    for number in range(10, 20):
        node = SiteId(number.to_bytes(32, "big"))
        copies.connected(node)
        copies.stated(1.0, SITE, node)
        copies.contact(1.0, node)
        copies.audited(2.0, node, [SITE], [])
        copies.unreached(3.0, node)
        copies.disconnected(4.0, node)
        copies.unwatch(SITE)
        copies.audited(5.0, node, [SITE], [])  # it was asked before
        copies.watch(SITE)
        copies.statement(6.0, NODE, BOTH, leaving=False)
    assert tables(copies) == kept


def test_nothing_is_kept_of_a_stranger_that_did_not_answer_while_it_was_connected() -> None:
    copies = watched()
    kept = tables(copies)
    copies.connected(SECOND)
    copies.unreached(1.0, SECOND)
    assert copies.silent(SECOND)
    copies.disconnected(2.0, SECOND)
    assert tables(copies) == kept


def tables(copies: Copies) -> dict[str, int]:
    """How much is in each of its tables."""
    return {name: len(table) for name, table in vars(copies).items() if isinstance(table, dict | set)}


def test_who_cannot_prove_is_no_copy_until_it_proves() -> None:
    copies = watched()
    copies.failed(5.0, SITE, NODE)
    assert (copies.counted(6.0, SITE), copies.counted(6.0, OTHER)) == ([], [NODE])
    copies.statement(7.0, NODE, BOTH, leaving=False)
    assert copies.counted(8.0, SITE) == []
    copies.proved(9.0, SITE, NODE)
    assert copies.counted(9.0, SITE) == [NODE]


def test_words_wear_off_and_so_do_proofs() -> None:
    copies = watched()
    copies.connected(NODE)
    copies.proved(0.0, OTHER, NODE)
    assert copies.counted(UNPROVED_MAX_S, SITE) == []
    assert copies.counted(PROOF_MAX_S - 1, OTHER) == [NODE]
    assert copies.counted(PROOF_MAX_S, OTHER) == []


def test_who_is_leaving_does_not_count() -> None:
    copies = watched()
    copies.statement(1.0, NODE, BOTH, leaving=True)
    assert copies.counted(1.0, SITE) == []
    copies.statement(2.0, NODE, BOTH, leaving=False)
    assert copies.counted(2.0, SITE) == [NODE]


def test_what_is_forgotten_leaves_nothing() -> None:
    copies = watched()
    copies.statement(0.0, SECOND, BOTH, leaving=False)
    copies.gone(NODE)
    assert list(copies.nodes()) == [SECOND]
    copies.unwatch(SITE)
    assert set(copies.sites_of(SECOND)) == {OTHER}
    copies.stated(1.0, SITE, NODE)
    assert copies.counted(1.0, SITE) == []


def test_who_proves_what_it_is_asked_for_is_believed_for_what_it_is_not() -> None:
    copies = watched()
    copies.connected(NODE)
    for day in range(30):
        copies.audited(day * UNPROVED_MAX_S, NODE, [OTHER], [])
    assert copies.counted(29 * UNPROVED_MAX_S, SITE) == [NODE]
    assert copies.counted(30 * UNPROVED_MAX_S, SITE) == []


def test_who_is_caught_is_believed_nothing_but_proofs_and_new_words() -> None:
    copies = watched()
    third = SiteId(b"\5" * 32)
    copies.watch(third)
    copies.stated(1.0, SITE, NODE)
    copies.audited(2.0, NODE, [OTHER], [SITE])
    copies.statement(3.0, NODE, SiteFilter.of([SITE, OTHER, third]), leaving=False)
    copies.stated(3.0, third, NODE)
    assert [copies.counted(4.0, site) for site in (SITE, OTHER, third)] == [[], [NODE], [NODE]]


def test_new_words_of_who_had_nothing_to_show_are_believed_when_it_has_shown_something() -> None:
    copies = watched()
    third = SiteId(b"\5" * 32)
    copies.stated(1.0, SITE, NODE)
    copies.audited(2.0, NODE, [], [SITE, OTHER])
    copies.watch(third)
    copies.stated(3.0, third, NODE)
    assert copies.counted(4.0, third) == []
    assert copies.doubted(4.0, third, NODE)
    copies.audited(5.0, NODE, [OTHER], [])
    assert copies.counted(6.0, third) == [NODE]
    assert not copies.doubted(6.0, third, NODE)


def test_a_filter_that_names_nearly_everything_is_no_word_for_any_site() -> None:
    copies = Copies()
    copies.watch(SITE)
    copies.watch(OTHER)
    copies.statement(0.0, NODE, SiteFilter.from_bytes(b"\xff" * 64), leaving=False)
    assert copies.counted(1.0, SITE) == []
    copies.proved(1.0, SITE, NODE)
    assert (copies.counted(1.0, SITE), copies.counted(1.0, OTHER)) == ([NODE], [])


def test_what_only_a_filter_named_is_no_fault_and_may_be_said_later() -> None:
    copies = watched()
    copies.audited(1.0, NODE, [OTHER], [SITE])
    assert not copies.said(SITE, NODE)
    assert copies.counted(2.0, SITE) == []
    copies.stated(3.0, SITE, NODE)
    assert copies.counted(4.0, SITE) == [NODE]
