"""Every setting of every process: one list with type, bounds, default and meaning.

A value comes from, first match wins: `--set name=value`, the variable `OKOME_NAME`,
the settings file (YAML, `--settings FILE`), the default. `docs/settings.md` is made
from this list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

ENV_PREFIX = "OKOME_"


class SettingsError(Exception):
    """A setting cannot be used; the message names setting, source and what was expected."""


Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Long = Annotated[float, Meta(ge=60, le=31_536_000)]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 32)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. Fields are documented by their `Meta.description`."""

    heartbeat: Annotated[
        float,
        Meta(ge=2, le=15, description="Seconds of silence before a keep-alive comment."),
    ] = 15.0
    send_timeout: Annotated[
        Seconds,
        Meta(description="Seconds a viewer may take nothing before it is closed."),
    ] = 30.0
    body_max: Annotated[Bytes, Meta(description="Largest request body, bytes.")] = 1 << 20
    job_log_max: Annotated[
        Bytes,
        Meta(description="Largest log of one job, bytes; then finish_reason is length."),
    ] = 1 << 20
    memory_log_max: Annotated[
        Bytes,
        Meta(description="All logs kept in memory by one broker, bytes; oldest ended go."),
    ] = 256 << 20
    log_ttl: Annotated[Seconds, Meta(description="Seconds a log is kept after its end.")] = 900.0
    record_ttl: Annotated[
        Seconds, Meta(description="Seconds a job's record is kept after its end.")
    ] = 86_400.0
    idempotency_ttl: Annotated[
        Seconds, Meta(description="Seconds an Idempotency-Key is remembered; `record_ttl` at most.")
    ] = 86_400.0
    native: Annotated[
        Literal["on", "off"],
        Meta(description="Whether brokers use the native part, where it is installed."),
    ] = "on"
    relay_buffer: Annotated[
        Bytes, Meta(description="Bytes a relay holds while its log cannot be written.")
    ] = 64 << 10
    max_pause: Annotated[
        Seconds,
        Meta(description="Seconds a relay waits for its log before the job fails."),
    ] = 30.0
    log_acks: Annotated[
        int,
        Meta(
            ge=1,
            le=2,
            description="Replicas that must have a token before it is shown (replicated).",
        ),
    ] = 1
    relay_ttl: Annotated[
        Seconds,
        Meta(description="Seconds after its last renewal that a relay counts as dead."),
    ] = 2.0
    engine_connect_timeout: Annotated[
        Seconds, Meta(description="Seconds to open a connection to an engine.")
    ] = 1.5
    engine_idle_timeout: Annotated[
        Seconds,
        Meta(description="Seconds of silence after which an engine counts as stalled."),
    ] = 60.0
    engine_line_max: Annotated[
        Bytes, Meta(description="Longest line accepted from an engine, bytes.")
    ] = 1 << 20
    control_timeout: Annotated[
        Seconds, Meta(description="Seconds to wait for the control plane.")
    ] = 2.0
    tool_wait: Annotated[
        Seconds,
        Meta(description="Seconds a broker waits for one tool's answer; then the job fails."),
    ] = 60.0
    policy_poll: Annotated[
        Seconds, Meta(description="Seconds between polls of the policy snapshot.")
    ] = 2.0
    degraded_for: Annotated[
        Seconds,
        Meta(description="Seconds a broker grants by its last policy snapshot."),
    ] = 300.0
    jobs_per_broker: Annotated[
        Count,
        Meta(description="Jobs one broker relays at once; more get 503 overloaded."),
    ] = 4096
    viewers_per_broker: Annotated[
        Count,
        Meta(description="Viewers one broker serves at once; more get 503 overloaded."),
    ] = 16_384
    pacing: Annotated[
        Literal["off", "smooth"],
        Meta(description="Bursts of tokens: `smooth` spreads them over at most 100 ms, or `off`."),
    ] = "smooth"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="What brokers and the control plane write (`okome log-level`)."),
    ] = "info"
    otlp_endpoint: Annotated[
        str,
        Meta(
            pattern=r"^(https?://\S+)?$",
            description="Collector of traces, OTLP over HTTP (`http://HOST:4318/v1/traces`); "
            "empty: no traces.",
        ),
    ] = ""
    traces_share: Annotated[
        float,
        Meta(ge=0, le=1, description="Of requests without a trace of their own, how many get one."),
    ] = 1.0
    drain_deadline: Annotated[
        Seconds,
        Meta(description="Seconds a draining broker waits for those who cannot return."),
    ] = 600.0
    embeddings_per_broker: Annotated[
        Count,
        Meta(description="Requests for embeddings at once; more get 503 overloaded."),
    ] = 64
    cache_bytes: Annotated[
        int,
        Meta(ge=0, le=1 << 32, description="Hot cache of one broker process, bytes; 0: none."),
    ] = 64 << 20
    cache_ttl: Annotated[
        Long, Meta(description="Seconds an entry of the hot cache lives from its writing.")
    ] = 86_400.0
    cache_timeout: Annotated[
        Seconds,
        Meta(description="Seconds a lookup waits for the shared cache (role `cache`)."),
    ] = 0.002
    max_tokens: Annotated[Count, Meta(description="Most tokens a request may ask for.")] = 4096
    default_max_tokens: Annotated[
        Count, Meta(description="Tokens of an answer when the request names no limit.")
    ] = 512
    job_deadline: Annotated[Seconds, Meta(description="Longest duration of a job, seconds.")] = (
        600.0
    )
    detach_grace: Annotated[
        Seconds, Meta(description="Seconds a chat goes on without any viewer.")
    ] = 30.0
    streams_per_user: Annotated[Count, Meta(description="Concurrent streams of one user.")] = 5
    lease_ttl: Annotated[
        Seconds, Meta(description="Seconds a stream slot is held without renewal.")
    ] = 30.0
    session_ttl: Annotated[
        Seconds, Meta(description="Seconds a session token is valid; a login renews it.")
    ] = 3600.0
    login_ttl: Annotated[
        Long, Meta(description="Seconds a browser stays signed in after it was last used.")
    ] = 2_592_000.0
    login_max: Annotated[
        Long, Meta(description="Seconds a browser stays signed in at most, used or not.")
    ] = 7_776_000.0
    audit_keep: Annotated[Long, Meta(description="Seconds the audit log is kept.")] = 7_776_000.0
    oidc_issuer: Annotated[
        str,
        Meta(description="Issuer (URL) of the OpenID Connect login; empty: there is none."),
    ] = ""
    oidc_client_id: Annotated[str, Meta(description="Our client id at that issuer.")] = ""
    oidc_tier: Annotated[
        str,
        Meta(description="Tier of users made at their first OpenID login; empty: none are made."),
    ] = ""
    conversations_keep: Annotated[
        float,
        Meta(
            ge=0,
            le=315_360_000,
            description="Seconds a conversation is kept after its last answer; 0: for ever.",
        ),
    ] = 0.0
    spool_max: Annotated[
        Bytes,
        Meta(description="Bytes of settlements a broker keeps while .25 is away."),
    ] = 64 << 20


