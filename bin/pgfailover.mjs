#!/usr/bin/env node
// `pgfailover <command>` is `npm run failover -- <command>` without npm's own lines, for scripts and completion.
process.argv.splice(2, 0, 'failover');
await import('../scripts/start.mjs');
