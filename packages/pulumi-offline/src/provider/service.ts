/**
 * The engine's ResourceProvider service for a few resource kinds. It is the raw service and not the SDK's
 * `provider.main`, because only the raw service has detailed diffs, old inputs, time limits, cancel, and creation in a
 * preview.
 */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { type PluginAttach, PluginInfo } from '@pulumi/pulumi/proto/plugin_pb';
import * as rpc from '@pulumi/pulumi/proto/provider_pb';
import { Empty } from 'google-protobuf/google/protobuf/empty_pb';
import { unary } from '../rpc/server';
import { autoName } from './auto-name';
import { Operations } from './operations';
import { Progress } from './progress';
import type { Operation, ResourceKind } from './resource-kind';
import { carryOver, diffResponse, markOutputs } from './responses';
import { findChanges } from './rules';
import { fromStruct, markLike, revealProps, toStruct } from './values';

export interface ProviderOptions {
  name: string;
  version: string;
  kinds: ResourceKind[];
  /** Called with the provider's own config, e.g. `{ host: 'tcp://…' }`. */
  configure?: (config: Record<string, string>) => void;
}

/** The part of a request that every operation needs. */
interface Addressed {
  getUrn(): string;
  getTimeout?(): number;
}

export class ProviderService {
  readonly operations = new Operations();
  private progress: Progress | undefined;

  /** @param engineAddress address for log lines; it may also arrive later, with the handshake */
  constructor(
    private readonly options: ProviderOptions,
    engineAddress: string | undefined,
  ) {
    if (engineAddress) this.progress = new Progress(engineAddress);
  }

  /** The handlers of the engine's calls. All other calls are answered with "unimplemented". */
  implementation(): UntypedServiceImplementation {
    return {
      handshake: unary((request: rpc.ProviderHandshakeRequest) => this.handshake(request)),
      attach: unary((request: PluginAttach) => this.attach(request)),
      getPluginInfo: unary(() => new PluginInfo().setVersion(this.options.version)),
      getSchema: unary(() => this.schema()),
      checkConfig: unary((request: rpc.CheckRequest) => new rpc.CheckResponse().setInputs(request.getNews())),
      diffConfig: unary(() => new rpc.DiffResponse()),
      configure: unary((request: rpc.ConfigureRequest) => this.configure(request)),
      invoke: unary((request: rpc.InvokeRequest) => this.refuse(request.getTok())),
      check: unary((request: rpc.CheckRequest) => this.check(request)),
      diff: unary((request: rpc.DiffRequest) => this.diff(request)),
      create: unary((request: rpc.CreateRequest) => this.create(request)),
      read: unary((request: rpc.ReadRequest) => this.read(request)),
      update: unary((request: rpc.UpdateRequest) => this.update(request)),
      delete: unary((request: rpc.DeleteRequest) => this.remove(request)),
      cancel: unary(() => this.cancel()),
    };
  }

  private handshake(request: rpc.ProviderHandshakeRequest): rpc.ProviderHandshakeResponse {
    this.progress ??= new Progress(request.getEngineAddress());
    return new rpc.ProviderHandshakeResponse().setAcceptSecrets(true);
  }

  private attach(request: PluginAttach): Empty {
    this.progress = new Progress(request.getAddress());
    return new Empty();
  }

  private schema(): rpc.GetSchemaResponse {
    const { name, version } = this.options;
    return new rpc.GetSchemaResponse().setSchema(JSON.stringify({ name, version }));
  }

  private configure(request: rpc.ConfigureRequest): rpc.ConfigureResponse {
    const prefix = `${this.options.name}:config:`;
    const config: Record<string, string> = {};
    for (const [key, value] of request.getVariablesMap().toArray()) config[key.replace(prefix, '')] = value;
    this.options.configure?.(config);
    return new rpc.ConfigureResponse().setAcceptsecrets(true).setSupportspreview(true);
  }

  private cancel(): Empty {
    this.operations.cancel();
    return new Empty();
  }

