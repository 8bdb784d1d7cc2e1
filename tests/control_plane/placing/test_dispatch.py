"""Jobs that meet engines as they fill up."""

from __future__ import annotations

import pytest

from contracts.grants import EngineReport, Settlement, Usage
from contracts.problems import ProblemError
from control_plane.fleet.readings import Load, Offer
from control_plane.placing.dispatch import LATE_GRACE_S
from control_plane.placing.outcomes import settled
from control_plane.placing.questions import Decision, Question
from control_plane.policy_document import EngineRules, GpuRules, OverloadRules
from tests.control_plane.placing.building import TTL_S, Place, grant, target

ONE = {"vllm": EngineRules(slots=1)}
GPU = {"gpu0": GpuRules(jobs=2)}


def names(decision: Decision) -> list[str]:
    return [engine.name for engine in decision.targets]


def refusal(place: Place, question: Question, now: float) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        place.dispatcher.decide(question, now)
    return caught.value


def settlement(question: Question, code: str | None = None, engine: str = "vllm") -> Settlement:
    return Settlement(
        job_id="j", grant_id=question.grant.id, lease_id="l", user_id="u", model="m",
        engine=engine, node="n03w0", outcome="failed" if code else "completed", code=code,
        usage=Usage(), created_at=0.0, first_token_at=None, ended_at=0.0,
    )  # fmt: skip


def test_slots_are_filled_then_jobs_wait_and_are_called_in_turn() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    dispatcher = place.dispatcher
    first, second, third = (place.question(user=f"u{n}") for n in range(3))
    assert dispatcher.decide(first, 0.0).turn is None
    waits = dispatcher.decide(second, 0.0)
    assert waits.turn is not None
    assert (waits.turn.position, names(waits)) == (1, ["vllm"])
    last = dispatcher.decide(third, 0.1).turn
    assert last is not None
    assert last.position == 2
    dispatcher.ended(first.grant.id, 0.2)
    called = dispatcher.turn(second.grant.id, 0.2)
    assert called is not None
    assert called.engine == target("vllm", "m")
    assert dispatcher.turn(second.grant.id, 0.3) == called
    waiting = dispatcher.turn(third.grant.id, 0.3)
    assert waiting is not None
    assert waiting.turn is not None
    assert waiting.turn.position == 1


def test_the_higher_priority_is_next_until_the_lower_has_waited_for_long() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    running, low, high = place.question(), place.question(), place.question(tier="pro", user="p")
    place.dispatcher.decide(running, 0.0)
    place.dispatcher.decide(low, 0.0)
    place.dispatcher.decide(high, 0.1)
    order = place.dispatcher.waiting.order
    assert [w.grant.id for w in order("m", 0.2)] == [high.grant.id, low.grant.id]
    late = place.question(tier="pro", user="p")
    place.dispatcher.ended(high.grant.id, 50.0)
    place.dispatcher.decide(late, 50.0)
    assert order("m", 50.0)[0].grant.id == low.grant.id


def test_a_user_who_asks_for_much_waits_behind_one_who_asks_for_little() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    greedy = [place.question(user="greedy") for _ in range(4)]
    for question in greedy:
        place.dispatcher.decide(question, 0.0)
    modest = place.question(user="modest")
    place.dispatcher.decide(modest, 1.0)
    first = place.dispatcher.waiting.order("m", 1.0)[0]
    assert first.grant.id == modest.grant.id


def test_a_dead_waiter_blocks_nobody_and_is_dropped() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    dispatcher = place.dispatcher
    running, dead, living = (place.question(user=f"u{n}") for n in range(3))
    for question in (running, dead, living):
        dispatcher.decide(question, 0.0)
    late = 2.0 + LATE_GRACE_S
    dispatcher.turn(living.grant.id, late)
    dispatcher.ended(running.grant.id, late)
    answer = dispatcher.turn(living.grant.id, late)
    assert answer is not None
    assert answer.engine is not None
    assert dispatcher.waiting.length("m") == 1
    dispatcher.tick(TTL_S + 0.1)
    assert dispatcher.waiting.length("m") == 0
    assert dispatcher.counts.steps[("m", "left")] == 1


