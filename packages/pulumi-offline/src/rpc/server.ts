/**
 * What every plugin of the engine does: it serves gRPC on a free port, prints the port, and ends when the engine ends.
 */
import {
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';

/** Largest message. A log message with a build's context may be large, and states grow. */
const MESSAGE_LIMIT_BYTES = 256 * 1024 * 1024;
const PARENT_CHECK_MS = 500;

/**
 * Wraps an async function as the handler of a unary call. An error that it throws becomes the call's error, with its
 * message.
 */
export function unary<Request, Response>(
  work: (request: Request) => Promise<Response> | Response,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    Promise.resolve()
      .then(() => work(call.request))
      .then(
        (response) => callback(null, response),
        (error: unknown) => {
          const details = error instanceof Error ? error.message : String(error);
          callback({ code: status.UNKNOWN, details, message: details });
        },
      );
  };
}

/**
 * Serves until the engine ends this process or has itself ended.
 * @param onEnd ends what is running; the process exits when it settles
 */
export async function serve(
  service: ServiceDefinition<UntypedServiceImplementation>,
  implementation: UntypedServiceImplementation,
  onEnd: () => Promise<void>,
): Promise<void> {
  const server = new Server({
    'grpc.max_receive_message_length': MESSAGE_LIMIT_BYTES,
    'grpc.max_send_message_length': MESSAGE_LIMIT_BYTES,
  });
  server.addService(service, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    const onBound = (error: Error | null, bound: number) => (error ? reject(error) : resolve(bound));
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), onBound);
  });

  let ending = false;
  const end = () => {
    if (ending) return;
    ending = true;
    onEnd().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  // Without these handlers each command waits five seconds for the plugin to end.
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  // A killed engine sends nothing.
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && end(), PARENT_CHECK_MS).unref();

  process.stdout.write(`${port}\n`);
}
