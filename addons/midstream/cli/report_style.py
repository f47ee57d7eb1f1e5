"""The style sheet of the HTML report: light and dark, for a screen of any width, and for paper."""

STYLE = """\
:root { --paper: #fff; --ground: #f5f6f8; --ink: #1b1f24; --dim: #5c6670; --rule: #dfe3e8;
  --bar: #3b74c4; --bad: #c8402f; --p50: #14315e; --p95: #d07a13; --soft: #3b74c455 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #171b21; --ground: #0e1116; --ink: #e6e9ed; --dim: #9aa4af; --rule: #2b323b;
    --bar: #5b93e0; --bad: #ef6f5e; --p50: #cfe0fb; --p95: #f0a445; --soft: #5b93e066 } }
@media print { :root { --ground: #fff } section { break-inside: avoid } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 40px }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; margin-bottom: 16px }
h1 { font-size: 26px; margin: 0 } header p, footer, .legend, .facts p, section > p { color: var(--dim) }
header p, .facts p { margin: 0 }
h2 { font-size: 16px; margin: 0 0 10px }
section, .facts > div { background: var(--paper); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px }
section { margin: 16px 0 0; min-width: 0 }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 16px; margin: 0 }
dt { color: var(--dim); font-size: 13px } dd { margin: 2px 0; font-size: 26px; font-weight: 600; white-space: nowrap }
.facts p, .legend, section > p { font-size: 13px } .legend { margin: 8px 0 0 }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 0 16px }
svg { display: block; width: 100%; height: auto; overflow: visible }
svg text { fill: var(--dim); font: 12px system-ui, "DejaVu Sans", sans-serif } svg text.name { fill: var(--ink) }
.grid { stroke: var(--rule) } .axis { stroke: var(--dim); stroke-opacity: .6 }
rect.bar { fill: var(--bar) } rect.bad { fill: var(--bad) }
g rect.bar { fill: var(--soft) }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .mark { stroke-width: 2 }
.p50 { stroke: var(--p50) } .p95 { stroke: var(--p95) }
.dot.p50 { fill: var(--p50) } .dot.p95 { fill: var(--p95) }
.hit { fill: transparent } .hit:hover { fill: var(--dim); fill-opacity: .12 }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 2px }
.key.bar { background: var(--bar) } .key.bad { background: var(--bad) }
.key.p50 { background: var(--p50) } .key.p95 { background: var(--p95) }
.wide { overflow-x: auto } .spread { min-width: 700px }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { color: var(--dim); font-weight: 500; font-size: 13px; text-align: left; white-space: nowrap }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--rule) } tbody tr:last-child td { border-bottom: 0 }
td { overflow-wrap: anywhere } td:not(.number) { min-width: 110px }
th:first-child, td:first-child { padding-left: 0 }
.number { text-align: right; white-space: nowrap }
footer { font-size: 13px; margin-top: 20px } footer p { margin: 4px 0 }
"""
