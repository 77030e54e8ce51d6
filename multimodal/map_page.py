"""A map as one HTML file: no server, no other file, and nothing that its content policy does not name by hash."""

import base64
import hashlib
import html
import json
from typing import Any

COLORS = (
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0",
    "#1b9e77", "#d95f02", "#444444",
)  # fmt: skip
STYLE = """
:root { color-scheme: light dark; font: 14px/1.4 system-ui, "Noto Sans CJK SC", sans-serif }
body { margin: 0; display: grid; grid-template-columns: 1fr 18rem; height: 100vh }
canvas { width: 100%; height: 100%; display: block; touch-action: none; cursor: grab }
aside { padding: 1rem; overflow: auto; border-left: 1px solid #8884 }
h1 { font-size: 1.1rem; margin: 0 0 .5rem } p { margin: .3rem 0; overflow-wrap: anywhere }
ul { list-style: none; padding: 0; margin: .8rem 0 } li { cursor: pointer; padding: .1rem 0; overflow-wrap: anywhere }
li.off { opacity: .3 } i { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .4rem }
#card { border-top: 1px solid #8884; padding-top: .6rem; min-height: 6rem } #card img { max-width: 100% }
"""
SCRIPT = """
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const canvas = document.querySelector('canvas'), context = canvas.getContext('2d');
const card = document.getElementById('card');
const groups = [...new Set(data.points.map(p => p.group))].sort(), hidden = new Set();
let zoom = 1, left = 0, top_ = 0, hovered = null, held = null;
const color = group => data.colors[groups.indexOf(group) % data.colors.length];
const place = p => {
  const size = Math.min(canvas.clientWidth, canvas.clientHeight) / 2 * 0.95 * zoom;
  return [canvas.clientWidth / 2 + left + p.x * size, canvas.clientHeight / 2 + top_ - p.y * size];
};
function draw() {
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  context.scale(ratio, ratio);
  const radius = Math.max(2, Math.min(6, 120 / Math.sqrt(data.points.length))) * Math.min(2, Math.sqrt(zoom));
  for (const p of data.points) {
    if (hidden.has(p.group)) continue;
    const [x, y] = place(p);
    context.beginPath(); context.arc(x, y, p === hovered ? radius * 1.8 : radius, 0, 7);
    context.globalAlpha = p === hovered ? 1 : 0.75; context.fillStyle = color(p.group); context.fill();
  }
}
function tell(p) {
  card.replaceChildren();
  if (!p) return;
  const add = (tag, text) => { const e = document.createElement(tag); e.textContent = text; card.append(e); return e; };
  if (p.picture) {
    const image = add('img', '');
    image.src = 'data:image/webp;base64,' + p.picture; image.alt = p.title || '';
  }
  add('p', p.title || p.id); if (p.group) add('p', p.group); add('p', p.url || '');
}
canvas.addEventListener('pointermove', event => {
  if (held) {
    left += event.offsetX - held[0]; top_ += event.offsetY - held[1]; held = [event.offsetX, event.offsetY];
    draw();
    return;
  }
  let best = null, nearest = 144;
  for (const p of data.points) {
    if (hidden.has(p.group)) continue;
    const [x, y] = place(p), far = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
    if (far < nearest) { nearest = far; best = p; }
  }
  if (best !== hovered) { hovered = best; if (best) tell(best); draw(); }
});
canvas.addEventListener('pointerdown', event => { held = [event.offsetX, event.offsetY]; });
addEventListener('pointerup', () => { held = null; });
canvas.addEventListener('wheel', event => {
  event.preventDefault();
  const factor = Math.exp(-event.deltaY / 500);
  const x = event.offsetX - canvas.clientWidth / 2, y = event.offsetY - canvas.clientHeight / 2;
  left = x - (x - left) * factor; top_ = y - (y - top_) * factor; zoom *= factor; draw();
}, { passive: false });
const list = document.querySelector('ul');
for (const group of groups) {
  if (!group) continue;
  const item = document.createElement('li'), dot = document.createElement('i');
  dot.style.background = color(group);
  item.append(dot, `${group} (${data.points.filter(p => p.group === group).length})`);
  item.addEventListener('click', () => {
    hidden.has(group) ? hidden.delete(group) : hidden.add(group); item.classList.toggle('off'); draw();
  });
  list.append(item);
}
addEventListener('resize', draw);
draw();
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title><style>{style}</style></head>
<body><canvas aria-label="{title}"></canvas><aside><h1>{title}</h1><p>{made}</p><ul></ul><div id="card"></div></aside>
<script type="application/json" id="data">{data}</script><script>{script}</script></body></html>
"""


def page(made: dict[str, Any]) -> str:
    """Return a map as one page; what texts and URLs say can neither end its data nor run."""
    data = json.dumps({"points": made["points"], "colors": COLORS}, ensure_ascii=False)
    how = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[made["method"]]
    share = f"{made['shares'][0] + made['shares'][1]:.0%}" if len(made["shares"]) > 1 else "all"
    said = f"its two axes show {share} of the variance" if made["method"] == "pca" else f"seed {made['seed']}"
    return PAGE.format(
        title=html.escape(f"{made['num_points']} {made['kind']} vectors"),
        made=html.escape(f"{made['model']}, {how}, {said}, ledger at {made['seq']}"),
        style=STYLE,
        script=SCRIPT,
        policy=f"default-src 'none'; img-src data:; script-src '{_hash(SCRIPT)}'; style-src '{_hash(STYLE)}'",
        data=data.replace("<", "\\u003c"),
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
