/*
 * Grammar of the dedicated links: `Multicast`, `UDP` and `TCP` in section Sync.
 *
 * Families. A multicast link belongs to the family of its first address; addresses of the other one
 * are ignored with a warning. A UDP or TCP link belongs to the family of its last address. In both,
 * the order of `Interface` and the addresses does not matter.
 */

import { type Family, isAny } from './address.js';
import type { LinkDraft, LinkKind, SyncDraft } from './draft.js';
import { extensionBlock } from './extension-grammar.js';
import type { Token } from './lexer.js';
import { type Block, block, type Handler, type Parser } from './parser.js';

export const MAX_LINKS = 4;

function socketHandlers(link: LinkDraft): Record<string, Handler> {
  return {
    Interface: (p, word) => {
      link.interface = p.name(word, 'the name of a network interface').text;
    },
    SndSocketBuffer: (p, word) => {
      link.sndSocketBuffer = p.optionalNumber(word);
    },
    RcvSocketBuffer: (p, word) => {
      link.rcvSocketBuffer = p.optionalNumber(word);
    },
    Checksum: (p, word) => {
      link.checksum = p.bool(word);
    },
  };
}

// --- Multicast ---

const SURELY_ADDRESS = {
  4: 'your multicast address is IPv4 but is binded to an IPv6 interface? Surely, this is not what you want',
  6: 'your multicast address is IPv6 but is binded to an IPv4 interface? Surely this is not what you want',
} as const;
const SURELY_INTERFACE =
  'your multicast interface is IPv4 but is binded to an IPv6 interface? Surely, this is not what you want';

function group(link: LinkDraft, family: Family): Handler {
  return (p, word) => {
    const token = p.peek();
    const address = p.address(word, family);
    if (address === undefined) return;
    if (link.family !== undefined && link.family !== family) {
      p.warn(token, SURELY_ADDRESS[family], 'the address is ignored: one link has one family');
      return;
    }
    link.family = family;
    link[family].address = address;
  };
}

function localInterface(link: LinkDraft): Handler {
  return (p, word) => {
    const token = p.peek();
    const address = p.address(word, 4);
    if (address === undefined) return;
    if (link.family === 6) {
      p.warn(token, SURELY_INTERFACE, 'an IPv6 group is joined on the device of `Interface`');
      return;
    }
    link.family = 4;
    link.interfaceAddress = address;
  };
}

function multicastBlock(link: LinkDraft): Block {
  return block({
    IPv4_address: group(link, 4),
    IPv6_address: group(link, 6),
    IPv4_interface: localInterface(link),
    IPv6_interface: (p, word) => {
      p.ip(word);
      p.warn(word, "`IPv6_interface' not required, ignoring");
    },
    Group: (p, word) => {
      link.port = p.number16(word, 'port');
    },
    ...socketHandlers(link),
    // Removed from the language in 1.4.5.
    Backlog: (p, word) => {
      p.number(word);
      p.warn(word, "`Backlog' of a multicast link was removed in 1.4.5, ignoring");
    },
    McastSndSocketBuffer: (p, word) => {
      p.warn(word, "`McastSndSocketBuffer' was removed in 1.4.5", 'write `SndSocketBuffer`');
      link.sndSocketBuffer = p.optionalNumber(word);
    },
    McastRcvSocketBuffer: (p, word) => {
      p.warn(word, "`McastRcvSocketBuffer' was removed in 1.4.5", 'write `RcvSocketBuffer`');
      link.rcvSocketBuffer = p.optionalNumber(word);
    },
    ...extensionBlock('Link', link.extensions),
  });
}

// --- UDP and TCP ---

function endpoint(link: LinkDraft, family: Family, end: 'address' | 'destination'): Handler {
  return (p, word) => {
    const address = p.address(word, family);
    if (address === undefined) return;
    link.family = family;
    link[family][end] = address;
  };
}

function unicastBlock(link: LinkDraft): Block {
  return block({
    IPv4_address: endpoint(link, 4, 'address'),
    IPv6_address: endpoint(link, 6, 'address'),
    IPv4_Destination_Address: endpoint(link, 4, 'destination'),
    IPv6_Destination_Address: endpoint(link, 6, 'destination'),
    Port: (p, word) => {
      link.port = p.number16(word, 'port');
    },
    ...socketHandlers(link),
    ...(link.kind === 'TCP'
      ? {
          ErrorQueueLength: ((p, word) => {
            link.errorQueueLength = p.optionalNumber(word);
          }) satisfies Handler,
        }
      : {}),
    ...extensionBlock('Link', link.extensions),
  });
}

export function linkBlock(link: LinkDraft): Block {
  return link.kind === 'Multicast' ? multicastBlock(link) : unicastBlock(link);
}

// --- the link as a whole ---

export function newLink(kind: LinkKind, at: Token, marked: boolean): LinkDraft {
  return { kind, at, marked, 4: {}, 6: {}, extensions: new Map() };
}

/** What is certainly not meant, though the daemon can start with it. */
function warnOddLink(p: Parser, link: LinkDraft): void {
  const port = link.kind === 'Multicast' ? 'Group' : 'Port';
  if ((link.port ?? 0) === 0) {
    p.warn(
      link.at,
      `this \`${link.kind}' link has no \`${port}': a random one is used and nothing will arrive`,
      `add \`${port} 3780\`, the same number on both nodes`,
    );
  }
  if (link.kind === 'Multicast' || link.family === undefined) return;
  const own = link[link.family];
  if (own.destination === undefined || isAny(own.destination)) {
    p.warn(
      link.at,
      `this \`${link.kind}' link has no destination address: it sends to this host itself`,
      `add \`IPv${link.family}_Destination_Address\` with the address of the other node`,
    );
  }
}

export function link(kind: LinkKind, sync: SyncDraft): Handler {
  return (p, word) => {
    const draft = newLink(kind, word, p.accept('Default') !== undefined);
    p.section(kind, linkBlock(draft));
    if (sync.links.some((other) => other.kind !== kind)) {
      p.error(word, `cannot use \`${kind}' with other dedicated link protocols!`);
    }
    if (sync.links.length === MAX_LINKS) {
      p.error(word, `too many dedicated links in the configuration file (Maximum: ${MAX_LINKS})`);
    }
    warnOddLink(p, draft);
    sync.links.push(draft);
  };
}
