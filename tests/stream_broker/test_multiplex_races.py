"""What a client asks for while the multiplex is waiting for something else."""

from __future__ import annotations

from contracts.problems import ProblemError
from tests.stream_broker.building import job_id, tokens
from tests.stream_broker.sockets import Job, Place, idle

A, B = job_id(1), job_id(2)


async def _looking_for(place: Place) -> tuple[Job, Job]:
    """A job whose relay has moved, while the directory has not answered yet."""
    old = await place.serve(A)
    await old.say(*tokens(1, 3, job=A))
    place.found.clear()
    new = place.moved(A)
    await idle()
    assert place.asked == [3]
    return old, new


async def test_a_resume_during_a_move_is_what_is_served() -> None:
    place = Place()
    old, new = await _looking_for(place)
    place.multiplex.put(A, new.watch(1), 1)
    place.found.set()
    await idle()
    await new.say(*tokens(4, 4, job=A))
    await idle()
    assert place.socket.seqs(A) == [1, 2, 3, 2, 3, 4]
    assert (old.watches, new.watches, new.window.viewers) == (0, 1, 1)


async def test_a_detach_during_a_move_stands() -> None:
    place = Place()
    old, new = await _looking_for(place)
    place.multiplex.detach(A)
    place.found.set()
    await idle()
    await new.say(*tokens(4, 4, job=A))
    await idle()
    assert A not in place.multiplex
    assert place.socket.seqs(A) == [1, 2, 3]
    assert (old.watches, new.watches, new.window.viewers) == (0, 0, 0)


async def test_a_move_to_nowhere_does_not_end_what_was_resumed_meanwhile() -> None:
    place = Place()
    _, new = await _looking_for(place)
    place.multiplex.put(A, new.watch(3), 3)
    place.faults = [ProblemError("unknown_job", "gone")]
    place.found.set()
    await idle()
    await new.say(*tokens(4, 4, job=A))
    await idle()
    assert [m["event"] for m in place.socket.said] == ["token"] * 4
    assert A in place.multiplex


async def test_a_move_to_nowhere_is_told() -> None:
    place = Place()
    old, _ = await _looking_for(place)
    place.faults = [ProblemError("unknown_job", "gone")]
    place.found.set()
    await idle()
    assert place.socket.said[-1]["data"]["code"] == "unknown_job"
    assert A not in place.multiplex
    assert old.watches == 0


async def _reading_the_log(place: Place) -> Job:
    """A job that has fallen behind, while the log has not answered yet."""
    place.socket.full = True
    job = await place.serve(A, limit=2000)
    await job.say(*tokens(1, 100, job=A))
    place.log.open.clear()
    place.socket.take()
    await idle()
    return job


async def test_a_resume_during_a_read_of_the_log_is_what_is_served() -> None:
    place = Place()
    job = await _reading_the_log(place)
    place.multiplex.put(A, job.watch(98), 98)
    place.log.open.set()
    await idle()
    assert place.socket.seqs(A) == [99, 100]
    assert job.watches == 1


async def test_a_detach_during_a_read_of_the_log_stands() -> None:
    place = Place()
    job = await _reading_the_log(place)
    place.multiplex.detach(A)
    place.log.open.set()
    await idle()
    assert place.socket.writes == []
    assert job.watches == 0


async def test_an_expired_log_does_not_end_what_was_resumed_meanwhile() -> None:
    place = Place()
    job = await _reading_the_log(place)
    place.log._drop_log(A)
    place.multiplex.put(A, job.watch(98), 98)
    place.log.open.set()
    await idle()
    assert place.socket.seqs(A) == [99, 100]
    assert all(message["event"] == "token" for message in place.socket.said)


async def test_replies_are_not_overtaken_while_the_log_is_read() -> None:
    place = Place()
    await _reading_the_log(place)
    job = await place.job(B)
    await place.multiplex.reply(b'{"event":"created"}')
    place.multiplex.put(B, job.watch(), 0)
    job.window.append(tokens(1, 1, job=B))
    job.window.advance(1)
    await idle()
    place.log.open.set()
    await idle()
    said = [m["event"] for m in place.socket.said if m.get("job_id") != A]
    assert said == ["created", "token"]


# A client that is slow.


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    place = Place(send_timeout=0.01)
    job = await place.serve(A)
    place.socket.waiting = 5000
    place.socket.full = True
    await job.say(*tokens(1, 1, job=A))
    assert await place.ended() == "send_timeout"
    assert place.socket.writes == []


async def test_a_client_that_takes_a_little_is_kept() -> None:
    place = Place(send_timeout=0.02)
    looks = 0

    def unsent() -> int:
        nonlocal looks
        looks += 1
        return 5000 - min(looks, 20)

    place.socket.unsent = unsent  # type: ignore[method-assign]
    place.socket.full = True
    await place.reply(1)
    assert await place.ended() == "send_timeout"
    # A look is taken four times in each timeout: all of the first twenty saw progress.
    assert looks > 20


async def test_a_client_with_nothing_to_take_is_never_given_up() -> None:
    place, other = Place(send_timeout=0.001), Place(send_timeout=0.001)
    job, theirs = await place.serve(A), await other.serve(A)
    for each in (place, other):
        each.socket.full = True
    await theirs.say(*tokens(1, 1, job=A))
    # Whoever has something to take has used up its time by then.
    assert await other.ended() == "send_timeout"
    place.socket.take()
    await job.say(*tokens(1, 1, job=A))
    await idle()
    assert place.socket.seqs(A) == [1]


async def test_what_the_client_took_ends_the_count() -> None:
    place = Place(send_timeout=0.02)
    job = await place.serve(A)
    place.socket.waiting = 5000
    place.socket.full = True
    await job.say(*tokens(1, 1, job=A))
    await idle()
    place.socket.take()
    await idle()
    assert not place.task.done()
    assert place.socket.seqs(A) == [1]
    place.socket.full = True
    await job.say(*tokens(2, 2, job=A))
    assert await place.ended() == "send_timeout"