def test_a_place_whose_broker_does_not_come_goes_to_the_next() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    dispatcher = place.dispatcher
    running, dead, living = (place.question(user=f"u{n}") for n in range(3))
    for question in (running, dead, living):
        dispatcher.decide(question, 0.0)
    dispatcher.ended(running.grant.id, 0.1)
    assert dispatcher.occupancy.get(dead.grant.id) is not None
    later = 1.0 + LATE_GRACE_S
    waits = dispatcher.turn(living.grant.id, later)
    assert waits is not None
    assert waits.turn is not None
    dispatcher.tick(later)
    called = dispatcher.turn(living.grant.id, later)
    assert called is not None
    assert called.engine is not None


def test_whoever_waited_for_too_long_is_told_and_told_again() -> None:
    place = Place({"m": ["vllm"]}, ONE, overload=OverloadRules(wait_s=10, retry_after_s=7))
    running, waiting = place.question(), place.question(user="v")
    place.dispatcher.decide(running, 0.0)
    place.dispatcher.decide(waiting, 0.0)
    for now in (10.0, 10.1):
        with pytest.raises(ProblemError, match="overloaded") as caught:
            place.dispatcher.turn(waiting.grant.id, now)
        assert caught.value.retry_after == 7
    assert len(place.dispatcher.waiting) == 0


def test_a_full_queue_sends_away_whoever_would_be_served_last() -> None:
    place = Place({"m": ["vllm"]}, ONE, overload=OverloadRules(queue=1, retry_after_s=3))
    dispatcher = place.dispatcher
    dispatcher.decide(place.question(), 0.0)
    low = place.question()
    dispatcher.decide(low, 0.0)
    problem = refusal(place, place.question(), 0.1)
    assert (problem.code, problem.retry_after) == ("overloaded", 3)
    high = place.question(tier="pro", user="p")
    assert dispatcher.decide(high, 0.2).turn is not None
    with pytest.raises(ProblemError, match="overloaded"):
        dispatcher.turn(low.grant.id, 0.3)
    assert dispatcher.waiting.length("m") == 1


def test_a_tier_that_does_not_wait_is_refused_at_once() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    place.dispatcher.decide(place.question(), 0.0)
    assert refusal(place, place.question(tier="impatient"), 0.0).code == "overloaded"
    assert len(place.dispatcher.waiting) == 0


def test_answers_are_shortened_first_and_the_client_is_told() -> None:
    overload = OverloadRules(shorten_at=0.5, shorten_to=16)
    place = Place({"m": ["vllm"]}, {"vllm": EngineRules(slots=2)}, overload=overload)
    whole, shorter, short = place.question(), place.question(), place.question(tokens=8)
    assert place.dispatcher.decide(whole, 0.0).max_tokens == 100
    decision = place.dispatcher.decide(shorter, 0.0)
    assert (decision.max_tokens, [told.code for told in decision.notices]) == (16, ["limited"])
    place.dispatcher.ended(shorter.grant.id, 0.1)
    decision = place.dispatcher.decide(short, 0.1)
    assert (decision.max_tokens, decision.notices) == (8, ())


def test_a_one_shot_answer_is_not_called_shortened() -> None:
    overload = OverloadRules(shorten_at=0.5, shorten_to=16)
    place = Place({"m": ["tf"]}, {"tf": EngineRules(slots=2)}, overload=overload)
    for waits in (False, False, True):
        decision = place.dispatcher.decide(place.question(), 0.0)
        assert (decision.turn is not None, decision.notices) == (waits, ())


