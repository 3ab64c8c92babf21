"""What of a folder is published, and what cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.errors import FolderError
from cli.publishing import scan as scan_module
from cli.publishing.scan import ScannedFile, ScannedFolder, ScannedLink, ScanOptions, files_of, scan_folder

KEEP = ScanOptions()
HIDDEN = ScanOptions(hidden=True)
FOLLOW = ScanOptions(dereference=True)


def names(folder: ScannedFolder) -> dict[str, object]:
    return {
        name: names(entry) if isinstance(entry, ScannedFolder) else type(entry).__name__
        for name, entry in folder.entries.items()
    }


def test_hidden_names_stay_out(tmp_path: Path) -> None:
    for name in (".git", ".well-known", "sub"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "sub" / ".hidden").write_text("x")
    (tmp_path / ".env").write_text("secret")
    file = "ScannedFile"
    assert names(scan_folder(str(tmp_path), KEEP).root) == {".well-known": {"file": file}, "sub": {"file": file}}
    assert names(scan_folder(str(tmp_path), HIDDEN).root) == {
        ".env": file,
        ".git": {"file": file},
        ".well-known": {"file": file},
        "sub": {".hidden": file, "file": file},
    }


def test_sums_and_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, size in (("b/2", 2), ("b/1", 1), ("a", 4), ("Z", 8)):
        (tmp_path / name).write_bytes(b"x" * size)
    scan = scan_folder(str(tmp_path), KEEP)
    assert (scan.files, scan.size_bytes) == (4, 15)
    assert [os.path.relpath(file.path, tmp_path) for file in files_of(scan.root)] == ["Z", "a", "b/1", "b/2"]


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    links = {
        "in": "sub",
        "sub/up": "../in",
        "out": "../elsewhere",
        "sub/out": "../../elsewhere",
        "absolute": "/etc",
        "dangling": "missing",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    scan = scan_folder(str(tmp_path), KEEP)
    assert scan.root.entries["in"] == ScannedLink(b"sub")
    assert sorted(scan.outward_links) == ["absolute", "out", "sub/out"]
    assert scan.files == 0


def test_links_are_followed_on_demand(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    site = tmp_path / "site"
    site.mkdir()
    (site / "folder").symlink_to(elsewhere)
    (site / "file").symlink_to(elsewhere / "file")
    root = scan_folder(str(site), FOLLOW).root
    assert names(root) == {"file": "ScannedFile", "folder": {"file": "ScannedFile"}}
    assert isinstance(root.entries["file"], ScannedFile)
    assert root.entries["file"].size_bytes == 1


def test_followed_links_that_never_end(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "loop").symlink_to("..")
    with pytest.raises(FolderError, match="leads back"):
        scan_folder(str(tmp_path), FOLLOW)
    scan_folder(str(tmp_path), KEEP)


def test_followed_links_to_nothing_or_to_themselves(tmp_path: Path) -> None:
    (tmp_path / "nothing").symlink_to("missing")
    with pytest.raises(FolderError, match="link to nothing"):
        scan_folder(str(tmp_path), FOLLOW)
    (tmp_path / "nothing").unlink()
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(FolderError):
        scan_folder(str(tmp_path), FOLLOW)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "link").symlink_to("real")
    assert scan_folder(str(tmp_path / "link"), KEEP).files == 1


def test_other_kinds_of_files_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FolderError, match="neither a file nor a folder") as caught:
        scan_folder(str(tmp_path), KEEP)
    assert str(tmp_path / "pipe") in str(caught.value)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="cannot read"):
        scan_folder(str(tmp_path / "missing"), KEEP)


def test_depth_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "DEPTH_MAX", 3)
    (tmp_path / "1" / "2").mkdir(parents=True)
    scan_folder(str(tmp_path), KEEP)
    (tmp_path / "1" / "2" / "3").mkdir()
    with pytest.raises(FolderError, match="deeper than 3"):
        scan_folder(str(tmp_path), KEEP)


def test_the_real_depth_limit_fits_the_stack(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (scan_module.DEPTH_MAX - 1))
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    scan = scan_folder(str(tmp_path), KEEP)
    assert len(list(files_of(scan.root))) == 1


def test_the_number_of_entries_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "ENTRIES_MAX", 2)
    for name in "ab":
        (tmp_path / name).write_text("x")
    scan_folder(str(tmp_path), KEEP)
    (tmp_path / "c").write_text("x")
    with pytest.raises(FolderError, match="more than 2 entries"):
        scan_folder(str(tmp_path), KEEP)
