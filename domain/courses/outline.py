"""The tree in which callers write an outline, and the list in which it is published.

Reading the tree refuses nothing: what cannot be understood is left as it is, for the rules
of blocks to refuse together with everything else. ``places`` tells where in the tree each
block of the list stood.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from domain.courses.fields import Loc
from domain.keys import BlockKey, CourseKey, InvalidKeyError, parse_block_key

USUAL_TYPES: Final = ("course", "chapter", "sequential", "vertical")
"""What a block is that does not say so, by how deep it stands."""

_TREE_ONLY: Final = frozenset({"children", "id"})


def flatten(course_key: CourseKey, outline: object, *, display_name: object = "") -> list[Any]:
    """The blocks of a course in document order, the course itself first.

    Args:
        course_key: whose outline this is.
        outline: the chapters. A block is an object with ``usage_key``, or with ``id`` and,
            unless it is a chapter, sequential or vertical in its usual place, ``type``;
            ``display_name``; what else a block may say; and ``children``.
        display_name: of the course.
    """
    root = str(course_key.without_branch.root_block)
    blocks: list[Any] = [
        {"usage_key": root, "type": "course", "parent": None, "display_name": display_name}
    ]
    keys: dict[Loc, Any] = {(): root}
    for loc, node in _walk(outline):
        if not isinstance(node, Mapping):
            blocks.append(node)
            continue
        block = _block(course_key, len(loc) // 2 + 1, node)
        block["parent"] = keys.get(loc[:-2])
        keys[loc] = block.get("usage_key")
        blocks.append(block)
    return blocks


def places(outline: object) -> list[Loc]:
    """Where in the tree each block of ``flatten`` stood."""
    return [(), *(loc for loc, _ in _walk(outline))]


def nest(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tree of a list of blocks: what stands directly in the course."""
    nodes: dict[str, dict[str, Any]] = {}
    for block in blocks:
        node = {name: value for name, value in block.items() if name != "parent"}
        node["children"] = []
        nodes[block["usage_key"]] = node
        if (above := nodes.get(block["parent"])) is not None:
            above["children"].append(node)
    return nodes[blocks[0]["usage_key"]]["children"] if blocks else []


def _walk(outline: object) -> Iterator[tuple[Loc, object]]:
    """Every node in document order, and where it stands, without recursion."""
    chapters = outline if isinstance(outline, list | tuple) else []
    waiting: list[tuple[Loc, object]] = [((n,), node) for n, node in _last_first(chapters)]
    while waiting:
        loc, node = waiting.pop()
        yield loc, node
        children = node.get("children") if isinstance(node, Mapping) else None
        if isinstance(children, list | tuple):
            waiting += [((*loc, "children", n), child) for n, child in _last_first(children)]


def _last_first(nodes: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return ((n, nodes[n]) for n in range(len(nodes) - 1, -1, -1))


def _block(course_key: CourseKey, level: int, node: Mapping[str, Any]) -> dict[str, Any]:
    """One node as a block, without its parent."""
    block = {name: value for name, value in node.items() if name not in _TREE_ONLY}
    if not isinstance(node.get("children", []), list | tuple):
        block["children"] = node["children"]
    identity, key = node.get("id"), node.get("usage_key")
    if identity is not None:
        if key is not None or not isinstance(identity, str):
            block["id"] = identity
        else:
            kind = node.get("type", USUAL_TYPES[level] if level < len(USUAL_TYPES) else None)
            if isinstance(kind, str):
                key = str(BlockKey(course_key.without_branch, kind, identity))
                block |= {"usage_key": key, "type": kind}
    if block.get("display_name") is None:
        named = identity if isinstance(identity, str) else _id_in(block.get("usage_key"))
        block["display_name"] = named.replace("_", " ")
    return block


def _id_in(key: object) -> str:
    """What a block is called that has no name is its id, as people would write it."""
    try:
        return parse_block_key(key).block_id if isinstance(key, str) else ""
    except InvalidKeyError:
        return ""
