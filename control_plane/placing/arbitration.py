"""How engines share what they run on: which sign keeps jobs away from which engine. Data. Pure.

Mode `shared`: the engines of a GPU have its memory and its time between them, so `jobs`
bounds them together. Mode `partitioned`: each has a part of its own, and `jobs` bounds each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from contracts.grants import EngineKind
from control_plane.policy_document import GpuRules

# What can be seen at an engine.
Sign = Literal["slots", "gpu", "waiting", "memory", "late", "cold"]
# What follows. `full`: none now, the job may wait; `refuse`: none, and it may not wait;
# `after`: only where no other engine can take it.
Verdict = Literal["full", "refuse", "after"]

# Of the memory for contexts: what is begun beyond it is put aside or fails.
MEMORY_FULL: Final = 0.95

TABLE: Final[Mapping[tuple[EngineKind, Sign], Verdict]] = {
    # It queues by itself, and knows best when it is full; what it has begun it may put aside.
    ("vllm", "slots"): "full",
    ("vllm", "gpu"): "full",
    ("vllm", "waiting"): "full",
    ("vllm", "memory"): "full",
    ("vllm", "late"): "full",
    # A cold model is loaded first: for seconds, and perhaps in the place of another.
    ("ollama", "slots"): "full",
    ("ollama", "gpu"): "full",
    ("ollama", "late"): "full",
    ("ollama", "cold"): "after",
    # One shot, no queue of its own to be seen.
    ("tf_serving", "slots"): "full",
    ("tf_serving", "gpu"): "full",
    ("tf_serving", "late"): "full",
}
_WEIGHT: Final[Mapping[Verdict, int]] = {"after": 1, "full": 2, "refuse": 3}


def verdict(kind: EngineKind, signs: Iterable[Sign], gpu: GpuRules | None) -> Verdict | None:
    """The gravest that follows from the signs; None: it may take a job.

    A one-shot engine whose GPU is busy waits or not as the policy says.
    """
    found: Verdict | None = None
    for sign in signs:
        said = TABLE.get((kind, sign))
        if kind == "tf_serving" and sign == "gpu" and gpu is not None and gpu.when_busy == "refuse":
            said = "refuse"
        if said is not None and (found is None or _WEIGHT[said] > _WEIGHT[found]):
            found = said
    return found


def gpu_is_full(gpu: GpuRules, taken_together: int, taken: int) -> bool:
    """Are so many jobs on the GPU that it takes no more of this engine? `taken_together`: of
    all its engines; `taken`: of this one."""
    if gpu.jobs is None:
        return False
    return (taken_together if gpu.mode == "shared" else taken) >= gpu.jobs
