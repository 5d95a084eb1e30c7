/** Every wait of the tests that need Docker, ms. Limits, not expectations: what is fast is measured, not waited for. */
const SECOND = 1_000;
const MINUTE = 60 * SECOND;

export const TIMEOUTS = {
  /** A first `up`: images are built, possibly all anew. */
  firstUp: 20 * MINUTE,
  /** A later `up`, `preview` or `destroy`, every image being there. */
  pulumi: 6 * MINUTE,
  /** `docker stop`: PostgreSQL may take its time to shut down. */
  dockerStop: 90 * SECOND,
  docker: 30 * SECOND,
  /** One connection attempt of a test client, and one query. */
  connect: 40 * SECOND,
  query: 30 * SECOND,
  /** A node that came back: start, rewind or copy, catch up. */
  rejoin: 90 * SECOND,
  /** Until the read port follows a change of the standbys. */
  readPort: 30 * SECOND,
  /** What is promised: the next INSERT after the primary's death. */
  nextInsert: 2 * SECOND,
  /** The backend's start inside an `up` that has ended. */
  backend: 60 * SECOND,
  /** Between two looks at something that is waited for. */
  poll: 200,
} as const;
