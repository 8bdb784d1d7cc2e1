"""The policy file: what is read, and each fault with its line and path."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.policy_document import HttpTool, PolicyDocument
from control_plane.policy_reading import read_file, read_policy
from inventory.faults import FaultsError
from tests.control_plane.harness import cluster

GOOD = """\
version: 1
engines:
  vllm@gpu-a: {slots: 8, gpu: gpu0}
  ollama@gpu-b: {slots: 2, gpu: gpu0}
gpus:
  gpu0: {mode: shared, jobs: 8}
models:
  chat:
    engines:
      - {engine: vllm@gpu-a, model: small}
      - {engine: ollama@gpu-b, model: small}
    tools: [time, weather]
    capabilities: [tools]
    smaller: tiny
    pacing: off
  tiny: {engines: [{engine: ollama@gpu-b}], tiers: [free, pro]}
aliases: {default: best, best: chat}
tiers:
  free: {priority: 10, max_tokens: 512, streams: 2}
  pro:
default_tier: free
overload: {shorten_at: 0.8, shorten_to: 256}
tools:
  time: {kind: time}
  weather: {kind: http, url: "http://127.0.0.1:9/weather", method: GET}
"""


def read(text: str) -> PolicyDocument:
    return read_policy(text.encode(), "policy.yml", cluster())


def faults(text: str) -> list[str]:
    with pytest.raises(FaultsError) as caught:
        read(text)
    return caught.value.lines()


def test_a_policy_is_read() -> None:
    document = read(GOOD)
    chat = document.models["chat"]
    assert [target.engine for target in chat.engines] == ["vllm@gpu-a", "ollama@gpu-b"]
    # To YAML 1.1 a bare `off` is false.
    assert chat.pacing == "off"
    assert document.tiers["pro"].priority == 50
    assert document.overload.queue == 64
    assert document.tools["weather"] == HttpTool(url="http://127.0.0.1:9/weather", method="GET")


def test_all_faults_are_told_and_not_only_the_first() -> None:
    text = GOOD.replace("slots: 8", "slots: 0").replace("smaller: tiny", "smaller: tinny")
    text = text.replace("max_tokens: 512", "max_tokens: many, colour: red")
    assert faults(text) == [
        "policy.yml:3: engines.vllm@gpu-a.slots: expected a whole number from 1 to 10000000, not 0",
        "policy.yml:14: models.chat.smaller: no model is called 'tinny'; models are chat, tiny",
        "policy.yml:19: tiers.free.colour: is not known here; "
        "expected one of priority, max_tokens, streams, queue",
        "policy.yml:19: tiers.free.max_tokens: expected a whole number from 1 to 10000000, "
        "not text",
    ]


# What is replaced in the good one, by what, and what is said of it.
FAULTS = [
    ("version: 1", "version: 2", "policy.yml:1: version: expected 1, not 2"),
    ("version: 1\n", "", "policy.yml:1: `version` is missing"),
    (
        "{engine: ollama@gpu-b, model: small}",
        "{engine: olama}",
        "policy.yml:11: models.chat.engines[1].engine: no engine of the inventory is called "
        "'olama'; engines are ollama@gpu-b, tf_serving@gpu-a, vllm@gpu-a",
    ),
    (
        "{engine: ollama@gpu-b, model: small}",
        "{engine: vllm@gpu-a, model: small}",
        "policy.yml:11: models.chat.engines[1]: 'vllm@gpu-a' stands here already with this model",
    ),
    (
        "  ollama@gpu-b: {slots",
        "  gone: {slots",
        "policy.yml:4: engines.gone: no engine of the inventory is called 'gone'; "
        "engines are ollama@gpu-b, tf_serving@gpu-a, vllm@gpu-a",
    ),
    (
        "slots: 8, gpu: gpu0",
        "slots: 8, gpu: gpu1",
        "policy.yml:3: engines.vllm@gpu-a.gpu: no gpu is called 'gpu1'; gpus are gpu0",
    ),
    (
        "tools: [time, weather]",
        "tools: [time, time]",
        "policy.yml:12: models.chat.tools[1]: 'time' stands here already",
    ),
    (
        "tools: [time, weather]",
        "tools: [tyme]",
        "policy.yml:12: models.chat.tools[0]: no tool is called 'tyme'; tools are time, weather",
    ),
    (
        "tiers: [free, pro]",
        "tiers: [gold]",
        "policy.yml:16: models.tiny.tiers[0]: no tier is called 'gold'; tiers are free, pro",
    ),
    (
        "[{engine: ollama@gpu-b}], tiers",
        "[], tiers",
        "policy.yml:16: models.tiny.engines: expected 1 to 64 entries, not 0",
    ),
    (
        "capabilities: [tools]",
        "capabilities: [flight]",
        "policy.yml:13: models.chat.capabilities[0]: "
        "expected one of tools, reasoning, vision, embeddings",
    ),
    (
        "tiers: [free, pro]}",
        "capabilities: [vision]}",
        "policy.yml:14: models.chat.smaller: 'tiny' cannot do what 'chat' can: tools",
    ),
    (
        "tiers: [free, pro]}",
        "smaller: tiny}",
        "policy.yml:16: models.tiny.smaller: "
        "leads in a circle: a smaller model must end at one that has none",
    ),
    (
        "best: chat",
        "best: default",
        "policy.yml:17: aliases.best: leads in a circle: an alias must end at a model",
    ),
    (
        "best: chat",
        "best: chad",
        "policy.yml:17: aliases.best: no model or alias is called 'chad'; "
        "models and aliases are best, chat, default, tiny",
    ),
    ("default: best", "tiny: best", "policy.yml:17: aliases.tiny: a model is called so already"),
    (
        "default: best",
        "7: best",
        "policy.yml:17: aliases: a key must be text; put it in quotes",
    ),
    (
        "  free: {",
        "  Free Beer: {",
        'policy.yml:19: tiers["Free Beer"]: expected a name of 1 to 64 of a-z 0-9 . _ @ + and -',
    ),
    (
        "default_tier: free",
        "default_tier: gold",
        "policy.yml:21: default_tier: no tier is called 'gold'; tiers are free, pro",
    ),
    (
        "shorten_at: 0.8",
        "shorten_at: .nan",
        "policy.yml:22: overload.shorten_at: expected a number above 0 and up to 1, not nan",
    ),
    (
        "shorten_at: 0.8",
        "shorten_at: 80%",
        "policy.yml:22: overload.shorten_at: expected a number above 0 and up to 1, not text",
    ),
    (
        "time: {kind: time}",
        "time: {}",
        "policy.yml:24: tools.time: expected a mapping with `kind`, "
        "one of time, calculator, http, mcp",
    ),
    (
        "time: {kind: time}",
        "time: {kind: tyme}",
        "policy.yml:24: tools.time.kind: expected one of time, calculator, http, mcp",
    ),
    (
        "time: {kind: time}",
        "time: {kind: mcp, command: [x], url: http://x}",
        "policy.yml:24: tools.time: expected one of `command` and `url`",
    ),
    (
        'url: "http://127.0.0.1:9/weather", ',
        "",
        "policy.yml:25: tools.weather: expected `url`, or `openapi` with `operation`",
    ),
    (
        'url: "http://127.0.0.1:9/weather"',
        "url: ftp://x",
        "policy.yml:25: tools.weather.url: expected a URL that begins with http:// or https://",
    ),
    (
        'url: "http://127.0.0.1:9/weather"',
        "openapi: weather.yml",
        "policy.yml:25: tools.weather: "
        "expected `operation`, the operationId that is meant in `openapi`",
    ),
    (
        "method: GET",
        "parameters: {type: object, properties: {a: {$ref: '#/properties/a'}}}",
        "policy.yml:25: tools.weather.parameters: the schema recurses at '#/properties/a'",
    ),
    (
        "method: GET",
        "headers: {Authorization: 12345}",
        "policy.yml:25: tools.weather.headers.Authorization: "
        "expected text, not a number; put it in quotes if it is meant as text",
    ),
    (
        "gpus:\n  gpu0: {mode: shared, jobs: 8}",
        "gpus: [gpu0]",
        "policy.yml:5: gpus: expected a mapping, not a list",
    ),
]


@pytest.mark.parametrize(("part", "wrong", "message"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_a_fault_is_told_with_its_line_and_path(part: str, wrong: str, message: str) -> None:
    assert part in GOOD
    assert message in faults(GOOD.replace(part, wrong, 1))


def test_no_text_of_the_file_is_told_but_names() -> None:
    text = GOOD.replace("method: GET", "headers: [secret-1], openapi: {a: secret-2}, timeout_s: s3")
    assert "secret" not in "\n".join(faults(text))


def test_without_an_inventory_engines_may_have_any_name() -> None:
    assert read_policy(GOOD.replace("vllm@gpu-a", "x").encode(), "p", None).engines["x"].slots == 8


OPENAPI = """\
openapi: 3.1.0
servers: [{url: "http://weather.example/v1"}]
paths:
  /now:
    get: {operationId: now}
    put:
      operationId: tree
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Tree"}}}}
    post: {operationId: odd, parameters: [{name: a, in: query, schema: [1]}]}
