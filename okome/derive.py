"""The inventory as this machine can run it: written to the state directory, read by all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

import yaml

from okome.errors import OkomeError

OwnKind = Literal["vllm", "ollama", "tf_serving"]


@dataclass(frozen=True, slots=True)
class OwnEngine:
    """An engine that runs already and is used in place of the embedded one."""

    kind: OwnKind
    url: str
    model: str
    context: int


def parse_engine(url: str, kind: str, model: str, context: int) -> OwnEngine:
    """Checks what was said of an engine. A trailing `/v1`, as OpenAI clients want it, goes."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OkomeError(f"--engine {url}: expected a URL such as http://192.168.86.30:8000")
    if kind not in get_args(OwnKind):
        raise OkomeError(f"--kind {kind}: expected vllm (any OpenAI API), ollama or tf_serving")
    base = url.rstrip("/").removesuffix("/v1").rstrip("/")
    return OwnEngine(kind=cast(OwnKind, kind), url=base, model=model, context=context)


def derive(
    raw: dict[str, Any], *, redis: bool, engine: OwnEngine | None, prometheus: bool = True
) -> dict[str, Any]:
    """`raw` (a parsed inventory) without what is missing here and with the engine given.

    Without Redis nothing can keep a log beyond its broker: durability is `none`; and each
    broker has the hot cache in its own memory only. Without Prometheus nobody observes.
    """
    groups = dict(raw["all"]["children"])
    variables = dict(raw["all"]["vars"])
    if not redis:
        groups.pop("redis", None)
        groups.pop("cache", None)
    if not redis or (variables["okome_durability"] == "local" and "redis" not in groups):
        variables["okome_durability"] = "none"
    if not prometheus:
        groups.pop("observability", None)
    if engine is not None:
        groups["core_gpu"] = {"hosts": _with_engine(groups, engine)}
    return {**raw, "all": {**raw["all"], "vars": variables, "children": groups}}


def write_inventory(content: dict[str, Any], source: Path, target: Path) -> None:
    """Writes an inventory that says where it came from."""
    text = yaml.safe_dump(content, sort_keys=False)
    target.write_text(
        f"# Made by `okome up` from {source}; a change here is lost.\n{text}", encoding="utf-8"
    )


def _with_engine(groups: dict[str, Any], engine: OwnEngine) -> dict[str, Any]:
    hosts = groups.get("core_gpu", {}).get("hosts", {})
    if not hosts:
        raise OkomeError("the inventory has no node in `core_gpu` that could stand for --engine")
    name, host = next(iter(hosts.items()))
    parts = urlsplit(engine.url)
    entry = {
        "kind": engine.kind,
        "port": parts.port or (443 if parts.scheme == "https" else 80),
        "model": engine.model,
        "context": engine.context,
        "url": engine.url,
    }
    return {name: {**host, "okome_engines": [entry]}}
