from __future__ import annotations

import contextlib
import signal

import pytest

from wav_models.checkpoint import CheckpointError
from wav_models.configuration import ConfigurationError
from wav_models.endings import FAILED, INTERRUPTED, OK, WRONG_USE, ended
from wav_models.signals import END_SIGNALS, interrupt_on_end


def raising(error: BaseException) -> int:
    def run() -> int:
        raise error

    return ended("wav x", run, interrupted="nothing is lost")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("key 'a' is\nmissing"), WRONG_USE, "wav x: key 'a' is missing\n"),
        (FileNotFoundError("there is no b"), WRONG_USE, "wav x: there is no b\n"),
        (CheckpointError("damaged"), FAILED, "wav x: damaged\n"),
        (OSError("the disk is full"), FAILED, "wav x: the disk is full\n"),
        (KeyboardInterrupt(), INTERRUPTED, "wav x: interrupted; nothing is lost\n"),
    ],
)
def test_every_end_has_its_code_and_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("error", [TypeError("a bug"), RuntimeError("of a library"), KeyError("x")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        raising(error)


def test_an_interrupt_that_a_library_turned_into_its_own_exception_is_an_interrupt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As rclpy does, when the signal comes while its C part is imported."""
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    assert raising(error) == INTERRUPTED
    assert capsys.readouterr().err == "wav x: interrupted; nothing is lost\n"


def test_a_fault_while_an_interrupt_is_handled_stays_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        try:
            raise KeyboardInterrupt
        finally:
            raise OSError("the disk is full")

    assert ended("wav x", run) == FAILED
    assert capsys.readouterr().err == "wav x: the disk is full\n"


def test_a_library_that_swallowed_an_interrupt_and_failed_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here it would be imported bit by bit, and lack what was not imported."""

    def fail(error: Exception) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise error

    handlers = {number: signal.getsignal(number) for number in END_SIGNALS}
    try:
        interrupt_on_end()
        assert ended("wav export", lambda: fail(AttributeError("module has no attribute"))) == INTERRUPTED
        assert capsys.readouterr().err == "wav export: interrupted\n"
        assert ended("wav export", lambda: fail(OSError("no space left"))) == FAILED
        interrupt_on_end()  # as the next command does
        with pytest.raises(AttributeError):
            ended("wav export", lambda: getattr(None, "nothing"))  # noqa: B009
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_what_runs_until_it_is_stopped_has_succeeded_then(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        raise KeyboardInterrupt

    assert ended("wav x", run, until_stopped=True) == OK
    assert capsys.readouterr().err == "wav x: stopped\n"
    assert ended("wav x", lambda: None) == OK
    assert ended("wav x", lambda: FAILED) == FAILED