def describe() -> list[tuple[str, Any, str]]:
    """(name, default, description) of each setting, in order."""
    return [
        (field.name, field.default, _description(field.type))
        for field in msgspec.structs.fields(Settings)
    ]


def load_settings(
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Settings out of `name=value` assignments, the environment and a YAML file.

    Raises SettingsError for an unknown name, a wrong type or a value out of bounds.
    """
    names = set(Settings.__struct_fields__)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    layers = [
        *_file_layer(file),
        *_environment_layer(environment or {}, names),
        *_assignment_layer(assignments),
    ]
    for name, value, source in layers:
        if name not in names:
            raise SettingsError(f"{source}: no setting is called {name!r}; see `okome settings`")
        values[name], sources[name] = value, source
    for name, value in values.items():
        field_type = next(f.type for f in msgspec.structs.fields(Settings) if f.name == name)
        try:
            values[name] = msgspec.convert(value, field_type, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{sources[name]}: {name}: {error}") from error
    return Settings(**values)


def _description(field_type: Any) -> str:
    for meta in reversed(getattr(field_type, "__metadata__", ())):
        if meta.description:
            return str(meta.description)
    raise AssertionError(f"a setting without description: {field_type}")


def _file_layer(file: Path | None) -> list[tuple[str, Any, str]]:
    if file is None:
        return []
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid YAML: {error}") from error
    if content is None:
        return []
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: expected a mapping of names to values")
    # To YAML 1.1 a bare `off` is false, and no setting of ours is a truth value.
    words = ((name, "off" if value is False else value) for name, value in content.items())
    return [(str(name), value, str(file)) for name, value in words]


def _environment_layer(
    environment: Mapping[str, str], names: set[str]
) -> list[tuple[str, Any, str]]:
    layer = []
    for key, value in sorted(environment.items()):
        name = key.removeprefix(ENV_PREFIX).lower()
        if key.startswith(ENV_PREFIX) and name in names:
            layer.append((name, value, f"variable {key}"))
    return layer


def _assignment_layer(assignments: Sequence[str]) -> list[tuple[str, Any, str]]:
    layer = []
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--set {assignment}: expected name=value")
        layer.append((name, value, f"--set {assignment}"))
    return layer
