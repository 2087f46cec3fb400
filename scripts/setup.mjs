// Makes a fresh clone ready: `node scripts/setup.mjs PURPOSE`, PURPOSE one of start, test, bench,
// build. Checks the machine, installs the npm packages when the lock file is newer than they are,
// builds when a source is newer than the build, and, as root, installs missing Debian packages.
// Plain Node with no dependencies: nothing else is there yet.

import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const STAMP = join(ROOT, 'dist', '.built');
const SOURCES = [
  'assembly',
  'src',
  'lab',
  'bench',
  'test',
  'docs',
  'scripts',
  'tsconfig.json',
  'asconfig.json',
  'package-lock.json',
  'scripts/bundle.mjs',
  'bin/conntrack',
];

/** Programs of the lab and the Debian packages they come from. */
const PROGRAMS = {
  ip: 'iproute2',
  nft: 'nftables',
  conntrack: 'conntrack',
  conntrackd: 'conntrackd',
  ping: 'iputils-ping',
  sysctl: 'procps',
  vsftpd: 'vsftpd',
  lftp: 'lftp',
  sipp: 'sip-tester',
  'in.tftpd': 'tftpd-hpa',
  tftp: 'tftp-hpa',
};

const purpose = process.argv[2] ?? 'build';
const root = process.getuid?.() === 0;

function fail(message) {
  console.error(message);
  process.exit(1);
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (error) fail(`${command}: ${error.message}`);
  if (status !== 0) fail(`${command} ${args.join(' ')} ended with status ${status}`);
}

function newest(path) {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 0;
  if (!found.isDirectory()) return found.mtimeMs;
  return Math.max(found.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function onPath(program) {
  const folders = [
    ...(process.env.PATH ?? '').split(':'),
    '/usr/sbin',
    '/sbin',
    '/usr/bin',
    '/bin',
  ];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function checkMachine() {
  const [major] = process.versions.node.split('.');
  if (Number(major) < 20) fail(`Node.js 20 or newer is needed; this is ${process.version}`);
  if (process.platform !== 'linux')
    fail("Flowtwin runs on Linux: it talks to the kernel's connection tracking");
  if (purpose === 'start' && !root) {
    fail('npm start makes network namespaces, so it must run as root: sudo npm start');
  }
}

function installPackages() {
  const lock = newest(join(ROOT, 'package-lock.json'));
  if (newest(join(ROOT, 'node_modules', '.package-lock.json')) >= lock) return;
  console.log('installing packages (npm ci) ...');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

function build() {
  const sources = Math.max(...SOURCES.map((name) => newest(join(ROOT, name))));
  if (existsSync(STAMP) && statSync(STAMP).mtimeMs >= sources) return;
  console.log('building ...');
  mkdirSync(join(ROOT, 'dist'), { recursive: true });
  const started = Date.now();
  const bin = join(ROOT, 'node_modules', '.bin');
  run(join(bin, 'asc'), ['assembly/index.ts', '--config', 'asconfig.json', '--target', 'release']);
  run(join(bin, 'tsc'), ['-p', 'tsconfig.json']);
  run(process.execPath, [join(ROOT, 'scripts', 'bundle.mjs')]);
  run(process.execPath, [join('dist', 'scripts', 'man.js')]);
  writeFileSync(STAMP, '');
  console.log(`built in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

function installPrograms() {
  const missing = Object.keys(PROGRAMS).filter((program) => !onPath(program));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((program) => PROGRAMS[program]))];
  if (!root || !onPath('apt-get')) {
    console.error(
      `missing: ${missing.join(', ')}. Install the Debian packages: ${packages.join(' ')}`,
    );
    if (purpose === 'start') process.exit(1);
    return;
  }
  console.log(`installing the Debian packages ${packages.join(' ')} ...`);
  process.env.DEBIAN_FRONTEND = 'noninteractive';
  run('apt-get', ['update', '-qq']);
  run('apt-get', ['install', '-y', '-qq', ...packages]);
  // Some packages start daemons of their own on some systems; the lab runs its own.
  const services = ['conntrackd', 'vsftpd', 'tftpd-hpa'].filter((name) => packages.includes(name));
  spawnSync('systemctl', ['disable', '--now', ...services], { stdio: 'ignore' });
}

checkMachine();
installPackages();
build();
if (purpose !== 'build') installPrograms();
