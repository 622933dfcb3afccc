"""Reading trees: Newick and NEXUS by dendropy, and BEAST's annotations beside the nodes."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Nodes(NamedTuple):
    """A tree as a file has it: one entry a node, parents before children."""

    parent: list[int]
    length: list[float]
    names: list[str]
    annotations: list[dict[str, Any]]


def read(path: Path) -> str:
    """The text of a file, unpacked if it is gzipped.

    Raises:
        ValueError: if it is not text.
        OSError: if it cannot be read.
    """
    data = path.read_bytes()
    try:
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not a tree file: {error}") from None


def parse(text: str, schema: str, where: str) -> Nodes:
    """The first tree of a text; dendropy's own errors become one sentence.

    Args:
        text: the file's content.
        schema: "newick" or "nexus".
        where: what to call the text in errors.

    Raises:
        ValueError: if there is no tree, an edge has no length, or a tip appears twice.
        ModuleNotFoundError: without dendropy.
    """
    try:
        import dendropy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'reading trees needs dendropy; install it with: pip install "unstir[trees]"'
        ) from error
    limit = sys.getrecursionlimit()
    try:
        # The parser recurses into brackets: a ladder of a thousand tips would pass Python's limit.
        sys.setrecursionlimit(max(limit, 4 * text.count("(") + limit))
        found = dendropy.TreeList.get(
            data=text,
            schema=schema,
            preserve_underscores=True,
            extract_comment_metadata=False,
            suppress_internal_node_taxa=True,
            rooting="force-rooted",
        )
    except Exception as error:  # dendropy raises a dozen kinds for text that is not a tree
        raise ValueError(_reason(" ".join(str(error).split()), schema, where)) from None
    finally:
        sys.setrecursionlimit(limit)
    if len(found) == 0 or found[0].seed_node.is_leaf():
        raise ValueError(f"{where} holds no tree in {schema} format")
    return _convert(found[0], where)


def _reason(error: str, schema: str, where: str) -> str:
    _, repeated, names = error.partition("Duplicate taxon labels: ")
    if repeated or "duplicate" in error.lower():
        return f"two tips in {where} are named {names or 'the same'}; tips need distinct names"
    error = error.partition(" (")[0].removeprefix("Error parsing data source ")
    return f"{where} is not a tree in {schema} format: {error}"


def _convert(found: Any, where: str) -> Nodes:
    nodes = Nodes([], [], [], [])
    number: dict[Any, int] = {None: -1}
    for node in found.preorder_node_iter():
        name = node.taxon.label if node.taxon is not None else node.label or ""
        if node.edge.length is None and node.parent_node is not None:
            tip = next(node.leaf_iter()).taxon
            label = name or f"clade of {tip.label if tip else 'a tip without a name'}"
            raise ValueError(
                f"the edge above {label!r} in {where} has no length; a tree needs all its lengths"
            )
        number[node] = len(nodes.parent)
        nodes.parent.append(number[node.parent_node])
        nodes.length.append(node.edge.length or 0.0)
        nodes.names.append(name)
        nodes.annotations.append(_annotations([*node.comments, *node.edge.comments]))
    return nodes


def _annotations(comments: list[str]) -> dict[str, Any]:
    """BEAST's ``&key=value,key={a,b}``; commas inside braces or quotes do not separate."""
    entries: dict[str, Any] = {}
    for comment in comments:
        if not comment.startswith("&"):
            continue
        for part in _split(comment[1:].removeprefix("&NHX:")):
            key, equals, value = part.partition("=")
            entries[key.strip()] = _value(value.strip()) if equals else True
    return entries


def _split(text: str) -> list[str]:
    parts, start, depth, quoted = [], 0, 0, False
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "{}":
            depth += 1 if letter == "{" else -1
        elif not quoted and depth == 0 and letter == ",":
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _value(text: str) -> Any:
    if text.startswith("{") and text.endswith("}"):
        return [_value(part.strip()) for part in _split(text[1:-1])]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return text
