"""llama.cpp's own HTTP server with a small model, as the core GPU node of one machine.

Run as `python -m okome.embedded_engine --inventory PATH --node NAME --model FILE`. It
speaks the OpenAI API, as vLLM does, and is nothing but an engine: brokers cannot tell.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType

from inventory.load import InventoryError, load_cluster
from inventory.model import EngineSpec, Node

PARALLEL = 8
BATCH = 64
# What the model was trained with. A slot beyond it would produce nonsense quietly.
MODEL_CONTEXT = 8192
_GGUF_MAGIC = b"GGUF"


class EngineError(Exception):
    """The engine cannot start; the message is one line for a person."""


def thread_count(cores: int) -> int:
    """Threads for inference.

    One on small machines: with two threads on two busy cores the barriers between them
    were measured to cost nine tenths of the throughput.
    """
    return 1 if cores <= 2 else min(4, cores // 2)


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Returns 1, after one line, when it cannot."""
    parser = argparse.ArgumentParser(prog="okome.embedded_engine", description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--model", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        node, engine = _find(options.inventory, options.node)
        _check_model(options.model)
        _check_port(node)
        return _serve(node, engine, options.model)
    except (EngineError, InventoryError) as error:
        print(f"engine: {error}", file=sys.stderr, flush=True)
        return 1


def _find(inventory: Path, name: str) -> tuple[Node, EngineSpec]:
    cluster = load_cluster(inventory)
    try:
        node = cluster.node(name)
    except KeyError:
        raise EngineError(f"{inventory} has no node called {name}") from None
    if not node.engines:
        raise EngineError(f"{name} has no engine in {inventory}")
    engine = node.engines[0]
    if engine.context > MODEL_CONTEXT:
        raise EngineError(
            f"{name}: context {engine.context} is beyond the model's {MODEL_CONTEXT}; "
            f"lower it in {inventory}"
        )
    return node, engine


def _check_model(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise EngineError(f"the model {path} cannot be read: {error.strerror}") from error
    if magic != _GGUF_MAGIC:
        raise EngineError(f"{path} is not a GGUF model; remove it to have it fetched again")


def _check_port(node: Node) -> None:
    # The library answers a port in use with "Failed to init server", after loading the model.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((node.address, node.port))
        except OSError as error:
            raise EngineError(
                f"{node.address}:{node.port} cannot be listened on: {error.strerror}"
            ) from error


def _serve(node: Node, engine: EngineSpec, model: Path) -> int:
    try:
        import xllamacpp
    except ImportError as error:
        raise EngineError(
            f"the package xllamacpp cannot be loaded ({error}); see `okome doctor`"
        ) from error
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, node, engine, model))
    except RuntimeError as error:
        raise EngineError(f"llama.cpp refuses {model}: {error}") from error
    print(f"engine: listening on {server.listening_address}", flush=True)
    ended.wait()
    # The library's destructor joins its HTTP threads, which wait for open streams to end.
    # SIGTERM means now; there is nothing to flush.
    os._exit(0)


def _parameters(library: ModuleType, node: Node, engine: EngineSpec, model: Path) -> object:
    parameters = library.CommonParams()
    threads = thread_count(os.cpu_count() or 1)
    parameters.model.path = str(model)
    parameters.model_alias = {engine.model}
    parameters.n_ctx = engine.context * PARALLEL
    parameters.n_parallel = PARALLEL
    parameters.cont_batching = True
    # It looks for clients that have left between batches of a prompt, and lets other slots
    # wait for each: 0.5 s at 64 tokens where 2.5 s were measured at 256 (one thread).
    parameters.n_batch = parameters.n_ubatch = BATCH
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # Embeddings beside chats. The model was not made for them: it is for trying the API out.
    # With the last token's state, unlike a mean, a text may be longer than a batch.
    parameters.embedding = True
    parameters.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.hostnames = [node.address]
    parameters.port = node.port
    parameters.warmup = True
    return parameters


if __name__ == "__main__":
    sys.exit(main())
