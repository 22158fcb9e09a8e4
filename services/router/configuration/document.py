"""A YAML file as plain values that remember their lines, so that whatever is wrong can be pointed at.

Every value is text as it was written (a country NO is no `false`, a page id no number); only below an entry's
`settings` do plain scalars that are JSON keep their type. `${NAME}` stands for a variable.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

Path = tuple[str | int, ...]
SETTINGS = "settings"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(slots=True)
class Document:
    """`values` by section, handle and field; `problems` are (line, what is wrong and what to do)."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of the nearest thing that was written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def blame(self, path: Path, what: str) -> None:
        self.problems.append((self.line(path), what))


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias (*name); write the value out", mark)
        return super().compose_node(parent, index)


def read(text: str, variables: Mapping[str, str]) -> Document:
    """The file's values; what cannot be read at all is a problem and no value."""
    document = Document()
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        # Only the parser's own words: its snippet may show a secret.
        mark = error.problem_mark or error.context_mark
        document.problems.append((mark.line + 1 if mark else 1, f"this is not YAML: {error.problem}"))
        return document
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems.append((line, "this is not YAML: a character that no text has; save the file as UTF-8"))
        return document
    if isinstance(root, yaml.MappingNode):
        document.values = _mapping(document, root, (), variables)
    elif root is not None:
        document.problems.append((1, "the file is not a list of sections; begin with `clients:`"))
    return document


def _value(document: Document, node: yaml.Node, path: Path, variables: Mapping[str, str]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, path, variables)
    if isinstance(node, yaml.SequenceNode):
        return _sequence(document, node, path, variables)
    return _scalar(document, node, path, variables)


def _mapping(document: Document, node: yaml.MappingNode, path: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((line, "a name is plain text"))
            continue
        key = str(key_node.value)
        if key in found:
            document.problems.append((line, f"`{key}` stands here twice; remove one"))
            continue
        here = (*path, key)
        document.lines[here] = line
        found[key] = _value(document, value_node, here, variables)
    return found


def _sequence(document: Document, node: yaml.SequenceNode, path: Path, variables: Mapping[str, str]) -> list[Any]:
    found = []
    for position, item in enumerate(node.value):
        here = (*path, position)
        document.lines[here] = item.start_mark.line + 1
        found.append(_value(document, item, here, variables))
    return found


def _scalar(document: Document, node: yaml.Node, path: Path, variables: Mapping[str, str]) -> Any:
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    if plain and node.value in ("", "~", "null"):
        return None
    if plain and len(path) > 2 and path[2] == SETTINGS and not _VARIABLE.search(node.value):
        return _typed(node.value)

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        if name not in variables:
            document.blame(path, f"the variable {name} is not set; set it in the environment")
        return variables.get(name, "")

    return _VARIABLE.sub(filled, node.value)


def _typed(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text
