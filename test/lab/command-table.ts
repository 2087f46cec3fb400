// What the tests of the `conntrack` command share: both programs, and a namespace with rules and flows of
// every kind, made by the C command.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Netns, Run } from '../../lab/namespace.js';
import { missingPrograms, missingRoot, ROOT } from '../../lab/require.js';

export const C = '/usr/sbin/conntrack';
export const OURS = join(ROOT, 'bin/conntrack');

/** Why these tests cannot run here, or undefined. */
export const missing = missingRoot() ?? missingPrograms(['ip', 'nft', C]);

const RULES = `table inet cli {
  chain filter { type filter hook forward priority 0; ct label set 5; }
  chain source { type nat hook postrouting priority 100; }
  chain target { type nat hook prerouting priority -100; }
}`;

/** Saved lines: addresses, translations, zones, marks, every protocol with options and one without. */
const FLOWS = `
-I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 40000 --dport 443 -t 9000 --state ESTABLISHED -u ASSURED,SEEN_REPLY -m 5
-I -s 10.0.0.1 -d 10.0.0.3 -p tcp --sport 40001 --dport 80 -t 9000 --state SYN_SENT
-I -s 10.0.1.1 -d 10.0.0.3 -p udp --sport 5000 --dport 53 -t 9000 -m 0x1f
-I -s 10.0.1.1 -d 10.0.0.3 -p udp --sport 5000 --dport 53 -t 9000 -w 3
-I -s 10.0.1.9 -d 10.0.0.3 -p udp --sport 5000 --dport 53 -t 9000 --orig-zone 4
-I -s 10.0.1.8 -d 10.0.0.3 -p udp --sport 5000 --dport 53 -t 9000 --reply-zone 6
-I -s 10.0.2.1 -d 10.0.0.3 -p tcp --sport 41000 --dport 22 -t 9000 --state TIME_WAIT -n 192.0.2.1:5555 -u SEEN_REPLY
-I -s 10.0.2.2 -d 192.0.2.9 -p tcp --sport 41000 --dport 22 -t 9000 --state CLOSE -g 10.0.0.7
-I -s 10.0.3.1 -d 10.0.0.3 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 9000
-I -s 10.0.3.1 -d 10.0.0.3 -p gre --srckey 0xabc --dstkey 0xdef -t 9000
-I -s 10.0.3.1 -d 10.0.0.3 -p sctp --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -t 9000
-I -s 10.0.3.1 -d 10.0.0.3 -p udplite --sport 1 --dport 2 -t 9000
-I -s 10.0.3.1 -d 10.0.0.3 -p 200 -t 9000
-I -s fd00::1 -d fd00::2 -p tcp --sport 40000 --dport 443 -t 9000 --state ESTABLISHED -u ASSURED,SEEN_REPLY,FIXED_TIMEOUT
-I -s fd00::1:0:0:1 -d ::ffff:0:2 -p udp --sport 40000 --dport 443 -t 9000
-I -s fd00::1 -d fd00::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 9 -t 9000
`;

/** A namespace in which connection tracking counts, and knows labels, translations and times. */
export function commandNamespace(run: Run, role: string): Netns {
  const ns = run.add(role);
  ns.nft(RULES);
  ns.sysctl({ 'net.netfilter.nf_conntrack_acct': 1, 'net.netfilter.nf_conntrack_timestamp': 1 });
  return ns;
}

/** The file with the flows. */
export function flowsFile(run: Run): string {
  const file = join(run.path('files'), 'flows');
  writeFileSync(file, FLOWS);
  return file;
}

/** Without what the two programs cannot have in common: the version, and seconds that have passed. */
export function withoutTime(text: string): string {
  return text.replace(/\b(89\d\d|9000)\b/g, 'T').replaceAll('v1.4.7', 'v1.4.9');
}