  private async check(request: rpc.CheckRequest): Promise<rpc.CheckResponse> {
    const kind = this.kindOf(request.getUrn());
    const marked = fromStruct(request.getNews());
    const response = new rpc.CheckResponse();
    const unknown = Object.keys(marked).filter((key) => !(key in kind.rules) && !key.startsWith('__'));
    for (const key of unknown) {
      const reason = `the offline kit does not serve this input of ${kind.type}`;
      response.addFailures(new rpc.CheckFailure().setProperty(key).setReason(reason));
    }
    if (unknown.length > 0) return response.setInputs(request.getNews());
    const plain = revealProps(marked);
    const named = kind.autoName ? autoName(plain, request) : plain;
    const complete = (await kind.check?.(named)) ?? named;
    return response.setInputs(toStruct(markLike(marked, complete)));
  }

  private diff(request: rpc.DiffRequest): rpc.DiffResponse {
    const kind = this.kindOf(request.getUrn());
    const outputs = revealProps(fromStruct(request.getOlds()));
    const news = revealProps(fromStruct(request.getNews()));
    const is = kind.inputsOf?.(outputs) ?? { ...revealProps(fromStruct(request.getOldInputs())), ...outputs };
    const changes = findChanges(kind.rules, is, news, request.getIgnorechangesList());
    return diffResponse(changes, kind.deleteBeforeReplace(news));
  }

  private async create(request: rpc.CreateRequest): Promise<rpc.CreateResponse> {
    const kind = this.kindOf(request.getUrn());
    // In a preview, the engine treats missing outputs as not known yet.
    if (request.getPreview()) return new rpc.CreateResponse().setProperties(request.getProperties());
    const marked = fromStruct(request.getProperties());
    const { id, outputs } = await this.operate(request, (operation) => kind.create(revealProps(marked), operation));
    return new rpc.CreateResponse().setId(id).setProperties(toStruct(markOutputs(kind, marked, outputs)));
  }

  private async read(request: rpc.ReadRequest): Promise<rpc.ReadResponse> {
    const kind = this.kindOf(request.getUrn());
    const marked = fromStruct(request.getProperties());
    const work = (operation: Operation) => kind.read(request.getId(), revealProps(marked), operation);
    const outputs = await this.operate(request, work);
    if (outputs === undefined) return new rpc.ReadResponse();
    const response = new rpc.ReadResponse().setId(request.getId()).setInputs(request.getInputs());
    return response.setProperties(toStruct(markOutputs(kind, marked, outputs)));
  }

  private async update(request: rpc.UpdateRequest): Promise<rpc.UpdateResponse> {
    const kind = this.kindOf(request.getUrn());
    const markedOlds = fromStruct(request.getOlds());
    const marked = { ...markedOlds, ...fromStruct(request.getNews()) };
    const news = revealProps(fromStruct(request.getNews()));
    const olds = revealProps(markedOlds);
    const base = carryOver(kind, olds, news);
    if (request.getPreview()) {
      for (const key of kind.changedByUpdate ?? []) delete base[key];
      return new rpc.UpdateResponse().setProperties(toStruct(markOutputs(kind, marked, base)));
    }
    const work = async (operation: Operation) => kind.update?.(request.getId(), olds, news, operation);
    const outputs = { ...base, ...(await this.operate(request, work)) };
    return new rpc.UpdateResponse().setProperties(toStruct(markOutputs(kind, marked, outputs)));
  }

  private async remove(request: rpc.DeleteRequest): Promise<Empty> {
    const kind = this.kindOf(request.getUrn());
    const outputs = revealProps(fromStruct(request.getProperties()));
    await this.operate(request, (operation) => kind.remove(request.getId(), outputs, operation));
    return new Empty();
  }

  private async operate<T>(request: Addressed, work: (operation: Operation) => Promise<T>): Promise<T> {
    const urn = request.getUrn();
    const name = urn.slice(urn.lastIndexOf('::') + 2);
    const progress = (line: string) => this.progress?.status(urn, line);
    try {
      return await this.operations.run(request.getTimeout?.() ?? 0, (signal) => work({ urn, name, signal, progress }));
    } finally {
      await this.progress?.flush();
    }
  }

  private kindOf(urn: string): ResourceKind {
    const type = urn.split('::')[2]?.split('$').pop() ?? '';
    return this.options.kinds.find((kind) => kind.type === type) ?? this.refuse(type);
  }

  private refuse(token: string): never {
    const served = this.options.kinds.map((kind) => kind.type).join(', ');
    throw new Error(
      `the offline kit does not serve ${token}. It serves only what this project uses: ${served}. ` +
        'For more, use the Pulumi CLI and plugins of the vendor.',
    );
  }
}