components:
  schemas:
    Tree: {properties: {twig: {$ref: "#/components/schemas/Tree"}}}
"""
WEATHER = """\
version: 1
models: {chat: {engines: [{engine: vllm@gpu-a}], tools: [weather]}}
tools:
  weather:
    kind: http
    openapi: weather.yml
    operation: OPERATION
"""


@pytest.mark.parametrize(
    ("description", "operation", "fault"),
    [
        (None, "now", "6: tools.weather.openapi: weather.yml: cannot be read: No such file"),
        ("a: [", "now", "6: tools.weather.openapi: weather.yml:1: not valid YAML: "),
        ("a:\n  b: 'c", "now", "6: tools.weather.openapi: weather.yml:2: not valid YAML: "),
        (
            OPENAPI,
            "then",
            "7: tools.weather.operation: weather.yml: no operation is called 'then'; "
            "operations are now, odd, tree",
        ),
        (
            OPENAPI,
            "tree",
            "7: tools.weather.operation: weather.yml:7: operation tree: the schema recurses at ",
        ),
        (OPENAPI, "odd", "7: tools.weather.operation: weather.yml:9: operation odd: a part is "),
        (
            OPENAPI.replace("http://weather", "weather"),
            "now",
            "4: tools.weather.url: a URL of http or https without a user is needed",
        ),
    ],
)
def test_a_tool_s_openapi_file_is_looked_into(
    tmp_path: Path, description: str | None, operation: str, fault: str
) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(WEATHER.replace("OPERATION", operation))
    if description is not None:
        (tmp_path / "weather.yml").write_text(description)
    with pytest.raises(FaultsError) as caught:
        read_file(policy, cluster())
    (line,) = caught.value.lines()
    assert line.startswith(f"{policy}:{fault}")
    # One that runs goes on without the tool.
    assert read_policy(policy.read_bytes(), "policy.yml", cluster()).tools


def test_a_sound_openapi_file_has_no_fault(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(WEATHER.replace("OPERATION", "now"))
    (tmp_path / "weather.yml").write_text(OPENAPI)
    assert list(read_file(policy, cluster()).tools) == ["weather"]
