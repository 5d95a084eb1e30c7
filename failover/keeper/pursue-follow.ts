/**
 * Carries out an order to follow a leader: brings the data to the leader's history if that is ordered, and streams from
 * the leader.
 */
import type { NodeSettings } from '../contract/messages';
import { alone } from './lives';
import { KeeperError, type Source } from './ports';
import {
  dropLedSlots,
  ensureSlots,
  type Outcome,
  type Pass,
  type PursuitHost,
  peersOf,
  START_POLL_MS,
} from './pursuit-host';
import { type CopyTurn, mustBeOrdered, TargetPursuit } from './rejoining';
import { dataIdOf, streamingFrom } from './status';

/** Time until the next look at a PostgreSQL that lets no superuser in, ms. */
const LOCKED_OUT_MS = 200;
/** Interval at which a standby prepares for client sessions, ms. */
const WARM_MS = 30_000;

export class FollowPursuit extends TargetPursuit<'follow'> {
  private readonly turn: CopyTurn = { tried: false, sinceMs: null };

  override async pass(pass: Pass): Promise<Outcome> {
    const { host, node } = this.tools;
    const { settings, signal } = pass;
    const leader = settings.nodes.find((n) => n.name === this.target.leader);
    if (leader === undefined || leader.name === node) {
      throw new KeeperError(
        'ORDER_WRONG',
        `told to follow ${this.target.leader}, which is no other node of the settings`,
      );
    }
    const joined = await this.join(leader, pass);
    if (signal.aborted) return { done: false };
    const early = joined ?? (await this.run(leader, settings));
    if (early !== null) return early;
    const { lockedOut } = host.view;
    if (lockedOut !== undefined)
      return { done: false, failure: { code: 'SUPERUSER_LOCKED_OUT', message: lockedOut }, againMs: LOCKED_OUT_MS };
    if (host.view.sql === null) return { done: false, failure: cannotStream(host), againMs: START_POLL_MS };
    await this.keepSlots(settings);
    await host.look();
    if (streamingFrom(host.view, settings) !== leader.name) {
      return { done: false, failure: cannotStream(host), againMs: START_POLL_MS };
    }
    this.warm(settings);
    this.tools.rejoining.attempts.forget();
    const settled = this.target.restart !== true || needsRestart(host, settings) === false;
    return { done: settled, againMs: settled ? undefined : START_POLL_MS };
  }

  /**
   * Makes PostgreSQL run with the configuration that this order needs. Returns null to go on with the order, or the
   * outcome with which this pass ends.
   */
  private async run(leader: Source, settings: NodeSettings): Promise<Outcome | null> {
    const { lives, host } = this.tools;
    const late = this.target.lateReplay === true ? { lateReplay: true as const } : {};
    const wanted = { ...alone(settings), upstream: leader, ...late };
    if (!host.view.running) {
      const againMs = lives.restMs(settings);
      if (againMs > 0) return { done: false, againMs };
      // The leader may have a tablespace whose folder is missing here.
      if (lives.crashesInRow > 0) await this.tools.postgres.reach(leader).catch(() => undefined);
      await lives.start(wanted);
    } else if (host.view.paused === true || (this.target.restart === true && needsRestart(host, settings))) {
      host.note('info', 'SETTINGS_RESTART', `PostgreSQL is restarted for its settings: ${restartCause(host)}`);
      await lives.stop();
      await lives.start(wanted);
    } else {
      await lives.configure(wanted);
    }
    return null;
  }

  /**
   * Keeps slots on this standby for its peers, also for a node that joins later. A peer can then follow this node as
   * soon as it is promoted (S22).
   */
  private async keepSlots(settings: NodeSettings): Promise<void> {
    const life = this.tools.lives.now;
    const peers = peersOf(this.tools.node, settings);
    if (life.slotsMadeFor === peers.join(' ')) return;
    if (life.slotsMadeFor === null) await dropLedSlots(this.tools);
    await ensureSlots(this.tools, peers, life.slotsMadeFor === null);
    life.slotsMadeFor = peers.join(' ');
  }

  /**
   * Prepares for client sessions in the background. If it fails, the first session only takes some milliseconds longer.
   */
  private warm({ databaseName }: NodeSettings): void {
    const { clock, postgres } = this.tools;
    const life = this.tools.lives.now;
    if (clock.nowMs() - life.warmedAtMs < WARM_MS) return;
    life.warmedAtMs = clock.nowMs();
    postgres.warm(databaseName).catch(() => undefined);
  }

  /**
   * Brings the data to the leader's history, unless that is done already. The data is replaced only when the order says
   * so, because a node that counts for synchronous commit must leave the synchronous set first, and the monitor lets
   * one node at a time copy. Returns null to go on with the order, or the outcome with which this pass ends. Throws
   * MUST_COPY or REWIND_FAILED when only a copy helps.
   */
  private async join(leader: Source, pass: Pass): Promise<Outcome | null> {
    const { order, target } = this;
    const { host, rejoining, lives } = this.tools;
    const { state, view } = host;
    const joined = state.joined?.leader === leader.name && state.joined.term === order.term;
    if (target.method === 'copy') {
      const replaced = target.replaces !== undefined && target.replaces === dataIdOf(view, state);
      const unfit = !view.dataExists || state.rewinding || state.promotedByHand || state.promotingTerm !== null;
      const impossible = view.catchingUp !== true && view.streamImpossible !== null;
      if (!joined || unfit || replaced || impossible) {
        return rejoining.copy(leader, order.term, pass, this.turn, target.keepOld === true);
      }
    } else {
      await mustBeOrdered(target.method, host, rejoining.rewindFailed, () => lives.stop());
      if (target.method === 'rewind' && !joined) return rejoining.rewind(leader, order.term, pass);
    }
    if (host.view.sql?.inRecovery === false) await lives.stop();
    return null;
  }
}

/**
 * The failure to report when this data can never stream. This also covers a server that is not consistent and takes no
 * sessions.
 */
function cannotStream({ view }: PursuitHost): Outcome['failure'] {
  const { catchingUp, streamImpossible } = view;
  const impossible = catchingUp === true ? null : (streamImpossible ?? null);
  return impossible === null ? undefined : { code: 'STREAM_IMPOSSIBLE', message: impossible };
}

/** Whether a setting waits for a restart; null: not known yet. */
function needsRestart({ view }: PursuitHost, { postgresSettings }: NodeSettings): boolean | null {
  const seen = view.settings ?? null;
  if (seen === null || seen.wanted !== JSON.stringify(postgresSettings)) return null;
  return seen.status.restart !== 'none';
}

function restartCause({ view: { settings, paused } }: PursuitHost): string {
  return paused === true ? 'its leader has more of something (S23)' : (settings?.status.pending ?? []).join(', ');
}
