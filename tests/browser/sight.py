"""What a test asks of a page: is it all there, can it be read, does it fit."""

from __future__ import annotations

from typing import Any

#: Least ratio of luminance between a text and what lies behind it (WCAG 2.2, 1.4.3, level AA).
CONTRAST = 4.5

#: Texts below ``root`` that are seen and do not stand out enough: [text, ratio].
_PALE = """
(root, least) => {
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
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.unshift(parse(getComputedStyle(e).backgroundColor));
    return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const pale = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest('[aria-hidden=true], style, script')) continue;
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.right < 0) continue;
    const ground = behind(element);
    const [a, b] = [light(over(parse(getComputedStyle(element).color), ground)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least) pale.push([node.textContent.trim().slice(0, 60), ratio.toFixed(2)]);
  }
  return pale;
}
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


def pale_texts(locator: Any) -> list[Any]:
    """Return the texts that do not stand out from what lies behind them, with their contrast."""
    found: list[Any] = locator.evaluate_all(
        f"roots => roots.flatMap(root => ({_PALE})(root, {CONTRAST}))"
    )
    return found


def bars(locator: Any) -> list[dict[str, Any]]:
    """Return the bars as they are drawn, segments of stacked ones as well: width, room, share."""
    found: list[dict[str, Any]] = locator.evaluate(_BARS)
    return found


def broken_pictures(locator: Any) -> list[str]:
    """Return the ``alt`` (or the source) of every picture that did not load."""
    found: list[str] = locator.evaluate(
        "root => [...root.querySelectorAll('img')]"
        ".filter(i => !i.complete || !i.naturalWidth || !i.getBoundingClientRect().width)"
        ".map(i => i.alt || i.src.slice(0, 80))"
    )
    return found


def sticks_out(page: Any) -> int:
    """Return by how many pixels the page is wider than its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return max(0, found)
