"""Writes the table of values into the chart's README from the comments of values.yaml.

    python charts/values_table.py            # rewrite charts/maru/README.md
    python charts/values_table.py --check    # change nothing; exit 1 if it is not up to date

A comment that begins with `# --` documents the key below it; a key without one is a group, and its keys are documented.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parent / "maru"
BEGIN = "<!-- values: written by charts/values_table.py -->"
END = "<!-- /values -->"
MARK = "# -- "

LONG = 60
"""A default of more characters than this is left to values.yaml: it would make the table unreadable."""


class Undocumented(Exception):
    """A value has no comment, or the README no place for it; the text says which."""


class Value(NamedTuple):
    """One documented value."""

    path: str
    default: Any
    meaning: str


def values(text: str) -> Iterator[Value]:
    """Yield the documented values of a values.yaml, in its order. Raises `Undocumented`."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _under(root, (), text.splitlines(), yaml.safe_load(text))


def _under(node: yaml.MappingNode, path: tuple[str, ...], lines: list[str], data: dict[str, Any]) -> Iterator[Value]:
    for key, child in node.value:
        here = (*path, key.value)
        above = lines[key.start_mark.line - 1].strip()
        if above.startswith(MARK):
            yield Value(".".join(here), data[key.value], above.removeprefix(MARK))
        elif isinstance(child, yaml.MappingNode) and child.value:
            yield from _under(child, here, lines, data[key.value])
        else:
            raise Undocumented(f"values.yaml: {'.'.join(here)} has no comment; write one that begins with '{MARK}'")


def table(text: str) -> str:
    """Return the Markdown table of a values.yaml."""
    rows = (f"| `{value.path}` | {_shown(value.default)} | {_cell(value.meaning)} |" for value in values(text))
    return "\n".join(["| value | default | |", "|---|---|---|", *rows])


def _shown(default: Any) -> str:
    if default == "":
        return ""
    text = json.dumps(default, ensure_ascii=False) if not isinstance(default, str) else default
    return f"`{_cell(text)}`" if len(text) <= LONG else "see values.yaml"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written(readme: str, text: str) -> str:
    """Return the README with the table of this values.yaml between its two marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Undocumented(f"README.md: lacks the line {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{table(text)}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Rewrite or check the README; return the exit code."""
    readme = CHART / "README.md"
    old = readme.read_text()
    new = written(old, (CHART / "values.yaml").read_text())
    if "--check" not in arguments:
        readme.write_text(new)
        return 0
    if new != old:
        print(f"{readme}: not what values.yaml says; run python charts/values_table.py")
    return int(new != old)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
