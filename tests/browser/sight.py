"""What a test asks of a page: is it all there, can it be read, does it fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: How long a page may take to come to rest after it was changed, in seconds: what is found then is
#: what is there to stay. Layouts and colours follow a moment after what changed them.
REST_S = 20.0
#: Least ratio of luminance between a text and what lies behind it (WCAG 2.2, 1.4.3, level AA).
CONTRAST = 4.5
#: The same for signs that are no letters, such as the squares of a legend (1.4.11, level AA).
CONTRAST_OF_SIGNS = 3.0

#: Texts below ``root`` that are seen and do not stand out enough: [text, ratio]. What is switched
#: off may be paler.
_PALE = """
(root, least, leastOfSigns) => {
  const parse = colour => {
    const n = (colour.match(/[\\d.]+(e-?\\d+)?/g) || []).map(Number);
    const rgb = colour.startsWith('color(srgb') ? n.slice(0, 3).map(v => 255 * v) : n.slice(0, 3);
    return [...rgb, n.length > 3 ? n[3] : 1];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const around = element => {
    const all = [];
    for (let e = element; e; e = e.parentElement) all.unshift(getComputedStyle(e));
    return all;
  };
  const ratioOf = element => {
    const all = around(element);
    const ground = all.map(s => parse(s.backgroundColor)).reduce(
      (under, layer) => over(layer, under), [255, 255, 255]);
    const ink = parse(getComputedStyle(element).color);
    ink[3] *= all.reduce((product, s) => product * s.opacity, 1);
    const [a, b] = [light(over(ink, ground)), light(ground)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const pale = [];
  const look = (element, text) => {
    const out = element.closest('[aria-hidden=true], style, script, option, :disabled');
    const box = element.getBoundingClientRect();
    if (out || !text || box.width === 0 || box.right < 0) return;
    const ratio = ratioOf(element);
    const wanted = /[\\p{L}\\p{N}]/u.test(text) ? least : leastOfSigns;
    if (ratio < wanted) pale.push([text.slice(0, 60), ratio.toFixed(2)]);
  };
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    look(node.parentElement, node.textContent.trim());
  for (const field of root.querySelectorAll('select, textarea, input:not([type=file])'))
    look(field, String(field.value).trim());
  return pale;
}
"""

#: Parts of a form below ``root`` that are seen: buttons, lists, fields, sliders, drop zones, texts
#: of their own. One inside another is left out.
_PARTS = """
root => {
  const kinds = 'button, select, input:not([type=file]), textarea, summary, table, img, '
    + '.widget-label, .widget-readout, .noUi-target, .wb-drop-label, .wb-drop-hint';
  const seen = e => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && box.right > 0
      && e.checkVisibility({visibilityProperty: true});
  };
  const all = [...root.querySelectorAll(kinds)].filter(seen);
  return all.filter(e => !all.some(other => other !== e && other.contains(e)));
}
"""

#: Pairs of such parts that lie on each other by more than a pixel.
_OVERLAPS = f"""
root => {{
  const parts = ({_PARTS})(root).map(e => [e, e.getBoundingClientRect()]);
  const name = e => (e.innerText || e.value || e.alt || e.className || e.tagName).slice(0, 40);
  const found = [];
  parts.forEach(([one, a], i) => parts.slice(i + 1).forEach(([other, b]) => {{
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 1) found.push([name(one), name(other)]);
  }}));
  return found;
}}
"""

#: Parts below ``root`` that reach beyond its right edge and cannot be scrolled to, and texts that
#: are longer than their place.
_CUT = f"""
root => {{
  const edge = root.getBoundingClientRect().right + 1;
  const scrolls = e => {{
    for (let around = e; around && around !== root; around = around.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(around).overflowX)
        && around.getBoundingClientRect().right <= edge) return true;
    return false;
  }};
  const name = e => (e.innerText || e.value || e.alt || e.className || e.tagName).slice(0, 40);
  const out = ({_PARTS})(root)
    .filter(e => e.getBoundingClientRect().right > edge && !scrolls(e)).map(name);
  const short = [...root.querySelectorAll('button, .widget-label, .wb-drop *')]
    .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1
      && getComputedStyle(e).overflowX === 'hidden').map(name);
  return [...out, ...short];
}}
"""

#: Coloured boxes below ``root`` whose length is a share: that of each and of its place in pixels,
#: and the share (0-100) that it says.
_BARS = """
root => [...root.querySelectorAll('[style*=background]')]
  .filter(e => /(^|[; ])width: *[\\d.]+%/.test(e.getAttribute('style')) && !e.textContent.trim())
  .filter(e => !/transparent|, 0\\)$/.test(getComputedStyle(e).backgroundColor))
  .map(e => {
    const place = getComputedStyle(e.parentElement);
    const room = e.parentElement.clientWidth
      - parseFloat(place.paddingLeft) - parseFloat(place.paddingRight);
    const share = parseFloat(/(?:^|[; ])width: *([\\d.]+)%/.exec(e.getAttribute('style'))[1]);
    return {width: e.getBoundingClientRect().width, room, share};
  })
"""

#: Pictures below ``root`` that cannot be decoded; those folded away need have no size.
_BROKEN = """
async root => {
  const broken = [];
  for (const picture of root.querySelectorAll('img')) {
    const read = await picture.decode().then(() => true, () => false);
    const place = !picture.checkVisibility() || picture.getBoundingClientRect().width > 0;
    if (!read || !picture.naturalWidth || !place)
      broken.push(picture.alt || picture.src.slice(0, 80));
  }
  return broken;
}
"""


def _at_rest(look: Callable[[], Any], rest_s: float) -> Any:
    """Return what is found once nothing is, or after so many seconds."""
    end_s = time.monotonic() + rest_s
    while (found := look()) and time.monotonic() < end_s:
        time.sleep(0.1)
    return found


def pale_texts(locator: Any, rest_s: float = REST_S) -> list[Any]:
    """Return the texts that do not stand out from what lies behind them, with their contrast."""
    script = f"roots => roots.flatMap(root => ({_PALE})(root, {CONTRAST}, {CONTRAST_OF_SIGNS}))"
    found: list[Any] = _at_rest(lambda: locator.evaluate_all(script), rest_s)
    return found


def bars(locator: Any) -> list[dict[str, Any]]:
    """Return the bars as they are drawn, segments of stacked ones as well: width, room, share."""
    found: list[dict[str, Any]] = locator.evaluate(_BARS)
    return found


def broken_pictures(locator: Any, rest_s: float = REST_S) -> list[str]:
    """Return the ``alt`` (or the source) of every picture that cannot be read, or has no size."""
    found: list[str] = _at_rest(lambda: locator.evaluate(_BROKEN), rest_s)
    return found


def sticks_out(page: Any, rest_s: float = REST_S) -> int:
    """Return by how many pixels the page is wider than its window."""
    script = "Math.max(0, document.documentElement.scrollWidth - innerWidth)"
    found: int = _at_rest(lambda: page.evaluate(script), rest_s)
    return found


def overlaps(locator: Any, rest_s: float = REST_S) -> list[list[str]]:
    """Return the pairs of parts of a form that lie on each other."""
    found: list[list[str]] = _at_rest(lambda: locator.evaluate(_OVERLAPS), rest_s)
    return found


def cut_off(locator: Any, rest_s: float = REST_S) -> list[str]:
    """Return the parts of a form that are not seen whole, and cannot be scrolled to."""
    found: list[str] = _at_rest(lambda: locator.evaluate(_CUT), rest_s)
    return found
