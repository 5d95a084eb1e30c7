/** Entry of the provider plugins: `node provider.js <docker|command|random> <version> [engine address]`. */
import { ResourceProviderService } from '@pulumi/pulumi/proto/provider_grpc_pb';
import { serve } from '../rpc/server';
import { localCommand } from './command/local-command';
import { container } from './docker/container';
import { useHost } from './docker/daemon';
import { image } from './docker/image';
import { network } from './docker/network';
import { volume } from './docker/volume';
import { randomBytes } from './random/random-bytes';
import { randomPassword } from './random/random-password';
import { type ProviderOptions, ProviderService } from './service';

const PROVIDERS: Record<string, Omit<ProviderOptions, 'name' | 'version'>> = {
  docker: { kinds: [network, volume, image, container], configure: (config) => useHost(config.host) },
  command: { kinds: [localCommand] },
  random: { kinds: [randomPassword, randomBytes] },
};

const [name = '', version = '', engineAddress] = process.argv.slice(2);
const options = PROVIDERS[name];
if (!options) throw new Error(`no such provider: ${name}; there are ${Object.keys(PROVIDERS).join(', ')}`);
const service = new ProviderService({ name, version, ...options }, engineAddress);
serve(ResourceProviderService, service.implementation(), () => service.operations.end()).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
