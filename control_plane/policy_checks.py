"""What must hold across the parts of a policy, and between it and the inventory. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from control_plane.json_schemas import schema_fault
from control_plane.policy_document import HttpTool, McpTool, ModelRules, PolicyDocument
from control_plane.tools.address import check_allowed
from inventory.faults import Fault, below, one_of


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Every name that a file declares, also of entries that are wrong in themselves; `engines`
    are those of the inventory, None: it is not known."""

    models: Collection[str]
    aliases: Collection[str]
    tiers: Collection[str]
    gpus: Collection[str]
    tools: Collection[str]
    engines: Collection[str] | None = None


def cross_faults(
    document: PolicyDocument, names: Names, lines: Mapping[str, int]
) -> Iterator[Fault]:
    """All of them. `lines`: where each path stands."""
    for path, message in _faults(document, names):
        yield Fault(lines.get(path, 1), path, message)


def aliased(aliases: Mapping[str, str], name: str) -> str | None:
    """Where a name leads that may be an alias; None: in a circle."""
    seen = set()
    while name in aliases:
        if name in seen:
            return None
        seen.add(name)
        name = aliases[name]
    return name


def _faults(document: PolicyDocument, names: Names) -> Iterator[tuple[str, str]]:
    for name in document.engines:
        yield from _named(below("engines", name), "engine", name, names.engines)
    for name, engine in document.engines.items():
        yield from _named(below("engines", name, "gpu"), "gpu", engine.gpu, names.gpus)
    for name, model in document.models.items():
        yield from _model_faults(below("models", name), name, model, document, names)
    yield from _alias_faults(document, names)
    default = document.default_tier
    yield from _named("default_tier", "tier", default, names.tiers)
    for name, tool in document.tools.items():
        if isinstance(tool, HttpTool):
            yield from _http_faults(below("tools", name), tool)
        elif isinstance(tool, McpTool) and (tool.command is None) == (tool.url is None):
            yield below("tools", name), "expected one of `command` and `url`"
        for at, entry in enumerate(getattr(tool, "allow", ())):
            try:
                check_allowed([entry])
            except ValueError:
                place = below("tools", name, "allow", at)
                yield place, "expected a host, an address or a network"


def _named(
    path: str, what: str, name: str | None, known: Collection[str] | None
) -> Iterator[tuple[str, str]]:
    if name is None or known is None or name in known:
        return
    whose = " of the inventory" if what == "engine" else ""
    plural = {"model or alias": "models and aliases"}.get(what, f"{what}s")
    yield path, f"no {what}{whose} is called {name!r}; {plural} are {one_of(sorted(known))}"


def _model_faults(
    path: str, name: str, model: ModelRules, document: PolicyDocument, names: Names
) -> Iterator[tuple[str, str]]:
    served = set()
    for at, target in enumerate(model.engines):
        place = below(path, "engines", at)
        yield from _named(below(place, "engine"), "engine", target.engine, names.engines)
        known_as = target.engine, target.model or name
        if known_as in served:
            yield place, f"{target.engine!r} stands here already with this model"
        served.add(known_as)
    for at, tier in enumerate(model.tiers or ()):
        yield from _named(below(path, "tiers", at), "tier", tier, names.tiers)
    for at, tool in enumerate(model.tools):
        yield from _named(below(path, "tools", at), "tool", tool, names.tools)
        if tool in model.tools[:at]:
            yield below(path, "tools", at), f"{tool!r} stands here already"
    if model.smaller is not None:
        yield from _smaller_faults(below(path, "smaller"), name, model, document, names)


def _smaller_faults(
    path: str, name: str, model: ModelRules, document: PolicyDocument, names: Names
) -> Iterator[tuple[str, str]]:
    smaller = model.smaller or ""
    yield from _named(path, "model", smaller, names.models)
    chain = {known: rules.smaller for known, rules in document.models.items() if rules.smaller}
    if aliased(chain, name) is None:
        yield path, "leads in a circle: a smaller model must end at one that has none"
    other = document.models.get(smaller)
    if other is None or model.capabilities is None or other.capabilities is None:
        return
    if lacking := [c for c in model.capabilities if c not in other.capabilities]:
        yield path, f"{smaller!r} cannot do what {name!r} can: {', '.join(lacking)}"


def _alias_faults(document: PolicyDocument, names: Names) -> Iterator[tuple[str, str]]:
    known = {*names.models, *names.aliases}
    for name, target in document.aliases.items():
        path = below("aliases", name)
        if name in names.models:
            yield path, "a model is called so already"
        if target not in known:
            yield from _named(path, "model or alias", target, known)
        elif aliased(document.aliases, name) is None:
            yield path, "leads in a circle: an alias must end at a model"


def _http_faults(path: str, tool: HttpTool) -> Iterator[tuple[str, str]]:
    if tool.openapi is None:
        if tool.operation is not None:
            yield below(path, "operation"), "expected together with `openapi` only"
        if tool.url is None:
            yield path, "expected `url`, or `openapi` with `operation`"
    elif tool.operation is None:
        yield path, "expected `operation`, the operationId that is meant in `openapi`"
    elif tool.parameters is not None:
        yield below(path, "parameters"), "expected without `openapi` only, which says them too"
    if tool.url is not None and not tool.url.startswith(("http://", "https://")):
        yield below(path, "url"), "expected a URL that begins with http:// or https://"
    if tool.parameters is not None and (fault := schema_fault(tool.parameters)):
        yield below(path, "parameters"), fault
