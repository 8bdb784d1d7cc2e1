"""Which steps lead from what is there to the log's Redis Cluster, without any Redis."""

from __future__ import annotations

from dataclasses import replace

from inventory.load import LOCAL, load_cluster
from inventory.members import Member
from inventory.model import LogStore
from okome.redis_plan import Step, View, lacking, next_steps, to_be_replaced

CLUSTER = load_cluster(LOCAL.with_name("local-replicated.yml"))
STORES = {store.name: store for store in CLUSTER.log_stores()}
HOME, OTHER = "okome-node-03", "okome-node-04"
NOBODY: frozenset[str] = frozenset()


def process(home: str, *, primary: bool) -> LogStore:
    return next(s for s in STORES.values() if s.home == home and s.primary == primary)


def member(store: LogStore, *flags: str, **changes: object) -> Member:
    """The process as a formed cluster knows it."""
    slots = CLUSTER.log_slots(store.home)
    found = Member(
        id=f"id-{store.name}",
        address=store.address,
        port=store.port,
        flags=frozenset(flags),
        master=None if store.primary else f"id-{process(store.home, primary=True).name}",
        epoch=1,
        connected=True,
        slots=((slots[0], slots[-1]),) if store.primary else (),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


Views = dict[str, View]


def own_flags(found: Member) -> frozenset[str]:
    """Primaries may not be promoted, replicas that follow may."""
    return frozenset({"myself", "nofailover"} if found.slots else {"myself"})


def views(**changes: dict[str, object]) -> Views:
    """A formed cluster; `changes` by `address:port` are what is otherwise, for all to see."""
    of = changes.get("of", {})
    known = {name: member(store, **of.get(name, {})) for name, store in STORES.items()}  # type: ignore[attr-defined]
    return {
        name: View(
            tuple(
                replace(m, flags=own_flags(m) if m is known[name] else frozenset())
                for m in known.values()
            ),
            state_ok=True,
            in_sync=True,
        )
        for name in STORES
    }


def alone(store: LogStore) -> View:
    return View((member(store, "myself", slots=(), master=None, epoch=0),), False, False)


def test_a_formed_cluster_is_left_alone() -> None:
    assert next_steps(CLUSTER, views()) == []
    assert lacking(CLUSTER, views()) == []


def test_new_processes_meet_and_primaries_take_their_slots() -> None:
    fresh = {name: alone(store) for name, store in STORES.items()}
    steps = next_steps(CLUSTER, fresh)
    slots = {step.at: step.words[2:] for step in steps if step.words[1] == "ADDSLOTSRANGE"}
    assert sorted(slots.values()) == [(0, 4095), (4096, 8191), (8192, 12287), (12288, 16383)]
    assert {STORES[name].primary for name in slots} == {True}
    epochs = [step.words[2] for step in steps if step.words[1] == "SET-CONFIG-EPOCH"]
    assert len(set(epochs)) == 4
    assert sum(step.words[1] == "MEET" for step in steps) == 12 * 11
    assert len(lacking(CLUSTER, fresh)) == 12


def test_a_replica_follows_whoever_has_the_slots_of_its_home() -> None:
    replica = process(HOME, primary=False)
    stray = {replica.name: {"master": f"id-{process(OTHER, primary=True).name}"}}
    holder = f"id-{process(HOME, primary=True).name}"
    steps = next_steps(CLUSTER, views(of=stray))
    assert steps == [Step(replica.name, ("CLUSTER", "REPLICATE", holder))]


def replaced() -> dict[str, dict[str, object]]:
    """A replica has been promoted, and the home's primary follows it."""
    primary, heir = process(HOME, primary=True), process(HOME, primary=False)
    slots = CLUSTER.log_slots(HOME)
    changed: dict[str, dict[str, object]] = {
        store.name: {"master": f"id-{heir.name}", "slots": ()}
        for store in STORES.values()
        if store.home == HOME
    }
    changed[heir.name] = {"master": None, "slots": ((slots[0], slots[-1]),), "epoch": 9}
    assert primary.name in changed
    return changed


def test_a_home_takes_its_slots_back_once_it_is_in_sync() -> None:
    primary = process(HOME, primary=True)
    found = views(of=replaced())  # type: ignore[arg-type]
    assert next_steps(CLUSTER, found) == [Step(primary.name, ("CLUSTER", "FAILOVER"))]
    assert f"{primary.name} does not have the slots of its node" in lacking(CLUSTER, found)
    found[primary.name] = replace(found[primary.name], in_sync=False)
    assert next_steps(CLUSTER, found) == []


def test_nobody_asks_for_slots_before_their_holder_knows_it_as_its_replica() -> None:
    primary, heir = process(HOME, primary=True), process(HOME, primary=False)
    found = views(of=replaced())  # type: ignore[arg-type]
    unknown = tuple(
        replace(known, master=None) if known.name == primary.name else known
        for known in found[heir.name].members
    )
    found[heir.name] = replace(found[heir.name], members=unknown)
    assert next_steps(CLUSTER, found) == []


def test_a_home_whose_data_is_lost_takes_its_slots_all_the_same() -> None:
    primary, heir = process(HOME, primary=True), process(HOME, primary=False)
    found = without(heir, views(of=replaced()), offset=0)  # type: ignore[arg-type]
    takeover = Step(primary.name, ("CLUSTER", "FAILOVER", "TAKEOVER"))
    assert next_steps(CLUSTER, found) == [takeover]
    assert takeover.gives_up_data
    other = next(s for s in STORES.values() if s.home == HOME and s not in (primary, heir))
    found[other.name] = replace(found[other.name], offset=9)
    assert next_steps(CLUSTER, found) == []


def test_slots_that_one_still_believes_to_have_are_not_taken_for_its_own() -> None:
    found = views(of=replaced())  # type: ignore[arg-type]
    primary = process(HOME, primary=True)
    stale = member(primary, "myself", "nofailover")
    others = tuple(m for m in found[primary.name].members if not m.myself)
    found[primary.name] = View((stale, *others), state_ok=True, in_sync=False)
    assert next_steps(CLUSTER, found) == []
    assert f"{primary.name} does not have the slots of its node" in lacking(CLUSTER, found)


def test_a_node_that_came_back_empty_is_taken_in_and_its_former_self_forgotten() -> None:
    primary = process(HOME, primary=True)
    changed = replaced()
    changed[primary.name] = {"id": "gone", "slots": (), "flags": frozenset({"fail"})}
    found = {
        name: View(
            tuple(
                replace(m, flags=m.flags | {"fail"}) if m.id == "gone" else m for m in view.members
            ),
            view.state_ok,
            view.in_sync,
        )
        for name, view in views(of=changed).items()  # type: ignore[arg-type]
    }
    found[primary.name] = alone(primary)
    steps = next_steps(CLUSTER, found)
    assert {s.at for s in steps if s.words == ("CLUSTER", "FORGET", "gone")} == set(STORES) - {
        primary.name
    }
    assert Step(primary.name, ("CLUSTER", "MEET", "127.86.0.46", 6379)) in steps
    assert not [s for s in steps if s.words[1] in ("ADDSLOTSRANGE", "FAILOVER")]


def test_who_does_not_answer_is_named_and_not_told_anything() -> None:
    found = views()
    del found["127.86.0.43:6379"]
    assert next_steps(CLUSTER, found) == []
    assert lacking(CLUSTER, found)[0] == "127.86.0.43:6379 does not answer"


def leave(store: LogStore, *, given: bool, late: bool = False) -> Step:
    value = "no" if given else "yes"
    return Step(store.name, ("CONFIG", "SET", "cluster-replica-no-failover", value), late)


def with_flags(found: Views, store: LogStore, *flags: str, **changes: object) -> Views:
    """The process has these flags by its own account."""
    view = found[store.name]
    own = (replace(m, flags=frozenset({"myself", *flags})) if m.myself else m for m in view.members)
    return found | {store.name: replace(view, members=tuple(own), **changes)}  # type: ignore[arg-type]


def test_a_replica_may_be_promoted_once_its_primary_streams_to_it() -> None:
    replica = process(HOME, primary=False)
    found = with_flags(views(), replica, "nofailover", in_sync=False)
    assert next_steps(CLUSTER, found) == []
    found = with_flags(found, replica, "nofailover", in_sync=True)
    assert next_steps(CLUSTER, found) == []
    assert lacking(CLUSTER, found) == [f"{replica.name} may not yet be promoted"]
    found = with_flags(found, replica, "nofailover", streamed=True)
    assert next_steps(CLUSTER, found) == [leave(replica, given=True)]


def test_a_primary_loses_the_right_for_the_day_on_which_it_is_a_replica() -> None:
    primary = process(HOME, primary=True)
    assert next_steps(CLUSTER, with_flags(views(), primary)) == [leave(primary, given=False)]


def test_one_that_was_not_seen_to_follow_stands_when_nobody_else_is_left() -> None:
    primary, replica = process(HOME, primary=True), process(HOME, primary=False)
    (other,) = (s for s in STORES.values() if s.home == HOME and s not in (primary, replica))
    found = with_flags(without(primary, views(), offset=9), replica, "nofailover")
    assert next_steps(CLUSTER, found) == []
    del found[other.name]
    assert next_steps(CLUSTER, found) == [leave(replica, given=True, late=True)]
    found[replica.name] = replace(found[replica.name], offset=0)
    assert next_steps(CLUSTER, found) == []


def without(store: LogStore, found: Views, offset: int) -> Views:
    """The views of the others when `store` is down."""
    return {
        name: replace(view, offset=0 if STORES[name].primary else offset)
        for name, view in found.items()
        if name != store.name
    }


def test_a_primary_is_started_again_once_a_replica_has_its_slots() -> None:
    primary = process(HOME, primary=True)
    assert to_be_replaced(CLUSTER, primary, without(primary, views(), offset=9), NOBODY)
    after = views(of=replaced())  # type: ignore[arg-type]
    assert not to_be_replaced(CLUSTER, primary, without(primary, after, offset=9), NOBODY)


def test_a_replica_that_was_promoted_is_waited_for_in_the_same_way() -> None:
    heir = process(HOME, primary=False)
    after = without(heir, views(of=replaced()), offset=9)  # type: ignore[arg-type]
    assert to_be_replaced(CLUSTER, heir, after, NOBODY)


def test_a_replica_is_started_at_once() -> None:
    replica = process(HOME, primary=False)
    assert not to_be_replaced(CLUSTER, replica, without(replica, views(), offset=9), NOBODY)


def test_nobody_is_waited_for_that_has_no_data_itself() -> None:
    primary = process(HOME, primary=True)
    assert not to_be_replaced(CLUSTER, primary, without(primary, views(), offset=0), NOBODY)
    assert not to_be_replaced(CLUSTER, primary, {}, NOBODY)


def test_who_may_have_the_data_and_is_not_heard_just_now_is_waited_for() -> None:
    primary, replica = process(HOME, primary=True), process(HOME, primary=False)
    stranger = next(store for store in STORES.values() if store.home != HOME)
    found = without(primary, views(), offset=0)
    del found[replica.name]
    assert to_be_replaced(CLUSTER, primary, found, {replica.name})
    assert to_be_replaced(CLUSTER, primary, {}, {replica.name})
    assert not to_be_replaced(CLUSTER, primary, found, {primary.name, stranger.name})


def test_nobody_is_waited_for_once_somebody_has_the_slots() -> None:
    primary, silent = process(HOME, primary=True), process(HOME, primary=False)
    after = without(primary, views(of=replaced()), offset=9)  # type: ignore[arg-type]
    assert not to_be_replaced(CLUSTER, primary, after, {silent.name})
