// page-style.ts: the style sheet of the report, beside that of its charts.
import { fonts } from "./charts/svg.ts";

/** CSS of the page around the charts. */
export const page = `
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 Charter, "Bitstream Charter", "Sitka Text", Cambria, "Liberation Serif", Georgia, serif;
  overflow-wrap: break-word;
}
h1, h2, table, figcaption, p.soft, footer { font-family: ${fonts.sans}; }
h1 { font-size: clamp(1.75rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 1rem; }
h2 { font-size: 1.5rem; letter-spacing: -.01em; margin: 0 0 .5rem; }
header, section { margin-bottom: 2.5rem; }
section { border-top: 1px solid var(--rule); padding-top: 2rem; }
p, figcaption { max-width: 42rem; margin: 0 0 1rem; }
.question { font-style: italic; color: var(--soft); font-size: 1.125rem; }
.finding { font-size: 1.1875rem; line-height: 1.5; }
p.soft, figcaption { color: var(--soft); font-size: .875rem; line-height: 1.5; }
a { color: inherit; }
code {
  font: .875em ${fonts.mono};
  color: var(--ink); background: var(--cell); padding: .1em .35em; border-radius: 3px;
  box-decoration-break: clone; -webkit-box-decoration-break: clone;
}
table {
  border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums;
  margin: 0 0 .75rem; white-space: nowrap;
}
th { text-align: left; font-weight: 600; }
thead th { color: var(--soft); font-weight: 400; border-bottom: 1px solid var(--ink); }
th, td { padding: .3rem 1.5rem .3rem 0; vertical-align: top; }
.n { text-align: right; }
small { color: var(--soft); font-size: 1em; }
tbody .first > * { border-top: 1px solid var(--rule); }
figure { margin: 1.75rem 0 2.25rem; }
.multiples { display: flex; flex-wrap: wrap; gap: 1.75rem 2.5rem; margin-bottom: .75rem; }
.box { max-width: 100%; overflow-x: auto; overflow-y: hidden; }
.phone { display: none; }
@media (max-width: 800px) {
  .page { display: none; }
  .phone { display: block; }
  body { padding-top: 1.75rem; }
  table { white-space: normal; }
  .n { white-space: nowrap; }
  td:not(.n) { min-width: 6.5rem; }
  th, td { padding-right: .9rem; }
  small { display: block; }
}
.prose table { white-space: normal; }
.prose td { min-width: 12rem; }
ol { color: var(--soft); font: .8125rem/1.5 ${fonts.sans}; padding-left: 1.5rem; }
footer { border-top: 1px solid var(--rule); padding-top: 1.25rem; font-size: .8125rem; color: var(--soft); }
dl { margin: 0; display: grid; gap: .25rem; }
dl div { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); }
dd { margin: 0; color: var(--ink); }
`;
