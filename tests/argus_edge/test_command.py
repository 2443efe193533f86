from __future__ import annotations

from collections.abc import Callable

import pytest

from argus_edge.command import run_command
from argus_edge.errors import PackageError, ParityError


def fail(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "printed"),
    [
        (lambda: 0, 0, ""),
        (fail(PackageError("x.argus:\nno manifest")), 2, "argus-x: error: x.argus: no manifest\n"),
        (fail(ParityError("depth is off")), 3, "argus-x: error: depth is off\n"),
        (fail(KeyboardInterrupt()), 130, "argus-x: interrupted\n"),
    ],
)
def test_exit_code_and_one_line(
    main: Callable[[], int], code: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_command(main, "argus-x")
    assert exit_.value.code == code
    assert capsys.readouterr().err == printed


def test_debugging_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARGUS_DEBUG", "1")
    with pytest.raises(SystemExit):
        run_command(fail(PackageError("no manifest")), "argus-x")
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(fail(ZeroDivisionError()), "argus-x")
