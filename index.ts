/** The program: config → topology → checks against this machine → the cluster → outputs. */
import * as pulumi from '@pulumi/pulumi';
import { PostgresCluster } from './components/postgres-cluster';
import { readSettings } from './stack/config';
import { endpoints } from './stack/endpoints';
import { preflight } from './stack/preflight';
import { buildTopology } from './stack/topology';

/** An async function as the module's export is how a Pulumi program awaits in a CommonJS package. */
module.exports = async () => {
  const settings = readSettings();
  const topology = buildTopology(settings, {
    project: pulumi.getProject(),
    stack: pulumi.getStack(),
    projectRoot: __dirname,
  });
  const engine = await preflight(topology);
  const cluster = new PostgresCluster('cluster', {
    topology,
    platform: engine.platform,
    databasePassword: settings.databasePassword || undefined,
  });
  return {
    ...endpoints(topology),
    ...cluster.secretOutputs(),
  };
};
