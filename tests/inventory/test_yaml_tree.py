"""YAML from anybody: what is read keeps its lines, what is hostile ends at once."""

from __future__ import annotations

import pytest

from inventory.faults import FaultsError
from inventory.yaml_tree import DEPTH_MAX, NODES_MAX, TEXT_MAX, read_tree


def refusal(text: str | bytes) -> str:
    with pytest.raises(FaultsError) as caught:
        read_tree(text if isinstance(text, bytes) else text.encode(), "p.yml")
    (line,) = caught.value.lines()
    return line


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_every_value_knows_the_line_of_its_key() -> None:
    root, faults = read_tree(b"a:\n  b: 1\n  c:\n    - x\n    -\n      d: off\n", "p.yml")
    assert not faults
    assert isinstance(root.value, dict)
    a = root.value["a"]
    assert isinstance(a.value, dict)
    c = a.value["c"]
    assert isinstance(c.value, list)
    assert (a.line, a.value["b"].line, c.line) == (1, 2, 3)
    assert [item.line for item in c.value] == [4, 6]
    assert root.plain() == {"a": {"b": 1, "c": ["x", {"d": False}]}}


def test_an_anchor_may_be_used_and_counts_as_often() -> None:
    root, _ = read_tree(b"a: &x [1, 2]\nb: *x\n", "p.yml")
    assert root.plain() == {"a": [1, 2], "b": [1, 2]}
    assert root.size == 9
    assert refusal(bomb(12)) == (
        f"p.yml:5: a4: is more than {NODES_MAX} values with its anchors written out"
    )


def test_a_date_is_text_here() -> None:
    assert read_tree(b"a: 2026-11-21", "p.yml")[0].plain() == {"a": "2026-11-21"}


def test_duplicate_keys_and_keys_that_are_no_text_are_all_told() -> None:
    _, faults = read_tree(b"a: 1\na: 2\nb:\n  off: 1\n  3: 4\n", "p.yml")
    assert [fault.told("p.yml") for fault in faults] == [
        "p.yml:2: the key 'a' stands already in line 1",
        "p.yml:4: b: a key must be text; put it in quotes",
        "p.yml:5: b: a key must be text; put it in quotes",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.yml:1: is empty"),
        ("# nothing\n", "p.yml:1: is empty"),
        ("a: [", "p.yml:2: is not YAML: while parsing a flow node"),
        ("a: b: c", "p.yml:1: is not YAML: "),
        ("a: 1\n\tb: 2", "p.yml:2: is not YAML: "),
        ("a: \x00", "p.yml:1: is not YAML: "),
        (b"a: 1\nb: \xff", "p.yml:2: is not UTF-8 text"),
        ("a: &x\n  b: *x", "p.yml:2: a: the alias *x stands inside of what it stands for"),
        ("a: *x", "p.yml:1: no anchor before is called &x"),
        ("[" * 100_000, "is nested deeper than"),
        ("a: !!python/name:os.system x", "only text, numbers, true, false and null"),
        ("a: !!python/object:os.x {}", "only plain mappings and lists"),
        ("a: !!binary aGk=", "only text, numbers, true, false and null"),
        ("a:\n  <<: {b: 1}", "p.yml:2: a: merge keys (<<) are not offered"),
        ("? [a]\n: 1", "p.yml:1: a key must be text"),
        ("a: 1\n---\nb: 2", "p.yml:2: holds more than one document"),
        (f"a: {'9' * 5000}", "p.yml:1: is not a number that can be read"),
        ("a: !!int x", "p.yml:1: is not a number that can be read"),
    ],
)
def test_what_is_no_tree_is_told_with_its_line(text: str | bytes, message: str) -> None:
    assert message in refusal(text)


def test_depth_and_size_have_bounds() -> None:
    deep = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    assert read_tree(deep.encode(), "p.yml")
    assert f"nested deeper than {DEPTH_MAX} levels" in refusal(f"[{deep}]")
    assert "is larger than 1 MiB" in refusal(b"#" * (TEXT_MAX + 1))
