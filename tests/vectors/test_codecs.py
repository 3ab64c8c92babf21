"""Codecs against ipld/codec-fixtures: every form of a value gives the same value, and its one encoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol import dagcbor, dagjson
from protocol.cid import DAG_CBOR, DAG_JSON, DAG_PB, RAW, Cid
from protocol.data_model import value_of
from protocol.errors import DecodeError

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "codecs.json").read_text(encoding="utf-8"))
CODECS = {"dag-cbor": DAG_CBOR, "dag-json": DAG_JSON, "dag-pb": DAG_PB, "raw": RAW}
ENCODERS = {"dag-cbor": dagcbor.encode, "dag-json": dagjson.encode}


@pytest.mark.parametrize("forms", VECTORS["valid"].values(), ids=VECTORS["valid"].keys())
def test_the_forms_of_a_value_agree(forms: dict[str, dict[str, str]]) -> None:
    values = []
    for name, form in forms.items():
        block = bytes.fromhex(form["hex"])
        cid = Cid.from_text(form["cid"])
        cid.verify(block)
        assert cid.codec == CODECS[name]
        values.append(value_of(cid.codec, block))
    for value in values:
        for name, encode in ENCODERS.items():
            assert encode(value) == bytes.fromhex(forms[name]["hex"])


@pytest.mark.parametrize("entry", VECTORS["invalid"], ids=lambda entry: f"{entry['codec']}: {entry['why']}")
def test_what_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(DecodeError):
        value_of(CODECS[entry["codec"]], bytes.fromhex(entry["hex"]))
