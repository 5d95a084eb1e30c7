/** The program: config → topology → checks against this machine → the cluster → outputs. */
import * as pulumi from '@pulumi/pulumi';
import { formerNames } from './components/former-names';
import { PostgresCluster } from './components/postgres-cluster';
import { readSettings } from './stack/config';
import { endpoints } from './stack/endpoints';
import { preflight } from './stack/preflight';
import { buildTopology } from './stack/topology';

const NAME = 'cluster';

/** An async function as the module's export is how a Pulumi program awaits in a CommonJS package. */
module.exports = async () => {
  const settings = readSettings();
  const identity = { project: pulumi.getProject(), stack: pulumi.getStack(), projectRoot: __dirname };
  const topology = buildTopology(settings, identity);
  const engine = await preflight(topology);
  const cluster = new PostgresCluster(
    NAME,
    { settings, identity, ...engine },
    { transformations: [formerNames(NAME)] },
  );
  return {
    ...endpoints(topology),
    caCertificate: cluster.caCertificate,
    ...cluster.secretOutputs(),
  };
};
