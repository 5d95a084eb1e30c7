/** The status page: wires what is told to what is shown, and buttons to questions. */
import type { ClusterStatus, Failover, Sample } from '../contract/api';
import { ask, listenForCommands } from './commands';
import { byId, setText } from './dom';
import { ago, clock } from './format';
import { listen } from './live';
import { addEvents, showAnswer, showCharts, showFailovers, showHeld, showNodes, showUnknown } from './sections';

/** Samples that the charts show: ten minutes. */
const SAMPLES = 600;
const CHART_MS = 1_000;

let cluster: ClusterStatus | null = null;
let failovers: Failover[] = [];
let samples: Sample[] = [];
let drawnMs = 0;

function show(status: ClusterStatus): void {
  cluster = status;
  const nowMs = Date.now();
  showAnswer(status);
  showHeld(status, nowMs);
  showNodes(status, nowMs, askRebuild);
  setText(byId('pause'), status.pause === null ? 'Pause failover …' : 'Resume failover …');
}

function addFailover(one: Failover): void {
  failovers = [...failovers.filter((f) => f.term !== one.term || f.node !== one.node), one];
  showFailovers(failovers);
}

function addSample(one: Sample): void {
  samples = [...samples, one].slice(-SAMPLES);
  if (Date.now() - drawnMs < CHART_MS || document.hidden) return;
  drawnMs = Date.now();
  showCharts(samples);
}

function showAway(sinceMs: number | null): void {
  const banner = byId('away');
  const live = byId('live');
  banner.hidden = sinceMs === null;
  live.className = sinceMs === null ? 'chip good' : 'chip bad';
  setText(live, sinceMs === null ? 'live' : 'not connected');
  if (sinceMs === null) return;
  showUnknown();
  const since = new Date(sinceMs).toISOString();
  const known =
    cluster === null
      ? ''
      : ' What is shown is from then. The database goes on without the monitor, but nothing fails over.';
  setText(banner, `The monitor has not answered since ${clock(since)} (${ago(since, Date.now())}).${known}`);
}

function askSwitchover(): void {
  const names = cluster?.nodes.filter((n) => n.role !== 'leader').map((n) => n.name) ?? [];
  const options = [{ value: '', text: 'whichever can take over' }, ...names.map((n) => ({ value: n, text: n }))];
  ask({
    command: 'switchover',
    title: 'Planned switchover',
    fields: [{ name: 'to', label: 'New leader', options }],
    bodyOf: ({ to }) => (to === undefined || to === '' ? {} : { to }),
  });
}

const PAUSES = [
  { value: '', text: 'until somebody resumes' },
  { value: '900000', text: '15 minutes' },
  { value: '3600000', text: '1 hour' },
  { value: '14400000', text: '4 hours' },
];

function askPause(): void {
  if (cluster !== null && cluster.pause !== null) {
    ask({ command: 'resume', title: 'Resume automatic failover', fields: [], bodyOf: () => ({}) });
    return;
  }
  ask({
    command: 'pause',
    title: 'Pause automatic failover',
    fields: [
      { name: 'reason', label: 'Reason, for those who find it paused', required: true },
      { name: 'forMs', label: 'How long', options: PAUSES },
    ],
    bodyOf: ({ reason, forMs }) => ({
      reason,
      ...(forMs === undefined || forMs === '' ? {} : { forMs: Number(forMs) }),
    }),
  });
}

function askRebuild(node: string): void {
  ask({ command: 'rebuild', title: `Rebuild ${node}`, fields: [], bodyOf: () => ({ node }) });
}

byId('switchover').addEventListener('click', askSwitchover);
byId('pause').addEventListener('click', askPause);
listenForCommands();
listen({
  cluster: show,
  events: addEvents,
  failovers: (all) => {
    failovers = [...all];
    showFailovers(failovers);
  },
  failover: addFailover,
  history: (all) => {
    samples = all.slice(-SAMPLES);
    showCharts(samples);
  },
  sample: addSample,
  away: showAway,
});
