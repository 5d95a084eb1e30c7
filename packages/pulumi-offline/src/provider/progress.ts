/** Sends lines that the engine shows beside a resource during an operation. */
import { credentials, Metadata } from '@grpc/grpc-js';
import { EngineClient } from '@pulumi/pulumi/proto/engine_grpc_pb';
import { LogRequest, LogSeverity } from '@pulumi/pulumi/proto/engine_pb';

/** Largest number of waiting lines. More lines wait only if the engine is stuck, and then they are dropped. */
const QUEUE_LIMIT = 500;
const CALL_LIMIT_MS = 5_000;

export class Progress {
  private readonly client: EngineClient;
  /** Calls are made one after the other, because the lines would otherwise arrive out of order. */
  private last: Promise<void> = Promise.resolve();
  private waiting = 0;

  /** @param address the engine's address, from the command line or the handshake */
  constructor(address: string) {
    this.client = new EngineClient(address, credentials.createInsecure());
  }

  /** Shows a line, which the next one replaces. */
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

  /** Sends a line. A failure to show it is ignored. */
  private call(request: LogRequest): Promise<void> {
    const options = { deadline: Date.now() + CALL_LIMIT_MS };
    return new Promise((resolve) => this.client.log(request, new Metadata(), options, () => resolve()));
  }

  /** Settles when the engine has all lines so far. */
  flush(): Promise<void> {
    return this.last;
  }
}