def test_then_a_smaller_model_answers_where_the_policy_has_one() -> None:
    models = {"m": ["vllm"], "tiny": ["ollama"]}
    engines = ONE | {"ollama": EngineRules(slots=1)}
    place = Place(models, engines, smaller={"m": "tiny", "tiny": "m"})
    place.dispatcher.decide(place.question(), 0.0)
    decision = place.dispatcher.decide(place.question(), 0.0)
    assert (decision.model, decision.smaller, names(decision)) == ("tiny", True, ["ollama"])
    assert "tiny answers instead" in decision.notices[0].message
    assert place.dispatcher.decide(place.question(), 0.0).turn is not None


def test_engines_of_one_gpu_share_its_jobs() -> None:
    engines = {"vllm": EngineRules(slots=9, gpu="gpu0"), "ollama": EngineRules(gpu="gpu0")}
    place = Place({"m": ["vllm"], "n": ["ollama"]}, engines, GPU)
    place.dispatcher.decide(place.question("m"), 0.0)
    place.dispatcher.decide(place.question("n"), 0.0)
    assert place.dispatcher.decide(place.question("n"), 0.0).turn is not None
    assert place.dispatcher.decide(place.question("m", user="v"), 0.0).turn is not None


def test_engines_of_a_parted_gpu_do_not() -> None:
    engines = {"vllm": EngineRules(gpu="gpu0"), "ollama": EngineRules(gpu="gpu0")}
    gpus = {"gpu0": GpuRules(jobs=1, mode="partitioned")}
    place = Place({"m": ["vllm"], "n": ["ollama"]}, engines, gpus)
    assert place.dispatcher.decide(place.question("m"), 0.0).turn is None
    assert place.dispatcher.decide(place.question("n"), 0.0).turn is None
    assert place.dispatcher.decide(place.question("n"), 0.0).turn is not None


def test_one_shot_on_a_busy_gpu_waits_or_not_as_the_policy_says() -> None:
    engines = {"vllm": EngineRules(gpu="gpu0"), "tf": EngineRules(gpu="gpu0")}
    for when_busy, waits in (("queue", True), ("refuse", False)):
        gpus = {"gpu0": GpuRules(jobs=1, when_busy=when_busy)}  # type: ignore[arg-type]
        place = Place({"m": ["vllm"], "s": ["tf"]}, engines, gpus)
        place.dispatcher.decide(place.question("m"), 0.0)
        if waits:
            assert place.dispatcher.decide(place.question("s"), 0.0).turn is not None
        else:
            assert refusal(place, place.question("s"), 0.0).code == "overloaded"


def test_an_engine_that_queues_gets_no_more_and_the_next_one_takes_over() -> None:
    place = Place({"m": ["vllm", "ollama"]})
    assert names(place.dispatcher.decide(place.question(), 0.0)) == ["vllm", "ollama"]
    for load in (Load(4, 1), Load(4, 0, 0.99)):
        place.fleet.observed("http://vllm", load, 4)
        assert names(place.dispatcher.decide(place.question(), 0.0)) == ["ollama", "vllm"]
    place.fleet.observed("http://vllm", Load(4, 0, 0.5), 4)
    assert names(place.dispatcher.decide(place.question(), 0.0))[0] == "vllm"


def test_what_others_do_at_an_engine_counts_once_it_is_seen_twice() -> None:
    place = Place({"m": ["vllm"]}, {"vllm": EngineRules(slots=2)})
    server = place.fleet.servers["http://vllm"]
    place.fleet.observed("http://vllm", Load(2, 0), 0)
    assert server.others == 0
    place.fleet.observed("http://vllm", Load(2, 0), 0)
    assert server.others == 2
    assert place.dispatcher.decide(place.question(), 0.0).turn is not None


def test_a_cold_engine_is_asked_to_load_once_when_it_was_passed_over() -> None:
    place = Place({"m": ["ollama", "vllm"]})
    place.fleet.offered("http://ollama", Offer(loaded=frozenset()))
    assert names(place.dispatcher.decide(place.question(), 0.0)) == ["vllm", "ollama"]
    assert place.dispatcher.placer.take_cold() == [target("ollama", "m")]
    assert place.dispatcher.placer.take_cold() == []
    place.fleet.loaded("http://ollama", frozenset({"m:latest"}), {})
    assert names(place.dispatcher.decide(place.question(), 0.0))[0] == "ollama"


