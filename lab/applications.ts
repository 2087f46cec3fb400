// Real applications whose connections the kernel's helpers follow: FTP (vsftpd, lftp), SIP
// (sip-tester), TFTP (tftpd-hpa, tftp-hpa). Servers and clients of Debian, one on each side of the
// firewalls. They end with the lab: the removal of a namespace kills what is left inside.

import type { ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CALL_SIGNALLING, RAS_PORT } from './h323.js';
import type { Run } from './namespace.js';
import { CLIENT, type Firewall, SERVER, type Topology } from './topology.js';
import { waitFor } from './wait.js';

/** Programs of each application. */
export const APPLICATION = {
  ftp: ['vsftpd', 'lftp'],
  sip: ['sipp'],
  tftp: ['in.tftpd', 'tftp'],
} as const;

/** Where the caller wants the voice; the port above is for its control (RTCP). */
export const MEDIA = 16000;

/** Gives the flows of these applications their helpers. */
export function helperRules({ ns }: Firewall): void {
  ns.nft(`
table inet fw {
  ct helper sip { type "sip" protocol udp; }
  ct helper tftp { type "tftp" protocol udp; }
  ct helper ras { type "RAS" protocol udp; }
  ct helper q931 { type "Q.931" protocol tcp; }
}
insert rule inet fw begin udp dport 5060 ct helper set "sip"
insert rule inet fw begin udp dport 69 ct helper set "tftp"
insert rule inet fw begin udp dport ${RAS_PORT} ct helper set "ras"
insert rule inet fw begin tcp dport ${CALL_SIGNALLING} ct helper set "q931"
`);
}

/** A directory that servers may read after they have given up root. */
function published(run: Run, name: string, files: Record<string, Buffer>): string {
  const directory = run.path(name);
  chmodSync(run.directory, 0o711);
  chmodSync(directory, 0o755);
  for (const [file, content] of Object.entries(files)) {
    writeFileSync(join(directory, file), content, { mode: 0o644 });
  }
  return directory;
}

