import { describe, expect, it } from 'vitest';
import { connectionUrls, endpoints } from '../../stack/endpoints';
import { topologyOf } from '../components/mocks';

describe('the topology', () => {
  it('gives every container on the inner network a fixed address', () => {
    const topology = topologyOf({ replicas: '8', subnet: '10.214.0.0/16' });
    expect(topology.haproxy.address).toBe('10.214.0.10');
    expect(topology.monitor.address).toBe('10.214.0.11');
    expect(topology.nodes.map((node) => [node.name, node.address])).toEqual([
      ['postgres-primary', '10.214.0.20'],
      ...Array.from({ length: 8 }, (_, i) => [`postgres-replica-${i + 1}`, `10.214.0.${21 + i}`]),
    ]);
  });

  it('keeps addresses when replicas come and go', () => {
    expect(topologyOf({ replicas: '3' }).nodes.slice(0, 2)).toEqual(topologyOf({ replicas: '1' }).nodes);
  });

  it('puts the prefix before every name but not before logical names', () => {
    const { networks, haproxy, monitor, backends, nodes } = topologyOf({ namePrefix: 'prg-', backendReplicas: '2' });
    const named = { ...networks, haproxy: haproxy.name, monitor: monitor.name };
    const volumes = [haproxy.configVolume, haproxy.socketsVolume, monitor.storeVolume];
    const names = ['prg-postgres-failover-inner', 'prg-postgres-failover-front', 'prg-haproxy', 'prg-failover-monitor'];
    expect(Object.values(named)).toEqual(names);
    expect(volumes).toEqual(['prg-haproxy-config', 'prg-haproxy-sockets', 'prg-failover-monitor-store']);
    expect(backends.map(({ name }) => name)).toEqual(['prg-backend', 'prg-backend-2']);
    expect(nodes.map(({ name }) => name)).toEqual(['prg-postgres-primary', 'prg-postgres-replica-1']);
    expect(nodes.map((node) => node.volume)).toEqual(['prg-postgres-primary-data', 'prg-postgres-replica-1-data']);
    expect(nodes.map((node) => node.logical)).toEqual(['postgres-primary', 'postgres-replica-1']);
    expect(backends.map((backend) => backend.logical)).toEqual(['backend', 'backend-2']);
  });

  it('is frozen all the way down', () => {
    const topology = topologyOf();
    expect(Object.isFrozen(topology)).toBe(true);
    expect(Object.isFrozen(topology.nodes[0])).toBe(true);
    expect(Object.isFrozen(topology.settings)).toBe(true);
  });
});

describe('the addresses for people', () => {
  it('are on localhost', () => {
    expect(endpoints(topologyOf({ databaseUser: 'blink_user', databaseName: 'blink_db' }))).toEqual({
      psql: 'psql -h localhost -p 5434 -U blink_user -d blink_db',
      apiUrl: 'http://localhost:8000',
      apiDocsUrl: 'http://localhost:8000/docs',
      monitorUrl: 'http://localhost:8008',
      statsUrl: 'http://localhost:5000/stats',
      logFile: '/project/logs/test/failover.log',
      clientPlaces: '176 clients a node (max_connections 200 less 24 for the failover); each port holds 4096',
    });
  });

  it('name more places for clients where max_connections is larger', () => {
    const { clientPlaces } = endpoints(topologyOf({ postgresSettings: '{"max_connections":250}' }));
    expect(clientPlaces).toMatch(/^226 clients a node/);
  });

  it('name the address that the ports are bound to, and no API without a backend', () => {
    const addresses = endpoints(topologyOf({ bindAddress: '192.168.1.5', backend: 'false', databaseUser: "o'b" }));
    expect(addresses.monitorUrl).toBe('https://192.168.1.5:8008');
    expect(addresses.psql).toBe("psql -h 192.168.1.5 -p 5434 -U 'o'\\''b' -d app");
    expect(addresses).not.toHaveProperty('apiUrl');
    expect(addresses).not.toHaveProperty('apiDocsUrl');
    expect(addresses).not.toHaveProperty('pgadminUrl');
    expect(endpoints(topologyOf({ pgadmin: 'true', pgadminPort: '5051' })).pgadminUrl).toBe('http://localhost:5051');
  });

  it('escape what a connection string could misread', () => {
    expect(connectionUrls(topologyOf({ databaseUser: 'a@b' }), 'p:/?#%').write).toBe(
      'postgresql://a%40b:p%3A%2F%3F%23%25@localhost:5434/app',
    );
  });
});
