/** All places of the backups. Each has a schedule of its own; one job runs at a time. */
import type { Answer, BackupPart, BackupSummary, BackupsAnswer, RestoreTestStatus } from '../contract/api';
import type { JobKind, RepositoryName, RestoreTarget } from '../contract/backups';
import type { Policy } from '../contract/inputs';
import type { BackupPlan } from '../core/backup-schedule';
import type { Decision } from '../core/state/cluster';
import type { Observation } from '../core/state/observation';
import { Backups } from './backups';
import type { BackupCommand, Clock, Keepers, Log } from './ports';

const NONE = 'backups are off in this stack (backup: false)';

export class BackupPlaces implements BackupCommand {
  /** The first is the one on the machine with the data, if there is one. */
  private readonly places: readonly Backups[];

  /** What is known of the tested restores of a place; undefined: none are tested. */
  testsOf: (name: RepositoryName) => RestoreTestStatus | undefined = () => undefined;

  constructor(
    policy: Policy,
    keepers: Pick<Keepers, 'backup'>,
    clock: Clock,
    log: Log,
    newId: () => string,
    wallMs?: () => number,
    /** A standby keeps its old data until its copy is complete. */
    keepsOld?: boolean,
  ) {
    this.places = plansOf(policy).map(
      ([name, plan]) => new Backups(plan, keepers, clock, log, newId, wallMs, keepsOld, name),
    );
    for (const one of this.places) one.isTaken = () => this.places.some((other) => other !== one && other.busy);
  }

  /** Called after each decision that was carried out. */
  cycle(decision: Decision, observation: Observation): void {
    for (const one of this.places) one.cycle(decision, observation);
  }

  backup(kind: JobKind, dryRun: boolean, repository?: RepositoryName): Answer {
    const place = repository === undefined ? this.places[0] : this.places.find(({ name }) => name === repository);
    if (place !== undefined) return place.backup(kind, dryRun);
    const names = this.places.map(({ name }) => name).join(', ');
    return this.refuse(
      names === '' ? NONE : `there are no backups in ${repository}; the places of this stack: ${names}`,
    );
  }

  /** A restore in place reads the first place: it is beside the data, if there is one there. */
  restore(target: RestoreTarget): ReturnType<BackupCommand['restore']> {
    return this.places[0]?.restore(target) ?? { refusal: NONE };
  }

  refuse(message: string): Answer {
    return this.places[0]?.refuse(message) ?? { done: false, message, leader: null, term: 0, tookMs: 0 };
  }

  summary(): BackupSummary | null {
    const [first, second] = this.places.map((one) => this.withTests(one, one.summary()));
    return first == null ? null : { ...first, ...(second != null && { second }) };
  }

  list(): BackupsAnswer | null {
    const [first, second] = this.places.map((one) => this.withTests(one, one.list()));
    return first == null ? null : { ...first, ...(second != null && { second }) };
  }

  private withTests<P extends BackupPart>({ name }: Backups, part: P | null): P | null {
    const restoreTest = this.testsOf(name);
    return part === null || restoreTest === undefined ? part : { ...part, restoreTest };
  }
}

/** The schedules that a stack's settings ask for, by place. */
export function plansOf({
  backup,
  backupFullEveryMs,
  backupEveryMs,
  backupS3,
}: Policy): [RepositoryName, BackupPlan][] {
  if (backup !== true || backupFullEveryMs === undefined || backupEveryMs === undefined) return [];
  const plans: [RepositoryName, BackupPlan][] = [];
  if (backupS3?.only !== true) plans.push(['local', { fullEveryMs: backupFullEveryMs, everyMs: backupEveryMs }]);
  if (backupS3 !== undefined) plans.push(['s3', { fullEveryMs: backupS3.fullEveryMs, everyMs: backupS3.everyMs }]);
  return plans;
}
