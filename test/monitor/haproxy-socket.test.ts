import { describe, expect, it } from 'vitest';
import { parseEpoch, parseOldWorkers, parseServers, parseSessions } from '../../failover/monitor/haproxy-socket';

const SERVERS = `1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 write 1 leader 127.0.0.1 2 0 1 1 11 1 0 2 0 0 0 0 - 1 - 0 0 - - 0
5 read 1 node1 10.213.0.20 0 5 1 1 676 1 0 0 14 0 0 0 - 5432 - 0 0 - - 0
5 read 2 node2 10.213.0.21 2 4 1 1 676 1 0 0 14 0 0 0 - 5432 - 0 0 - - 0
`;

const SESSIONS = `0x7f3f1b33a400: [24/Nov/2026:22:21:41.708229] id=1 proto=tcpv4 source=10.213.0.50:50886
  flags=0x4a, conn_retries=23, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x7f3f1c666000, pend_pos=(nil) waiting=0 epoch=0x1
  frontend=write (id=2 mode=tcp), listener=? (id=1) addr=10.213.0.10:5432
  backend=write (id=3 mode=tcp) addr=10.213.0.10:35448
  server=node1 (id=1) addr=10.213.0.20:5432
  scf=0x7f3f1c621b40 flags=0x00000000 ioto=1d state=EST endp=CONN,0x7f3f1b468770,0x50600001 sub=1 rex=23h59m
  scb=0x7f3f1c621ae0 flags=0x00000001 ioto=1d state=EST endp=CONN,0x7f3f1b4687a0,0x50600001 sub=1 rex=23h59m
0x7f3f1b33a500: [24/Nov/2026:22:21:42.708229] id=3 proto=tcpv4 source=10.213.0.50:50887
  frontend=write (id=2 mode=tcp), listener=? (id=1) addr=10.213.0.10:5432
  backend=write (id=3 mode=tcp)
  server=hold (id=10) addr=127.0.0.1:1
  scf=0x7f3f1c621b40 flags=0x00000200 ioto=1d state=EST endp=CONN,0x7f3f1b468770,0x10640001 sub=0
  scb=0x7f3f1c621ae0 flags=0x00000001 ioto=0s state=TAR endp=NONE,(nil),0x00000010 sub=0
0x7f3f1b88b000: [24/Nov/2026:22:21:42.384084] id=4 proto=unix_stream source=unix:1
  frontend=GLOBAL (id=0 mode=tcp), listener=? (id=1) addr=unix:1
  backend=<NONE> (id=-1 mode=-)
  server=<NONE> (id=-1)
  scb=0x7f3f1b888060 flags=0x00000001 ioto=0s state=EST endp=APPCTX,0x7f3f1b89a000,0x50000002 sub=0
`;

describe("HAProxy's answers", () => {
  it('tell the address of each slot, and which are taken out', () => {
    expect(parseServers(SERVERS)).toEqual([
      { backend: 'write', server: 'leader', address: '127.0.0.1', port: 1, maintenance: false, down: false },
      { backend: 'read', server: 'node1', address: '10.213.0.20', port: 5432, maintenance: true, down: true },
      // 0x04 alone: the configuration said `disabled`, the slot was opened since.
      { backend: 'read', server: 'node2', address: '10.213.0.21', port: 5432, maintenance: false, down: false },
    ]);
    expect(parseServers('Unknown command')).toEqual([]);
  });

  it('tell which sessions are established, and to which address', () => {
    expect(parseSessions(SESSIONS)).toEqual([
      { id: '0x7f3f1b33a400', serial: '1', backend: 'write', slot: 'node1', server: '10.213.0.20', state: 'EST' },
      { id: '0x7f3f1b33a500', serial: '3', backend: 'write', slot: 'hold', server: null, state: 'TAR' },
    ]);
  });

  it('tell when a worker was started', () => {
    expect(parseEpoch('Name: HAProxy\nPid: 51\nUptime_sec: 0\nStart_time_sec: 1795558891\n')).toBe('51@1795558891');
    expect(parseEpoch('')).toBeNull();
  });

  it('tell which workers only finish old sessions', () => {
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
