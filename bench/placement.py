"""What a decision of the placing costs, in this process: no network, no database.

    python -m bench.placement [--engines 20] [--models 50] [--rounds 5]

Every model is on every engine; jobs ask for tools and belong to conversations. `full`: all
slots are taken, and as many jobs wait as may. CPU time is of `Dispatcher.decide` (of `turn`
where jobs wait), the best of the rounds, in microseconds: what else the machine does makes
a round slower, never faster.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from contracts.grants import EngineTarget
from contracts.problems import ProblemError
from control_plane.fleet.servers import Fleet
from control_plane.holdings import OpenGrant
from control_plane.placing.dispatch import Dispatcher
from control_plane.placing.placement import Job
from control_plane.placing.questions import Question
from control_plane.placing.rules import ModelPlaces, PlacingRules, shares_of
from control_plane.policy_document import EngineRules, GpuRules, OverloadRules

JOBS = 2000


def dispatcher(engines: int, models: int, slots: int) -> Dispatcher:
    """Every model on every engine, two engines to a GPU."""
    fleet = Fleet({})
    places = {
        f"m{model}": ModelPlaces(
            id=f"m{model}",
            seats=fleet.seats(
                [
                    EngineTarget(
                        kind="vllm", base_url=f"http://e{n}:8000", model=f"m{model}", name=f"e{n}"
                    )
                    for n in range(engines)
                ]
            ),
        )
        for model in range(models)
    }
    rules = {f"e{n}": EngineRules(slots=slots, gpu=f"gpu{n // 2}") for n in range(engines)}
    gpus = {f"gpu{n}": GpuRules(jobs=2 * slots) for n in range(engines)}
    overload = OverloadRules(shorten_at=1.0, shorten_to=64, queue=64)
    return Dispatcher(
        fleet, 30.0, PlacingRules(models=places, shares=shares_of(rules, gpus), overload=overload)
    )


def question(number: int, models: int) -> Question:
    """One of many conversations of a hundred users."""
    grant = OpenGrant(
        id=f"g{number}",
        lease_id=f"l{number}",
        user_id=f"u{number % 100}",
        node="n03w0",
        model="",
        tokens=0,
        created_at=0.0,
        lease_until=0.0,
        reserved_until=0.0,
    )
    job = Job(needs=("tools",), prompt_tokens=100, affinity=f"c{number % 500}")
    model = f"m{number % models}"
    return Question(grant=grant, model=model, tier="free", job=job, max_tokens=512)


def with_room(engines: int, models: int) -> float:
    """Microseconds per decision while engines have room."""
    placing = dispatcher(engines, models, slots=1_000_000)
    asked = [question(number, models) for number in range(JOBS)]
    return _timed(lambda n: placing.decide(asked[n], 1.0), JOBS)


def when_full(engines: int, models: int) -> tuple[float, float]:
    """The same, of jobs that are sent away, and of a waiting job's question, once all is
    full and all queues are."""
    placing = dispatcher(engines, models, slots=4)
    for number in range(4 * engines + 64 * models):
        placing.decide(question(number, models), 1.0)
    later = [question(10**6 + number, models) for number in range(JOBS)]

    def refused(number: int) -> None:
        try:
            placing.decide(later[number], 1.1)
        except ProblemError:
            return

    waiting = [waiter.grant.id for waiter in placing.waiting][:200]
    turn = _timed(lambda n: placing.turn(waiting[n], 1.1), len(waiting))
    return _timed(refused, 200), turn


def _timed(act: Callable[[int], object], count: int) -> float:
    began = time.process_time()
    for number in range(count):
        act(number)
    return (time.process_time() - began) / count * 1e6


def main() -> None:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", type=int, default=20)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    size = options.engines, options.models
    room = min(with_room(*size) for _ in range(options.rounds))
    full = [when_full(*size) for _ in range(options.rounds)]
    refused, turn = (min(times) for times in zip(*full, strict=True))
    print(
        f"{size[0]} engines, {size[1]} models: {room:.0f} us with room, "
        f"{refused:.0f} us when full, {turn:.0f} us for a waiting job's question"
    )


if __name__ == "__main__":
    main()
