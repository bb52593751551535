"""pytest plugin: one JSON line per test, as it ends.

Loaded with `-p observe`. A line in the file $COMPAT_REPORT is {name, outcome, seconds, because,
marks}; outcome is passed, failed or skipped. Lines are written at once, so what ran is known even
when the run is cut off. A test that takes longer than $COMPAT_TEST_LIMIT_S seconds is failed: a
server that hangs must not hang the suite.

Every test gets a bucket prefix of its own. The suite has one for the whole run and removes all
buckets below it around every test, so one bucket that cannot be removed, for example because of a
policy that denies it, would fail every test after it.
"""

import json
import os
import signal

import pytest
import s3tests.functional

REPORT = open(os.environ["COMPAT_REPORT"], "a", buffering=1, encoding="utf-8")
LIMIT_S = int(os.environ.get("COMPAT_TEST_LIMIT_S", "120"))
BECAUSE_CHARACTERS = 400

RANKS = {"passed": 0, "skipped": 1, "failed": 2}


class TookTooLong(BaseException):
    """Not an Exception: the suite catches those while it retries."""


def on_alarm(_number, _frame):
    raise TookTooLong(f"took longer than {LIMIT_S} s")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    item.observed = {"outcome": "passed", "seconds": 0.0, "because": ""}
    s3tests.functional.configure()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
    line = {
        "name": item.nodeid.split("/")[-1],
        "marks": sorted({mark.name for mark in item.iter_markers()}),
        **item.observed,
    }
    REPORT.write(json.dumps(line) + "\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Set-up, test and tear-down count together: the worst of the three is the outcome."""
    left_s = signal.alarm(0)  # pytest itself is not to be interrupted
    outcome = yield
    signal.alarm(left_s or LIMIT_S)  # whoever was too slow may still tidy up
    report = outcome.get_result()
    observed = item.observed
    observed["seconds"] += round(report.duration, 3)
    if RANKS[report.outcome] <= RANKS[observed["outcome"]]:
        return
    observed["outcome"] = report.outcome
    observed["because"] = because(report, call)


def because(report, call):
    if isinstance(report.longrepr, tuple):  # skipped: (file, line, reason)
        return report.longrepr[2][:BECAUSE_CHARACTERS]
    if call.excinfo is None:
        return ""
    where = call.excinfo.traceback[-1]
    text = f"{call.excinfo.typename}: {call.excinfo.value}"
    return f"{text} ({where.path.name}:{where.lineno + 1})"[:BECAUSE_CHARACTERS]
