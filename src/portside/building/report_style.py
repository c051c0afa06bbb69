"""How the report looks: one style sheet, light and dark, for screen and paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #16202c; --soft: #5d6b7c; --line: #e2e6ec; --track: #edf0f4;
  --accent: #0b6bcb; --accent-soft: #dcebfa; --bar: #a9b9cb;
  --pass: #12805c; --pass-soft: #dff3eb; --fail: #c0362c; --fail-soft: #fbe5e2; --unsure: #a76a00;
  --unsure-soft: #fbf0d9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f151c; --card: #18212b; --ink: #e8edf3; --soft: #93a2b3; --line: #283442; --track: #222d39;
    --accent: #5aaeff; --accent-soft: #17324d; --bar: #4a5b6e;
    --pass: #4cc79a; --pass-soft: #12352b; --fail: #ff8579; --fail-soft: #40201f; --unsure: #f0b75a;
    --unsure-soft: #3a2d14;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 48px; }
header { display: flex; justify-content: space-between; align-items: flex-end; gap: 16px; flex-wrap: wrap; }
.brand { color: var(--soft); font-size: 13px; letter-spacing: .04em; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 0; letter-spacing: -.01em; overflow-wrap: anywhere; }
h1 small { color: var(--soft); font-weight: 400; font-size: .7em; }
h2 { font-size: 18px; margin: 0 0 8px; }
h2 + p { margin-top: -4px; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px; margin-top: 16px;
}
section > p, .note { color: var(--soft); margin: 0 0 14px; max-width: 78ch; }
.meta { color: var(--soft); text-align: right; font-size: 13px; }
.verdict { display: flex; gap: 18px; align-items: flex-start; border-left: 6px solid; margin-top: 20px; }
.verdict .sign { font-size: 30px; line-height: 1; margin-top: 2px; }
.verdict h2 { font-size: 22px; }
.verdict p { margin: 0; max-width: 90ch; }
.verdict ul { margin: 8px 0 0; padding-left: 18px; }
.verdict.pass { border-left-color: var(--pass); background: linear-gradient(90deg, var(--pass-soft), var(--card) 60%); }
.verdict.fail { border-left-color: var(--fail); background: linear-gradient(90deg, var(--fail-soft), var(--card) 60%); }
.verdict.inconclusive {
  border-left-color: var(--unsure); background: linear-gradient(90deg, var(--unsure-soft), var(--card) 60%);
}
.verdict.pass .sign { color: var(--pass); }
.verdict.fail .sign { color: var(--fail); }
.verdict.inconclusive .sign { color: var(--unsure); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 12px; margin-top: 16px; }
.cards div { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
.cards b { display: block; font-size: 25px; line-height: 1.25; letter-spacing: -.01em; }
.cards span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; margin: 0 -20px; padding: 0 20px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th {
  text-align: left; color: var(--soft); font-weight: 500; font-size: 12.5px; padding: 6px 14px 6px 0;
  white-space: nowrap;
}
td { border-top: 1px solid var(--line); padding: 9px 14px 9px 0; vertical-align: middle; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; }
.why { color: var(--soft); font-size: 13px; min-width: 13ch; max-width: 30ch; }
.way { white-space: nowrap; } .way small { display: block; color: var(--soft); font-size: 12.5px; font-weight: 400; }
tr.under td { border-top: 0; padding-top: 0; max-width: none; color: var(--fail); }
td code { white-space: nowrap; }
tr.chosen td { background: var(--accent-soft); }
tr.chosen td:first-child { box-shadow: -12px 0 0 var(--accent-soft), -15px 0 0 var(--accent); font-weight: 600; }
tr.chosen td:last-child { box-shadow: 12px 0 0 var(--accent-soft); }
.chip {
  display: inline-block; border-radius: 999px; padding: 1px 10px; font-size: 12.5px; font-weight: 600;
  white-space: nowrap;
}
.chip.pass { color: var(--pass); background: var(--pass-soft); }
.chip.fail { color: var(--fail); background: var(--fail-soft); }
.chip.inconclusive { color: var(--unsure); background: var(--unsure-soft); }
.chip.none { color: var(--soft); background: var(--track); }
.bar { display: flex; align-items: center; gap: 10px; min-width: 150px; }
.bar svg { flex: 1; height: 10px; min-width: 70px; }
.bar b { font-weight: 500; min-width: 60px; text-align: right; white-space: nowrap; }
svg .track { fill: var(--track); } svg .fill { fill: var(--bar); } tr.chosen svg .fill { fill: var(--accent); }
svg .over { fill: var(--fail-soft); } svg .limit { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 3 2; }
svg .floor { stroke: var(--soft); stroke-width: 1.5; } svg .good { fill: var(--pass); } svg .bad { fill: var(--fail); }
.gauge { width: 190px; height: 18px; display: block; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 7px 20px; margin: 0; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 16px; }
.two section { min-width: 0; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; margin-top: 24px; }
@media (max-width: 480px) { .two { grid-template-columns: 1fr; } .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: 8px; } .meta { text-align: left; } }
@media print { body { background: #fff; } section, .cards div { break-inside: avoid; } }
"""
