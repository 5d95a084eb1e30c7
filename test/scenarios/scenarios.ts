/** The promises and the traps, each as a short story. */
import type { Scenario } from './story';

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'primary-killed',
    rules: 'Promise: the primary dies, writes go on',
    title: 'The primary is killed and comes back',
    play: async (t) => {
      await t.event('docker kill primary', () => t.node('primary').kill());
      await t.until('writes go to replica-1', () => t.open() === 'replica-1');
      await t.event('docker start primary', () => t.node('primary').start());
      await t.until('primary follows replica-1 and is counted again', () => t.well());
    },
  },
  {
    name: 'primary-stopped',
    rules: 'S18',
    title: 'The primary is told to stop and hands over',
    play: async (t) => {
      await t.event('docker stop primary', () => t.node('primary').stop());
      await t.until('writes go to replica-1', () => t.open() === 'replica-1');
      await t.until('primary is down', () => !t.node('primary').up);
      await t.event('docker start primary', () => t.node('primary').start());
      await t.until('primary follows replica-1 and is counted again', () => t.well());
    },
  },
  {
    name: 's01-promise',
    rules: 'S1',
    title:
      'Two replicas: both promise before one of them is promoted, so the old leader gets no acknowledgement any more',
    replicas: 2,
    play: async (t) => {
      await t.event('docker pause primary', () => t.node('primary').pause());
      await t.until('a new leader is open', () => t.open() !== null && t.open() !== 'primary');
      await t.event('docker unpause primary: its waiting commits are not acknowledged', () =>
        t.node('primary').unpause(),
      );
      await t.until('primary follows the new leader', () => t.well());
    },
  },
  {
    name: 's02-sessions',
    rules: 'S2',
    title: 'The old leader wakes: no session leads to it any more',
    play: async (t) => {
      await t.event('docker pause primary', () => t.node('primary').pause());
      await t.until('writes go to replica-1', () => t.open() === 'replica-1');
      await t.event('docker unpause primary', () => t.node('primary').unpause());
      const strangers = () =>
        t.world.haproxy.workers
          .flatMap((w) => [...w.sessions.values()])
          .filter((s) => s.proxy === 'write' && s.server === t.node('primary').address);
      t.fact(`${strangers().length} write sessions lead to primary`);
      await t.until('primary follows replica-1', () => t.well());
    },
  },
  {
    name: 's03-candidate-dies',
    rules: 'S3',
    title: 'The candidate dies before it is open; its history must be rebuilt',
    replicas: 2,
    play: async (t) => {
      await t.event('docker kill primary', () => t.node('primary').kill());
      await t.until(
        'a candidate is recorded',
        () => t.world.monitor?.seen?.decision.state.procedure?.kind === 'promote',
      );
      const candidate = t.world.monitor?.seen?.decision.state.leader ?? '';
      await t.event(`docker kill ${candidate}, the candidate`, () => t.node(candidate).kill());
      await t.passes(3_000);
      await t.event('docker start of both', () => {
        t.node('primary').start();
        t.node(candidate).start();
      });
      await t.until('all nodes are together again', () => t.well());
    },
  },
  {
    name: 's04-grow',
    rules: 'S4, S17',
    title: 'A replica dies: alone is recorded first; it comes back: counted when proven',
    play: async (t) => {
      await t.event('docker kill replica-1', () => t.node('replica-1').kill());
      await t.until('the leader is alone, recorded and in force', () => {
        const joint = t.world.monitor?.seen?.decision.state.joint ?? [];
        return joint.length === 1 && joint[0]?.k === 0;
      });
      await t.event('docker start replica-1', () => t.node('replica-1').start());
      await t.until('replica-1 is counted', () => t.well());
    },
  },
  {
    name: 's04-alone-then-dead',
    rules: 'S4, invariant 4, "manual restore"',
    title: 'The leader went on alone and died: the replica is not promoted, and it is said which node to start',
    play: async (t) => {
      await t.event('docker kill replica-1', () => t.node('replica-1').kill());
      await t.passes(2_000);
      await t.event('docker kill primary', () => t.node('primary').kill());
      await t.event('docker start replica-1', () => t.node('replica-1').start());
      await t.passes(15_000);
      t.fact(`open: ${t.open() ?? 'nobody'}; ${t.reason()}`);
      await t.event('docker start primary', () => t.node('primary').start());
      await t.until('all is well', () => t.well());
    },
  },
  {
    name: 's08-crash',
    rules: 'S8',
    title: 'PostgreSQL crashes inside the living container: it comes back as a standby',
    play: async (t) => {
      await t.event('kill -9 of the postmaster in primary', () => t.node('primary').crashPostgres());
      await t.until('writes go to replica-1', () => t.open() === 'replica-1');
      await t.until('primary follows replica-1', () => t.well());
    },
  },
  {
    name: 's09-block',
    rules: 'S9, block',
    title: 'With block and one replica there are no writes after a failover until the old node is back',
    policy: { onNoReplica: 'block' },
    play: async (t) => {
      await t.event('docker kill primary', () => t.node('primary').kill());
      await t.passes(5_000);
      t.fact(`open: ${t.open() ?? 'nobody'}; ${t.reason()}`);
      await t.event('docker start primary', () => t.node('primary').start());
      await t.until('all is well', () => t.well());
      t.fact(`writes go to ${t.open() ?? 'nobody'}`);
    },
  },
  {
    name: 's10-store-lost',
    rules: 'S10',
    title: 'The monitor loses its volume: what the keepers remember is taken over',
    play: async (t) => {
      await t.event('docker kill failover-monitor, and its volume is removed', () => t.world.monitor?.process.kill());
      await t.event('docker start failover-monitor', () => {
        t.world.startMonitor('monitor', { incarnation: 0, state: null, full: false, moved: false });
      });
      await t.until('all is well', () => t.well());
    },
  },
  {
    name: 's10-store-old',
    rules: 'S10',
    title: 'The monitor’s volume is an old copy: nobody is promoted before every node was heard',
    play: async (t) => {
      const old = { ...t.world.disk, moved: true };
      await t.event('a copy of the monitor’s volume is made', () => undefined);
      await t.event('docker kill replica-1', () => t.node('replica-1').kill());
      await t.passes(2_000);
      await t.event('docker kill primary, which was alone', () => t.node('primary').kill());
      await t.event('the monitor is started on the copy, where replica-1 is still counted', () => {
        t.world.monitor?.process.kill();
        t.world.startMonitor('monitor', old);
      });
      await t.event('docker start replica-1', () => t.node('replica-1').start());
      await t.passes(10_000);
      t.fact(`open: ${t.open() ?? 'nobody'}; ${t.reason()}`);
      await t.event('docker start primary', () => t.node('primary').start());
      await t.until('all is well', () => t.well());
    },
  },
  {
    name: 's11-stalled-monitor',
    rules: 'S11',
    title: 'The monitor stands still: when it wakes it trusts nothing that it saw',
    play: async (t) => {
      await t.event('docker pause failover-monitor', () => t.world.monitor?.process.pause());
      await t.passes(6_000);
      await t.event('docker unpause failover-monitor', () => t.world.monitor?.process.resume());
      await t.passes(2_000);
      t.fact(`writes go to ${t.open() ?? 'nobody'}, term ${t.world.monitor?.seen?.decision.state.term}`);
    },
  },
  {
    name: 's13-wake',
    rules: 'S13, S12',
    title: 'A former leader that wakes serves no reads before it is rewound',
    play: async (t) => {
      await t.event('docker pause primary', () => t.node('primary').pause());
      await t.until('writes go to replica-1', () => t.open() === 'replica-1');
      await t.event('docker unpause primary', () => t.node('primary').unpause());
      await t.until('primary serves reads only when it streams', () => t.well());
    },
  },
  {
    name: 's15-haproxy-restart',
    rules: 'S15',
    title: 'HAProxy restarts: it starts closed, and only the monitor opens',
    play: async (t) => {
      await t.event('docker kill haproxy', () => t.world.haproxy.kill());
      await t.event('docker start haproxy', () => t.world.haproxy.start());
      t.fact(`open: ${t.open() ?? 'nobody'}`);
      await t.until('writes go to primary', () => t.open() === 'primary');
    },
  },
  {
    name: 's15-haproxy-reload',
    rules: 'S15, S2',
    title: 'HAProxy is reloaded: the old worker finishes its sessions, the new one starts closed',
    play: async (t) => {
      await t.event('haproxy is reloaded', () => t.world.haproxy.reload());
      await t.until('writes go to primary through the new worker', () => t.open() === 'primary');
    },
  },
  {
    name: 's15-haproxy-frozen',
    rules: 'S15',
    title: 'HAProxy is frozen while the primary dies: nothing is opened before it answers',
    play: async (t) => {
      await t.event('docker pause haproxy', () => t.world.haproxy.process.pause());
      await t.event('docker kill primary', () => t.node('primary').kill());
      await t.passes(4_000);
      t.fact(t.reason());
      await t.event('docker unpause haproxy', () => t.world.haproxy.process.resume());
      await t.until('writes go to replica-1', () => t.open() === 'replica-1');
    },
  },
  {
    name: 's19-late',
    rules: 'S19, S28',
    title: 'The leader is late for a moment: new connections are held, nothing fails over',
    play: async (t) => {
      await t.event('docker pause primary', () => t.node('primary').pause());
      await t.passes(1_000);
      t.fact(`open: ${t.open() ?? 'nobody'}`);
      await t.event('docker unpause primary', () => t.node('primary').unpause());
      await t.until('writes go to primary', () => t.open() === 'primary');
      t.fact(`term ${t.world.monitor?.seen?.decision.state.term}`);
    },
  },
  {
    name: 's21-apart',
    rules: 'S21',
    title: 'Only the monitor cannot reach the leader: no failover on its word alone',
    play: async (t) => {
      await t.event('packets between monitor and primary are lost', () => {
        t.world.network.block('monitor', 'primary');
        t.world.network.block('primary', 'monitor');
      });
      await t.passes(15_000);
      t.fact(`writes go to ${t.open() ?? 'nobody'}, term ${t.world.monitor?.seen?.decision.state.term}`);
      await t.event('the network is whole again', () => t.world.network.heal());
      await t.until('all is well', () => t.well());
    },
  },
  {
    name: 's25-all-at-once',
    rules: 'S25, invariant 9',
    title: 'All nodes and the monitor are restarted at once: the recorded leader leads again',
    play: async (t) => {
      await t.event('the machine is switched off and on', () => {
        for (const node of t.world.nodes) node.kill();
        t.world.monitor?.process.kill();
        t.world.startMonitor();
        for (const node of t.world.nodes) node.start();
      });
      await t.until('all is well', () => t.well());
      t.fact(`writes go to ${t.open() ?? 'nobody'}`);
    },
  },
  {
    name: 's27-wedged',
    rules: 'S27',
    title: 'The primary’s disk is frozen: it answers and cannot commit',
    play: async (t) => {
      await t.event('the disk of primary is frozen', () => {
        t.node('primary').disk.slowness = Number.POSITIVE_INFINITY;
      });
      await t.until('writes go to replica-1', () => t.open() === 'replica-1');
      await t.event('the disk of primary is well again', () => {
        t.node('primary').disk.slowness = 1;
      });
      await t.until('primary follows replica-1', () => t.well());
    },
  },
  {
    name: 'monitor-dead',
    rules: 'Invariant 7',
    title: 'A dead monitor harms nothing',
    play: async (t) => {
      await t.event('docker kill failover-monitor', () => t.world.monitor?.process.kill());
      const before = t.world.history.count;
      await t.passes(5_000);
      t.fact(`writes go on: ${t.world.history.count > before + 20 ? 'yes' : 'no'}`);
      await t.event('docker start failover-monitor', () => t.world.startMonitor());
      await t.until('all is well', () => t.well());
    },
  },
  {
    name: 'replica-wiped',
    rules: 'S10',
    title: 'A replica’s volume is removed: it is copied, and counted when it streams',
    play: async (t) => {
      await t.event('docker kill replica-1, and its volume is removed', () => {
        t.node('replica-1').kill();
        t.node('replica-1').wipe();
      });
      await t.event('docker start replica-1', () => t.node('replica-1').start());
      await t.until('all is well', () => t.well());
    },
  },
];
