from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from wav_models.command_line import Flag, Port, parsed, parsed_command
from wav_models.configuration import AtLeastOne, ConfigurationError, Count, NotNegative, Range


@dataclass(frozen=True)
class Arguments:
    """A command."""

    port: Port = 8080
    workers: AtLeastOne | None = None
    gpus: tuple[AtLeastOne, ...] = (1, 8)
    plans: tuple[tuple[Count, AtLeastOne], ...] = ()
    noise: tuple[NotNegative, ...] = (1.0,)
    frame_rate: Annotated[float, Range(0.1, 30.0)] = 10.0
    quick: Flag = False


def test_arguments_that_fit_are_taken() -> None:
    words = "--port 0 --workers 2 --gpus 1 2 --plans 0 1 3 8 --noise 0 --frame-rate 30 --quick"
    assert parsed(Arguments, "wav x", words.split()) == Arguments(0, 2, (1, 2), ((0, 1), (3, 8)), (0.0,), 30.0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--port 65536", "--port is 65536; a whole number from 0 to 65535 fits"),
        ("--workers 0", "--workers is 0; a whole number of at least 1 or nothing fits"),
        ("--gpus 1 0", "--gpus[1] is 0; a whole number of at least 1 fits"),
        ("--plans 3 0", "--plans[0][1] is 0; a whole number of at least 1 fits"),
        ("--noise nan", "--noise[0] is nan; a finite number of at least 0 fits"),
        ("--frame-rate inf", "--frame-rate is inf; a finite number from 0.1 to 30 fits"),
    ],
)
def test_numbers_outside_of_their_range_are_named(words: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parsed(Arguments, "wav x", words.split())
    assert str(refused.value) == message


def test_the_help_of_what_may_be_left_out_speaks_english(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(Arguments, "wav x", ["--help"])
    said = capsys.readouterr().out
    assert "--workers INT " in said
    assert "(default: none)" in said
    assert "None" not in said


def test_what_may_be_left_out_has_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("None", "none"):
        with pytest.raises(SystemExit):
            parsed(Arguments, "wav x", ["--workers", word])
    assert parsed(Arguments, "wav x", []).workers is None


def test_commands_of_a_command_are_checked_too() -> None:
    commands = {"one": Arguments, "other": Arguments}
    assert parsed_command(commands, "wav x", ["one", "--port", "1"]) == Arguments(1)
    with pytest.raises(ConfigurationError, match="--port is -1"):
        parsed_command(commands, "wav x", ["other", "--port", "-1"])
