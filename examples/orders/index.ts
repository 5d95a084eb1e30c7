/** A program of your own with a cluster in it, beside whatever else the program makes. */
import { join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import { PostgresCluster } from '../../components/postgres-cluster';
import { settingsOf } from '../../stack/config';
import { preflight } from '../../stack/preflight';
import { buildTopology } from '../../stack/topology';

const IMAGES = '../../build/images';

module.exports = async () => {
  const settings = settingsOf({
    namePrefix: 'orders-',
    subnet: '10.202.7.0/24',
    replicas: 2,
    writePort: 6434,
    readPort: 6435,
    statsPort: 6000,
    monitorPort: 6008,
    backend: false,
    databaseName: 'orders',
    databaseUser: 'orders',
    hangTimeout: '3s',
    postgresSettings: { work_mem: '16MB' },
  });
  const identity = { project: pulumi.getProject(), stack: pulumi.getStack(), projectRoot: __dirname };
  const engine = await preflight(buildTopology(settings, identity), join(__dirname, '../..'));
  const orders = new PostgresCluster('orders', { settings, identity, ...engine, imagesFolder: IMAGES });
  return { writeUrl: orders.writeUrl, readUrl: orders.readUrl };
};
