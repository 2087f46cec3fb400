// The text of -h. Its first lines are known to scripts, the rest is for reading.

import { VERSION } from './complain.js';
import { type ProtocolChoice, protocolTitle } from './protocols.js';

const BODY = `
Commands:
  -L [table] [options]      List flows or expectations
  -G [table] parameters     Show one flow or expectation
  -D [table] parameters     Delete flows, or an expectation
  -I [table] parameters     Create a flow or an expectation
  -A parameters             Create a flow, or update it if it exists
  -U parameters             Update flows
  -E [table] [options]      Show events as they come
  -F [table]                Delete everything
  -C [table]                Show the number of entries
  -S [table]                Show statistics of each processor
  -R file                   Carry out the command lines of a file ("-": standard input)
  --top [options]           Live table of flows, sources, ports and states

Tables: conntrack, expect, dying, unconfirmed

Conntrack parameters and options:
  -n, --src-nat ip[:port]           Translated source
  -g, --dst-nat ip[:port]           Translated destination
  -j, --any-nat ip[:port]           Translated source or destination
  -m, --mark mark[/mask]            Mark
  -c, --secmark secmark             Security mark
  -i, --id id                       The kernel's id of a flow
  -e, --event-mask mask[,...]       ALL, NEW, UPDATES, DESTROY
  -z, --zero                        Zero counters while listing
  -o, --output type[,...]           xml, extended, timestamp, id, ktimestamp, labels, userspace,
                                    save, json, color, align
  -l, --label label[,...]           Labels
  --labelmap file                   Names of labels (default /etc/xtables/connlabel.conf)

Expectation parameters and options:
  --tuple-src ip[/prefix]           Source address of the expected flow
  --tuple-dst ip[/prefix]           Destination address of the expected flow

Updating parameters and options:
  --label-add label[,...]           Add labels
  --label-del [label[,...]]         Delete labels; without a name, all of them

Options of --top:
  --interval seconds                Time between two looks (default 1)
  --sort key                        rate, bytes, packets, flows, timeout; source, port, state

Common parameters and options:
  -s, --src, --orig-src ip[/prefix] Source address of the original direction
  -d, --dst, --orig-dst ip[/prefix] Destination address of the original direction
  -r, --reply-src ip                Source address of the reply direction
  -q, --reply-dst ip                Destination address of the reply direction
  -p, --protonum proto              Layer 4 protocol, e.g. tcp
  -f, --family family               Layer 3 protocol: ipv4 or ipv6
  -t, --timeout seconds             Timeout
  -u, --status status[,...]         ASSURED, SEEN_REPLY, UNSET, FIXED_TIMEOUT, EXPECTED, OFFLOAD,
                                    HW_OFFLOAD, UNREPLIED
  -w, --zone value                  Zone
  --orig-zone value                 Zone of the original direction
  --reply-zone value                Zone of the reply direction
  -b, --buffer-size bytes           Size of the netlink socket's buffer
  --mask-src ip                     Mask of the source address
  --mask-dst ip                     Mask of the destination address
`;

/** The help; with a protocol, its options as well. */
export function helpText(program: string, choice: ProtocolChoice | undefined): string {
  const head =
    `Command line interface for the connection tracking system. Version ${VERSION}\n` +
    `Usage: ${program} [commands] [options]\n`;
  return head + BODY + (choice === undefined ? '\n' : protocolHelp(choice));
}

function protocolHelp(choice: ProtocolChoice): string {
  const options = choice.protocol?.options.map(
    ({ longs, help }) => `  --${longs[0]!.padEnd(22)} ${help}\n`,
  );
  const lines = options === undefined ? '  no options (unsupported)\n' : options.join('');
  return `\nProto \`${protocolTitle(choice)}' help:\n${lines}`;
}
