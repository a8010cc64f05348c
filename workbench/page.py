"""Pages: displays, texts and figures in one file that opens anywhere.

A page is whole in itself: no script, nothing loaded from elsewhere (its own policy forbids
both), light or dark as the reader's system is, legible without its style sheet. The same things
give the same page: no clock, no counter. A file is written beside its target and then moved, so
that there is a whole page or none.
"""

from __future__ import annotations

import base64
import errno
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cards import Shown, as_html_body, leaf
from workbench.errors import ConfigError, MissingFileError, WriteError, abridge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What every page says of its looks. Each pair of a text and its ground has at least 4.5 : 1,
#: in light and in dark; the variables are those that the displays ask JupyterLab's theme for.
STYLE = """\
:root{color-scheme:light dark;--jp-brand-color1:#1565c0;--jp-border-color1:#767676;\
--jp-warn-color1:#a04a00}
body{margin:0 auto;padding:16px;max-width:960px;background:#ffffff;color:#1a1a1a;\
font:15px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans","DejaVu Sans",sans-serif}
a{color:#0b57a4}
h1{font-size:1.5em;line-height:1.25;margin:8px 0 16px;overflow-wrap:anywhere}
h2{font-size:1.15em;line-height:1.3;margin:0 0 8px;overflow-wrap:anywhere}
p{max-width:46em;overflow-wrap:anywhere}
section{margin:24px 0;overflow-x:auto}
section+section,nav+section{border-top:1px solid #767676;padding-top:16px}
table{font-variant-numeric:tabular-nums}
nav ol{margin:0;padding-left:1.6em}
summary{cursor:pointer;margin:8px 0}
img{max-width:100%}
.figure{background:#ffffff;width:100%;height:auto}
@media (prefers-color-scheme:dark){
:root{--jp-brand-color1:#64b5f6;--jp-border-color1:#8a8a8a;--jp-warn-color1:#ffb74d}
body{background:#111111;color:#e8e8e8}
a{color:#8ec5ff}}
@media print{
section{overflow-x:visible;break-inside:avoid}
details>summary{list-style:none}}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_FIGURE_TEXT = 300


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a page: HTML, under a heading (not yet escaped) where it has one."""

    html: str
    heading: str = ""


def report(items: Iterable[Any], path: str | Path, *, title: str = "") -> Path:
    """Put displays, texts and figures into one page that opens anywhere.

    Parameters
    ----------
    items : whatever shows itself here (results, a trace, a hub, an error …); a string, whose
        paragraphs are parted by empty lines; a matplotlib figure, kept as vectors
    path : where to; a file that is there is replaced, by a whole page or not at all
    title : of the page; "Report", or that of the only display, where it is left out

    Returns
    -------
    the path of the page

    Raises
    ------
    ConfigError : nothing to show, or something that cannot be
    MissingFileError : there is no such folder
    WriteError : the file cannot be written

    Examples
    --------
    >>> import tempfile, workbench as wb
    >>> folder = Path(tempfile.mkdtemp())
    >>> page = report(["Where the time goes:", wb.Stages({"decode": 0.002})], folder / "a.html")
    >>> page.read_text(encoding="utf-8").startswith("<!doctype html>")
    True
    """
    return write(path, rendered(items, title))


def rendered(items: Iterable[Any], title: str = "") -> str:
    """Return the page that :func:`report` writes.

    Raises
    ------
    ConfigError : nothing to show, or something that cannot be
    """
    if isinstance(items, Shown):
        items = [items]
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise ConfigError("items", items, "a list of displays, strings and figures")
    parts = [_part(number, item) for number, item in enumerate(items)]
    if not parts:
        raise ConfigError("items", [], "at least one display, string or figure")
    if not isinstance(title, str):
        raise ConfigError("title", title, "a string")
    return page(parts, title)


def page(parts: list[_Part], title: str = "") -> str:
    """Render parts as a whole page; its first heading is the title."""
    headings = [part.heading for part in parts if part.heading]
    alone = len(parts) == 1 and bool(headings)
    title = title or (headings[0] if alone else "Report")
    sections, links = [], []
    for number, part in enumerate(parts, 1):
        head = ""
        if part.heading and not (alone and part.heading == title):
            head = f"<h2 id='part-{number}'>{leaf(part.heading)}</h2>"
            links.append(f"<li><a href='#part-{number}'>{leaf(part.heading)}</a></li>")
        sections.append(f"<section>{head}{part.html}</section>\n")
    contents = ""
    if len(links) > 1:
        contents = f"<nav aria-label='Contents'><ol>{''.join(links)}</ol></nav>\n"
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f"<title>{leaf(title)}</title>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{leaf(title)}</h1>\n"
        f"{contents}{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _part(number: int, item: Any) -> _Part:
    """Turn one item of a report into a part of its page."""
    if isinstance(item, Shown):
        card = item._card()
        return _Part(as_html_body(card), card.title)
    if isinstance(item, str):
        paragraphs = [p.split() for p in item.replace("\r\n", "\n").split("\n\n")]
        return _Part("".join(f"<p>{leaf(' '.join(words))}</p>" for words in paragraphs if words))
    if hasattr(item, "savefig"):
        return _figure(item)
    expected = "something that shows itself here, a string, or a matplotlib figure"
    raise ConfigError(f"items[{number}]", item, expected)


def _figure(figure: Figure) -> _Part:
    """Keep a figure as vectors; as a picture, so that nothing in it can run."""
    from workbench import drawing

    data, width, said = drawing.as_svg(figure)
    source = f"data:image/svg+xml;base64,{base64.b64encode(data).decode('ascii')}"
    alt = abridge(f"figure: {said}", _FIGURE_TEXT)[1:-1] if said else "a figure"
    return _Part(
        f"<img class='figure' alt='{leaf(alt)}' style='max-width:{width}px' src='{source}'>"
    )


def put(target: Path, content: bytes) -> None:
    """Put a file in its place, whole or not at all; raises what the system does."""
    if target.exists() and not target.is_file() and not target.is_dir():
        # a move would put a file in the place of a device, a pipe or a socket
        raise OSError(errno.EINVAL, "it is no regular file", str(target))
    part = target.parent / f".{secrets.token_hex(8)}.part"  # same disk: the move is atomic
    try:
        with part.open("xb") as sink:
            sink.write(content)
        os.replace(part, target)  # noqa: PTH105  (says the same as Path.replace)
    finally:
        part.unlink(missing_ok=True)


def write(path: str | Path, content: str | bytes) -> Path:
    """Write a file, whole or not at all, and return its path; a text as UTF-8.

    Raises
    ------
    MissingFileError : there is no such folder
    WriteError : the file cannot be written; nothing is left behind
    """
    try:
        target = Path(path).expanduser()
        if not target.name:
            raise ConfigError("path", path, "the path of a file to write")
        if not target.parent.is_dir():
            raise MissingFileError(abridge(str(target.parent)), "folder", "does not exist")
        put(target, content.encode() if isinstance(content, str) else content)
    except (TypeError, ValueError, RuntimeError) as error:  # no path, a null in it, no such home
        raise ConfigError("path", path, "the path of a file to write") from error
    except MissingFileError:
        raise
    except OSError as error:
        raise WriteError(str(path), error.strerror or str(error)) from error
    return target
