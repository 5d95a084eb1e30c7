/**
 * Prometheus: collects the metrics of monitor and HAProxy and evaluates the alert rules. No other part depends on it.
 */
import * as docker from '@pulumi/docker';
import * as pulumi from '@pulumi/pulumi';
import { IDS, PATHS, PORTS } from '../failover/contract/layout';
import { labels, NAMES } from '../stack/naming';
import type { Topology } from '../stack/topology';
import { containerDefaults, containerOptions, volumeMount, volumeOptions } from './container';

const STOP_SECONDS = 30;
/** Interval of scrapes and evaluations. An alert fires at least one scrape and one evaluation after its condition. */
const INTERVAL = '5s';
/** A monitor that takes longer to answer counts as down. */
const SCRAPE_TIMEOUT = '4s';

export interface MonitoringArgs {
  /** Addresses and host ports. */
  readonly topology: Topology;
  readonly prometheus: NonNullable<Topology['prometheus']>;
  /** Image reference that changes with the content (`repoDigest`), the alert rules included. */
  readonly image: pulumi.Input<string>;
  /** Name of the inner network. */
  readonly network: pulumi.Input<string>;
}

export class Monitoring extends pulumi.ComponentResource {
  readonly container: docker.Container;

  constructor(name: string, args: MonitoringArgs, opts?: pulumi.ComponentResourceOptions) {
    super('postgres-failover:index:Monitoring', name, {}, opts);
    const { topology, prometheus } = args;
    const { stackLabel, bindAddress, ports } = topology;
    const data = new docker.Volume(
      NAMES.prometheusData,
      { name: prometheus.volume, labels: labels(stackLabel, 'prometheus') },
      volumeOptions(this, true),
    );
    const external = ports.prometheusPort;
    this.container = new docker.Container(
      name,
      {
        ...containerDefaults(stackLabel, 'prometheus'),
        name: prometheus.name,
        image: args.image,
        user: `${IDS.prometheus}:${IDS.prometheus}`,
        networksAdvanced: [{ name: args.network, ipv4Address: prometheus.address }],
        ports: [{ internal: PORTS.prometheus, external, ip: bindAddress, protocol: 'tcp' }],
        mounts: [volumeMount(data, PATHS.prometheusVolume)],
        uploads: [{ file: PATHS.prometheusConfig, content: prometheusConfig(topology), permissions: '0444' }],
        stopTimeout: STOP_SECONDS,
        destroyGraceSeconds: STOP_SECONDS,
      },
      containerOptions(this),
    );
    this.registerOutputs({ container: this.container.name });
  }
}

/**
 * Prometheus's config with the scraped targets. They are given by address, so no name must be resolved and the monitor
 * needs to know no name. JSON is valid YAML. Pure.
 */
export function prometheusConfig({ stack, monitor, haproxy }: Topology): string {
  const job = (name: string, target: string) => ({
    job_name: name,
    static_configs: [{ targets: [target], labels: { stack } }],
  });
  const config = {
    global: { scrape_interval: INTERVAL, scrape_timeout: SCRAPE_TIMEOUT, evaluation_interval: INTERVAL },
    rule_files: [PATHS.prometheusRules],
    scrape_configs: [
      job('pgfailover-monitor', `${monitor.address}:${PORTS.monitorHttp}`),
      job('pgfailover-haproxy', `${haproxy.address}:${PORTS.haproxyStats}`),
      job('prometheus', `127.0.0.1:${PORTS.prometheus}`),
    ],
  };
  return JSON.stringify(config, null, 2);
}
