"""Blocks of any codec that is read here as values of the IPLD data model (protocol/dagcbor.py has their types)."""

from typing import Final

from protocol import dagcbor, dagjson, dagpb
from protocol.cid import DAG_CBOR, DAG_JSON, DAG_PB, RAW
from protocol.dagcbor import Value
from protocol.errors import UnsupportedCodec

CODEC_NAMES: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor", DAG_JSON: "dag-json"}


def value_of(codec: int, block: bytes) -> Value:
    """Raises DecodeError; UnsupportedCodec for a codec that is not one of CODEC_NAMES."""
    if codec == RAW:
        return block
    if codec == DAG_CBOR:
        return dagcbor.decode(block)
    if codec == DAG_JSON:
        return dagjson.decode(block)
    if codec == DAG_PB:
        return _node(dagpb.decode(block))
    raise UnsupportedCodec(f"codec 0x{codec:x} is not read")


def _node(node: dagpb.PBNode) -> Value:
    """The logical form of dag-pb: fields that are not there are left out."""
    links: list[Value] = []
    for link in node.links:
        fields: dict[str, Value] = {"Hash": link.cid}
        if link.name is not None:
            fields["Name"] = link.name.decode("utf-8", "replace")
        if link.tsize is not None:
            fields["Tsize"] = link.tsize
        links.append(fields)
    found: dict[str, Value] = {"Links": links}
    if node.data is not None:
        found["Data"] = node.data
    return found
