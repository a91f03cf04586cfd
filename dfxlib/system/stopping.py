"""What ends a run from outside: a signal or a limit, as an exception that passes through every `except Exception`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

#: Exit codes by what ended the run; anything else is a failing cell, 1.
EXIT_CODES = {
    "RunLimitExceeded": 124,
    "CellTimeoutError": 124,
    "HungUp": 129,
    "KeyboardInterrupt": 130,
    "Terminated": 143,
}


class Terminated(KeyboardInterrupt):
    """SIGTERM: from a scheduler, `scancel` or `kill`. Like Ctrl-C it passes through every `except Exception`."""


class HungUp(KeyboardInterrupt):
    """SIGHUP: the terminal was closed, or the connection to it lost."""


class RunLimitExceeded(KeyboardInterrupt):
    """The whole run took longer than it was allowed to."""


@contextmanager
def stoppable(limit: int | None) -> Iterator[None]:  # seconds for the whole block
    """Inside, SIGTERM raises Terminated, SIGHUP (unless nohup has it ignored) HungUp, and RunLimitExceeded comes
    after `limit` seconds.
    """
    late = RunLimitExceeded(f"the run took longer than its limit of {limit} s")
    reasons: dict[int, KeyboardInterrupt] = {signal.SIGTERM: Terminated("stopped by SIGTERM"), signal.SIGALRM: late}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        reasons[signal.SIGHUP] = HungUp("stopped by SIGHUP, as its terminal was closed")

    def stop(number: int, _: object) -> None:
        raise reasons[number]

    before = {number: signal.signal(number, stop) for number in reasons}
    signal.alarm(0 if limit is None else limit)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
