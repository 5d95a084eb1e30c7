/** `pulumi-language-nodejs`: runs the project's program with the SDK's own runner. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { LanguageRuntimeService } from '@pulumi/pulumi/proto/language_grpc_pb';
import * as rpc from '@pulumi/pulumi/proto/language_pb';
import { PluginInfo } from '@pulumi/pulumi/proto/plugin_pb';
import { Empty } from 'google-protobuf/google/protobuf/empty_pb';
import { serve, unary } from '../rpc/server';

/** The runner's exit code for "the error has been shown already". */
const REPORTED_BY_PROGRAM = 32;
const END_LIMIT_MS = 5_000;

const [version = '', ...args] = process.argv.slice(2);
/** The engine's address follows its options. */
let engineAddress = args.filter((arg) => !arg.startsWith('-')).at(-1) ?? '';
const programs = new Set<ChildProcess>();

async function run(request: rpc.RunRequest): Promise<rpc.RunResponse> {
  const info = request.getInfo();
  const directory = info?.getProgramDirectory() || request.getPwd();
  const require = createRequire(join(resolve(directory), 'package.json'));
  const options = {
    project: request.getProject(),
    stack: request.getStack(),
    organization: request.getOrganization(),
    monitor: request.getMonitorAddress(),
    engine: engineAddress,
    parallel: String(request.getParallel()),
    'root-directory': info?.getRootDirectory() ?? '',
    pwd: request.getPwd(),
  };
  const flags = Object.entries(options).flatMap(([key, value]) => (value === '' ? [] : [`--${key}`, value]));
  if (request.getDryrun()) flags.push('--dry-run');
  const program = info?.getEntryPoint() || request.getProgram();
  const command = [require.resolve('@pulumi/pulumi/cmd/run'), ...flags, program, ...request.getArgsList()];
  const env = {
    ...process.env,
    // The runner loads ts-node only if this variable says that the program is TypeScript.
    PULUMI_NODEJS_TYPESCRIPT: 'true',
    PULUMI_CONFIG: JSON.stringify(Object.fromEntries(request.getConfigMap().toArray())),
    PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
  };
  // The program's output is for the user, so it uses this process's outputs.
  const child = spawn(process.execPath, command, { cwd: directory, env, stdio: ['ignore', 'inherit', 'inherit'] });
  programs.add(child);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((onEnd, reject) => {
    child.on('error', reject);
    child.on('close', (...end) => onEnd(end));
  }).finally(() => programs.delete(child));
  const response = new rpc.RunResponse();
  if (code === REPORTED_BY_PROGRAM) return response.setBail(true);
  if (code !== 0) response.setError(`the program ended with ${signal ?? `exit code ${code}`}`);
  return response;
}

function dependencies(request: rpc.GetProgramDependenciesRequest): rpc.GetProgramDependenciesResponse {
  const directory = request.getInfo()?.getProgramDirectory() || request.getPwd();
  const manifest: { dependencies?: Record<string, string> } = JSON.parse(
    readFileSync(join(directory, 'package.json'), 'utf8'),
  );
  const list = Object.entries(manifest.dependencies ?? {}).map(([name, wanted]) =>
    new rpc.DependencyInfo().setName(name).setVersion(wanted),
  );
  return new rpc.GetProgramDependenciesResponse().setDependenciesList(list);
}

/** Ends the programs. Settles when they have ended, or at the limit. */
async function endPrograms(): Promise<void> {
  const ended = [...programs].map((child) => new Promise((onEnd) => child.on('close', onEnd)));
  for (const child of programs) child.kill('SIGTERM');
  const limit = setTimeout(() => programs.forEach((child) => void child.kill('SIGKILL')), END_LIMIT_MS);
  await Promise.all(ended).finally(() => clearTimeout(limit));
}

const implementation = {
  handshake: unary((request: rpc.LanguageHandshakeRequest) => {
    engineAddress = request.getEngineAddress();
    return new rpc.LanguageHandshakeResponse();
  }),
  getPluginInfo: unary(() => new PluginInfo().setVersion(version)),
  // The SDKs report the plugins that they need to the engine themselves.
  getRequiredPackages: unary(() => new rpc.GetRequiredPackagesResponse()),
  about: unary(() => new rpc.AboutResponse().setExecutable(process.execPath).setVersion(process.version)),
  getProgramDependencies: unary(dependencies),
  run: unary(run),
  cancel: unary(() => {
    void endPrograms();
    return new Empty();
  }),
};

serve(LanguageRuntimeService, implementation, endPrograms).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
