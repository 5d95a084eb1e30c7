/**
 * The handshake of the connections between the monitor and a supervisor: a mutual proof (challenge → hello → welcome) of a
 * key that is derived from the cluster key. The frames after it are each connection's own.
 */
import { z } from 'zod';

export const Challenge = z.object({ type: z.literal('challenge'), version: z.number().int(), nonce: z.string() });
export const Welcome = z.object({ type: z.literal('welcome'), mac: z.string() });

/** What both sides of one kind of connection agree on. */
export interface Speech {
  /** The caller's role in the proofs. */
  readonly role: 'pooler' | 'checker';
  /** The name that stands for the caller in the proofs. */
  readonly name: string;
  readonly version: number;
}

/** Limit for the whole handshake, ms. */
export const HANDSHAKE_LIMIT_MS = 2_000;
/** Each side sends something at least every second. A connection that is silent for longer is ended, ms. */
export const SILENCE_LIMIT_MS = 5_000;
export const NONCE_BYTES = 32;

/** A frame by its type, before more is known of it. */
export interface Frame {
  readonly type: string;
}

export const isChallenge = (frame: Frame): frame is z.infer<typeof Challenge> => frame.type === 'challenge';
export const isWelcome = (frame: Frame): frame is z.infer<typeof Welcome> => frame.type === 'welcome';
