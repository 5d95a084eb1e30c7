/** Lines that the engine shows beside a resource while something is under way. */
import { credentials, Metadata } from '@grpc/grpc-js';
import { EngineClient } from '@pulumi/pulumi/proto/engine_grpc_pb';
import { LogRequest, LogSeverity } from '@pulumi/pulumi/proto/engine_pb';

/** More lines than this wait for the engine only when it is stuck; then they are dropped. */
const QUEUE_LIMIT = 500;
const CALL_LIMIT_MS = 5_000;

export class Progress {
  private readonly client: EngineClient;
  /** Calls go one after the other, else the lines arrive out of order. */
  private last: Promise<void> = Promise.resolve();
  private waiting = 0;

  /** @param address the engine's, from the command line or the handshake */
  constructor(address: string) {
    this.client = new EngineClient(address, credentials.createInsecure());
  }

  /** Shows a line that the next one takes the place of. */
  status(urn: string, message: string): void {
    if (message.trim() === '' || this.waiting >= QUEUE_LIMIT) return;
    this.waiting += 1;
    const request = new LogRequest();
    request.setUrn(urn);
    request.setMessage(message);
    request.setSeverity(LogSeverity.INFO);
    request.setEphemeral(true);
    this.last = this.last
      .then(() => this.call(request))
      .then(() => {
        this.waiting -= 1;
      });
  }

  /** A line that cannot be shown is not worth failing for. */
  private call(request: LogRequest): Promise<void> {
    const options = { deadline: Date.now() + CALL_LIMIT_MS };
    return new Promise((resolve) => this.client.log(request, new Metadata(), options, () => resolve()));
  }

  /** Settles when all lines so far are with the engine. */
  flush(): Promise<void> {
    return this.last;
  }
}
