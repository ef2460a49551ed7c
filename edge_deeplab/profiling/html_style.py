"""The look of the page that html_page.py builds: light and dark, wide and narrow, on screen and on paper.

The palette is Okabe and Ito's, made for all kinds of colour vision, lightened for dark grounds.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --panel: #f6f7f9; --edge: #d8dce2; --text: #1c2127; --faint: #5b6470; --link: #0b5cad;
  --good: #1a7f4b; --bad: #b3261e; --grid: #e3e6ea; --roof: #1c2127;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b0649a;
  --c4: #c28f00; --c5: #3f9fd6; --c6: #7a6a00; --c7: #6b7280;
  --inside: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171b; --panel: #1d2126; --edge: #343a42; --text: #e7eaee; --faint: #a2abb7; --link: #7db8ef;
    --good: #5fcf95; --bad: #ff8a80; --grid: #2c3138; --roof: #e7eaee;
    --c0: #4aa3df; --c1: #f0883e; --c2: #35c49a; --c3: #d991c2;
    --c4: #e3b341; --c5: #8fd0f5; --c6: #c4b454; --c7: #9aa3af;
    --inside: #14171b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid var(--edge); }
h3 { font-size: 15px; margin: 22px 0 4px; }
p { margin: 4px 0 12px; max-width: 76ch; }
.faint, figcaption, caption { color: var(--faint); }
code { font: 13px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px; margin: 22px 0 8px; }
.card { background: var(--panel); border: 1px solid var(--edge); border-radius: 10px; padding: 12px 14px; }
.card b { display: block; font-size: 24px; line-height: 1.2; font-weight: 650; font-variant-numeric: tabular-nums; }
.card b small { font-size: 14px; font-weight: 500; color: var(--faint); }
.card span { color: var(--faint); font-size: 13px; }
figure { margin: 12px 0; }
figcaption { font-size: 13px; margin-top: 4px; max-width: 86ch; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--link); }
svg { display: block; width: 100%; min-width: 620px; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); }
svg .tick, svg .note { fill: var(--faint); }
svg .label { fill: var(--faint); font-weight: 600; }
svg .inside { fill: var(--inside); font-weight: 600; }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--faint); stroke-width: 1; }
svg .median { stroke-width: 1.6; stroke-dasharray: 6 4; }
svg .roof, svg .slope { fill: none; stroke: var(--roof); stroke-width: 1.6; }
svg .slope { stroke-dasharray: 2 3; }
svg rect:hover, svg circle:hover { opacity: 0.7; }
svg circle { fill-opacity: 0.75; }
COLOURS
table { border-collapse: collapse; width: 100%; margin: 6px 0 10px;
  font-size: 13.5px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: 13px; padding-bottom: 4px; }
th, td { text-align: right; padding: 4px 9px; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { color: var(--faint); font-weight: 600; }
th:first-child, td:first-child, td.left, th.left, .facts td { text-align: left; }
.facts th { text-align: left; white-space: nowrap; width: 1%; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
.dense { font-size: 12.5px; white-space: nowrap; }
.dense th, .dense td { padding: 3px 7px; }
tfoot td { border-top: 1px solid var(--edge); font-weight: 600; }
details { margin: 8px 0 14px; }
summary { cursor: pointer; color: var(--link); width: fit-content; }
.over { color: var(--bad); font-weight: 650; }
.held { color: var(--good); font-weight: 650; }
ul.notes { background: var(--panel); border: 1px solid var(--edge); border-radius: 10px; padding: 12px 14px 12px 32px; }
footer { margin-top: 46px; padding-top: 14px; border-top: 1px solid var(--edge); color: var(--faint); font-size: 13px; }
@media print { details > * { display: block; } .card, ul.notes { break-inside: avoid; } }
""".replace(
    "COLOURS",
    "\n".join(f"svg .f{index} {{ fill: var(--c{index}); }} svg .s{index} {{ stroke: var(--c{index}); }}"
              for index in range(8)),
)  # fmt: skip
