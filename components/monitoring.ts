/**
 * Prometheus: collects the metrics of monitor and HAProxy and evaluates the alert rules. No other part depends on it.
 */
import type * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import { labels } from '../stack/naming';
import {
  type ContainerArgs,
  makeContainer,
  makeVolume,
  type PublishedPortArgs,
  publishedPort,
  volumeMount,
} from './container';

const STOP_SECONDS = 30;
/** Interval of scrapes and evaluations. An alert fires at least one scrape and one evaluation after its condition. */
const INTERVAL = '5s';
/** A monitor that takes longer to answer counts as down. */
const SCRAPE_TIMEOUT = '4s';

/** The image has the alert rules. */
export interface MonitoringArgs extends ContainerArgs, PublishedPortArgs {
  /** Name of the inner network. */
  readonly network: pulumi.Input<string>;
  /** Fixed address on the inner network. */
  readonly address: string;
  /** Name of the volume with the collected data. It is kept when the stack is destroyed. */
  readonly volume: string;
  /** Value of the label `stack` on everything that is collected. */
  readonly stack: string;
  /** Address of the monitor on the inner network. */
  readonly monitorAddress: string;
  /** Address of HAProxy on the inner network. */
  readonly haproxyAddress: string;
}

export class Monitoring extends pulumi.ComponentResource {
  readonly container: docker.Container;

  constructor(name: string, args: MonitoringArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:Monitoring', name, {}, opts);
    const data = makeVolume(this, `${name}-data`, {
      name: args.volume,
      labels: labels(args.stackLabel, 'prometheus'),
      keep: true,
    });
    this.container = makeContainer(this, name, args, {
      role: 'prometheus',
      user: `${IDS.prometheus}:${IDS.prometheus}`,
      networksAdvanced: [{ name: args.network, ipv4Address: args.address }],
      ports: [publishedPort(PORTS.prometheus, args)],
      mounts: [volumeMount(data, PATHS.prometheusVolume)],
      uploads: [{ file: PATHS.prometheusConfig, content: prometheusConfig(args), permissions: '0444' }],
      stopSeconds: STOP_SECONDS,
    });
    this.registerOutputs({ container: this.container.name });
  }
}

/**
 * Prometheus's config with the scraped targets. They are given by address, so no name must be resolved and the monitor
 * needs to know no name. JSON is valid YAML. Pure.
 */
function prometheusConfig({ stack, monitorAddress, haproxyAddress }: MonitoringArgs): string {
  const job = (name: string, target: string) => ({
    job_name: name,
    static_configs: [{ targets: [target], labels: { stack } }],
  });
  const config = {
    global: { scrape_interval: INTERVAL, scrape_timeout: SCRAPE_TIMEOUT, evaluation_interval: INTERVAL },
    rule_files: [PATHS.prometheusRules],
    scrape_configs: [
      job('pgfailover-monitor', `${monitorAddress}:${PORTS.monitorHttp}`),
      job('pgfailover-haproxy', `${haproxyAddress}:${PORTS.haproxyStats}`),
      job('prometheus', `127.0.0.1:${PORTS.prometheus}`),
    ],
  };
  return JSON.stringify(config, null, 2);
}
