"""The service's log: sentences for people, a JSON object a line for machines.

No header, no query and no body is ever written down, so that no key can be.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WriteError
from workbench.timing import clock
from workbench.units import seconds

if TYPE_CHECKING:
    from workbench.settings import Settings

#: Size of a log file before it is put aside, in bytes, and how many are kept.
FILE_BYTES, FILES = 10_000_000, 5
#: Seconds after which a file that cannot be written is spoken of again.
COMPLAIN_S = 60.0
log = logging.getLogger("workbench.service")
#: The id of the request that is being answered.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: Facts that a record of a request carries, in the order in which they are written.
_FACTS = ("method", "route", "status", "code", "model", "key", "took_ms")


class LogFile(RotatingFileHandler):
    """A log file that rotates; where it cannot be written, one sentence a minute says so."""

    _quiet_until_s = -inf

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8",
            errors="backslashreplace",
        )  # fmt: skip
        self.setFormatter(JsonLines())

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (its name in logging)
        error, now_s = sys.exc_info()[1], clock()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + COMPLAIN_S  # first: this file is asked to write it too
            log.error("%s", WriteError(self.baseFilename, error.strerror or str(error)))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, request_id and facts."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := getattr(record, "request_id", "") or request_id.get():
            told["request_id"] = identity
        for name in _FACTS:
            if (value := getattr(record, name, None)) not in (None, ""):
                told[name] = value
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class Console(logging.Formatter):
    """A line for people: time of day, level, message, and the request's id at the end."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        identity = getattr(record, "request_id", "") or request_id.get()
        line = f"{at} {record.levelname:<7} {record.getMessage()}"
        line += f"  [{identity}]" if identity else ""
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def set_up(given: Settings, *, level: str | None = None) -> None:
    """Send the log of this process where its settings say.

    Parameters
    ----------
    level : None for ``LOG_LEVEL`` where that is set, and INFO where it is not

    Raises
    ------
    WriteError : the folder of ``LOG_DIR`` cannot be written to
    """
    named = given.log_level if "log_level" in given.model_fields_set else "INFO"
    as_json = given.log_format == "json" or (given.log_format == "auto" and not sys.stderr.isatty())
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonLines() if as_json else Console())
    handlers: list[logging.Handler] = [stream]
    if given.log_dir is not None:
        handlers += _files(given.log_dir)
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level or named)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # each request is written down here, with its id; what the server says beyond warnings
        # repeats it
        logger.setLevel(logging.WARNING)
    # what a stranger sends must not fill the log
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def _files(folder: Path) -> list[logging.Handler]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made: list[logging.Handler] = []
        for name, level in (("combined.log", logging.DEBUG), ("error.log", logging.ERROR)):
            handler = LogFile(folder / name)
            handler.setLevel(level)
            made.append(handler)
    except OSError as error:
        raise WriteError(str(folder), error.strerror or str(error)) from error
    return made


def tell(facts: dict[str, Any], took_s: float, identity: str) -> None:
    """Write one request down: an error of ours as an error, one of the client's as information."""
    level = (
        logging.INFO if facts["status"] < 500 or facts["code"] == "queue_full" else logging.ERROR
    )
    code = f" {facts['code']}" if facts["code"] else ""
    extra = {**facts, "took_ms": round(1e3 * took_s, 3), "request_id": identity}
    log.log(
        level, "%s %s %s%s in %s", facts["method"], facts["route"], facts["status"], code,
        seconds(took_s), extra=extra,
    )  # fmt: skip
