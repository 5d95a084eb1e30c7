import { describe, expect, it } from 'vitest';
import {
  parseEpoch,
  parseLoads,
  parseOldWorkers,
  parseServers,
  parseSession,
} from '../../failover/monitor/router/haproxy-socket';

const SERVERS = `1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 write 1 leader 127.0.0.1 2 0 1 1 11 1 0 2 0 0 0 0 - 1 - 0 0 - - 0
5 read 1 node1 10.213.0.20 0 5 1 1 676 1 0 0 14 0 0 0 - 5432 - 0 0 - - 0
5 read 2 node2 10.213.0.21 2 4 1 1 676 1 0 0 14 0 0 0 - 5432 - 0 0 - - 0
`;

const SESSIONS = [
  '0x7f14aff1f400: proto=tcpv4 src=10.217.83.1:43708 fe=write be=write srv=hold ts=00 epoch=0 age=8s calls=3 rate=0 cpu=0 lat=0 rq[f=848101h,i=0,an=00h,ax=] rp[f=80008000h,i=0,an=00h,ax=] scf=[8,0h,fd=18,rex=23h59m,wex=] scb=[8,1h,fd=19,rex=23h59m,wex=] exp=23h59m rc=0 c_exp=',
  '0x7f14aff1f800: proto=tcpv4 src=127.0.0.1:41328 fe=write-held be=write srv=<none> ts=00 epoch=0 age=8s calls=2 rate=0 cpu=0 lat=0 rq[f=808000h,i=0,an=00h,ax=] rp[f=80000000h,i=0,an=00h,ax=] scf=[8,0h,fd=20,rex=23h59m,wex=] scb=[2,1h,fd=-1,rex=,wex=] exp=22s rc=0 c_exp=22s',
  '0x7f14aff1fc00: proto=tcpv4 src=10.217.83.1:43742 fe=read be=read srv=node2 ts=00 epoch=0 age=8s calls=2 rate=0 cpu=0 lat=0 rq[f=808000h,i=0,an=00h,ax=] rp[f=80000000h,i=0,an=00h,ax=] scf=[8,0h,fd=23,rex=23h59m,wex=] scb=[5,1h,fd=24,rex=,wex=] exp=22s rc=0 c_exp=22s',
  '0x7f14aff1fd00: proto=tcpv4 src=10.217.83.1:43743 fe=read be=read srv=node2 ts=00 epoch=0 age=8s calls=2 rate=0 cpu=0 lat=0 rq[f=808000h,i=0,an=00h,ax=] rp[f=80000000h,i=0,an=00h,ax=] scf=[8,0h,fd=23,rex=23h59m,wex=] scb=[10,1h,fd=-1,rex=,wex=] exp=22s rc=0 c_exp=22s',
  '0x7f8171c95000: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s calls=1 rate=0 cpu=0 lat=0 rq[f=848000h,i=0,an=00h,ax=] rp[f=80008000h,i=0,an=00h,ax=] scf=[8,0h,fd=34,rex=1m,wex=] scb=[8,1h,fd=-1,rex=,wex=] exp=1m rc=0 c_exp=',
  '',
];

const LOADS = `# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,status,type,rate
write,FRONTEND,,,4,4,4196,9,0,OPEN,0,0
write,node1,0,0,3,80,80,9,0,UP,2,0
write,node2,0,0,0,0,,9,0,MAINT,2,0
write,hold,0,0,1,1,1,9,0,no check,2,0
write,BACKEND,4000,4000,4004,4004,1382,9,0,UP,1,0
`;

describe("HAProxy's answers", () => {
  it('show the address of each slot, and which slots are in maintenance', () => {
    expect(parseServers(SERVERS)).toEqual([
      {
        backend: 'write',
        backendId: '3',
        server: 'leader',
        address: '127.0.0.1',
        port: 1,
        maintenance: false,
        down: false,
      },
      {
        backend: 'read',
        backendId: '5',
        server: 'node1',
        address: '10.213.0.20',
        port: 5432,
        maintenance: true,
        down: true,
      },
      // 0x04 alone: the slot is `disabled` in the configuration and was opened since.
      {
        backend: 'read',
        backendId: '5',
        server: 'node2',
        address: '10.213.0.21',
        port: 5432,
        maintenance: false,
        down: false,
      },
    ]);
    expect(parseServers('Unknown command')).toEqual([]);
  });

  it('show the state of each session and its slot', () => {
    expect(SESSIONS.map(parseSession)).toEqual([
      { id: '0x7f14aff1f400', backend: 'write', slot: 'hold', state: 'established' },
      { id: '0x7f14aff1f800', backend: 'write', slot: null, state: 'waits' },
      { id: '0x7f14aff1fc00', backend: 'read', slot: 'node2', state: 'connects' },
      { id: '0x7f14aff1fd00', backend: 'read', slot: 'node2', state: 'ended' },
      null,
      null,
    ]);
  });

  it('show how many sessions a slot has, also in an answer with other tables', () => {
    expect(parseLoads(`Name: HAProxy\n${SERVERS}\n${LOADS}\n${LOADS.replaceAll('write', 'read')}`).slice(0, 5)).toEqual(
      [
        { backend: 'write', server: 'node1', sessions: 3, total: 9, queued: 0, limit: 80 },
        { backend: 'write', server: 'node2', sessions: 0, total: 9, queued: 0, limit: null },
        { backend: 'write', server: 'hold', sessions: 1, total: 9, queued: 0, limit: 1 },
        { backend: 'write', server: 'BACKEND', sessions: 4004, total: 9, queued: 4000, limit: 1382 },
        { backend: 'read', server: 'node1', sessions: 3, total: 9, queued: 0, limit: 80 },
      ],
    );
    expect(parseLoads('Unknown command')).toEqual([]);
  });

  it('show when a worker was started', () => {
    expect(parseEpoch('Name: HAProxy\nPid: 51\nUptime_sec: 0\nStart_time_sec: 1795558891\n')).toBe('51@1795558891');
    expect(parseEpoch('')).toBeNull();
  });

  it('show which workers only finish old sessions', () => {
    const answer = `#<PID>          <type>          <reloads>       <uptime>        <version>
7               master          1 [failed: 0]   0d00h00m01s     3.0.11
# workers
51              worker          0               0d00h00m00s     3.0.11
# old workers
27              worker          1               0d00h00m01s     3.0.11
31              worker          2               0d00h00m09s     3.0.11
# programs
`;
    expect(parseOldWorkers(answer)).toEqual(['27', '31']);
    expect(parseOldWorkers(answer.replace(/# old workers[^#]*/, ''))).toEqual([]);
  });
});
