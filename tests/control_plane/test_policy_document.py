"""The page for operators: its examples, put together, are a policy that can be used."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from control_plane import policy_document
from control_plane.policy_document import PolicyDocument
from control_plane.policy_reading import read_policy
from control_plane.rulebook import Rulebook
from inventory.faults import FaultsError
from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster
from tests.support.cluster import ROOT

PAGE = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLE = "".join(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
ENGINES = """
            - {kind: ollama, port: 11434, model: smollm2, context: 4096}
            - {kind: tf_serving, port: 8501, model: scores, context: 1}
"""


@pytest.fixture
def with_three(tmp_path: Path) -> Cluster:
    """The one-machine cluster with an engine of each kind."""
    path = tmp_path / "inventory.yml"
    path.write_text(LOCAL.read_text(encoding="utf-8").rstrip() + ENGINES, encoding="utf-8")
    return load_cluster(path)


def test_the_examples_are_a_policy_with_every_part(with_three: Cluster) -> None:
    document = read_policy(EXAMPLE.encode(), "docs/policy.md", with_three)
    rules = Rulebook(document, with_three)
    gpt = rules.find("gpt-4o")
    assert gpt is not None
    assert (gpt.id, [engine.model for engine in gpt.engines]) == (
        "chat",
        ["smollm2:135m", "smollm2"],
    )
    for part in PolicyDocument.__struct_fields__:
        assert re.search(rf"^{part}:", EXAMPLE, re.MULTILINE), f"the page does not show {part}"


def test_the_page_names_every_member_of_a_part() -> None:
    for name, part in vars(policy_document).items():
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            for member in part.__struct_fields__:
                assert re.search(rf"\b{member}\b", PAGE), f"{name}.{member}"


def test_the_fault_that_the_page_shows_is_what_is_told(with_three: Cluster) -> None:
    with pytest.raises(FaultsError) as caught:
        read_policy(EXAMPLE.replace("engine: ollama,", "engine: olama,").encode(), "p", with_three)
    shown = re.search(r"policy.yml:12: (models.chat.*'olama'); engines are", PAGE)
    assert shown is not None
    assert shown[1] in str(caught.value)
