/** The status page: connects the monitor's messages with the sections that show them, and buttons with questions. */
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
let failovers: readonly Failover[] = [];
let samples: readonly Sample[] = [];
let drawnMs = 0;

function show(status: ClusterStatus): void {
  cluster = status;
  const nowMs = Date.now();
  showAnswer(status);
  showHeld(status, nowMs);
  showNodes(status, nowMs, askRebuild);
  setText(byId('pause'), status.pause === null ? 'Pause failover …' : 'Resume failover …');
}

function takeFailovers(all: readonly Failover[]): void {
  failovers = all;
  showFailovers(failovers);
}

function takeSamples(all: readonly Sample[]): void {
  samples = all.slice(-SAMPLES);
  drawnMs = Date.now();
  showCharts(samples);
}

function addSample(one: Sample): void {
  if (Date.now() - drawnMs < CHART_MS || document.hidden) samples = [...samples, one];
  else takeSamples([...samples, one]);
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
    bodyOf: ({ to }) => ({ to }),
  });
}

const PAUSES = [
  { value: '', text: 'until a person resumes' },
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
      { name: 'reason', label: 'Reason, for those who find it paused' },
      { name: 'forMs', label: 'How long', options: PAUSES },
    ],
    bodyOf: ({ reason, forMs }) => ({ reason, forMs: forMs === undefined ? undefined : Number(forMs) }),
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
  failovers: takeFailovers,
  failover: (one) => takeFailovers([...failovers.filter((f) => f.term !== one.term || f.node !== one.node), one]),
  history: takeSamples,
  sample: addSample,
  away: showAway,
});
