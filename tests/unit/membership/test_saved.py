"""The file with the members of the last run."""

from pathlib import Path

from node.membership import saved
from protocol.site_filter import SiteFilter
from protocol.statement import Statement, Takes, sign_statement
from tests.unit.membership.kit import key_of, node_id


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    signed = sign_statement(Statement(node_id(1), 7, (), Takes.OPEN, 1, 0, SiteFilter()), key_of(1))
    file = tmp_path / "members"
    file.mkdir()
    saved.save(file, [signed])
    assert list(tmp_path.iterdir()) == [file]
    file.rmdir()
    saved.save(file, [signed])
    assert saved.load(file) == [signed]