def test_nobody_overtakes_those_who_wait_for_the_same_engine() -> None:
    place = Place({"m": ["vllm"], "n": ["vllm"]}, ONE)
    dispatcher = place.dispatcher
    running, waiting = place.question("m"), place.question("m", user="v", tier="pro")
    dispatcher.decide(running, 0.0)
    dispatcher.decide(waiting, 0.0)
    dispatcher.ended(running.grant.id, 0.1)
    assert dispatcher.decide(place.question("n", user="w"), 0.1).turn is not None
    assert dispatcher.occupancy.get(waiting.grant.id) is not None


def test_an_engine_that_lies_is_out_after_its_faults_and_tried_before_it_is_back() -> None:
    place = Place({"s": ["tf"]})
    place.put(True, "tf", "s")
    for moment in (0.1, 0.2, 0.3):
        assert names(place.dispatcher.decide(place.question("s"), moment)) == ["tf"]
        report = EngineReport(node="n03w0", base_url="http://tf/", model="s", fault="engine_error")
        assert place.fleet.reported(report, moment)
    (seat,) = place.dispatcher.rules.models["s"].seats
    assert place.fleet.condition(seat, 0.4) == "failing"
    trial = place.question("s")
    assert place.fleet.condition(seat, 3.0) == "trial"
    place.dispatcher.decide(trial, 3.0)
    assert place.fleet.condition(seat, 3.0) == "failing"
    settled(place.dispatcher, settlement(trial, engine="tf_serving"), 3.5)
    assert place.fleet.condition(seat, 3.5) == "up"


def test_an_engine_that_fails_is_asked_where_there_is_no_other() -> None:
    place = Place({"m": ["vllm"]})
    for moment in (0.1, 0.2, 0.3, 0.4):
        assert names(place.dispatcher.decide(place.question(), moment)) == ["vllm"]
        report = EngineReport(
            node="n03w0", base_url="http://vllm/", model="m", fault="engine_error"
        )
        assert place.fleet.reported(report, moment)
    assert place.dispatcher.counts.placements[("vllm", "last_resort")] == 1


def test_settlements_tell_of_faults_that_no_report_told_of() -> None:
    place = Place({"m": ["vllm"]})
    for _ in range(3):
        question = place.question()
        place.dispatcher.decide(question, 1.0)
        settled(place.dispatcher, settlement(question, "engine_error"), 1.0)
    (seat,) = place.dispatcher.rules.models["m"].seats
    assert place.fleet.condition(seat, 1.1) == "failing"
    assert place.fleet.due_trials("http://vllm", 1.1) == []
    assert place.fleet.due_trials("http://vllm", 9.0) == ["m"]
    place.fleet.begin_trial(("http://vllm", "m"), 9.0)
    place.fleet.end_trial(("http://vllm", "m"), True, 9.1)
    assert place.fleet.condition(seat, 9.2) == "up"


def test_a_report_and_the_settlement_of_the_same_job_are_one_fault() -> None:
    place = Place({"m": ["vllm"]})
    for _ in range(2):
        question = place.question()
        place.dispatcher.decide(question, 1.0)
        report = EngineReport(node="n03w0", base_url="http://vllm", model="m", fault="engine_error")
        place.fleet.reported(report, 1.0)
        settled(place.dispatcher, settlement(question, "engine_error"), 1.1)
    place.dispatcher.decide(place.question(), 1.2)


def test_unreachable_and_a_failed_check_are_enough_together() -> None:
    place = Place({"m": ["vllm", "ollama"]})
    report = EngineReport(
        node="n03w0", base_url="http://vllm", model="m", fault="engine_unreachable"
    )
    place.fleet.reported(report, 1.0)
    assert names(place.dispatcher.decide(place.question(), 1.0))[0] == "vllm"
    place.fleet.check_failed("http://vllm", 1.1)
    assert names(place.dispatcher.decide(place.question(), 1.1)) == ["ollama"]