function ended(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

const sizeOf = (path: string): number => (existsSync(path) ? statSync(path).size : 0);

/** A file that is on its way. */
export interface Transfer {
  /** Resolves when `bytes` have come. */
  progress(bytes: number): Promise<void>;
  /** Resolves with what came, when the client has ended well. */
  finish(): Promise<Buffer[]>;
}

/**
 * Two files by FTP in active mode, the server opening each data connection: `slow` at a limited rate,
 * then `after`.
 */
export async function fetchByFtp(
  run: Run,
  { client, server }: Topology,
  files: { slow: Buffer; after: Buffer },
  bytesPerSecond: number,
): Promise<Transfer> {
  const root = published(run, 'ftp', files);
  const config = join(run.path('vsftpd'), 'conf');
  const lines = {
    listen: 'YES',
    background: 'NO',
    anonymous_enable: 'YES',
    local_enable: 'NO',
    no_anon_password: 'YES',
    anon_root: root,
    port_enable: 'YES',
    connect_from_port_20: 'NO',
    seccomp_sandbox: 'NO',
    secure_chroot_dir: root,
    listen_address: SERVER.v4,
  };
  writeFileSync(
    config,
    Object.entries(lines)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  server.spawn('vsftpd', [config], { detached: true, stdio: 'ignore' });
  await waitFor(() => server.execSync('ss', ['-Hltn', 'sport = :21']) !== '', { for: 'vsftpd' });
  const into = run.path('fetched');
  const commands = [
    'set ftp:passive-mode off',
    'set ftp:use-feat off',
    'set net:max-retries 1',
    'set net:timeout 30',
    `set net:limit-rate ${bytesPerSecond}`,
    'set xfer:clobber yes',
    `get slow -o ${into}/slow`,
    `get after -o ${into}/after`,
    'bye',
  ].join('; ');
  const child = client.spawn('lftp', ['-e', commands, `ftp://${SERVER.v4}`], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return transfer(child, [`${into}/slow`, `${into}/after`]);
}

/** A file by TFTP. The server's data comes from a port of its own. */
export async function fetchByTftp(
  run: Run,
  { client, server }: Topology,
  file: Buffer,
): Promise<Transfer> {
  const root = published(run, 'tftp', { file });
  const words = ['-L', '-a', `${SERVER.v4}:69`, '-s', root];
  server.spawn('in.tftpd', words, { detached: true, stdio: 'ignore' });
  await waitFor(() => server.execSync('ss', ['-Hlun', 'sport = :69']) !== '', { for: 'in.tftpd' });
  const into = join(run.path('fetched'), 'file');
  const get = ['-m', 'binary', SERVER.v4, '-c', 'get', 'file', into];
  const child = client.spawn('tftp', get, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  return transfer(child, [into]);
}

function transfer(child: ChildProcess, paths: readonly string[]): Transfer {
  let said = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk) => {
      said += String(chunk);
    });
  }
  const explain = () => `the client ended with ${child.exitCode}: ${said}`;
  return {
    progress: async (bytes) => {
      await waitFor(() => sizeOf(paths[0]!) >= bytes, { for: `${bytes} bytes`, explain });
    },
    finish: async () => {
      await waitFor(() => ended(child), { for: 'the transfer to end', timeout: 60_000, explain });
      if (child.exitCode !== 0) throw new Error(explain());
      return paths.map((path) => readFileSync(path));
    },
  };
}

/** A call that is up: both sides have told each other where the voice goes. */
export interface Call {
  /** Hangs up after the pause it was begun with; throws unless both sides agreed to that. */
  finish(): Promise<void>;
}

/** A call between two SIP agents, of `seconds`. */
export async function call(run: Run, { client, server }: Topology, seconds: number): Promise<Call> {
  const quiet = { detached: true, stdio: 'ignore', env: { ...process.env, TERM: 'dumb' } } as const;
  const directory = run.path('sip');
  const scenario = join(directory, 'caller.xml');
  writeFileSync(scenario, caller(seconds * 1000));
  const words = ['-nostdin', '-p', '5060'];
  server.spawn('sipp', ['-sn', 'uas', '-i', SERVER.v4, ...words], { ...quiet, cwd: directory });
  await waitFor(() => server.execSync('ss', ['-Hlun', 'sport = :5060']) !== '', {
    for: 'the callee',
  });
  const once = ['-sf', scenario, '-i', CLIENT.v4, ...words, '-m', '1', '-timeout', '60'];
  const child = client.spawn('sipp', [...once, `${SERVER.v4}:5060`], { ...quiet, cwd: directory });
  return {
    finish: async () => {
      const timeout = seconds * 1000 + 40_000;
      await waitFor(() => ended(child), { for: 'the call to end', timeout });
      if (child.exitCode !== 0) throw new Error(`the caller ended with ${child.exitCode}`);
    },
  };
}

function caller(pause: number): string {
  const head = (
    method: string,
    cseq: number,
    to: string,
  ) => `      ${method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0
      Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
      From: lab <sip:lab@[local_ip]:[local_port]>;tag=[call_number]
      To: <sip:[service]@[remote_ip]:[remote_port]>${to}
      Call-ID: [call_id]
      CSeq: ${cseq} ${method}
      Contact: sip:lab@[local_ip]:[local_port]
      Max-Forwards: 70`;
  return `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
  <send retrans="500">
    <![CDATA[
${head('INVITE', 1, '')}
      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=lab 1 1 IN IP4 [local_ip]
      s=-
      c=IN IP4 [local_ip]
      t=0 0
      m=audio ${MEDIA} RTP/AVP 0
      a=rtpmap:0 PCMU/8000
    ]]>
  </send>
  <recv response="100" optional="true"></recv>
  <recv response="180" optional="true"></recv>
  <recv response="200"></recv>
  <send>
    <![CDATA[
${head('ACK', 1, '[peer_tag_param]')}
      Content-Length: 0

    ]]>
  </send>
  <pause milliseconds="${pause}"/>
  <send retrans="500">
    <![CDATA[
${head('BYE', 2, '[peer_tag_param]')}
      Content-Length: 0

    ]]>
  </send>
  <recv response="200"></recv>
</scenario>
`;
}
