/** The status page: three small static texts. The script builds the page with text nodes only, so nothing is injected. */
import type { Hono } from 'hono';

/** Everything that a browser loads for the page. */
export function pageRoutes(app: Hono): void {
  app.get('/', (c) => c.html(PAGE_HTML));
  app.get('/page.css', (c) => c.body(PAGE_CSS, 200, { 'Content-Type': 'text/css; charset=utf-8' }));
  app.get('/page.js', (c) => c.body(PAGE_JS, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }));
}

const PAGE_HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PostgreSQL failover</title>
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<header><h1>PostgreSQL failover</h1><p id="stack"></p></header>
<main>
<p id="sentence" role="status" aria-live="polite">Loading …</p>
<noscript><p>This page needs JavaScript; the same data is at <a href="/api/v1/cluster">/api/v1/cluster</a>.</p></noscript>
<table><thead><tr><th scope="col">node</th><th scope="col">role</th><th scope="col">PostgreSQL</th><th scope="col">timeline</th>
<th scope="col">position</th><th scope="col">lag</th><th scope="col">acknowledges</th><th scope="col">order</th></tr></thead><tbody id="nodes"></tbody></table>
<p id="routes"></p>
<h2>Events</h2>
<ol id="events" reversed></ol>
</main>
</body>
</html>
`;

const PAGE_CSS = `:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#c4320a}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem}
header{display:flex;gap:1rem;align-items:baseline}h1{font-size:1.25rem;margin:0}h2{font-size:1rem}
#sentence{font-size:1.1rem;padding:.6rem .8rem;border-left:.4rem solid var(--bad);background:#8881}
#sentence.serving{border-color:var(--good)}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line)}
td.number{font-variant-numeric:tabular-nums}tr.down td{opacity:.55}tr.leader td:first-child{font-weight:600}
ol{padding-left:0;list-style:none;font:13px/1.6 ui-monospace,monospace;overflow-x:auto}
li{white-space:pre-wrap}li.WARN{color:var(--bad)}li.ERROR{color:var(--bad);font-weight:600}
`;

const PAGE_JS = `'use strict';
const byId = (id) => document.getElementById(id);
function cell(row, text, name) {
  const td = document.createElement('td');
  td.textContent = text === null || text === undefined ? '–' : String(text);
  if (name) td.className = name;
  row.append(td);
}
function bytes(n) {
  if (n === null) return null;
  return n < 1024 ? n + ' B' : n < 1048576 ? (n / 1024).toFixed(0) + ' kB' : (n / 1048576).toFixed(1) + ' MB';
}
function show(c) {
  byId('stack').textContent = c.stack + ' · term ' + c.term;
  byId('sentence').textContent = (c.serving ? '' : 'Not serving writes: ') + c.sentence;
  byId('sentence').className = c.serving ? 'serving' : '';
  byId('nodes').replaceChildren(...c.nodes.map((n) => {
    const tr = document.createElement('tr');
    tr.className = n.role;
    const s = n.settings;
    const notes = [n.failure, s && s.refused ? 'does not start with ' + s.refused : null,
      s && s.pending.length ? 'restart for ' + s.pending.join(', ') : null].filter(Boolean);
    cell(tr, n.name); cell(tr, n.role); cell(tr, [n.state, ...notes].join(' · '));
    cell(tr, n.timeline, 'number'); cell(tr, n.lsn, 'number'); cell(tr, bytes(n.lagBytes), 'number');
    cell(tr, n.sync); cell(tr, n.order);
    return tr;
  }));
  const read = c.haproxy.read.length ? c.haproxy.read.join(', ') : 'nobody';
  byId('routes').textContent = c.haproxy.reachable
    ? 'HAProxy sends writes to ' + (c.haproxy.write || 'nobody: new connections are held') + ', reads to ' + read + '.'
    : 'HAProxy does not answer the monitor.';
  byId('events').replaceChildren(...c.events.slice().reverse().map((e) => {
    const li = document.createElement('li');
    li.className = e.level;
    li.textContent = e.at + '  ' + e.subject + '  ' + e.code + '  ' + e.message;
    return li;
  }));
}
async function refresh() {
  try {
    const answer = await fetch('/api/v1/cluster', { cache: 'no-store', signal: AbortSignal.timeout(3000) });
    show(await answer.json());
  } catch {
    byId('sentence').className = '';
    byId('sentence').textContent = 'The monitor does not answer.';
  }
  setTimeout(refresh, 1000);
}
refresh();
`;
