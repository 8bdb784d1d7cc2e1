"""What is still to be done so that the log's Redis Cluster is as the inventory says.

Pure: the views of all processes that answer go in, commands come out. They are carried out
and the views taken again until nothing is left to do (`redis_cluster.py`), so forming a new
cluster, taking in a node that came back empty and giving a home its slots back are one thing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from inventory.members import Member, owner
from inventory.model import Cluster, LogStore


@dataclass(frozen=True, slots=True)
class View:
    """What one process says.

    `in_sync`: as a replica, it follows its primary closely; `offset`: how much it has taken
    over from a primary since it was started, 0 for nothing. `streamed`: as a replica, it has
    taken something of the stream since it was synchronised as a whole.
    """

    members: tuple[Member, ...]
    state_ok: bool
    in_sync: bool
    offset: int = 0
    streamed: bool = False

    @property
    def myself(self) -> Member:
        """The process itself."""
        return next(member for member in self.members if member.myself)

    @property
    def may_be_promoted(self) -> bool:
        """May it stand for election when its primary dies? Redis flags those that may not."""
        return "nofailover" not in self.myself.flags


Views = Mapping[str, View]


@dataclass(frozen=True, slots=True)
class Step:
    """A command for the process `at` (`address:port`).

    `late`: it is only right if nothing better happens by itself within some seconds.
    """

    at: str
    words: tuple[str | int, ...]
    late: bool = False

    @property
    def takes_time(self) -> bool:
        """Is it not yet done when it is answered?"""
        return self.words[1] == "FAILOVER"

    @property
    def gives_up_data(self) -> bool:
        """Would what somebody may still have be lost by it?"""
        return self.words[-1] == "TAKEOVER"


def next_steps(cluster: Cluster, views: Views) -> list[Step]:
    """What can be done now, by the views (by `address:port`) of the processes that answer."""
    stores = [store for store in cluster.log_stores() if store.name in views]
    steps = [step for store in stores for step in _introduce(store, stores, views)]
    for store in stores:
        steps += _place(cluster, store, views)
        steps += _leave(store, views)
    return steps


def lacking(cluster: Cluster, views: Views) -> list[str]:
    """Why the cluster does not serve all homes as it should; empty when it does."""
    reasons = []
    for store in cluster.log_stores():
        view = views.get(store.name)
        if view is None:
            reasons.append(f"{store.name} does not answer")
        elif not view.state_ok:
            reasons.append(f"{store.name} says that the cluster is down")
        else:
            holder = _holder(cluster, store, views)
            if store.primary and (holder is None or holder.id != view.myself.id):
                reasons.append(f"{store.name} does not have the slots of its node")
            elif not store.primary and not (holder and _follows(view, views.get(holder.name))):
                reasons.append(f"{store.name} is not in sync with its primary")
            elif not store.primary and not view.may_be_promoted:
                reasons.append(f"{store.name} may not yet be promoted")
    return reasons


def to_be_replaced(
    cluster: Cluster, store: LogStore, views: Views, silent: Collection[str]
) -> bool:
    """Is the process, which is down, still to be replaced by a replica that has its data?

    Started before that it would come back empty under its old name, and its replicas would
    follow it and drop all they have (measured: everything was lost). `silent`: those (by
    `address:port`) that are neither in the views nor known to be down; they may have it.
    """
    holder = _holder(cluster, store, views)
    if holder is not None and holder.name != store.name:
        return False
    kin = (other.name for other in cluster.log_stores() if other.home == store.home)
    if any(name in silent for name in kin if name != store.name):
        return True
    return holder is not None and _data_left(holder, views)


def _introduce(store: LogStore, stores: list[LogStore], views: Views) -> list[Step]:
    """Makes the process known to all, and forgets what stood at an address before."""
    view = views[store.name]
    steps = []
    if len(view.members) == 1 and view.myself.epoch == 0 and store.primary:
        # Different from the start: equal ones would be settled one after the other.
        epoch = 1 + [other.name for other in stores].index(store.name)
        steps.append(Step(store.name, ("CLUSTER", "SET-CONFIG-EPOCH", epoch)))
    known = {member.name: member for member in view.members}
    for other in stores:
        member = known.get(other.name)
        if member is None:
            steps.append(Step(store.name, ("CLUSTER", "MEET", other.address, other.port)))
    for member in view.members:
        there = views.get(member.name)
        if there is not None and there.myself.id != member.id and member.failed:
            steps.append(Step(store.name, ("CLUSTER", "FORGET", member.id)))
    return steps


def _place(cluster: Cluster, store: LogStore, views: Views) -> list[Step]:
    """Gives the process its slots, or the primary that it is to follow."""
    myself = views[store.name].myself
    slots = cluster.log_slots(store.home)
    holder = _holder(cluster, store, views)
    if holder is None:
        if not store.primary or myself.master is not None:
            return []
        return [Step(store.name, ("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1]))]
    if holder.id == myself.id or myself.slots:
        return []
    if myself.master == holder.id:
        if not store.primary:
            return []
        if _follows(views[store.name], views.get(holder.name)):
            return [Step(store.name, ("CLUSTER", "FAILOVER"))]
        lost = holder.name not in views and not _data_left(holder, views)
        return [Step(store.name, ("CLUSTER", "FAILOVER", "TAKEOVER"))] if lost else []
    knows = any(member.id == holder.id for member in views[store.name].members)
    return [Step(store.name, ("CLUSTER", "REPLICATE", holder.id))] if knows else []


def _leave(store: LogStore, views: Views) -> list[Step]:
    """Who may be elected when its primary dies: nobody who has not been seen to follow it.

    One that has just come back may still believe that its primary is down, and is ahead of the
    others with its candidacy; and it gets the stream up to a second after its synchronisation,
    although it counts as online (measured: acknowledged entries were gone). A primary loses the
    right, for the day on which it comes back as a replica.
    """
    view = views[store.name]
    myself = view.myself
    if myself.slots:
        return [_set_leave(store, given=False)] if view.may_be_promoted else []
    if view.may_be_promoted or myself.master is None:
        return []
    primary = next((v for v in views.values() if v.myself.id == myself.master), None)
    if primary is None:
        lost = bool(view.offset) and not _may_anybody_replace(myself.master, views)
        return [_set_leave(store, given=True, late=True)] if lost else []
    follows = _follows(view, primary) and view.streamed
    return [_set_leave(store, given=True)] if follows else []


def _set_leave(store: LogStore, *, given: bool, late: bool = False) -> Step:
    value = "no" if given else "yes"
    return Step(store.name, ("CONFIG", "SET", "cluster-replica-no-failover", value), late)


def _may_anybody_replace(primary: str, views: Views) -> bool:
    replicas = (view for view in views.values() if view.myself.master == primary)
    return any(view.may_be_promoted for view in replicas)


def _data_left(holder: Member, views: Views) -> bool:
    """Does a replica of it answer that has its data? That one will be promoted."""
    return any(view.myself.master == holder.id and view.offset for view in views.values())


def _follows(replica: View, holder: View | None) -> bool:
    """Is the replica in sync, and do both know each other as replica and primary?

    The holder leaves a failover unanswered that somebody asks for whom it does not yet know
    as its replica, and the replica then waits five seconds before it can ask again.
    """
    if holder is None or not replica.in_sync:
        return False
    own, other = replica.myself.id, holder.myself.id
    known = [member for member in holder.members if member.id == own and member.connected]
    knows = [member for member in replica.members if member.id == other and member.connected]
    return bool(knows) and any(member.master == other for member in known)


def _holder(cluster: Cluster, store: LogStore, views: Views) -> Member | None:
    """Who serves the slots of the store's home, by the newest view of anybody."""
    first = cluster.log_slots(store.home)[0]
    return owner((view.members for view in views.values()), first)