def test_an_engine_that_leaves_a_check_unanswered_gets_nothing_another_can_take() -> None:
    place = Place({"m": ["vllm", "ollama"], "n": ["vllm"]})
    place.fleet.asked("http://vllm", 10.0)
    assert names(place.dispatcher.decide(place.question(), 11.0))[0] == "vllm"
    assert names(place.dispatcher.decide(place.question(), 11.1))[0] == "ollama"
    assert place.dispatcher.decide(place.question("n"), 11.1).turn is not None
    place.fleet.answered("http://vllm")
    assert names(place.dispatcher.decide(place.question(user="v"), 11.2))[0] == "vllm"


def test_an_engine_that_comes_and_goes_is_believed_later_each_time() -> None:
    place = Place({"m": ["vllm"]})
    (seat,) = place.dispatcher.rules.models["m"].seats
    held = []
    for moment in range(0, 50, 10):
        place.fleet.health_changed(seat.probe, False, moment)
        place.fleet.health_changed(seat.probe, True, moment + 0.5)
        flapping = [
            t for t in range(1, 30) if place.fleet.condition(seat, moment + 0.5 + t) == "flapping"
        ]
        held.append(len(flapping))
    assert held == [0, 0, 1, 3, 7]


def test_a_model_that_the_engine_lists_no_more_gets_nothing_there() -> None:
    place = Place({"m": ["vllm", "ollama"]})
    place.fleet.offered("http://vllm", Offer(models=frozenset({"other"})))
    assert names(place.dispatcher.decide(place.question(), 0.0)) == ["ollama"]
    place.fleet.offered("http://vllm", Offer(models=frozenset({"other", "m"})))
    assert names(place.dispatcher.decide(place.question(), 0.0)) == ["vllm", "ollama"]


def test_a_drained_engine_gets_nothing_and_those_who_wait_are_called_when_it_is_back() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    dispatcher = place.dispatcher
    running, waiting = place.question(), place.question(user="v")
    dispatcher.decide(running, 0.0)
    dispatcher.decide(waiting, 0.0)
    place.fleet.set_drained({"vllm"})
    dispatcher.ended(running.grant.id, 0.1)
    answer = dispatcher.turn(waiting.grant.id, 0.2)
    assert answer is not None
    assert answer.turn is not None
    assert "drained" in refusal(place, place.question(), 0.2).detail
    place.fleet.set_drained(())
    dispatcher.tick(0.3)
    assert dispatcher.occupancy.get(waiting.grant.id) is not None


def test_after_a_restart_running_jobs_count_and_waiting_ones_wait_again() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    dispatcher = place.dispatcher
    running, waiting = grant("old", "u"), grant("queued", "v")
    running.model = waiting.model = "m"
    for known in (running, waiting):
        dispatcher.adopt(known, 0.0)
    assert dispatcher.occupancy.held("http://vllm") == 2
    question = place.question(user="v")
    again = Question(grant=waiting, model="m", tier="free", job=question.job, max_tokens=1)
    answer = dispatcher.requeue(again, 0.1)
    assert answer.turn is not None
    assert dispatcher.occupancy.held("http://vllm") == 1
    dispatcher.ended("old", 0.2)
    assert dispatcher.occupancy.get("queued") is not None


def test_a_job_whose_broker_died_frees_its_place_with_its_lease() -> None:
    place = Place({"m": ["vllm"]}, ONE)
    question = place.question()
    place.dispatcher.decide(question, 0.0)
    question.grant.lease_until = 30.0
    place.dispatcher.tick(29.9)
    assert place.dispatcher.occupancy.held("http://vllm") == 1
    place.dispatcher.tick(30.0)
    assert place.dispatcher.occupancy.held("http://vllm") == 0
