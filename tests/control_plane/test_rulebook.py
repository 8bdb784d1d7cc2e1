"""The policy joined with the inventory; and that whatever reads also resolves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contracts.policy import TierLimits
from contracts.problems import ProblemError
from control_plane.policy_document import PolicyDocument
from control_plane.policy_reading import read_policy
from control_plane.rulebook import Rulebook, derived_document
from inventory.faults import Fault, FaultsError
from tests.control_plane.harness import cluster, rulebook
from tests.control_plane.test_policy_reading import GOOD, read

RULES = Rulebook(read(GOOD), cluster())


def test_without_a_file_it_is_as_the_inventory_says() -> None:
    rules = rulebook()
    small, scores, other = rules.policy_models(7)
    assert (small.id, small.context, small.created) == ("small", 1024, 7)
    assert [engine.base_url for engine in small.engines] == ["http://a.test:1", "http://b.test:1"]
    assert [engine.name for engine in small.engines] == ["vllm@gpu-a", "ollama@gpu-b"]
    assert (small.tiers, small.max_tokens, small.pacing) == (None, None, None)
    assert small.server_tools == other.server_tools == ["time", "calculator"]
    # One shot: it calls nothing.
    assert scores.server_tools == []
    assert rules.tiers == {}
    assert rules.document == derived_document(cluster())


def test_a_model_is_found_by_its_name_and_by_every_alias() -> None:
    chat = RULES.models["chat"]
    assert [RULES.find(name) for name in ("chat", "best", "default")] == [chat] * 3
    assert RULES.find("small") is None
    assert RULES.aliases == {"default": "chat", "best": "chat"}


def test_a_model_has_the_context_of_its_smallest_engine_unless_it_says_another() -> None:
    assert RULES.models["chat"].context == 1024
    # The inventory does not know it there: as the smallest that it knows.
    assert RULES.models["tiny"].context == 1024
    told = GOOD.replace("smaller: tiny", "context: 99")
    assert Rulebook(read(told), cluster()).models["chat"].context == 99


def test_an_engine_knows_a_model_by_its_own_name() -> None:
    assert [engine.model for engine in RULES.models["chat"].engines] == ["small", "small"]
    assert RULES.models["tiny"].engines[0].model == "tiny"
    assert [(t.name, t.model) for t in RULES.targets] == [
        ("vllm@gpu-a", "small"),
        ("ollama@gpu-b", "small"),
        ("ollama@gpu-b", "tiny"),
    ]
    assert RULES.engines["vllm@gpu-a"].rules.slots == 8
    assert RULES.engines["tf_serving@gpu-a"].rules.slots is None


def test_who_is_of_no_tier_of_the_policy_is_of_the_default_one() -> None:
    assert RULES.model_for("tiny", "standard").id == "tiny"
    assert (RULES.streams("standard"), RULES.streams("pro")) == (2, None)
    without = Rulebook(read(GOOD.replace("default_tier: free\n", "")), cluster())
    with pytest.raises(ProblemError, match="model_not_allowed"):
        without.model_for("tiny", "standard")
    assert without.streams("standard") is None


def test_the_smallest_limit_of_tokens_holds() -> None:
    chat, tiny = RULES.models["chat"], RULES.models["tiny"]
    assert (RULES.tokens_most(chat, "free"), RULES.tokens_most(tiny, "pro")) == (512, None)
    text = GOOD.replace("smaller: tiny", "max_tokens: 100")
    narrow = Rulebook(read(text), cluster())
    assert narrow.tokens_most(narrow.models["chat"], "free") == 100
    assert narrow.tokens_most(narrow.models["chat"], "pro") == 100


def test_streams_that_are_set_for_a_tier_count_more_than_the_policys() -> None:
    found = RULES.tier_limits({"free": 7, "pro": None}.get)
    assert found == {"free": TierLimits(max_tokens=512, streams=7), "pro": TierLimits()}
    assert RULES.tier_limits(lambda _: None)["free"].streams == 2


def test_the_version_names_the_content() -> None:
    assert Rulebook(read(GOOD + "# a remark\n"), cluster()).version == RULES.version
    assert Rulebook(read(GOOD.replace("streams: 2", "streams: 3")), cluster()).version != (
        RULES.version
    )


NAMES = st.sampled_from(["a", "b", "c", "d"])
ENGINES = st.sampled_from(["vllm@gpu-a", "ollama@gpu-b", "tf_serving@gpu-a"])
TIERS = st.sampled_from(["free", "pro"])
TARGETS = st.fixed_dictionaries({"engine": ENGINES}, optional={"model": NAMES})
MODELS = st.fixed_dictionaries(
    {"engines": st.lists(TARGETS, min_size=1, max_size=3)},
    optional={
        "smaller": NAMES,
        "tiers": st.lists(TIERS, max_size=2),
        "tools": st.lists(st.sampled_from(["time", "sum"]), max_size=2),
        "max_tokens": st.integers(0, 9),
        "pacing": st.sampled_from([False, "off", "smooth", None]),
        "capabilities": st.lists(st.sampled_from(["tools", "vision"]), max_size=2),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "models": st.dictionaries(NAMES, MODELS, min_size=1, max_size=4),
        "tiers": st.just({"free": {"max_tokens": 5}, "pro": None}),
        "tools": st.just({"time": {"kind": "time"}, "sum": {"kind": "calculator"}}),
    },
    optional={
        "aliases": st.dictionaries(st.sampled_from(["x", "y", "a"]), NAMES | st.just("x")),
        "default_tier": TIERS,
    },
)


def examined(text: bytes) -> tuple[PolicyDocument | None, list[Fault]]:
    try:
        return read_policy(text, "p.yml", cluster()), []
    except FaultsError as error:
        return None, error.faults


@given(DOCUMENTS)
def test_whatever_reads_also_resolves(raw: dict[str, Any]) -> None:
    text = yaml.safe_dump(raw).encode()
    document, faults = examined(text)
    if document is None:
        assert faults
        assert all(1 <= fault.line <= text.count(b"\n") + 1 for fault in faults)
        return
    rules = Rulebook(document, cluster())
    for name in (*document.models, *document.aliases):
        model = rules.find(name)
        assert model is not None
        assert model.engines
        assert set(model.engines) <= set(rules.targets)
        seen = set()
        while model.rules.smaller is not None:
            assert model.id not in seen
            seen.add(model.id)
            model = rules.models[model.rules.smaller]
        for tier in ("free", "pro", "standard"):
            assert (rules.tokens_most(model, tier) or 1) >= 1
    assert len(rules.policy_models(0)) == len(raw["models"])
    # What it says can be written down, and read again as the same.
    plain = yaml.safe_dump(msgspec.to_builtins(document), sort_keys=False).encode()
    assert read_policy(plain, "p.yml", cluster()) == document


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([*PolicyDocument.__struct_fields__, "kind", "engine"]), inner, max_size=5
    ),
    max_leaves=20,
))  # fmt: skip
def test_no_file_breaks_the_reading(raw: Any) -> None:
    document, faults = examined(yaml.safe_dump(raw).encode())
    assert (document is None) == bool(faults)
