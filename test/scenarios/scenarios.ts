/** The scenarios: short stories of faults, with at least one for each rule of docs/safety.md. */

import { budgetFor } from '../../failover/contract/budget';
import type { SimNode } from '../../simulator/node';
import { TOO_MUCH_MEMORY } from '../../simulator/settings';
import { Stranger } from '../../simulator/stranger';
import { type Crowd, crowd, newStore, type Scenario, type Tale } from './story';

/** `pulumi up` with other settings of PostgreSQL: it replaces the monitor. */
function configure(t: Tale, settings: Record<string, string>): void {
  t.world.postgresSettings = settings;
  t.restartMonitor();
}

function connections(t: Tale, node: string): number | undefined {
  return t.node(node).postgres?.atStart.number('max_connections');
}

/** By the name of the story's file, without `.md`. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'primary-killed': {
    rules: 'Promise: the primary dies, writes go on',
    title: 'The primary is killed and comes back',
    logs: /^COPY_BEGUN /,
    play: [
      'docker kill primary; writes go to replica-1; writes are acknowledged; docker start primary',
      'primary follows replica-1 and is counted again',
    ],
  },
  'primary-stopped': {
    rules: 'S18',
    title: 'The primary is told to stop and hands over',
    play: [
      'docker stop primary; writes go to replica-1; primary is down; docker start primary',
      'primary follows replica-1 and is counted again',
    ],
  },
  'restart-each': {
    rules: 'S18',
    title: 'Both nodes are restarted, one right after the other: the second waits for the first, and serves meanwhile',
    play: async (t) => {
      await t.plays('docker restart primary; writes go to replica-1; primary is down; docker stop replica-1');
      await t.until('it is said that replica-1 leaves', () => t.code() === 'LEADER_LEAVING');
      t.fact(`open meanwhile: ${t.open() ?? 'nobody, new connections are held'}`);
      await t.plays('primary is up again; writes go to primary; replica-1 is down; replica-1 is up again; all is well');
    },
  },
  'pause-killed': {
    rules: 'Promise: a pause holds back every automatic change of leader',
    title: 'The primary dies in a pause: no node takes over, until a person resumes it',
    play: [
      'pause, "new disks"; docker restart failover-monitor; docker kill primary; it is said who could take over',
      '20000 ms pass; what is open, or held?; resume; writes go to replica-1; writes are acknowledged; resume',
      'docker start primary; primary follows replica-1 and is counted again',
    ],
  },
  'pause-promote': {
    rules: 'Promise: a person may move the lead in a pause, and loses nothing',
    title: 'The primary dies in a pause, and a person promotes the replica without accepting a loss',
    play: [
      'pause, "new disks"; docker kill primary; it is said who could take over; promote replica-1',
      'writes go to replica-1; docker start primary; primary follows replica-1 and is counted again',
    ],
  },
  'pause-stopped': {
    rules: 'S18, and a pause',
    title:
      'The primary is told to stop in a pause of half a minute: it leads again when it is back, and the pause ends by itself',
    play: async (t) => {
      await t.plays('pause for 30 s, "new disks"; docker stop primary');
      await t.until('primary is down, nobody took over', () => !t.node('primary').up && t.open() !== 'replica-1');
      await t.plays('docker start primary; primary leads again; 30000 ms pass');
      t.fact(`paused: ${t.world.state?.pause === undefined ? 'no' : 'yes'}`);
    },
  },
  'pause-ends': {
    rules: 'Promise: a pause holds back every automatic change of leader',
    title: 'The primary dies in a pause of five seconds: the replica takes over when the pause has come to its end',
    play: [
      'pause for 5 s, "new disks"; docker kill primary; it is said who could take over; what is open, or held?',
      'writes go to replica-1; writes are acknowledged',
    ],
  },
  'pause-restarted': {
    rules: 'Promise: a pause holds back every automatic change of leader',
    title: 'The primary is killed in a pause and started at once: it leads again',
    play: [
      'pause, "new disks"; docker kill primary; docker start primary; primary leads again; writes are acknowledged',
    ],
  },
  observe: {
    rules: 'failoverMode observe',
    title: 'With failoverMode observe the failover is decided and told, and the primary leads on when it is back',
    policy: { failoverMode: 'observe' },
    play: [
      'docker kill primary; it is said what would be done; 10000 ms pass; docker start primary',
      'primary leads again',
    ],
  },
  'rebuild-twice': {
    rules: 'S4, and rebuild',
    title: 'A standby is copied anew, and once more in the same term: first nobody waits for it',
    logs: /^(COPY_BEGUN|COPY_DONE) /,
    play: async (t) => {
      for (const time of ['first', 'second']) {
        const before = t.node('replica-1').volume.state.directoryId;
        await t.event(`rebuild replica-1, the ${time} time`, () => t.asks({ kind: 'rebuild', node: 'replica-1' }));
        await t.until('its data is new', () => t.node('replica-1').volume.state.directoryId !== before);
        await t.plays('it is counted again');
      }
    },
  },
  's01-promise': {
    rules: 'S1',
    title:
      'Two replicas: both promise before one of them is promoted, so the old leader gets no acknowledgement any more',
    replicas: 2,
    play: [
      'docker pause primary; a new leader is open',
      'docker unpause primary: its waiting commits are not acknowledged; primary follows the new leader',
    ],
  },
  's02-sessions': {
    rules: 'S2',
    title: 'The old leader wakes: no session leads to it any more',
    play: async (t) => {
      await t.plays('docker pause primary; writes go to replica-1; docker unpause primary');
      const strangers = () =>
        t.world.haproxy.workers
          .flatMap((w) => [...w.sessions.values()])
          .filter((s) => s.proxy === 'write' && s.server === t.node('primary').address);
      t.fact(`${strangers().length} write sessions lead to primary`);
      await t.plays('primary follows replica-1');
    },
  },
  's03-candidate-dies': {
    rules: 'S3',
    title: 'The candidate dies before it is open; its history must be rebuilt',
    replicas: 2,
    logs: /^(COPY_BEGUN|COPY_DONE|REWIND_BEGUN) /,
    play: async (t) => {
      await t.plays('docker kill primary');
      const promoted = () =>
        t.world.nodes.find((n) => n.name !== 'primary' && (n.volume.data?.history.length ?? 0) > 2)?.name;
      await t.until('a replica has its new timeline, and is not open', () => promoted() !== undefined);
      const candidate = promoted() ?? '';
      await t.plays(`docker kill ${candidate}, the candidate; 3000 ms pass; docker start primary; a leader is open`);
      await t.plays(`docker start ${candidate}; all nodes are together again`);
    },
  },
  's03-candidate-dies-twice': {
    rules: 'S3',
    title: 'The candidate dies, comes back and dies again: who followed it the first time must be rebuilt',
    replicas: 2,
    logs: /^(COPY_BEGUN|COPY_DONE|REWIND_BEGUN) /,
    play: async (t) => {
      await t.plays('docker pause haproxy; docker kill primary');
      const ahead = () => t.world.nodes.filter((n) => n.name !== 'primary' && (n.volume.data?.history.length ?? 0) > 2);
      await t.until('both replicas have a new timeline, and none is open', () => ahead().length === 2);
      const candidate = t.world.state?.leader ?? '';
      // A candidate that is killed before it reports its promotion would go on in the same term.
      const promoted = () => t.status(candidate)?.done === true;
      await t.until(`${candidate} says that it is promoted`, promoted);
      await t.plays(`docker kill ${candidate}, the candidate; docker start ${candidate}`);
      await t.until('it is promoted again', () => t.world.state?.term === 3);
      await t.plays(`docker kill ${candidate}; docker unpause haproxy; docker start primary; a leader is open`);
      await t.plays(`docker start ${candidate}; all nodes are together again`);
    },
  },
  's04-grow': {
    rules: 'S4, S17',
    title: 'A replica dies: alone is recorded first; it comes back: counted when proven',
    play: [
      'docker kill replica-1; the leader is alone, recorded and in force; docker start replica-1; replica-1 is counted',
    ],
  },
  's04-alone-then-dead': {
    rules: 'S4, joint set',
    title: 'The leader went on alone and died: the replica is not promoted, and it is said which node to start',
    play: [
      'docker kill replica-1; the leader is alone, recorded and in force; writes are acknowledged; docker kill primary',
      'docker start replica-1; 15000 ms pass; what is open, and why?; docker start primary; all is well',
    ],
  },
  's05-late-order': {
    rules: 'S5, S11',
    title: 'Orders that arrive twice, the second time late: the keeper refuses what is older than what it has',
    logs: /^(ORDER_REFUSED) /,
    play: async (t) => {
      await t.event('every order arrives a second time, about two and a half seconds late', () => {
        Object.assign(t.world.network, { doubled: 1, doubledAfterMs: 2_400 });
      });
      await t.plays('docker kill replica-1: primary is told to go on alone');
      await t.until(
        'the leader is alone, recorded and in force',
        () => t.node('primary').postgres?.namesInForce === '',
      );
      await t.plays('docker start replica-1; replica-1 is counted; 3000 ms pass');
      t.fact(`the order "alone" came again; PostgreSQL waits for ${t.node('primary').postgres?.namesInForce}`);
    },
  },
  's06-position-after-restart': {
    rules: 'S6',
    title: 'A restarted replica first shows an older position than it has: that is no vote',
    replicas: 2,
    play: async (t) => {
      const [one, two] = [t.node('replica-1'), t.node('replica-2')];
      await t.event('replica-2 hears nothing for a second, so that replica-1 has more than it', () => {
        t.world.network.block('primary', 'replica-2');
      });
      await t.passes(1_000);
      await t.event('the machine is switched off and on, but primary stays off', () => {
        for (const node of t.world.nodes) node.kill();
        t.world.network.heal();
        one.replay = { behind: 60, stepMs: 120 };
        one.start();
        two.start();
      });
      await t.until('replica-1 answers', () => one.postgres?.accepting === true);
      const seen = one.postgres?.look();
      t.fact(`replica-1 shows received: ${seen?.receive ?? 'NULL'}, and has applied ${less(seen?.replay, one)}`);
      await t.until('its vote is not known yet', () => t.status('replica-1')?.postgres.lsn == null);
      await t.plays('a leader is open');
      t.fact(`writes go to ${t.open()}, which had the most`);
      await t.plays('docker start primary; all nodes are together again');
    },
  },
  's07-cancelled-wait': {
    rules: 'S7',
    title: 'A commit that is cancelled while it waits: visible, and perhaps lost',
    clients: 0,
    play: async (t) => {
      const row = t.world.nextRow();
      const session = await t.connect('write');
      await t.plays('docker pause replica-1: commits wait');
      t.world.engine.after(50, null, () => session?.cancel());
      const reply = await t.ask(session, { kind: 'row', row });
      const warned = reply?.ok === true && reply.kind === 'committed' && reply.warned;
      t.fact(
        `somebody inserts a row and cancels the wait: it returns ${warned ? 'with a WARNING' : 'as acknowledged'}`,
      );
      t.fact(`the row is ${(await t.rows('write')).includes(row) ? 'visible' : 'not visible'}, which proves nothing`);
      await t.event('docker kill primary, and docker unpause replica-1', () => {
        t.node('primary').kill();
        // The packets that it has sent are lost, too.
        t.world.network.lose('primary');
        t.node('replica-1').unpause();
      });
      await t.plays('writes go to replica-1');
      t.fact(`the row is ${(await t.rows('write')).includes(row) ? 'there' : 'gone; nobody was told that it is safe'}`);
      const again = await t.ask(await t.connect('write'), { kind: 'row', row });
      const confirmed = again?.ok === true && again.kind === 'committed' && !again.warned;
      t.fact(`the client writes it again, and waits: ${confirmed ? 'acknowledged' : 'not acknowledged'}`);
      await t.plays('docker start primary; all is well');
      t.fact(`the row is ${(await t.rows('write')).includes(row) ? 'there' : 'gone'}`);
    },
  },
  's08-crash': {
    rules: 'S8',
    title: 'PostgreSQL crashes inside the living container: it comes back as a standby',
    play: async (t) => {
      await t.event('kill -9 of the postmaster in primary', () => t.node('primary').crashPostgres());
      await t.plays('writes go to replica-1; primary follows replica-1');
    },
  },
  's09-block': {
    rules: 'S9, block',
    title: 'With block and one replica there are no writes after a failover until the old node is back',
    policy: { onNoReplica: 'block' },
    play: [
      'docker kill primary; 5000 ms pass; what is open, and why?',
      'docker start primary; all is well; where do writes go?',
    ],
  },
  's10-store-lost': {
    rules: 'S10',
    title: 'The monitor loses its volume: what the keepers remember is taken over',
    play: async (t) => {
      await t.event('docker kill failover-monitor, and its volume is removed', () => t.world.monitor?.process.kill());
      await t.event('docker start failover-monitor', () => void t.world.startMonitor('monitor', newStore()));
      await t.plays('all is well; where do writes go, and in which term?; docker kill primary; writes go to replica-1');
    },
  },
  's10-store-old': {
    rules: 'S10',
    title: 'The monitor’s volume is an old copy: nobody is promoted before every node was heard',
    play: async (t) => {
      const old = { ...t.world.disk, moved: true };
      await t.event('a copy of the monitor’s volume is made', () => undefined);
      await t.plays('docker kill replica-1; 2000 ms pass; docker kill primary, which was alone');
      await t.event('the monitor is started on the copy, where replica-1 is still counted', () =>
        t.restartMonitor(old),
      );
      await t.plays('docker start replica-1; 10000 ms pass; what is open, and why?; docker start primary; all is well');
    },
  },
  's11-stalled-monitor': {
    rules: 'S11',
    title: 'The monitor stands still: when it wakes it trusts nothing that it saw',
    play: [
      'docker pause failover-monitor; 6000 ms pass; docker unpause failover-monitor; 2000 ms pass',
      'where do writes go, and in which term?',
    ],
  },
  's11-stalled-slow': {
    rules: 'S11',
    title:
      'The monitor stands still until the keepers give it up, on a slow network: silence counts as long as answers take there',
    play: async (t) => {
      await t.event('between the monitor and the nodes a packet takes a quarter of a second', () => {
        for (const name of ['primary', 'replica-1']) t.world.network.between('monitor', name, 250);
      });
      await t.plays('5000 ms pass; docker pause failover-monitor; 30000 ms pass; docker unpause failover-monitor');
      await t.until('all is well, within six seconds', () => t.well(), 6_000);
      t.fact(`the term is ${t.world.state?.term}: no failover`);
    },
  },
  's12-rewind-cut-off': {
    rules: 'S12',
    title: 'A rewind is cut off in the middle: the marker says so, and the data is copied',
    logs: /^(REWIND_BEGUN|REWIND_DONE|REWIND_FAILED|COPY_BEGUN|COPY_DONE) /,
    play: async (t) => {
      await t.event(
        'replica-1 hears nothing for a moment, then docker kill primary: it has more than replica-1',
        () => {
          t.world.network.block('primary', 'replica-1');
        },
      );
      await t.passes(300);
      t.node('primary').kill();
      t.world.network.heal();
      await t.plays('writes go to replica-1; docker start primary');
      await t.until('primary is being rewound', () => t.node('primary').volume.data?.broken === true);
      await t.event('docker kill primary, and docker start', () => {
        t.node('primary').kill();
        t.node('primary').start();
      });
      await t.plays('primary follows replica-1 and is counted again');
    },
  },
  's13-wake': {
    rules: 'S13, S12',
    title: 'A former leader that wakes serves no reads before it is rewound',
    play: [
      'docker pause primary; writes go to replica-1; docker unpause primary',
      'primary serves reads only when it streams',
    ],
  },
  's14-wrong-node': {
    rules: 'S14',
    title: 'Another PostgreSQL answers at the new leader’s address: nothing is opened to it',
    logs: /^CHECK_WAITS the address/,
    play: async (t) => {
      const replica = t.node('replica-1');
      await t.event('docker kill primary, and the address of replica-1 leads to another PostgreSQL', () => {
        t.node('primary').kill();
        new Stranger(t.world, replica.address);
      });
      await t.until(
        'the other PostgreSQL takes writes',
        () => t.world.network.postgres.get('stranger')?.isPrimary === true,
      );
      await t.plays('10000 ms pass; where do writes go?');
      await t.event('the address leads to replica-1 again, as the program fixes it', () => {
        t.world.network.hosts.set(replica.address, 'replica-1');
      });
      await t.plays('writes go to replica-1; docker start primary; all is well');
    },
  },
  's15-haproxy-restart': {
    rules: 'S15',
    title: 'HAProxy restarts: it starts closed, and only the monitor opens',
    play: ['docker kill haproxy; docker start haproxy; what is open?; writes go to primary'],
  },
  's15-haproxy-reload': {
    rules: 'S15, S2',
    title: 'HAProxy is reloaded: the old worker finishes its sessions, the new one starts closed',
    play: async (t) => {
      await t.plays('haproxy is reloaded');
      await t.until('writes go to primary through the new worker', () => t.open() === 'primary');
    },
  },
  's15-haproxy-frozen': {
    rules: 'S15',
    title: 'HAProxy is frozen while the primary dies: nothing is opened before it answers',
    play: [
      'docker pause haproxy; docker kill primary; 4000 ms pass; why?',
      'docker unpause haproxy; writes go to replica-1',
    ],
  },
  's16-reader-on-candidate': {
    rules: 'S16',
    title: 'A reader’s long statement runs on the replica that has to be promoted',
    clients: 0,
    play: async (t) => {
      const replica = t.node('replica-1');
      const reader = await t.connect('read');
      await t.ask(reader, { kind: 'hold', ms: 60_000 });
      t.fact(`a reader’s statement runs for a minute on ${t.world.nodeAt(reader?.server ?? '')?.name}`);
      const altered = await t.ask(await t.connect('write'), { kind: 'alter' });
      t.fact(`somebody changes that table on primary: ${altered?.ok === true ? 'acknowledged' : 'no answer'}`);
      const held = () => (replica.volume.data?.applied ?? 0) < (replica.volume.data?.wal.length ?? 0);
      t.fact(`replica-1 ${held() ? 'has received it and cannot apply it' : 'has applied it'}`);
      await t.plays('docker kill primary; writes go to replica-1, within a second');
      t.fact(`the reader’s connection ${reader?.closed === true ? 'was ended' : 'stands'}`);
      await t.plays('docker start primary; all is well');
    },
  },
  's17-waiters-released': {
    rules: 'S17',
    title: 'One of two replicas dies while commits wait for both: the other one’s next word releases them',
    replicas: 2,
    policy: { syncCount: 2 },
    clients: 0,
    play: async (t) => {
      const session = await t.connect('write');
      await t.event('docker kill replica-2, and somebody inserts a row', () => t.node('replica-2').kill());
      const reply = await t.ask(session, { kind: 'row', row: t.world.nextRow() }, 250);
      t.fact(`acknowledged within a quarter of a second: ${reply?.ok === true ? 'yes' : 'no'}`);
      await t.plays('docker start replica-2; both replicas are counted');
    },
  },
  's18-hung-standby': {
    rules: 'S18',
    title: 'The primary is told to stop while its replica hangs: it does not wait for it',
    play: async (t) => {
      await t.plays('docker pause replica-1; 500 ms pass; docker stop primary');
      await t.until('primary is down, long before Docker kills it', () => !t.node('primary').up, 20_000);
      t.fact(`it has shut down ${t.node('primary').volume.data?.clean === true ? 'cleanly' : 'by force'}`);
      t.fact('how the stuck walsender is ended is held by real PostgreSQL (test/keeper/keeper.docker.test.ts)');
      await t.event('docker unpause replica-1, and docker start primary', () => {
        t.node('replica-1').unpause();
        t.node('primary').start();
      });
      await t.plays('all is well');
    },
  },
  's19-late': {
    rules: 'S19, S28',
    title: 'The leader is late for a moment: new connections are held, nothing fails over',
    play: [
      'docker pause primary; 1000 ms pass; what is open?',
      'docker unpause primary; writes go to primary; which term is it?',
    ],
  },
  's20-follow-again': {
    rules: 'S20, S1',
    title: 'After a promotion the other replica finds the new leader at once',
    replicas: 2,
    play: async (t) => {
      await t.plays('docker kill primary; a new leader is open');
      const leader = t.open();
      const other = t.world.nodes.find((n) => n.name !== 'primary' && n.name !== leader);
      const follows = () => other?.postgres?.look().receiving === leader;
      await t.until(`${other?.name} streams from ${leader}, within half a second`, follows, 500);
      await t.plays('docker start primary; all is well');
    },
  },
  's21-apart': {
    rules: 'S21',
    title: 'Only the monitor cannot reach the leader: no failover on its word alone',
    play: [
      'packets between monitor and primary are lost; 15000 ms pass; where do writes go, and in which term?',
      'the network is whole again; all is well',
    ],
  },
  's21-monitor-apart': {
    rules: 'S21; promise: a monitor that is away harms nothing',
    title: 'The monitor is cut off from every node: nothing fails over, and the route stays open',
    play: async (t) => {
      await t.event('packets between monitor and both nodes are lost', () => {
        for (const node of ['primary', 'replica-1']) t.world.network.cut('monitor', node);
      });
      await t.plays('15000 ms pass; where do writes go, and in which term?; the network is whole again; all is well');
    },
  },
  's22-slots': {
    rules: 'S22',
    title: 'Every node keeps its peers’ slots, so whoever is promoted can be followed',
    replicas: 2,
    play: async (t) => {
      const slots = (name: string) => [...(t.node(name).volume.data?.slots ?? [])].sort().join(', ') || 'none';
      t.fact(`slots on primary: ${slots('primary')}; on replica-1, which only follows: ${slots('replica-1')}`);
      await t.plays('docker kill primary; a new leader is open');
      const leader = t.open() ?? '';
      const other = leader === 'replica-1' ? 'replica-2' : 'replica-1';
      await t.until(`${other} streams from ${leader}`, () => t.node(other).postgres?.look().receiving === leader);
      await t.event('the volume of primary is removed, and docker start primary', () => {
        t.node('primary').wipe();
        t.node('primary').start();
      });
      await t.plays('all is well');
      t.fact(`a copy has no slots of its own; they are made anew: ${slots('primary')}`);
    },
  },
  's23-fewer-connections': {
    rules: 'S23',
    title: 'Fewer connections: a replica that restarts meanwhile keeps what its leader has; the leader is first',
    logs: /SETTINGS_RESTART PostgreSQL/,
    play: async (t) => {
      await t.event('max_connections is lowered to 180, and replica-1 is restarted at the same moment', () => {
        configure(t, { max_connections: '180' });
        t.node('replica-1').kill();
        t.node('replica-1').start();
      });
      await t.until('replica-1 runs', () => t.node('replica-1').postgres?.accepting === true);
      t.fact(`replica-1 has ${connections(t, 'replica-1')} connections, primary ${connections(t, 'primary')}`);
      await t.until('both have 180', () => t.world.settled() && t.well());
      await t.plays('where do writes go?');
    },
  },
  's23-more-connections': {
    rules: 'S23',
    title: 'More connections: standbys are restarted one by one, then the leader hands over; a switchback follows',
    replicas: 2,
    policy: { switchback: true, switchbackAfterMs: 5_000 },
    logs: /SETTINGS_RESTART PostgreSQL/,
    play: async (t) => {
      const held = await t.connect('write');
      await t.event('max_connections is raised to 300', () => configure(t, { max_connections: '300' }));
      await t.until('all have 300', () => t.world.settled() && t.well());
      const reply = await t.ask(held, { kind: 'read' });
      t.fact(`a session that was idle meanwhile ${reply === null ? 'was ended' : 'stands'}`);
      await t.plays('primary leads again');
    },
  },
  's23-refused': {
    rules: 'S23',
    title: 'A setting that no machine can give: one standby tries it and goes on without, nobody else is touched',
    replicas: 2,
    logs: /SETTINGS_RESTART PostgreSQL/,
    play: async (t) => {
      await t.event('shared_buffers is set to 64GB', () => configure(t, { shared_buffers: TOO_MUCH_MEMORY }));
      await t.until('it is refused', () => t.reason().includes('does not start with'));
      await t.plays('all nodes are counted');
      t.fact(t.reason().replace(/^.*?; /, ''));
      await t.plays('20000 ms pass; where do writes go, and in which term?');
      await t.event('the setting is taken back', () => configure(t, {}));
      await t.until('all is well', () => t.world.settled() && t.well());
      await t.plays('why?');
    },
  },
  's24-storm': {
    rules: 'S24',
    title: 'Three hundred clients come back at once: they queue in HAProxy, and monitor and keeper get through',
    clients: 0,
    play: async (t) => {
      let storm: Crowd | undefined;
      await t.event('docker kill primary, and three hundred clients connect at the same moment', () => {
        t.node('primary').kill();
        storm = crowd(t.world, 300, 200);
      });
      await t.plays('writes go to replica-1');
      await t.until('every client was served', () => storm?.served === 300);
      t.fact(`turned away by PostgreSQL: ${t.world.haproxy.turnedAway}`);
      const most = storm?.most ?? 0;
      t.fact(`in at once: ${most <= budgetFor({}).clients ? 'at most as many as there are places' : most}`);
      await t.passes(1_000);
      await t.event('two hundred clients get past HAProxy and stay, more than there are places', () => {
        for (let i = 0; i < 200; i++) t.node('replica-1').postgres?.admit('client', () => undefined);
      });
      await t.passes(3_000);
      const monitor = t.node('replica-1').postgres?.open('monitor');
      t.fact(`there is a place for the monitor: ${monitor === null ? 'no' : 'yes'}`);
      await t.plays('where do writes go, and in which term?');
    },
  },
  's25-all-at-once': {
    rules: 'S25',
    title: 'All nodes and the monitor are restarted at once: the recorded leader leads again',
    play: async (t) => {
      await t.event('the machine is switched off and on', () => {
        for (const node of t.world.nodes) node.kill();
        t.restartMonitor();
        for (const node of t.world.nodes) node.start();
      });
      await t.plays('all is well; where do writes go?');
    },
  },
  's25-leader-and-monitor': {
    rules: 'S25',
    title:
      'The primary and the monitor die together: the replica ran long before, so this is no cold start, and the primary is not awaited',
    play: async (t) => {
      await t.passes(t.world.policy.startGraceMs);
      await t.event('docker kill failover-monitor primary', () => {
        t.world.monitor?.process.kill();
        t.node('primary').kill();
      });
      await t.plays('1000 ms pass; docker start failover-monitor');
      await t.until('writes go to replica-1, within hangTimeout and a second', () => t.open() === 'replica-1', 3_000);
      await t.plays('docker start primary; all is well');
    },
  },
  's26-archive-hangs': {
    rules: 'S26',
    title: 'The archive hangs: no setting of ours asks it, so a promotion does not wait for it',
    play: async (t) => {
      await t.event('the archive does not answer any more, on any node', () => {
        for (const node of t.world.nodes) node.disk.archiveHangs = true;
      });
      t.fact(`restore_command is ${t.node('replica-1').postgres?.config.text('restore_command') || 'empty'}`);
      await t.plays('docker kill primary; writes go to replica-1, within a second; docker start primary; all is well');
    },
  },
  's27-wedged': {
    rules: 'S27',
    title: 'The primary’s disk is frozen: it answers and cannot commit',
    play: [
      'the disk of primary is frozen; writes go to replica-1; the disk of primary is well again',
      'primary follows replica-1',
    ],
  },
  's28-jitter': {
    rules: 'S28, S11',
    title: 'A minute in which answers come up to half a second late and some are lost: no failover',
    play: async (t) => {
      const held = await t.connect('write');
      await t.event('for a minute answers take up to half a second, and one packet in a hundred is lost', () => {
        Object.assign(t.world.network, { jitterMs: 250, loss: 0.01 });
      });
      await t.passes(60_000);
      t.fact(`the term is ${t.world.state?.term}: no failover`);
      // A new connection would rarely succeed, because HAProxy gives up each attempt after 20 ms.
      const row = t.world.nextRow();
      t.world.history.tag({ kind: 'row', row });
      const reply = await t.ask(held, { kind: 'row', row });
      t.fact(`a session that was open before writes on: ${reply?.ok === true ? 'yes' : 'no'}`);
      await t.event('the network is quick again', () => Object.assign(t.world.network, { jitterMs: 0, loss: 0 }));
      await t.plays('all is well');
    },
  },
  's29-read-port': {
    rules: 'S29',
    title: 'What the read port may show: a row before the write port does, and one later',
    replicas: 2,
    clients: 0,
    play: async (t) => {
      const far = (from: string, to: string, ms: number) => t.world.network.far.set(`${from}>${to}`, ms);
      const insert = async () => {
        const row = t.world.nextRow();
        t.world.history.tag({ kind: 'row', row });
        const reply = t.ask(await t.connect('write'), { kind: 'row', row }, 400);
        return { row, acknowledged: (await reply)?.ok === true };
      };
      const sees = async (port: 'write' | 'read', row: number) =>
        (await t.rows(port)).includes(row) ? 'shows' : 'hides';
      await t.event('answers of both replicas take a second', () => {
        for (const name of ['replica-1', 'replica-2']) far(name, 'primary', 1_000);
      });
      const early = await insert();
      t.fact(`somebody inserts a row: ${early.acknowledged ? 'acknowledged' : 'it waits'}`);
      t.fact(`the read port ${await sees('read', early.row)} it, the write port ${await sees('write', early.row)} it`);
      await t.event('now what primary sends to replica-2 takes two seconds, and replica-1 is quick', () => {
        for (const name of ['replica-1', 'replica-2']) far(name, 'primary', 0);
        far('primary', 'replica-2', 2_000);
      });
      await t.passes(3_000);
      const late = await insert();
      t.fact(`somebody inserts another row: ${late.acknowledged ? 'acknowledged' : 'it waits'}`);
      const shown = [await sees('read', late.row), await sees('read', late.row)].sort();
      t.fact(`of two reads through the read port one ${shown[1]} it, the other ${shown[0]} it`);
      t.fact(
        'so the order of two ports is not promised: who has to read what was written asks for its position (LSN),',
      );
      t.fact('as the backend does (backend/tests/test_reads.py)');
      await t.event('the network is quick again', () => t.world.network.far.clear());
      await t.plays('all is well');
    },
  },
  'monitor-dead': {
    rules: 'S21; promise: a monitor that is away harms nothing',
    title: 'A dead monitor harms nothing',
    play: async (t) => {
      await t.plays('docker kill failover-monitor');
      const before = t.world.history.count;
      await t.passes(5_000);
      t.fact(`writes go on: ${t.world.history.count > before + 20 ? 'yes' : 'no'}`);
      await t.plays('docker start failover-monitor; all is well');
    },
  },
  'replica-wiped': {
    rules: 'S10',
    title: 'A replica’s volume is removed: it is copied, and counted when it streams',
    play: ['docker kill replica-1, and its volume is removed; docker start replica-1; all is well'],
  },
  'haproxy-cut-off': {
    rules: 'S21',
    title: 'Only HAProxy cannot reach the leader: it hands over, and leads again when the network is whole',
    policy: { switchback: true },
    play: async (t) => {
      await t.plays('packets between haproxy and primary are lost; writes go to replica-1; 20000 ms pass');
      t.fact(`20 s later writes go to ${t.open() ?? 'no node'}: what HAProxy does not reach gets no lead back`);
      await t.plays('the network is whole again; writes go to primary again');
    },
  },
};

function less(position: number | undefined, node: SimNode): string {
  const whole = node.volume.data?.wal.length ?? 0;
  return position !== undefined && position < whole ? 'less than it has' : 'all that it has';
}
