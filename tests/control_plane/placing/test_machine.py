"""Any order of jobs, ends, questions, deaths and faults: never more than fits, nobody forgotten."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts.grants import EngineReport, TurnAnswer
from contracts.problems import ProblemError
from control_plane.placing.questions import Question
from control_plane.placing.waiting import Waiter
from control_plane.policy_document import EngineRules, GpuRules, OverloadRules
from tests.control_plane.placing.building import TTL_S, Place

ENGINES = {
    "vllm": EngineRules(slots=2, gpu="gpu0"),
    "vllm2": EngineRules(slots=1),
    "ollama": EngineRules(slots=2, gpu="gpu0"),
}
MODELS = {"m": ["vllm", "vllm2", "ollama"], "n": ["ollama"], "tiny": ["vllm2"]}
JOBS, QUEUE = 3, 3


class Machine(RuleBasedStateMachine):
    """Brokers that ask, go on asking, or die; engines that fail; a clock that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.place = Place(
            MODELS,
            ENGINES,
            {"gpu0": GpuRules(jobs=JOBS)},
            OverloadRules(queue=QUEUE, wait_s=40),
            smaller={"m": "tiny"},
        )
        self.dispatcher = self.place.dispatcher
        self.running: dict[str, Question] = {}
        self.waiting: dict[str, Question] = {}
        self.dead: dict[str, Question] = {}

    @rule(
        model=st.sampled_from(["m", "m", "n", "tiny"]),
        user=st.sampled_from("abc"),
        tier=st.sampled_from(["free", "pro", "impatient"]),
        talk=st.sampled_from([None, "x", "y"]),
    )
    def ask(self, model: str, user: str, tier: str, talk: str | None) -> None:
        question = self.place.question(model, user, tier, affinity=talk)
        try:
            decision = self.dispatcher.decide(question, self.now)
        except ProblemError as problem:
            self.check_refusal(problem, question.grant.id)
            return
        if decision.turn is None:
            self.running[question.grant.id] = question
        else:
            assert tier != "impatient"
            assert decision.turn.position >= 1
            self.waiting[question.grant.id] = question

    def check_refusal(self, problem: ProblemError, grant_id: str) -> None:
        assert problem.code in ("overloaded", "no_engine")
        assert self.dispatcher.occupancy.get(grant_id) is None
        assert self.dispatcher.waiting.get(grant_id) is None

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        self.turn(data.draw(st.sampled_from(sorted(self.waiting))))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        grant_id = data.draw(st.sampled_from(sorted(self.running)))
        ahead = self.first_to_call()
        before = len(self.dispatcher.occupancy)
        self.dispatcher.ended(grant_id, self.now)
        del self.running[grant_id]
        if ahead is not None and len(self.dispatcher.occupancy) == before == 1:
            assert self.dispatcher.occupancy.get(ahead) is not None

    @precondition(lambda self: self.running or self.waiting)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A broker dies: nobody asks, renews or settles."""
        grant_id = data.draw(st.sampled_from(sorted(self.running | self.waiting)))
        question = self.running.pop(grant_id, None) or self.waiting.pop(grant_id)
        question.grant.lease_until = self.now + TTL_S
        self.dead[grant_id] = question

    @rule(engine=st.sampled_from(["vllm", "vllm2", "ollama"]), model=st.sampled_from(["m", "n"]))
    def fail(self, engine: str, model: str) -> None:
        report = EngineReport(
            node="n", base_url=f"http://{engine}", model=model, fault="engine_error"
        )
        self.place.fleet.reported(report, self.now)

    @rule(engine=st.sampled_from(["vllm", "ollama"]), drained=st.booleans())
    def drain(self, engine: str, drained: bool) -> None:
        self.place.fleet.set_drained({engine} if drained else set())

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.try_engines()
        self.dispatcher.tick(self.now)

    @invariant()
    def never_more_than_fits(self) -> None:
        occupancy = self.dispatcher.occupancy
        for name, rules in ENGINES.items():
            assert occupancy.held(f"http://{name}") <= (rules.slots or 0)
        assert occupancy.on_gpu("gpu0") <= JOBS
        for model in MODELS:
            assert self.dispatcher.waiting.length(model) <= QUEUE + len(occupancy)

    @invariant()
    def nobody_is_in_two_places(self) -> None:
        for held in self.dispatcher.occupancy:
            assert self.dispatcher.waiting.get(held.grant.id) is None

    def teardown(self) -> None:
        """Everybody who still asks is served or told, and then nothing is left."""
        self.place.fleet.set_drained(())
        for _ in range(200):
            if not (self.waiting or self.running):
                break
            self.now += 0.5
            self.try_engines()
            self.dispatcher.tick(self.now)
            for grant_id in sorted(self.waiting):
                self.turn(grant_id)
            for grant_id in sorted(self.running)[:1]:
                self.dispatcher.ended(grant_id, self.now)
                del self.running[grant_id]
        assert not self.waiting
        assert not self.running
        self.now += 2 * TTL_S
        self.dispatcher.tick(self.now)
        self.dispatcher.tick(self.now)
        assert len(self.dispatcher.occupancy) == 0
        assert len(self.dispatcher.waiting) == 0
        assert not self.dispatcher._called

    def turn(self, grant_id: str) -> None:
        question = self.waiting[grant_id]
        try:
            answer = self.dispatcher.turn(grant_id, self.now)
            if answer is None:  # given up: it asked too late
                answer = self.dispatcher.requeue(question, self.now)
        except ProblemError:
            del self.waiting[grant_id]
            return
        assert isinstance(answer, TurnAnswer)
        assert (answer.turn is None) != (answer.engine is None)
        if answer.engine is not None:
            del self.waiting[grant_id]
            self.running[grant_id] = question

    def try_engines(self) -> None:
        """What the poller does: a token, which succeeds."""
        fleet = self.place.fleet
        for url in fleet.servers:
            for model in fleet.due_trials(url, self.now):
                fleet.begin_trial((url, model), self.now)
                fleet.end_trial((url, model), True, self.now)

    def first_to_call(self) -> str | None:
        """The one that must be next where only one model is waited for."""
        models = self.dispatcher.waiting.models
        if len(models) != 1:
            return None
        order: list[Waiter] = self.dispatcher.waiting.order(models[0], self.now)
        return None if order[0].is_late(self.now, 1.0) else order[0].grant.id


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


class Fairness(RuleBasedStateMachine):
    """One slot, and everybody asks in time: who is called is the fairest of those who wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.place = Place({"m": ["vllm"]}, {"vllm": EngineRules(slots=2)})
        self.joined: dict[str, tuple[str, str]] = {}
        self.running: list[str] = []

    @rule(user=st.sampled_from("abc"), tier=st.sampled_from(["free", "pro"]))
    def ask(self, user: str, tier: str) -> None:
        question = self.place.question(user=user, tier=tier)
        decision = self.place.dispatcher.decide(question, self.now)
        if decision.turn is None:
            self.running.append(question.grant.id)
        else:
            self.joined[question.grant.id] = (user, tier)

    @precondition(lambda self: self.running and self.joined)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.now += 0.1
        for grant_id in self.joined:
            self.place.dispatcher.turn(grant_id, self.now)
        ended = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        occupancy = self.place.dispatcher.occupancy
        self.place.dispatcher.ended(ended, self.now)
        (called,) = [grant_id for grant_id in self.joined if occupancy.get(grant_id)]
        user, tier = self.joined.pop(called)
        self.running.append(called)
        if tier == "free":  # nobody has waited for long here
            assert "pro" not in {other for _, other in self.joined.values()}
        running = {u: occupancy.running(u) - (u == user) for u in "abc"}
        rivals = [u for u, other in self.joined.values() if other == tier]
        assert all(running[user] <= running[rival] for rival in rivals)


TestFairness = Fairness.TestCase
TestFairness.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
