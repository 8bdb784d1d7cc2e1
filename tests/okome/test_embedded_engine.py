"""The embedded engine: what it is given, and what it says when it cannot start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from inventory.load import LOCAL
from okome import embedded_engine
from okome.embedded_engine import MODEL_CONTEXT, PARALLEL, main, thread_count


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 2), (8, 4), (64, 4)])
def test_small_machines_get_one_thread(cores: int, threads: int) -> None:
    assert thread_count(cores) == threads


def run(inventory: Path, model: Path, node: str = "okome-core-gpu") -> int:
    return main(["--inventory", str(inventory), "--node", node, "--model", str(model)])


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "inventory.yml"
    path.write_text(LOCAL.read_text(encoding="utf-8").replace("127.86.", "127.83."), "utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but no more than that")
    return path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_model_that_is_none(inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    assert run(inventory, tmp_path / "text") == 1
    assert "is not a GGUF model" in said(capsys)
    assert run(inventory, tmp_path / "missing") == 1
    assert "cannot be read: No such file" in said(capsys)


def test_a_port_in_use(inventory: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.83.0.30", 8000))
        other.listen()
        assert run(inventory, model) == 1
    assert "127.83.0.30:8000 cannot be listened on: Address already in use" in said(capsys)


def test_a_node_without_an_engine(
    inventory: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(inventory, model, "okome-control") == 1
    assert "okome-control has no engine" in said(capsys)
    assert run(inventory, model, "nobody") == 1
    assert "no node called nobody" in said(capsys)


def test_a_context_beyond_the_model(
    inventory: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = inventory.read_text(encoding="utf-8").replace("context: 2048", "context: 9000")
    inventory.write_text(text, encoding="utf-8")
    assert run(inventory, model) == 1
    assert "context 9000 is beyond the model's 8192" in said(capsys)


def test_every_slot_gets_the_context_of_the_inventory(inventory: Path, model: Path) -> None:
    class Fields:
        def __getattr__(self, name: str) -> Fields:
            self.__dict__[name] = Fields()
            return self.__dict__[name]

    class Library:
        CommonParams = Fields
        llama_pooling_type = Fields()

    node, engine = embedded_engine._find(inventory, "okome-core-gpu")
    parameters = embedded_engine._parameters(Library, node, engine, model)  # type: ignore[arg-type]

    assert parameters.n_ctx == 2048 * PARALLEL == 16384  # type: ignore[attr-defined]
    assert engine.context <= MODEL_CONTEXT
    assert parameters.model_alias == {"smollm2:135m"}  # type: ignore[attr-defined]
    assert parameters.hostnames == ["127.83.0.30"]  # type: ignore[attr-defined]
