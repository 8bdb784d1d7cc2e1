from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.ids import Home, home_of, new_job_id, time_of

homes = st.builds(Home, st.integers(0, 99), st.integers(0, 9))
times = st.floats(0, 200_000_000_000, allow_nan=False)
entropies = st.binary(min_size=10, max_size=10)


@given(homes, times, entropies)
def test_an_id_names_its_home(home: Home, now: float, entropy: bytes) -> None:
    made = new_job_id(home, now, entropy)
    assert home_of(made) == home
    assert len(made) == len("n03w0-") + 26


@given(homes, times, entropies)
def test_an_id_names_its_time(home: Home, now: float, entropy: bytes) -> None:
    assert time_of(new_job_id(home, now, entropy)) == int(now * 1000) / 1000
    assert time_of("n03w0-nonsense") is None


@given(times, times, entropies, entropies)
def test_ids_of_one_home_sort_by_time(one: float, two: float, a: bytes, b: bytes) -> None:
    early, late = sorted((one, two))
    ids = [new_job_id(Home(3, 0), early, a), new_job_id(Home(3, 0), late, b)]
    assert int(early * 1000) == int(late * 1000) or ids == sorted(ids)


def test_entropy_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="10 bytes"):
        new_job_id(Home(3, 0), 0.0, b"short")


@pytest.mark.parametrize("home", [Home(100, 0), Home(3, 10), Home(-1, 0)])
def test_a_home_that_an_id_cannot_name_is_refused(home: Home) -> None:
    with pytest.raises(ValueError, match="home"):
        new_job_id(home, 0.0, bytes(10))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n03w0-",
        "n03w0-0000000000000000000000000",
        "n03w0-000000000000000000000000000",
        "n03w0-8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "n03w0-0000000000000000000000000I",
        "n03w0-0000000000000000000000000\n",
        "n3w0-00000000000000000000000000",
        "n٠٣w0-00000000000000000000000000",
        " n03w0-00000000000000000000000000",
    ],
)
def test_what_is_no_id_has_no_home(text: str) -> None:
    assert home_of(text) is None


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    assert home_of(text) is None
