"""Style sheet and script of the HTML page."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c1c1e; --dim: #5f6368; --line: #d7d9dd; --heat: 37, 99, 175;
  --c0: #2563af; --c1: #b45309; --c2: #047857; --c3: #a21caf; --c4: #b91c1c; --c5: #4d7c0f; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --text: #e8e8ea; --dim: #a3a7ae; --line: #3a3d44;
  --heat: 96, 165, 250; --c0: #7db4f5; --c1: #f0b35a; --c2: #4cc79a; --c3: #e08bea; --c4: #f58a8a; --c5: #a8cf5f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.note, .legend, small { color: var(--dim); font-size: .875rem; }
.wide { overflow-x: auto; } .wide:focus-visible, button:focus-visible { outline: 2px solid var(--c0); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
.sortable td:nth-child(-n+2), .sortable th:nth-child(-n+2), th[scope=row] { text-align: left; }
button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
.heat td { background: rgba(var(--heat), calc(var(--v, 0%) * .5)); text-align: center; }
.heat thead span { writing-mode: vertical-rl; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; } .charts figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 11px; }
svg line, svg polyline { stroke: currentColor; fill: none; stroke-width: 1.5; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .ideal { stroke: var(--dim); stroke-dasharray: 4 4; }
circle, rect { fill: currentColor; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
.tiles img { width: 100%; height: 9rem; object-fit: contain; background: rgba(128, 128, 128, .12); }
.missing { display: grid; place-items: center; height: 9rem; color: var(--dim); background: rgba(128, 128, 128, .12); }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.v;
    const empty = row => value(row) === "None";
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      if (empty(a) || empty(b)) return empty(a) - empty(b);
      const [x, y] = [Number(value(a)), Number(value(b))];
      const order = Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }));
}
"""
