"""The style sheet of the report."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --panel: #ffffff; --ink: #1c1e21; --soft: #5d636b;
  --rule: #e3e4e2; --rail: #eff0ee; --und: #2563ad; --gen: #c2571a;
  --plain: #4b5158; --gap: #7b3fa0; --und-pale: #a9c6e6; --gen-pale: #eec2a2;
  --good: #1b7a43; --bad: #b3262e;
  --note: #fff6df; --note-ink: #5c4608;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141618; --panel: #1b1e21; --ink: #e8e9ea; --soft: #9ea5ad;
    --rule: #2d3136; --rail: #262a2e; --und: #74ade8; --gen: #ee9860;
    --plain: #b6bcc3; --gap: #c598e3; --und-pale: #36577c; --gen-pale: #7d4e2e;
    --good: #63c58b; --bad: #f08289;
    --note: #352d16; --note-ink: #f0dca2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
    "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1080px; margin: 0 auto; padding: 48px 24px 80px; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; margin: 0; }
h1 { font-size: 1rem; font-weight: 600; color: var(--soft); }
h2 { font-size: 1.3rem; font-weight: 650; letter-spacing: -0.01em; }
h3 { font-size: .95rem; font-weight: 600; }
p { margin: .5em 0; max-width: 68ch; }
section { margin-top: 56px; }
section > p { color: var(--soft); }
.lead {
  font-size: clamp(1.5rem, 1.1rem + 1.9vw, 2.3rem); line-height: 1.2;
  font-weight: 650; letter-spacing: -0.02em; margin: 12px 0 8px;
  max-width: 26em; text-wrap: balance;
}
.note {
  background: var(--note); color: var(--note-ink); padding: 10px 14px;
  border-radius: 8px; margin: 16px 0;
}
.tiles {
  display: grid; gap: 12px; margin: 28px 0;
  grid-template-columns: repeat(auto-fit, minmax(220px, 1fr));
}
.tile, figure, .card {
  background: var(--panel); border: 1px solid var(--rule);
  border-radius: 10px; min-width: 0;
}
.tile { padding: 14px 18px 12px; }
.tile b {
  display: block; font-size: 1.7rem; font-weight: 620; line-height: 1.3;
  letter-spacing: -0.02em;
}
.tile b i { font-style: normal; color: var(--soft); font-weight: 400; }
.tile span { color: var(--soft); font-size: .875rem; }
.tile .what { color: var(--ink); font-weight: 600; }
.pair { display: grid; gap: 20px; margin-top: 20px; }
figure { margin: 0; padding: 18px 20px 14px; }
figcaption {
  color: var(--soft); font-size: .85rem; line-height: 1.45; margin-top: 10px;
}
svg { display: block; width: 100%; height: auto; margin-top: 8px; }
svg text { font-size: 12.5px; fill: var(--soft); }
svg .name { fill: var(--ink); font-size: 13px; }
.grid, .rail { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--soft); stroke-width: 1; }
.border { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 1 4; }
.rail { fill: var(--rail); stroke: none; }
.between { fill: var(--soft); fill-opacity: .13; }
.und { --c: var(--und); } .gen { --c: var(--gen); }
.plain { --c: var(--plain); } .gap { --c: var(--gap); }
.und.pale { --c: var(--und-pale); } .gen.pale { --c: var(--gen-pale); }
.series { stroke: var(--c); fill: var(--c); }
.series polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.series polyline.dashed { stroke-dasharray: 5 4; }
.whisker { stroke-width: 1.5; }
.ring { fill: var(--panel); stroke-width: 1.5; }
.bar { fill: var(--c); }
.legend {
  display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: .85rem;
  color: var(--soft); margin-top: 6px;
}
.swatch {
  display: inline-block; width: 16px; height: 3px; border-radius: 2px;
  background: var(--c); margin-right: 7px; vertical-align: middle;
}
.swatch.dashed {
  background: linear-gradient(90deg, var(--c) 0 6px, transparent 6px 10px,
    var(--c) 10px 16px);
}
.bars .swatch { height: 10px; width: 10px; }
.scroll { overflow-x: auto; margin: 16px 0 6px; }
table { border-collapse: collapse; font-size: .92rem; min-width: 100%; }
th, td {
  text-align: left; padding: 8px 20px 8px 0; white-space: nowrap;
  border-bottom: 1px solid var(--rule); vertical-align: baseline;
}
th { font-weight: 600; color: var(--soft); font-size: .82rem; }
.number { text-align: right; }
th:last-child, td:last-child { padding-right: 2px; }
.error, .empty { color: var(--soft); }
.error { font-size: .86em; }
img, .frame {
  display: block; width: 100%; height: auto; image-rendering: pixelated;
  border-radius: 4px; background: var(--rail);
}
.frame {
  aspect-ratio: 1; display: grid; place-items: center; color: var(--soft);
  font-size: .8rem;
}
.cards { display: grid; gap: 16px; margin-top: 20px; }
.card { padding: 16px; overflow-wrap: anywhere; }
.card h3 { margin-bottom: 10px; }
.images { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px; }
.images div, .sides > div { min-width: 0; }
.under {
  display: flex; flex-wrap: wrap; justify-content: space-between;
  gap: 0 8px; font-size: .8rem; color: var(--soft); margin-top: 4px;
}
.under b { color: var(--ink); font-weight: 600; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
.source { display: grid; grid-template-columns: 84px 1fr; gap: 14px; }
.source p { margin: 0 0 4px; }
.tag { font-size: .8rem; color: var(--soft); }
.half { border-top: 1px solid var(--rule); margin-top: 14px;
  padding-top: 12px; }
.half > h4 { margin: 0 0 8px; font-size: .85rem; font-weight: 600; }
.half p { margin: 2px 0 0; font-size: .92rem; line-height: 1.4; }
.dropped { color: var(--bad); font-weight: 400; }
.answers { list-style: none; margin: 8px 0 0; padding: 0; font-size: .82rem;
  line-height: 1.4; }
.answers li { padding: 3px 0 3px 1.35em; text-indent: -1.35em; }
.answers b { display: inline-block; width: 1.35em; text-indent: 0; }
.right b, .win { color: var(--good); } .wrong b, .lose { color: var(--bad); }
.answers span { color: var(--soft); }
h2 + details { margin-top: 16px; }
details {
  border-top: 1px solid var(--rule); padding: 12px 0;
}
details:last-of-type { border-bottom: 1px solid var(--rule); }
summary { cursor: pointer; font-weight: 600; }
code, pre {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono",
    monospace;
  font-size: .88rem;
}
pre {
  background: var(--rail); padding: 10px 14px; border-radius: 8px;
  overflow-x: auto; margin: 12px 0;
}
@media (min-width: 860px) {
  .pair { grid-template-columns: 1fr 1fr; }
}
@media (min-width: 700px) {
  .cards { grid-template-columns: 1fr 1fr; }
}
@media (max-width: 480px) {
  main { padding: 28px 16px 56px; }
  figure { padding: 14px 12px 12px; }
  section { margin-top: 44px; }
  svg text, svg .name { font-size: 14.5px; }
  th, td { padding-right: 10px; }
  th { font-size: .76rem; }
  td .error { display: block; }
  td:first-child { white-space: normal; min-width: 4.4em; }
}
@media print { figure, .card, .tile { break-inside: avoid; } }
"""
