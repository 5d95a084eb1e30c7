/**
 * Restores that are tested on a schedule: the input file of the container that runs the tests, and the messages between it
 * and the monitor.
 *
 * Transport as with the pooler (pooler.ts): the container connects to the monitor, and both prove a key that is derived
 * from the cluster key (handshake.ts). The container knows nothing else. What a test needs comes with its order, sealed with
 * that key, and is kept in memory only.
 *
 * The monitor says once a second which test is wanted, and the container what it does. A test goes on while the monitor is
 * away for a short time, for example during an upgrade, and a monitor that starts takes over the test that it finds.
 */
import { z } from 'zod';
import { RepositoryName, S3Settings } from './backups';
import { Challenge, Welcome } from './handshake';
import { MonitorAddress } from './messages';
import { RestoreTestResult } from './restore-test';

export const CHECKER_PROTOCOL = 1;
/** The name that stands for the container in the proofs. */
export const CHECKER_NAME = 'checker';
/** How often each side says where it stands, ms. It is also the sign of life. */
export const TELL_EVERY_MS = 1_000;
/** A test whose monitor is away for longer is ended, ms. */
export const MONITOR_LOST_MS = 600_000;
/** Limit for one test, ms. */
export const TEST_LIMIT_MS = 24 * 3_600_000;
/** Longest sealed order, characters. */
const SEALED_MAX = 16_384;
const Id = z.string().max(64);

/** The input of the container. */
export const CheckerConfig = z.strictObject({
  monitor: MonitorAddress.strict(),
  /** See `derivedPassword` in proof.ts. */
  key: z.string().min(32),
});
export type CheckerConfig = z.infer<typeof CheckerConfig>;

/** What one test needs. It holds passphrase and keys. */
export const TestOrder = z.strictObject({
  repository: RepositoryName,
  /** pgBackRest's name of the cluster in the repository. */
  stanza: z.string().regex(/^c\d{1,20}$/),
  passphrase: z.string().min(1).max(1_024),
  /** For `s3`; its authorities are in the frame. */
  s3: S3Settings.omit({ ca: true }).strict().optional(),
  /** All that was written before this wall time is in the archive, ms; null: not known. */
  promisedMs: z.number().nullable(),
});
export type TestOrder = z.infer<typeof TestOrder>;

/** The test that is wanted, or null. What runs beside it is ended. */
const Wanted = z.object({ type: z.literal('wanted'), id: Id.nullable() });
const Test = z.object({
  type: z.literal('test'),
  id: Id,
  /** A {@link TestOrder}, sealed with the key of this connection. */
  order: z.string().max(SEALED_MAX),
  /** Authorities of S3, PEM, which are no secret. */
  ca: z.string().max(262_144).optional(),
});

/** What the monitor sends. */
export const ToChecker = z.discriminatedUnion('type', [Challenge, Welcome, Wanted, Test]);
export type ToChecker = z.infer<typeof ToChecker>;

/** The test that runs. */
export const RunningTest = z.object({
  id: Id,
  repository: RepositoryName,
  sinceMs: z.number(),
  /** What it does now, for people. */
  step: z.string().max(300),
});
export type RunningTest = z.infer<typeof RunningTest>;

const Hello = z.object({
  type: z.literal('hello'),
  version: z.number().int(),
  nonce: z.string(),
  mac: z.string(),
});
const State = z.object({
  type: z.literal('state'),
  running: RunningTest.nullable(),
  /** How the last test ended, since the container's start. */
  last: z.object({ id: Id, result: RestoreTestResult }).nullable(),
});
export type CheckerState = z.infer<typeof State>;

/** What the container sends. */
export const FromChecker = z.discriminatedUnion('type', [Hello, State]);
export type FromChecker = z.infer<typeof FromChecker>;
