// Layout of the templates that template.ts matches lines of a command file (conntrack -R) with.
// src/cli/template.ts makes them; both sides take the offsets from here. All fields are 32 bits wide.
//
//   template  ┌──────────┬────────┬────────┬────────┬──────────────┬──────────────┬─ slots ──────
//             │ of the   │ its    │ number │ where  │ text behind  │ its length   │ 64 bytes each
//             │ request: │ length │ of     │ values │ the last     │              │
//             │ address  │        │ slots  │ go     │ slot         │              │
//             └──────────┴────────┴────────┴────────┴──────────────┴──────────────┴──────────────
export const TEMPLATE_REQUEST = 0;
export const TEMPLATE_LENGTH = 4;
export const TEMPLATE_COUNT = 8;
export const TEMPLATE_VALUES = 12; // 16 bytes a slot, in the order of the packet
export const TEMPLATE_TAIL = 16;
export const TEMPLATE_TAIL_LENGTH = 20;
export const TEMPLATE_SLOTS = 32;

export const SLOT_SIZE = 64;
export const SLOT_TEXT = 0; // the text before the value
export const SLOT_TEXT_LENGTH = 4;
export const SLOT_KIND = 8;
export const SLOT_WIDTH = 12; // bytes of the value in the request
export const SLOT_TIED = 16; // a slot before it that must hold the same value, or -1
export const SLOT_APART = 20; // a slot before it that must hold another value, or -1
export const SLOT_PLACES = 24; // how often the value stands in the request
export const SLOT_OFFSETS = 28; // and where, PLACES_MAX times

export const PLACES_MAX = 8;
export const VALUE_SIZE = 16;

export const KIND_NUMBER = 0;
export const KIND_IPV4 = 1;
export const KIND_IPV6 = 2;

/** What requestsOfLines tells: where the text was left, and the address of the last request. */
export const MADE_TEXT = 0;
export const MADE_LAST = 4;
export const MADE_SIZE = 8;

/** Bytes behind a text that may be read, but do not count. */
export const TEXT_MARGIN = 64;
/** Bytes behind a request that may be written before the next one is. */
export const REQUEST_MARGIN = 15;
