/** The OpenAPI document of the HTTP API, made from the same schemas as its requests and answers (api.ts). */
import { z } from 'zod';
import {
  Answer,
  ApiError,
  BackupsAnswer,
  Bodies,
  ClusterStatus,
  type Command,
  Events,
  Failovers,
  History,
  STREAM_EVENTS,
} from '../../contract/api';
import { VERSION } from '../../contract/version';

/** The calls that read. `summary` describes the answer, `schema` is its schema. */
const READS: readonly [operationId: string, summary: string, schema: z.ZodType, parameters?: object[]][] = [
  ['cluster', 'The cluster now, with the newest events.', ClusterStatus],
  [
    'events',
    'Lines of the log, oldest first.',
    Events,
    [query('after', 'Only events with a higher id.'), query('limit', 'At most this many, the newest.')],
  ],
  ['failovers', 'Changes of leader that the monitor remembers, step by step, oldest first.', Failovers],
  ['backups', 'The backups, and the window of time that a restore can reach.', BackupsAnswer],
  ['history', 'Write latency and lag of the last hour, one moment a second.', History],
];

const COMMANDS: Record<Command, string> = {
  switchover: 'Hands the lead over to another node, without losing anything.',
  promote: 'Makes a node the leader because a person asks for it, although acknowledged writes may be lost.',
  pause: 'Pauses automatic changes of leader.',
  resume: 'Ends a pause.',
  rebuild: 'Replaces a standby’s data by a new copy of the leader’s.',
  restore: 'Restores the leader’s data in place.',
  'restore-undo': 'Brings the data from before the last restore in place back.',
  'restore-confirm': 'Removes the data from before the last restore in place.',
  backup: 'Begins a backup, or a check of the repository (verify).',
};
const COMMAND_ANSWERS = {
  200: answer('Done; with dryRun: it would be done.', Answer),
  400: answer('The body does not fit.', ApiError),
  401: answer('No token, or a wrong one.', ApiError),
  403: answer('The request comes from a page of another site.', ApiError),
  409: answer('Refused or failed; the message says why.', Answer),
};

const STREAM = {
  summary: `Server-sent events: ${STREAM_EVENTS.join(', ')}. The id of a log event may be given back as Last-Event-ID, or as after.`,
  parameters: [query('after', 'Begin with the log events that have a higher id.')],
  responses: {
    200: { description: 'It does not end.', content: { 'text/event-stream': { schema: { type: 'string' } } } },
  },
};

/** Makes an OpenAPI 3.1 document, whose schemas are JSON Schema 2020-12. */
export function openapi(): object {
  const paths: Record<string, object> = {};
  const add = (operationId: string, method: 'get' | 'post', operation: object) => {
    paths[`/api/v1/${operationId}`] = { [method]: { operationId, ...operation } };
  };
  for (const [name, summary, schema, parameters] of READS) {
    const responses = { 200: answer('Done.', schema), 503: answer('The monitor is starting.', ApiError) };
    add(name, 'get', { summary, parameters, responses });
  }
  for (const [name, summary] of Object.entries(COMMANDS)) {
    const requestBody = { required: true, content: json(Bodies[name as Command], 'input') };
    add(name, 'post', { summary, security: [{ adminToken: [] }], requestBody, responses: COMMAND_ANSWERS });
  }
  add('stream', 'get', STREAM);
  return {
    openapi: '3.1.0',
    info: { title: 'postgres-failover', version: VERSION, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    components: { securitySchemes: { adminToken: { type: 'http', scheme: 'bearer' } } },
    paths,
  };
}

function query(name: string, description: string): object {
  return { name, in: 'query', required: false, description, schema: { type: 'integer', minimum: 0 } };
}

function answer(description: string, schema: z.ZodType): object {
  return { description, content: json(schema, 'output') };
}

function json(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _, ...plain } = z.toJSONSchema(schema, { io });
  return { 'application/json': { schema: plain } };
}
