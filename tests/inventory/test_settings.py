"""Where the value of a setting comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from inventory.settings import SettingsError, load_settings


@pytest.mark.parametrize("value", ["off", "'off'", "smooth"])
def test_a_word_in_the_file_needs_no_quotes(tmp_path: Path, value: str) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(f"pacing: {value}\n", encoding="utf-8")
    assert load_settings(file=file).pacing == value.strip("'")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("pacing: off\nheartbeat: 3\nmax_pause: 7\n", encoding="utf-8")
    environment = {"OKOME_HEARTBEAT": "4", "OKOME_PACING": "smooth"}
    settings = load_settings(["pacing=off"], environment, file)
    assert (settings.pacing, settings.heartbeat, settings.max_pause) == ("off", 4.0, 7.0)


def test_a_value_that_is_not_possible_is_named_with_its_source() -> None:
    with pytest.raises(SettingsError, match=r"variable OKOME_PACING: pacing: .*'fast'"):
        load_settings(environment={"OKOME_PACING": "fast"})
