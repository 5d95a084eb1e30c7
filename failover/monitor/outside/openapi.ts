/** The OpenAPI document of the HTTP API, made from the same schemas as its requests and answers (api.ts). */
import { z } from 'zod';
import {
  Answer,
  ApiError,
  Bodies,
  ClusterStatus,
  type Command,
  Events,
  Failovers,
  History,
  STREAM_EVENTS,
} from '../../contract/api';

const READS = {
  cluster: { schema: ClusterStatus, summary: 'The cluster now, with the newest events.' },
  events: { schema: Events, summary: 'Lines of the log, oldest first.' },
  failovers: {
    schema: Failovers,
    summary: 'Changes of leader that the monitor remembers, step by step, oldest first.',
  },
  history: { schema: History, summary: 'Write latency and lag of the last hour, one moment a second.' },
} as const;

const COMMANDS: Record<Command, string> = {
  switchover: 'Hands the lead over to another node, without losing anything.',
  promote: 'Makes a node the leader by a person’s word, although acknowledged writes may be lost.',
  pause: 'No automatic change of leader from now on.',
  resume: 'Ends a pause.',
  rebuild: 'Throws a standby’s data away and copies it anew.',
};

const QUERY = (name: string, description: string) => ({
  name,
  in: 'query',
  required: false,
  description,
  schema: { type: 'integer', minimum: 0 },
});

/** Makes an OpenAPI 3.1 document, whose schemas are JSON Schema 2020-12. */
export function openapi(version: string): object {
  const reads = Object.entries(READS).map(([path, { schema, summary }]) => [
    `/api/v1/${path}`,
    {
      get: {
        operationId: path,
        summary,
        ...(path === 'events'
          ? {
              parameters: [
                QUERY('after', 'Only events with a higher id.'),
                QUERY('limit', 'At most so many, the newest.'),
              ],
            }
          : {}),
        responses: { 200: json('Done.', schema, 'output'), 503: json('The monitor is starting.', ApiError, 'output') },
      },
    },
  ]);
  const commands = Object.entries(COMMANDS).map(([path, summary]) => [
    `/api/v1/${path}`,
    {
      post: {
        operationId: path,
        summary,
        security: [{ adminToken: [] }],
        requestBody: { required: true, ...json('', Bodies[path as Command], 'input') },
        responses: {
          200: json('Done; with dryRun: it would be.', Answer, 'output'),
          400: json('The body does not fit.', ApiError, 'output'),
          401: json('No token, or a wrong one.', ApiError, 'output'),
          403: json('Another site’s page asks.', ApiError, 'output'),
          409: json('Refused or failed; the message says why.', Answer, 'output'),
        },
      },
    },
  ]);
  const stream = {
    get: {
      operationId: 'stream',
      summary: `Server-sent events: ${STREAM_EVENTS.join(', ')}. The id of a log event may be given back as Last-Event-ID, or as after.`,
      parameters: [QUERY('after', 'Begin with the log events that have a higher id.')],
      responses: {
        200: { description: 'Does not end.', content: { 'text/event-stream': { schema: { type: 'string' } } } },
      },
    },
  };
  return {
    openapi: '3.1.0',
    info: { title: 'postgres-failover', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    components: { securitySchemes: { adminToken: { type: 'http', scheme: 'bearer' } } },
    paths: { ...Object.fromEntries([...reads, ...commands]), '/api/v1/stream': stream },
  };
}

function json(description: string, schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _, ...plain } = z.toJSONSchema(schema, { io });
  const content = { content: { 'application/json': { schema: plain } } };
  return description === '' ? content : { description, ...content };
}
