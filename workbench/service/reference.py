"""The page at /docs: what OpenAPI says of the service, as a plain page.

Without scripts and without anything from elsewhere, so that it is there with no network, and
below a proxy. ``/openapi.json`` is what tools read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 56rem; padding: 0 1rem;
  color: #1b1b1b; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; text-transform: capitalize }
details { border: 1px solid #d0d0d0; border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem }
summary { cursor: pointer; overflow-wrap: anywhere }
code, pre { font: .88em ui-monospace, monospace }
pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; border-radius: 4px }
table { border-collapse: collapse; width: 100%; font-size: .9em; margin-top: .6rem }
caption { text-align: left; font-weight: 600; padding-bottom: .2rem }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-top: 1px solid #e2e2e2; overflow-wrap: break-word }
th { font-weight: 400; white-space: nowrap; width: 1% }
.method { display: inline-block; min-width: 4.2rem; font-weight: 600; color: #005a8d }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #161616 } details { border-color: #4a4a4a }
  pre { background: #232323 } th, td { border-color: #3a3a3a } .method { color: #6cb8ea }
  a { color: #6cb8ea }
}
"""

_KEY = """All but `/health` needs a key: `Authorization: Bearer KEY`, `X-API-Key: KEY`, or the
password of Basic."""


def reference(schema: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    return "".join(_page(schema))


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    info = schema["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{_prose(info['description'])}"
    yield ' Tools read <a href="openapi.json">openapi.json</a>.</p>'
    if schema.get("security"):
        yield f"<p>{_prose(_KEY)}</p>"
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            groups.setdefault(told.get("tags", ["other"])[0], []).append((method, path, told))
    for group, routes in groups.items():
        yield f"<h2>{escape(group)}</h2>"
        for method, path, told in routes:
            yield from _route(method, path, told, schema)
    yield "</body></html>"


def _prose(text: str) -> str:
    """Escape a text, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(parts))


def _route(
    method: str, path: str, told: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[str]:
    yield f'<details><summary><span class="method">{method.upper()}</span> '
    yield f"<code>{escape(path)}</code> – {_prose(told.get('description', ''))}</summary>"
    body = told.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        yield from _fields(f"Body, {kind}", content["schema"], schema)
    good: Mapping[str, Any] = next(
        (r for s, r in told["responses"].items() if s.startswith("2")), {}
    )
    answer = good.get("content", {}).get("application/json", {}).get("schema", {})
    if answer.get("$ref"):
        yield from _fields("Answer", answer, schema, sent=False)
    rows = "".join(
        f"<tr><th scope=row>{escape(status)}</th><td>{_prose(r['description'])}</td></tr>"
        for status, r in told["responses"].items()
    )
    yield f"<table><caption>Statuses</caption><tbody>{rows}</tbody></table></details>"


def _fields(
    caption: str, part: Mapping[str, Any], schema: Mapping[str, Any], *, sent: bool = True
) -> Iterator[str]:
    whole = _resolved(part, schema)
    needed = whole.get("required", ())
    yield f"<table><caption>{escape(caption)}</caption><tbody>"
    for name, field in whole.get("properties", {}).items():
        must = " (needed)" if sent and name in needed else ""
        default = field.get("default")
        told = sent and default not in (None, {})
        beside = f" Default: {json.dumps(default)}." if told else ""
        text = _resolved(field, schema).get("description", field.get("description", ""))
        yield f"<tr><th scope=row><code>{escape(name)}</code>{must}</th>"
        yield f"<td>{escape(_kind(field, schema))}</td>"
        yield f"<td>{_prose(str(text).replace('``', '`') + beside)}</td></tr>"
    yield "</tbody></table>"


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = part.get("$ref", "").rpartition("/")[2]
    return schema["components"]["schemas"][name] if name else part


def _kind(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Name the type of a field in a few words."""
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " or ".join(_kind(one, schema) for one in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), schema)}"
    if "$ref" in field:
        inside = _resolved(field, schema).get("properties", {})
        return "{" + ", ".join(inside) + "}"
    return str(field.get("type", "any"))
